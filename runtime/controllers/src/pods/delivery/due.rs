//! When pods' files are to be looked at next: one list of times for all pods. A pod is in it at most once, and is looked at
//! by one at a time.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::time::Instant;

#[derive(Default)]
struct Pod {
    at: Option<Instant>,
    /// Somebody looks at it now; what is asked for meanwhile waits.
    busy: bool,
}

#[derive(Default)]
pub(super) struct Due {
    times: BTreeSet<(Instant, Arc<str>)>,
    pods: HashMap<Arc<str>, Pod>,
}

impl Due {
    /// Asks for a look at this time, or at an earlier one that is asked for already.
    pub fn ask(&mut self, uid: Arc<str>, at: Instant) {
        let pod = self.pods.entry(uid.clone()).or_default();
        if pod.at.is_some_and(|known| known <= at) {
            return;
        }
        let before = pod.at.replace(at);
        if pod.busy {
            return;
        }
        if let Some(before) = before {
            self.times.remove(&(before, uid.clone()));
        }
        self.times.insert((at, uid));
    }

    /// The earliest time.
    pub fn next(&self) -> Option<Instant> {
        self.times.first().map(|(at, _)| *at)
    }

    /// A pod whose time has come; [`Due::done`] is to follow.
    pub fn take(&mut self, now: Instant) -> Option<Arc<str>> {
        self.times.first().filter(|(at, _)| *at <= now)?;
        let (_, uid) = self.times.pop_first()?;
        let pod = self.pods.entry(uid.clone()).or_default();
        *pod = Pod { at: None, busy: true };
        Some(uid)
    }

    /// It was looked at, and wants to be at this time again.
    pub fn done(&mut self, uid: Arc<str>, again: Option<Instant>) {
        let asked = self.pods.remove(&uid).and_then(|pod| pod.at);
        if let Some(at) = [asked, again].into_iter().flatten().min() {
            self.ask(uid, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_earliest_of_what_was_asked_for_counts_and_a_pod_is_taken_once() {
        let (now, mut due) = (Instant::now(), Due::default());
        let at = |seconds| now + Duration::from_secs(seconds);
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        due.ask(a.clone(), at(5));
        due.ask(a.clone(), at(9));
        due.ask(b.clone(), at(7));
        due.ask(b.clone(), at(3));
        assert_eq!(due.next(), Some(at(3)));
        assert_eq!(due.take(at(2)), None);
        assert_eq!(due.take(at(10)), Some(b.clone()));
        // What is asked for while somebody looks comes after.
        due.ask(b.clone(), at(4));
        assert_eq!(due.take(at(10)), Some(a.clone()));
        assert_eq!(due.take(at(10)), None);
        due.done(b.clone(), Some(at(60)));
        due.done(a, None);
        assert_eq!(due.next(), Some(at(4)));
        assert_eq!(due.take(at(4)), Some(b.clone()));
        due.done(b, None);
        assert!(due.next().is_none() && due.pods.is_empty());
    }
}
