//! What bytes must be like before anybody compiles them.
//!
//! Default: at most 64 MiB, any digest, no signature. The checks are in this order, and each before the bytes it would save
//! from being fetched, where the source can tell: size, signatures, digest.

use super::{Problem, Signatures, Size};
use crate::digest::Digest;
use crate::limits::Limits;

/// What a source may hand out.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Bytes of the component, decompressed: the limit `component-size`.
    pub size: u64,
    /// The component's own digest, if only that one is taken. (The digest in an `oci://` address is the manifest's.)
    pub digest: Option<Digest>,
    /// Who must have signed it.
    pub signatures: Signatures,
}

impl Default for Policy {
    fn default() -> Self {
        Self { size: Limits::default().component_size, digest: None, signatures: Signatures::default() }
    }
}

impl Policy {
    /// Whether so many bytes are taken.
    pub(super) const fn check_size(&self, size: u64) -> Result<(), Problem> {
        if size > self.size {
            return Err(Problem::TooLarge { size: Size::Bytes(size), limit: self.size });
        }
        Ok(())
    }

    /// The component's digest, if it is one that is taken.
    pub(super) fn check_digest(&self, bytes: &[u8]) -> Result<Digest, Problem> {
        let actual = Digest::of(bytes);
        match self.digest {
            Some(expected) if expected != actual => Err(Problem::NotPinned { expected, actual }),
            _ => Ok(actual),
        }
    }
}
