//! TLS profiles: `NAME=ca:SOURCE,cert:SOURCE,key:SOURCE,server-name:NAME`, any of the parts left out. A `SOURCE` is one of
//! [`Origin`], or a file's absolute path.
//!
//! A provider names a profile and never reads it. With `ca` these CAs are believed, and no others; without, the system's. What
//! changes at its source is used from the next connection on; connections that stand go on. While the parts don't fit each
//! other (a certificate and key that are replaced one after the other), the last that did are used. `server-name` is what the
//! server's certificate must name, whatever address it is reached at and whatever the provider asks for.

use std::collections::BTreeMap;
use std::sync::Arc;

use provider::Code;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::{builder, client_config, system};
use crate::error::{Error, error};
use crate::secrets::{Origin, Reader, Sources};

/// A profile as it is configured. No part of it is a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsProfile {
    /// By which requests and connections name it.
    pub name: String,
    /// CA certificates, PEM; none: the system's.
    pub ca: Option<Origin>,
    /// The client's certificate and its chain, PEM; goes with `key`.
    pub certificate: Option<Origin>,
    /// The client's private key, PEM: PKCS#8, PKCS#1 or SEC1.
    pub key: Option<Origin>,
    /// What the server's certificate must name; none: the host that is connected to.
    pub server_name: Option<String>,
}

/// A profile that can't be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the TLS profile `{profile}`: {reason}")]
pub struct TlsProfileError {
    /// Its name, or what was written.
    pub profile: String,
    /// What is wrong with it.
    pub reason: String,
}

impl std::str::FromStr for TlsProfile {
    type Err = TlsProfileError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |reason: String| TlsProfileError { profile: text.to_owned(), reason };
        let (name, rest) = text.split_once('=').unwrap_or((text, ""));
        let mut profile = Self { name: name.to_owned(), ca: None, certificate: None, key: None, server_name: None };
        for (part, value) in parts(rest).map_err(fail)? {
            let origin = || {
                let written = if value.starts_with('/') { format!("file:{value}") } else { value.clone() };
                written.parse::<Origin>().map(Some).map_err(|reason| fail(format!("{part}: {reason}")))
            };
            match part {
                "ca" => profile.ca = origin()?,
                "cert" => profile.certificate = origin()?,
                "key" => profile.key = origin()?,
                _ => profile.server_name = Some(value),
            }
        }
        profile.check().map_err(fail)?;
        Ok(profile)
    }
}

/// The parts, each once; a comma that no part's name follows belongs to the value before it.
fn parts(text: &str) -> Result<Vec<(&'static str, String)>, String> {
    const NAMES: &[&str] = &["ca", "cert", "key", "server-name"];
    let mut parts: Vec<(&'static str, String)> = Vec::new();
    for piece in text.split(',') {
        let found = piece
            .split_once(':')
            .and_then(|(name, value)| NAMES.iter().find(|own| **own == name).map(|own| (*own, value.to_owned())));
        match found {
            Some((name, _)) if parts.iter().any(|(own, _)| *own == name) => {
                return Err(format!("the part `{name}` is there twice"));
            }
            Some(part) => parts.push(part),
            None => {
                let (_, value) =
                    parts.last_mut().ok_or("written NAME=ca:SOURCE,cert:SOURCE,key:SOURCE,server-name:NAME")?;
                value.push(',');
                value.push_str(piece);
            }
        }
    }
    Ok(parts)
}

impl TlsProfile {
    fn check(&self) -> Result<(), String> {
        if self.name.is_empty() || !self.name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
            return Err("the name is made of letters, digits, `-`, `_` and `.`".to_owned());
        }
        if self.certificate.is_some() != self.key.is_some() {
            return Err("a certificate and its key go together".to_owned());
        }
        if self.ca.is_none() && self.certificate.is_none() && self.server_name.is_none() {
            return Err("it has neither CA nor client identity nor server name".to_owned());
        }
        match &self.server_name {
            Some(name) if ServerName::try_from(name.as_str()).is_err() => {
                Err(format!("`{name}` is no TLS server name"))
            }
            _ => Ok(()),
        }
    }
}

/// The profiles of one provider, shared by its nodes.
#[derive(Default)]
pub struct Profiles(BTreeMap<String, Profile>);

/// Names alone.
impl std::fmt::Debug for Profiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

struct Profile {
    ca: Option<Reader>,
    identity: Option<(Reader, Reader)>,
    server_name: Option<ServerName<'static>>,
    built: Mutex<Option<Built>>,
}

type Content = Arc<Zeroizing<Vec<u8>>>;

/// What a profile's parts are made of.
#[derive(PartialEq)]
struct Parts {
    ca: Option<Content>,
    identity: Option<(Content, Content)>,
}

struct Built {
    parts: Parts,
    /// What didn't fit, and was said.
    refused: Option<Parts>,
    chosen: Chosen,
}

