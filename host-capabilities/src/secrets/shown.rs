//! The values that a provider was shown or had filled in: what is masked in its words, and looked for in what comes back.
//!
//! Bound: the last 64 values; a secret that rotates does not pile up.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

use super::search::Search;
use crate::mask::Mask;

const MAX_VALUES: usize = 64;

/// Values that left the host.
#[derive(Default)]
pub(super) struct Shown(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// With whether it was only filled in: then the guest must not see it.
    values: VecDeque<(Zeroizing<Vec<u8>>, bool)>,
    mask: Mask,
    search: Option<Arc<Search>>,
}

impl Shown {
    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn mask(&self, text: String) -> String {
        let known = self.known();
        if known.mask.is_empty() { text } else { known.mask.apply(text) }
    }

    pub(super) fn search(&self) -> Option<Arc<Search>> {
        self.known().search.clone()
    }

    pub(super) fn remember(&self, value: &[u8], filled: bool) {
        let mut known = self.known();
        if known.values.iter().any(|(own, hidden)| own.as_slice() == value && *hidden == filled) {
            return;
        }
        known.values.push_back((Zeroizing::new(value.to_vec()), filled));
        if known.values.len() > MAX_VALUES {
            known.values.pop_front();
        }
        let mut mask = Mask::default();
        for (value, _) in &known.values {
            if let Ok(text) = std::str::from_utf8(value) {
                mask.add(text.trim());
            }
        }
        known.mask = mask;
        if filled {
            let hidden = known.values.iter().filter(|(_, filled)| *filled).map(|(value, _)| value.as_slice());
            known.search = Search::new(hidden).map(Arc::new);
        }
    }
}
