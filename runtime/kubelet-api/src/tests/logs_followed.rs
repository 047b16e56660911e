//! Logs that grow while they are read, with providers that follow them and with providers that don't.
//!
//! Time is the runtime's own and runs as fast as it can. The cases are the model's (see [`super::logs_model`]).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use futures::stream::{self, StreamExt};
use provider::{Code, Error, Framing, LogOption, LogOptions, Result};
use tokio::time::{Instant, sleep_until, timeout};

use super::doubles::{Backend, Pods, ended, log};
use super::logs_model::{Abilities, Script, read_all, seeds, source, wanted};
use crate::logs::options::Wanted;
use crate::logs::reader::{LogError, Reader};

/// A log whose pieces are written at these times.
struct Growing {
    script: Script,
    at: Vec<Instant>,
    abilities: Abilities,
    /// The stream ends with the container; else never.
    ends: bool,
    end: Instant,
    /// One of so many readings fails, at its start or in the middle; 0: none.
    fails: u8,
}

impl Growing {
    fn written(&self, now: Instant) -> usize {
        self.at.partition_point(|&at| at <= now)
    }

    fn open(self: &Arc<Self>, asked: &LogOptions, random: &mut Rng) -> Result<provider::Log> {
        let written = self.written(Instant::now());
        let mut fails = || self.fails > 0 && random.u8(..self.fails) == 0;
        let first = asked.follow || asked.since.is_none();
        if !first && fails() {
            return Err(Error::new(Code::Unavailable, "the engine is away"));
        }
        let mut history: Vec<Result<Bytes>> =
            self.abilities.chunks(&self.script, asked, written, 0..written).into_iter().map(Ok).collect();
        if !first && fails() {
            history.truncate(random.usize(..=history.len()));
            history.push(Err(Error::new(Code::Closed, "the engine went away")));
        }
        let history = stream::iter(history);
        if !asked.follow || !self.abilities.can(LogOption::Follow) {
            return Ok(log(self.abilities.framing.clone(), &self.abilities.applied, history.boxed()));
        }
        let (this, asked) = (self.clone(), asked.clone());
        let news = stream::unfold(written, move |piece| {
            let (this, asked) = (this.clone(), asked.clone());
            async move {
                if let Some(&at) = this.at.get(piece) {
                    sleep_until(at).await;
                    let chunks = this.abilities.chunks(&this.script, &asked, written, piece..piece + 1);
                    return Some((stream::iter(chunks.into_iter().map(Ok)), piece + 1));
                }
                if !this.ends {
                    std::future::pending::<()>().await;
                }
                sleep_until(this.end).await;
                None
            }
        });
        let content = history.chain(news.flatten());
        Ok(log(self.abilities.framing.clone(), &self.abilities.applied, content.boxed()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_followed_log_is_shown_once_and_whole_whatever_the_provider_does_of_it() {
    let mut completed = 0;
    for seed in seeds(5000) {
        let mut random = Rng::with_seed(seed);
        let mut abilities = Abilities::random(&mut random);
        if random.bool() {
            abilities.applied.push(LogOption::Follow);
        }
        let script = Script::random(&mut random, abilities.origins(), 30);
        let wanted = Wanted { follow: true, ..wanted(&mut random, &script) };
        let memory = *random.choice([0, 200, 1 << 20].iter()).unwrap();
        let mut at = Instant::now();
        let history = random.usize(..=script.pieces.len());
        let pauses = [0, 0, 10, 700, 1000, 3000, 15_000].map(Duration::from_millis);
        let times = (0..script.pieces.len()).map(|piece| {
            if piece >= history {
                at += *random.choice(pauses.iter()).unwrap() + Duration::from_micros(1);
            }
            at
        });
        let at: Vec<_> = times.collect();
        let end = at.last().copied().unwrap_or_else(Instant::now) + Duration::from_millis(random.u64(..3000));
        let growing =
            Growing { script, at, abilities, ends: random.bool(), end, fails: *random.choice([0, 4].iter()).unwrap() };
        let growing = Arc::new(growing);
        let describe = || format!("LOG_SEED={seed}: {wanted:?} of {:?} within {memory} bytes", growing.abilities);

        let pods = Pods::running();
        let death = {
            let pods = pods.clone();
            tokio::spawn(async move {
                sleep_until(end).await;
                pods.set_state(ended(), None);
            })
        };
        let backend = {
            let (growing, random) = (growing.clone(), std::sync::Mutex::new(random.fork()));
            Backend::with_logs(move |_, asked| growing.open(asked, &mut random.lock().unwrap()))
        };
        let reader = Reader::open(source(backend, pods), &wanted, true, memory).await;
        let has_times = growing.abilities.framing == Framing::Cri || growing.abilities.can(LogOption::Timestamps);
        let needs_times = wanted.timestamps
            || wanted.since.is_some() && !growing.abilities.can(LogOption::Since)
            || !growing.abilities.can(LogOption::Follow);
        if needs_times && !has_times && growing.fails == 0 {
            assert!(matches!(reader, Err(LogError::Provider(ref e)) if e.code == Code::Unsupported), "{}", describe());
            continue;
        }
        let whole = async { read_all(reader?).await };
        let got = timeout(Duration::from_mins(10), whole).await;
        let got = match got.unwrap_or_else(|_| panic!("{}: it never ended", describe())) {
            // The log could not be opened, so many failures in a row are the end, or this reading must be whole.
            Err(LogError::Provider(error)) if growing.fails > 0 => {
                let unsupported = error.code == Code::Unsupported && needs_times && !has_times;
                assert!(unsupported || error.message.starts_with("the engine"), "{}: {error}", describe());
                continue;
            }
            other => other.unwrap(),
        };
        completed += 1;
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let expected = |whole| growing.script.expected(&wanted, history, whole);
        let right = got == expected(false) || got == expected(true);
        assert!(right, "{}\nexpected {:?}\ngot      {:?}", describe(), shown(&expected(false)), shown(&got));
        death.await.unwrap();
    }
    assert!(completed > 0, "not a single log was read to its end");
}
