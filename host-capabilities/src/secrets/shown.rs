//! The values that a provider was shown or had filled in: what is masked in its words, and looked for in what comes back.
//!
//! Bound: the last four values of each secret; one that rotates does not pile up.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

use super::search::Search;
use crate::mask::Mask;

/// Of one secret, in one way.
const MAX_VALUES: usize = 4;

/// Values that left the host.
#[derive(Default)]
pub(super) struct Shown(Mutex<Known>);

#[derive(Default)]
struct Known {
    values: VecDeque<Left>,
    mask: Mask,
    search: Option<Arc<Search>>,
}

/// A value that left the host.
struct Left {
    /// Of the secret.
    name: String,
    value: Zeroizing<Vec<u8>>,
    /// It was only filled in: the guest must not see it.
    hidden: bool,
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

    pub(super) fn remember(&self, name: &str, value: &[u8], hidden: bool) {
        let mut known = self.known();
        let of_this = |own: &&Left| own.name == name && own.hidden == hidden;
        if known.values.iter().filter(of_this).any(|own| own.value.as_slice() == value) {
            return;
        }
        if known.values.iter().filter(of_this).count() >= MAX_VALUES
            && let Some(oldest) = known.values.iter().position(|own| of_this(&own))
        {
            known.values.remove(oldest);
        }
        known.values.push_back(Left { name: name.to_owned(), value: Zeroizing::new(value.to_vec()), hidden });
        let mut mask = Mask::default();
        for own in &known.values {
            if let Ok(text) = std::str::from_utf8(&own.value) {
                mask.add(text.trim());
            }
        }
        known.mask = mask;
        if hidden {
            let hidden = known.values.iter().filter(|own| own.hidden).map(|own| own.value.as_slice());
            known.search = Search::new(hidden).map(Arc::new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_rotates_pushes_out_its_own_old_values_alone() {
        let shown = Shown::default();
        shown.remember("steady", b"steady-value", true);
        for version in 0..10 {
            shown.remember("rotating", format!("value-number-{version}").as_bytes(), true);
            shown.remember("rotating", format!("value-number-{version}").as_bytes(), true);
        }
        let search = shown.search().unwrap();
        assert!(search.finds(b"steady-value") && search.finds(b"value-number-9") && search.finds(b"value-number-6"));
        assert!(!search.finds(b"value-number-5"));
        assert_eq!(shown.mask("steady-value value-number-9".to_owned()), "*** ***");
    }
}
