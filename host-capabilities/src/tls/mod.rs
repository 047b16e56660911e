//! TLS towards backends: one configuration with the system's CAs, shared by all connections of the process, and profiles of
//! the configuration by name, each with a client identity, a private CA, or both.
//!
//! TLS 1.2 and 1.3. Cost: the system's CAs are read once, when the first connection needs them.

mod profile;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

pub(crate) use profile::Chosen;
pub use profile::{Profiles, TlsProfile, TlsProfileError};

/// TLS with the system's CAs and without a client identity.
pub(crate) fn client_config() -> Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    CONFIG.get_or_init(|| Arc::new(builder().with_root_certificates(system()).with_no_client_auth())).clone()
}

fn builder() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    #[expect(clippy::expect_used, reason = "ring implements both versions")]
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring knows TLS 1.2 and 1.3");
    builder
}

/// The system's CAs.
fn system() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    ROOTS
        .get_or_init(|| {
            let mut roots = RootCertStore::empty();
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                tracing::warn!(%error, "a CA certificate of the system can't be read");
            }
            let (added, _) = roots.add_parsable_certificates(found.certs);
            #[cfg(test)]
            roots.add(crate::testing::authority::Authority::trusted().certificate()).unwrap();
            if added == 0 {
                tracing::warn!("the system has no CA certificates: no TLS server can be verified");
            }
            Arc::new(roots)
        })
        .clone()
}
