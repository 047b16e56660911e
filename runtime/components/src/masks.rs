//! The secret values of pods that a provider was given, to be taken out of what it and its backend say about them later: a
//! backend that names a command it could not run may say so in any call, or only in a listing.
//!
//! Bound: what running pods refer to. A pod's values are forgotten with the pod. A runtime that was started anew knows
//! them again as soon as it makes something of the pod.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use host_capabilities::mask::Mask;

/// The values, by the pod's UID.
#[derive(Default)]
pub(crate) struct PodMasks(Mutex<HashMap<String, Arc<Mask>>>);

impl PodMasks {
    /// What is to be masked in a call about this pod that is given `more`.
    pub(crate) fn with(&self, uid: &str, more: Mask) -> Arc<Mask> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if more.is_empty() {
            return all.get(uid).cloned().unwrap_or_default();
        }
        let known = all.entry(uid.to_owned()).or_default();
        Arc::make_mut(known).merge(more);
        known.clone()
    }

    /// The text without what this pod's provider must not say.
    pub(crate) fn apply(&self, uid: &str, text: String) -> String {
        if text.is_empty() { text } else { self.with(uid, Mask::default()).apply(text) }
    }

    /// The pod is gone.
    pub(crate) fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(value: &str) -> Mask {
        let mut mask = Mask::default();
        mask.add(value);
        mask
    }

    #[test]
    fn values_of_all_calls_about_a_pod_are_kept_until_it_is_gone() {
        let masks = PodMasks::default();
        masks.with("one", mask("secret"));
        masks.with("one", mask("other"));
        assert_eq!(masks.apply("one", "a secret, an other".into()), "a ***, an ***");
        assert_eq!(masks.apply("two", "a secret".into()), "a secret");
        masks.forget("one");
        assert_eq!(masks.apply("one", "a secret".into()), "a secret");
    }
}