/// How to connect.
#[derive(Clone)]
pub(crate) struct Chosen {
    pub(crate) config: Arc<ClientConfig>,
    /// What the server's certificate must name; none: the host that is connected to.
    pub(crate) server_name: Option<ServerName<'static>>,
    /// The profile and its version; connections of another one are not for this.
    pub(crate) version: Option<(String, u64)>,
}

impl Profiles {
    /// Errors: a profile that can't be, or two of one name. Nothing is read yet.
    pub fn new(profiles: impl IntoIterator<Item = TlsProfile>, sources: &Sources) -> Result<Self, TlsProfileError> {
        let mut all = BTreeMap::new();
        for profile in profiles {
            let fail = |reason: String| TlsProfileError { profile: profile.name.clone(), reason };
            profile.check().map_err(fail)?;
            let reader = |origin: Origin| Reader::new(origin.open(sources));
            let made = Profile {
                ca: profile.ca.clone().map(reader),
                identity: profile.certificate.clone().map(reader).zip(profile.key.clone().map(reader)),
                server_name: profile.server_name.clone().and_then(|name| ServerName::try_from(name).ok()),
                built: Mutex::default(),
            };
            if all.insert(profile.name.clone(), made).is_some() {
                return Err(fail("it is there twice".to_owned()));
            }
        }
        Ok(Self(all))
    }

    /// The names of the profiles.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// How to connect by the profile of this name; empty: with the system's CAs and no identity. Errors: `denied`: there is
    /// no such profile; `unavailable`, `not-found`: a source of it can't be read; `invalid`: its parts are no certificates.
    pub(crate) async fn choose(&self, name: &str) -> Result<Chosen, Error> {
        if name.is_empty() {
            return Ok(Chosen { config: client_config(), server_name: None, version: None });
        }
        let profile = self.0.get(name).ok_or_else(|| {
            let name = name.escape_debug();
            crate::error::denied(
                format!("the TLS profile `{name}`"),
                format!("--tls {name}=ca:SOURCE,cert:SOURCE,key:SOURCE"),
            )
        })?;
        profile.choose(name).await
    }
}

impl Profile {
    async fn choose(&self, name: &str) -> Result<Chosen, Error> {
        // One after the other: what was built for one is there for the next.
        let mut built = self.built.lock().await;
        let parts = self.read(name).await?;
        match built.as_mut() {
            Some(known) if known.parts == parts => return Ok(known.chosen.clone()),
            Some(known) => match parts.build() {
                Ok(config) => {
                    tracing::info!(profile = name, "the TLS profile changed");
                    let version = known.chosen.version.as_ref().map_or(0, |(_, version)| version + 1);
                    known.chosen.config = Arc::new(config);
                    known.chosen.version = Some((name.to_owned(), version));
                    known.refused = None;
                    known.parts = parts;
                }
                Err(reason) if known.refused.as_ref() != Some(&parts) => {
                    tracing::warn!(
                        profile = name,
                        "the TLS profile changed and can't be used, the last is kept: {reason}"
                    );
                    known.refused = Some(parts);
                }
                Err(_) => {}
            },
            None => {
                let config = parts
                    .build()
                    .map_err(|reason| error(Code::Invalid, format!("the TLS profile `{name}`: {reason}")))?;
                let version = Some((name.to_owned(), 0));
                let chosen = Chosen { config: Arc::new(config), server_name: self.server_name.clone(), version };
                *built = Some(Built { parts, refused: None, chosen });
            }
        }
        built
            .as_ref()
            .map(|known| known.chosen.clone())
            .ok_or_else(|| error(Code::Internal, format!("the TLS profile `{name}` was not built")))
    }

    async fn read(&self, name: &str) -> Result<Parts, Error> {
        let what = |part: &str| format!("the {part} of the TLS profile `{name}`");
        let ca = match &self.ca {
            Some(reader) => Some(reader.read(&what("CA")).await?),
            None => None,
        };
        let identity = match &self.identity {
            Some((certificate, key)) => {
                Some((certificate.read(&what("certificate")).await?, key.read(&what("key")).await?))
            }
            None => None,
        };
        Ok(Parts { ca, identity })
    }
}

impl Parts {
    /// Errors name the part, and tell nothing of it.
    fn build(&self) -> Result<ClientConfig, String> {
        let roots = match &self.ca {
            None => system(),
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(pem, "CA")? {
                    roots.add(certificate).map_err(|rejected| format!("its CA can't be used: {rejected}"))?;
                }
                Arc::new(roots)
            }
        };
        let builder = builder().with_root_certificates(roots);
        let Some((certificate, key)) = &self.identity else { return Ok(builder.with_no_client_auth()) };
        let chain = certificates(certificate, "certificate")?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| "its key is no private key in PEM".to_owned())?;
        builder
            .with_client_auth_cert(chain, key)
            .map_err(|rejected| format!("its certificate and key can't be used: {rejected}"))
    }
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(format!("its {what} is no certificate in PEM")),
    }
}
