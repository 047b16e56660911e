//! What the backend was given of one pod's files, as a hash a volume. No I/O, no clock.

/// A keyed hash of all that makes a volume's files: paths, modes, owners and contents.
pub(super) type Print = u64;

/// Troubles of a pod.
const REMEMBERED: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Given {
    /// Of the backend's object.
    attempt: u32,
    /// By volume; none: what the backend has is not known.
    volumes: Vec<(Box<str>, Option<Print>)>,
    /// The backend is being given all of them.
    busy: bool,
    /// Something changed meanwhile.
    changed: bool,
    failures: u32,
    /// Troubles that were told.
    told: Vec<Box<str>>,
}

impl Given {
    /// A pod that the backend got from another process.
    pub fn unknown(attempt: u32) -> Self {
        Self { attempt, ..Self::default() }
    }

    /// The backend is asked to make the pod with these. Asked for the same object again it may go on with what it was given
    /// first. `changed`: they may be old already.
    pub fn giving(&mut self, attempt: u32, volumes: Vec<(Box<str>, Option<Print>)>, changed: bool) {
        let before = std::mem::take(&mut self.volumes);
        let again = attempt == self.attempt;
        let known = |name: &str| before.iter().find(|(own, _)| **own == *name).map(|(_, print)| *print);
        self.volumes = volumes
            .into_iter()
            .map(|(name, print)| {
                let differs = again && known(&name).is_some_and(|known| known != print);
                (name, print.filter(|_| !differs))
            })
            .collect();
        (self.attempt, self.busy, self.changed) = (attempt, true, changed);
    }

    /// The call came back. Returns whether the files are to be looked at.
    pub fn given(&mut self) -> bool {
        self.busy = false;
        self.changed || self.volumes.iter().any(|(_, print)| print.is_none())
    }

    /// Whether the files may be replaced now; if not they are looked at later.
    pub const fn may_be_replaced(&mut self) -> bool {
        self.changed |= self.busy;
        !self.busy
    }

    /// Whether the backend has something else, or may have.
    pub fn is_stale(&self, volume: &str, print: Print) -> bool {
        !self.busy && !self.volumes.iter().any(|(own, known)| **own == *volume && *known == Some(print))
    }

    /// A volume was replaced.
    pub fn replaced(&mut self, attempt: u32, volume: &str, print: Print) {
        // Another object was given all of it.
        if self.busy || attempt != self.attempt {
            return;
        }
        match self.volumes.iter_mut().find(|(own, _)| **own == *volume) {
            Some((_, known)) => *known = Some(print),
            None => self.volumes.push((volume.into(), Some(print))),
        }
    }

    /// Nothing failed that may go well another time; `clean`: nothing at all.
    pub fn settled(&mut self, clean: bool) {
        self.failures = 0;
        if clean {
            self.told.clear();
        }
    }

    /// Something failed once more; returns how often before.
    pub const fn failed(&mut self) -> u32 {
        let before = self.failures;
        self.failures = before.saturating_add(1);
        before
    }

    /// Whether this has not been told yet, of the last [`REMEMBERED`].
    pub fn tells(&mut self, trouble: &str) -> bool {
        if self.told.iter().any(|own| **own == *trouble) {
            return false;
        }
        if self.told.len() == REMEMBERED {
            self.told.remove(0);
        }
        self.told.push(trouble.into());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volumes(all: &[(&str, Print)]) -> Vec<(Box<str>, Option<Print>)> {
        all.iter().map(|(name, print)| ((*name).into(), Some(*print))).collect()
    }

    #[test]
    fn what_was_given_is_not_given_again() {
        let mut given = Given::default();
        given.giving(0, volumes(&[("a", 1), ("b", 2)]), false);
        assert!(!given.may_be_replaced() && !given.is_stale("a", 9), "it is being given");
        assert!(given.given(), "something changed meanwhile");
        assert!(given.may_be_replaced());
        assert!(!given.is_stale("a", 1) && given.is_stale("b", 1));
        given.replaced(0, "b", 1);
        assert!(!given.is_stale("b", 1));
    }

    #[test]
    fn a_pod_that_is_made_twice_may_have_what_it_was_given_first() {
        let mut given = Given::default();
        given.giving(0, volumes(&[("a", 1), ("b", 2)]), false);
        assert!(!given.given());
        given.giving(0, volumes(&[("a", 1), ("b", 3)]), false);
        assert!(given.given());
        assert!(!given.is_stale("a", 1) && given.is_stale("b", 3));
        given.giving(1, volumes(&[("a", 1), ("b", 4)]), false);
        assert!(!given.given(), "another attempt is made anew");
        assert!(!given.is_stale("b", 4));
        // The answer of a call for the former attempt.
        given.replaced(0, "b", 5);
        assert!(given.is_stale("b", 5));
    }

    #[test]
    fn what_changed_before_the_pod_was_made_is_looked_at() {
        let mut given = Given::default();
        given.giving(0, volumes(&[("a", 1)]), true);
        assert!(given.given());
    }

    #[test]
    fn of_a_pod_that_another_process_made_nothing_is_known() {
        let mut given = Given::unknown(2);
        assert!(given.may_be_replaced() && given.is_stale("a", 1));
        given.replaced(2, "a", 1);
        assert!(!given.is_stale("a", 1));
    }

    #[test]
    fn the_same_trouble_is_told_once() {
        let mut given = Given::default();
        assert!(given.tells("x") && given.tells("y") && !given.tells("x"));
        for other in ["a", "b", "c"] {
            assert!(given.tells(other));
        }
        assert!(given.tells("x") && !given.tells("c"));
        assert_eq!((given.failed(), given.failed()), (0, 1));
        given.settled(false);
        assert!(given.failed() == 0 && !given.tells("x"));
        given.settled(true);
        assert!(given.tells("x"));
    }
}
