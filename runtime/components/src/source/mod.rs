//! Where components come from: a file, ConfigMaps, an OCI registry. Each is watched, and none is trusted.
//!
//! A [`Source`] hands out bytes only after it has held them against its [`Policy`]: the size, the digest pin, the
//! signatures. What does not pass never leaves the source, and is a [`SourceError`] that says what was wrong with what.
//!
//! | source    | told of changes by                       | delay             |
//! |-----------|------------------------------------------|-------------------|
//! | file      | inotify                                  | milliseconds      |
//! | ConfigMap | a watch on one object of the API server  | milliseconds      |
//! | OCI       | asking the registry for the tag's digest | a minute, settable |

mod address;
mod config_map;
mod file;
mod gzip;
pub mod oci;
mod path_watch;
mod policy;
mod signature;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use address::{Address, AddressError, ConfigMapAddress, OciAddress};
pub use config_map::{ConfigMap, ConfigMapError, ConfigMapSource, ConfigMaps};
pub use file::FileSource;
pub use path_watch::PathWatch;
pub use policy::Policy;
pub use signature::{KeyError, PublicKey, Signatures};

use crate::digest::Digest;

/// A component's bytes, wherever they come from.
#[async_trait]
pub trait Source: Send + Sync {
    /// What it was given as.
    fn address(&self) -> &Address;

    /// The bytes, checked. None: nothing has changed since `known`, which costs as little as the source can manage.
    ///
    /// An error is about this attempt: the bytes that were fetched before are as good as they were. Who got one asks
    /// again when [`Source::changed`] says so, and after a while if [`SourceError::is_passing`].
    async fn fetch(&self, known: Option<&Revision>) -> Result<Option<Fetched>, SourceError>;

    /// Ends when there may be something new. What happens while nobody waits is told to the next who does; one at a time
    /// may wait. Never ends for what can't change, as an address with a digest.
    async fn changed(&self);
}

/// What a source handed out.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The component.
    pub bytes: Bytes,
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// What tells it from what comes later.
    pub revision: Revision,
    /// Who signed it; none: the policy asked for no signature.
    pub signer: Option<String>,
}

/// Tells what a source had at one time from what it has at another: a file's identity and times, a ConfigMap's
/// `resourceVersion`, a manifest's digest. Equal ones mean equal bytes; different ones mean nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub(crate) String);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why there are no bytes.
#[derive(Debug, thiserror::Error)]
#[error("{address}: {problem}")]
pub struct SourceError {
    /// The source.
    pub address: Box<Address>,
    /// What is wrong.
    pub problem: Problem,
}

impl SourceError {
    pub(crate) fn new(address: &Address, problem: Problem) -> Self {
        Self { address: Box::new(address.clone()), problem }
    }

    /// Whether the same request may succeed later without anybody changing anything.
    pub const fn is_passing(&self) -> bool {
        matches!(
            self.problem,
            Problem::Unreachable(_)
                | Problem::Hangs { .. }
                | Problem::Truncated { .. }
                | Problem::Changing
                | Problem::Incomplete { .. }
        )
    }
}

/// What is wrong with a source, or with what it has.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// It is not there.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// It can't be read.
    #[error("it can't be read: {0}")]
    Read(std::io::Error),
    /// It can't be watched.
    #[error("it can't be watched: {0}")]
    Watch(std::io::Error),
    /// It was written to while it was read.
    #[error("it is being written")]
    Changing,
    /// It is larger than allowed.
    #[error("it has {size}, and no more than {limit} bytes are taken: the limit component-size raises that")]
    TooLarge {
        /// How large, as far as it is known.
        size: Size,
        /// The limit, bytes.
        limit: u64,
    },
    /// It is not what was pinned.
    #[error("its digest is {actual}, and {expected} is pinned")]
    NotPinned {
        /// The pin.
        expected: Digest,
        /// What it is.
        actual: Digest,
    },
    /// What came is not what was named.
    #[error("{what} has the digest {actual}, and {expected} was asked for")]
    WrongDigest {
        /// A manifest, a layer, parts.
        what: &'static str,
        /// The digest that names it.
        expected: String,
        /// The digest of what came.
        actual: String,
    },
    /// Parts are missing, or of two versions.
    #[error(
        "{found} parts don't make what has the digest {digest}, and {missing} is not there: they are of two versions, or not all are written"
    )]
    Incomplete {
        /// Parts that are there.
        found: usize,
        /// Where the next was looked for.
        missing: String,
        /// The digest that the parts should have.
        digest: String,
    },
    /// It is compressed, and can't be decompressed.
    #[error("it is gzip, and broken: {0}")]
    Gzip(String),
    /// It ends early.
    #[error("{what} ends after {got} of {expected} bytes")]
    Truncated {
        /// A manifest, a layer.
        what: &'static str,
        /// Bytes that came.
        got: u64,
        /// Bytes that were promised.
        expected: u64,
    },
    /// It is something else.
    #[error("it is no component: {0}")]
    NoComponent(String),
    /// The other end can't be reached.
    #[error("{0}")]
    Unreachable(String),
    /// The other end does not answer, or stops in the middle.
    #[error("{what} did not come within {seconds} s")]
    Hangs {
        /// What was waited for.
        what: &'static str,
        /// How long.
        seconds: u64,
    },
    /// The other end refuses.
    #[error("{0}")]
    Refused(String),
    /// The other end does not speak the protocol.
    #[error("{0}")]
    Protocol(String),
    /// Credentials can't be had.
    #[error("its credentials can't be had: {0}")]
    Credentials(String),
    /// It is not signed as the policy asks.
    #[error("{0}")]
    Signature(String),
}

/// A size that may only be known to be above a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// This many bytes.
    Bytes(u64),
    /// More than was read.
    More,
    /// More than was read, after decompression.
    MoreDecompressed,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{bytes} bytes"),
            Self::More => f.write_str("more bytes"),
            Self::MoreDecompressed => f.write_str("more bytes when decompressed"),
        }
    }
}
