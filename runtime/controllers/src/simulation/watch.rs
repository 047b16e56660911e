//! A provider that tells by itself what becomes of pods, until its stream ends.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, Stream, StreamExt};
use provider::{Change, PodKey, PodRef, PodState, Result, Watch};
use tokio::time::Instant;

use super::faults::Life;
use super::provider::{Driver, Shared};

/// How long a stream lasts at most.
const LASTS: Duration = Duration::from_secs(90);
/// What happens within such a time is told together.
const GATHERED: Duration = Duration::from_millis(200);

/// By UID: what it has of a pod.
type Known = BTreeMap<Arc<str>, Vec<PodState>>;

struct Told {
    shared: Arc<Shared>,
    life: Life,
    known: Known,
    untold: VecDeque<Change>,
    ends: Instant,
}

fn known(shared: &Shared) -> Known {
    let mut known = Known::new();
    for state in shared.backend().states() {
        known.entry(state.key.uid.clone()).or_default().push(state);
    }
    known
}

impl Told {
    async fn next(&mut self) -> Option<Change> {
        loop {
            self.life.goes_on().await;
            if let Some(change) = self.untold.pop_front() {
                return Some(change);
            }
            if Instant::now() >= self.ends {
                return None;
            }
            tokio::time::sleep(GATHERED).await;
            let now = known(&self.shared);
            let gone = self.known.iter().filter(|(uid, _)| !now.contains_key(*uid));
            let gone: Vec<PodKey> = gone.filter_map(|(_, states)| Some(states.first()?.key.clone())).collect();
            self.untold.extend(gone.into_iter().map(Change::Gone));
            for (uid, states) in now.iter().filter(|(uid, states)| self.known.get(*uid) != Some(states)) {
                let Some(state) = states.last() else { continue };
                let how = self.shared.backend().rng.u8(..8);
                self.shared.notes.say(|| format!("    watch: {uid}"));
                self.untold.push_back(match how {
                    0 => Change::Anything,
                    1..4 => Change::Touched(state.key.clone()),
                    // One that replaces another is not told of by itself.
                    _ if states.len() == 1 => Change::State(Box::new(state.clone())),
                    _ => Change::Touched(state.key.clone()),
                });
            }
            self.known = now;
        }
    }
}

#[async_trait]
impl Watch for Driver {
    async fn open(&self, _: Option<PodRef>) -> Result<Pin<Box<dyn Stream<Item = Change> + Send>>> {
        self.call(|| "watch".to_owned(), |_| Ok(())).await?;
        let lasts = LASTS.mul_f64(self.shared.backend().rng.f64());
        let told = Told {
            known: known(&self.shared),
            shared: self.shared.clone(),
            life: self.life.clone(),
            untold: VecDeque::new(),
            ends: Instant::now() + lasts,
        };
        Ok(stream::unfold(told, async |mut told| told.next().await.map(|change| (change, told))).boxed())
    }
}
