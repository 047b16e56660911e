//! Who a node is: its certificates, asked for with CertificateSigningRequests and renewed in time.
//!
//! | certificate | signer | approved by |
//! | --- | --- | --- |
//! | client: the node towards the API server | `kubernetes.io/kube-apiserver-client-kubelet` | the controller manager |
//! | serving: the kubelet API towards the API server | `kubernetes.io/kubelet-serving` | whoever the cluster has for that |
//!
//! A node joins with the credentials of a bootstrap kubeconfig ("TLS bootstrapping" in Kubernetes' documentation) and is
//! `system:node:NAME` from then on. Both certificates are renewed at a moment by chance between 70 and 90 % of their
//! life, as the kubelet does, while the process runs: requests of then on are under the new one, and nothing is cut off.
//! Certificate and key lie in one file, which only its owner can read and which is replaced as a whole. Until somebody
//! approves the first serving certificate the node serves with one that it signed itself, and a condition says so.
//!
//! Cost: nothing while a certificate is good; while one is asked for, one watch of the one request.

mod client;
mod folder;
mod keeper;
mod pair;
mod request;

#[cfg(test)]
mod tests;

pub use client::{Joined, join};
pub use folder::Folder;
pub use keeper::{Keeper, ServingNames};
pub use pair::Pair;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The folder or a file in it.
    #[error("the file {path} can't be {what}: {error}")]
    File {
        /// Which.
        path: String,
        /// `read`, `written`, …
        what: &'static str,
        /// Why.
        error: std::io::Error,
    },
    /// A certificate or key that can't be used.
    #[error("the {what} can't be used: {reason}")]
    Unusable {
        /// Which.
        what: String,
        /// Why.
        reason: String,
    },
    /// The API server.
    #[error("the request {name} for a certificate: {error}")]
    Api {
        /// Of the CertificateSigningRequest.
        name: String,
        /// What it said.
        error: crate::ApiError,
    },
    /// Somebody said no, or nobody said anything.
    #[error("the request {name} for a certificate was {what}")]
    Refused {
        /// Of the CertificateSigningRequest.
        name: String,
        /// `denied: …`
        what: String,
    },
    /// There is no client.
    #[error(transparent)]
    Client(#[from] crate::ClientError),
}

/// What a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Purpose {
    /// The node towards the API server.
    Client,
    /// The kubelet API.
    Serving(ServingNames),
}

impl Purpose {
    /// The part of a file's name that tells it, as the kubelet's files are called.
    const fn word(&self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Serving(_) => "server",
        }
    }

    const fn signer(&self) -> &'static str {
        match self {
            Self::Client => "kubernetes.io/kube-apiserver-client-kubelet",
            Self::Serving(_) => "kubernetes.io/kubelet-serving",
        }
    }

    const fn usage(&self) -> &'static str {
        match self {
            Self::Client => "client auth",
            Self::Serving(_) => "server auth",
        }
    }
}

/// The user that a node is.
fn user(node: &str) -> String {
    format!("system:node:{node}")
}

/// The group that nodes are in.
const GROUP: &str = "system:nodes";
