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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Grants;
    use crate::bindings::vk::host::config::Host as _;
    use crate::testing::guest::Guest;

    #[tokio::test]
    async fn a_guest_reads_its_own_values_and_its_node() {
        let values = [("endpoint", "unix:///run/e.sock"), ("a", "=x=")];
        let values = values.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let mut guest = Guest::new(Grants { config: Config { values: values.clone().into() }, ..Grants::default() });
        let call = guest.store.data_mut();
        assert_eq!(call.get("endpoint".to_owned()).unwrap().unwrap(), "unix:///run/e.sock");
        for absent in ["", "ENDPOINT", "PATH", "b"] {
            assert_eq!(call.get(absent.to_owned()).unwrap(), None, "{absent}");
        }
        let [endpoint, a] = values;
        assert_eq!(call.list().unwrap(), [a, endpoint]);
        assert!(call.document("prices".to_owned()).unwrap().is_none());
        let node = call.node().unwrap();
        assert_eq!((node.cluster.as_str(), node.name.as_str()), ("test", "node-1"));
    }
}
