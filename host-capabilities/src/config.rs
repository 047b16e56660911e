//! `config`: what the operator told this provider, and for which node it works. Always granted.
//!
//! Documents are those of the configuration file; the command line has none.

use std::collections::BTreeMap;

use wasmtime::component::Resource;

use crate::Call;
use crate::bindings::vk::host::config;
use crate::blobs::Blob;

pub use crate::bindings::vk::host::config::NodeIdentity;

/// The values of `--config KEY=VALUE`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// By key.
    pub values: BTreeMap<String, String>,
}

impl config::Host for Call {
    fn node(&mut self) -> wasmtime::Result<NodeIdentity> {
        Ok(self.capabilities.node.clone())
    }

    fn get(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        Ok(self.capabilities.config.values.get(&key).cloned())
    }

    fn list(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(self.capabilities.config.values.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn document(&mut self, _name: String) -> wasmtime::Result<Option<Resource<Blob>>> {
        Ok(None)
    }
}
