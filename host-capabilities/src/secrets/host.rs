//! What a guest can do with a handle on a secret.

use std::sync::Arc;

use provider::Code;
use tracing::Level;
use wasmtime::component::{Accessor, Resource};
use zeroize::Zeroizing;

use super::binding::Binding;
use super::key::{self, Algorithm};
use super::{Mode, Value};
use crate::audit::Used;
use crate::bindings::vk::host::secrets;
use crate::call::task;
use crate::error::{Error, denied, error};
use crate::line_of_call;
use crate::{Call, CallData};

/// A handle on one version of a secret, or on what was derived from it.
pub struct Secret {
    name: String,
    mode: Mode,
    /// Where it may be filled in; none: wherever the provider may send a request.
    hosts: Option<Arc<[Binding]>>,
    value: Arc<Value>,
}

impl Secret {
    pub(super) const fn new(name: String, mode: Mode, hosts: Option<Arc<[Binding]>>, value: Arc<Value>) -> Self {
        Self { name, mode, hosts, value }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.value.bytes
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) const fn hosts(&self) -> Option<&Arc<[Binding]>> {
        self.hosts.as_ref()
    }

    /// Whether it may be used in a way that `modes` allow; `what` says which, `mode` the flag's.
    fn may(&self, modes: &[Mode], what: &str, mode: &str) -> Result<(), Error> {
        if modes.contains(&self.mode) {
            return Ok(());
        }
        Err(denied(format!("{what} the secret `{}`", self.name), format!("--secret={}=SOURCE:{mode}", self.name)))
    }

    fn sign(&self, algorithm: &str, data: &[u8]) -> Result<Vec<u8>, Error> {
        self.may(&[Mode::Sign, Mode::Reveal], "signing with", "sign")?;
        key::sign(Algorithm::parse(algorithm)?, &self.name, self.bytes(), data)
    }

    fn derive(&self, algorithm: &str, prefix: &[u8], data: &[u8]) -> Result<Self, Error> {
        self.may(&[Mode::Sign, Mode::Reveal], "signing with", "sign")?;
        if Algorithm::parse(algorithm)? != Algorithm::HmacSha256 {
            let message = format!("secret.derive: the algorithm `{algorithm}` derives no keys, hmac-sha256 does");
            return Err(error(Code::Unsupported, message));
        }
        let tag = key::hmac_sha256(prefix, self.bytes(), data);
        Ok(Self {
            name: self.name.clone(),
            // What is derived from a value that may be read is no more secret than that; what is derived from one that
            // may not stays as hidden.
            mode: self.mode,
            hosts: self.hosts.clone(),
            value: Arc::new(Value { bytes: Zeroizing::new(tag.as_ref().to_vec()), version: self.value.version }),
        })
    }
}

impl Call {
    /// Each use of a secret passes here, refused or not.
    fn used<R>(&self, name: &str, how: &'static str, outcome: Result<R, Error>) -> Result<R, Error> {
        match &outcome {
            Ok(_) => line_of_call!(&self.logger, Level::TRACE, secret = name, how, "a secret is used"),
            Err(error) => {
                line_of_call!(
                    &self.logger,
                    Level::DEBUG,
                    secret = name,
                    how,
                    code = error.code,
                    "a secret is not used"
                );
            }
        }
        self.logger.used(outcome.as_ref().err(), || Used::new("secrets", how, name));
        outcome
    }
}

impl secrets::Host for Call {}

impl<T: Send> secrets::HostWithStore<T> for CallData {
    async fn open(
        accessor: &Accessor<T, Self>,
        names: Vec<String>,
    ) -> wasmtime::Result<Result<Vec<Resource<Secret>>, Error>> {
        let _task = task(accessor)?;
        let (capabilities, logger) = accessor.with(|mut access| {
            let call = access.get();
            (call.capabilities.clone(), call.logger.clone())
        });
        let opened = capabilities.secrets.open(&names).await;
        for name in &names {
            logger.used(opened.as_ref().err(), || Used::new("secrets", "open", name));
        }
        match opened {
            Err(error) => Ok(Err(error)),
            Ok(opened) => accessor.with(|mut access| {
                let call = access.get();
                let handles: Result<Vec<_>, _> = opened.into_iter().map(|secret| call.table.push(secret)).collect();
                Ok(Ok(handles?))
            }),
        }
    }
}

impl secrets::HostSecret for Call {
    fn reveal(&mut self, secret: Resource<Secret>) -> wasmtime::Result<Result<Vec<u8>, Error>> {
        let secret = self.table.get(&secret)?;
        let shown = secret.may(&[Mode::Reveal], "reading the value of", "reveal").map(|()| {
            self.capabilities.secrets.remember_shown(secret);
            secret.bytes().to_vec()
        });
        Ok(self.used(secret.name(), "reveal", shown))
    }

    fn sign(
        &mut self,
        secret: Resource<Secret>,
        algorithm: String,
        data: Vec<u8>,
    ) -> wasmtime::Result<Result<Vec<u8>, Error>> {
        let secret = self.table.get(&secret)?;
        Ok(self.used(secret.name(), "sign", secret.sign(&algorithm, &data)))
    }

    fn derive(
        &mut self,
        secret: Resource<Secret>,
        algorithm: String,
        prefix: Vec<u8>,
        data: Vec<u8>,
    ) -> wasmtime::Result<Result<Resource<Secret>, Error>> {
        let secret = self.table.get(&secret)?;
        match self.used(secret.name(), "derive", secret.derive(&algorithm, &prefix, &data)) {
            Ok(derived) => Ok(Ok(self.table.push(derived)?)),
            Err(error) => Ok(Err(error)),
        }
    }

    fn placeholder(&mut self, secret: Resource<Secret>, encoding: String) -> wasmtime::Result<Result<String, Error>> {
        let secret = self.table.get(&secret)?;
        let may = secret.may(&[Mode::Inject, Mode::Reveal], "filling in", "inject,HOST");
        let made = may.and_then(|()| self.placeholders.make(secret, &encoding));
        if made.is_ok() {
            // Before the value can be on its way: it must be known when it comes back.
            match secret.mode {
                Mode::Inject => self.capabilities.secrets.remember_filled(secret),
                Mode::Reveal | Mode::Sign => self.capabilities.secrets.remember_shown(secret),
            }
        }
        Ok(self.used(secret.name(), "placeholder", made))
    }

    fn version(&mut self, secret: Resource<Secret>) -> wasmtime::Result<u64> {
        Ok(self.table.get(&secret)?.value.version)
    }

    fn drop(&mut self, secret: Resource<Secret>) -> wasmtime::Result<()> {
        self.table.delete(secret)?;
        Ok(())
    }
}

impl<T: Send> secrets::HostSecretWithStore<T> for CallData {
    async fn refused(accessor: &Accessor<T, Self>, secret: Resource<Secret>) -> wasmtime::Result<()> {
        let _task = task(accessor)?;
        let (capabilities, name) = accessor.with(|mut access| {
            let call = access.get();
            let name = call.table.get(&secret)?.name.clone();
            Ok::<_, wasmtime::Error>((call.capabilities.clone(), name))
        })?;
        capabilities.secrets.forget(&name).await;
        Ok(())
    }
}
