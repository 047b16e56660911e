//! What a guest can do with a handle on a secret.

use std::sync::Arc;

use provider::Code;
use ring::hmac;
use wasmtime::component::{Accessor, Resource};
use zeroize::Zeroizing;

use super::{Mode, Value};
use crate::bindings::vk::host::secrets;
use crate::error::{Error, denied, error};
use crate::{Call, CallData};

/// A handle on one version of a secret, or on what was derived from it.
pub struct Secret {
    name: String,
    mode: Mode,
    value: Arc<Value>,
}

impl Secret {
    pub(super) const fn new(name: String, mode: Mode, value: Arc<Value>) -> Self {
        Self { name, mode, value }
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.value.bytes
    }

    fn hmac(&self, algorithm: &str, prefix: &[u8], data: &[u8]) -> Result<hmac::Tag, Error> {
        if algorithm != "hmac-sha256" {
            let message = format!("secrets: the algorithm `{algorithm}` is not in this version, hmac-sha256 is");
            return Err(error(Code::Unsupported, message));
        }
        let mut key = Zeroizing::new(Vec::with_capacity(prefix.len() + self.value.bytes.len()));
        key.extend_from_slice(prefix);
        key.extend_from_slice(&self.value.bytes);
        Ok(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), data))
    }
}

impl secrets::Host for Call {}

impl<T: Send> secrets::HostWithStore<T> for CallData {
    async fn open(
        accessor: &Accessor<T, Self>,
        names: Vec<String>,
    ) -> wasmtime::Result<Result<Vec<Resource<Secret>>, Error>> {
        let capabilities = accessor.with(|mut access| access.get().capabilities.clone());
        match capabilities.secrets.open(&names).await {
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
        let Secret { name, mode, value } = self.table.get(&secret)?;
        if *mode != Mode::Reveal {
            let how = format!("--secret={name}=SOURCE:reveal");
            return Ok(Err(denied(format!("reading the value of the secret `{name}`"), how)));
        }
        self.capabilities.secrets.remember_revealed(&value.bytes);
        Ok(Ok(value.bytes.to_vec()))
    }

    fn sign(
        &mut self,
        secret: Resource<Secret>,
        algorithm: String,
        data: Vec<u8>,
    ) -> wasmtime::Result<Result<Vec<u8>, Error>> {
        Ok(self.table.get(&secret)?.hmac(&algorithm, &[], &data).map(|tag| tag.as_ref().to_vec()))
    }

    fn derive(
        &mut self,
        secret: Resource<Secret>,
        algorithm: String,
        prefix: Vec<u8>,
        data: Vec<u8>,
    ) -> wasmtime::Result<Result<Resource<Secret>, Error>> {
        let own = self.table.get(&secret)?;
        let derived = match own.hmac(&algorithm, &prefix, &data) {
            Ok(tag) => Secret {
                name: own.name.clone(),
                // What is derived from a value that may be read is no more secret than that; what is derived from one
                // that may not stays as hidden.
                mode: own.mode,
                value: Arc::new(Value { bytes: Zeroizing::new(tag.as_ref().to_vec()), version: own.value.version }),
            },
            Err(error) => return Ok(Err(error)),
        };
        Ok(Ok(self.table.push(derived)?))
    }

    fn placeholder(&mut self, secret: Resource<Secret>, _encoding: String) -> wasmtime::Result<Result<String, Error>> {
        self.table.get(&secret)?;
        Ok(Err(error(Code::Unsupported, "secret.placeholder: placeholders are not in this version")))
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
        let (capabilities, name) = accessor.with(|mut access| {
            let call = access.get();
            let name = call.table.get(&secret)?.name.clone();
            Ok::<_, wasmtime::Error>((call.capabilities.clone(), name))
        })?;
        capabilities.secrets.forget(&name).await;
        Ok(())
    }
}
