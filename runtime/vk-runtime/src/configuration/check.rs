//! What no type and no schema says of a configuration: names that must differ, names that must be there, ports that
//! collide, files that must be there.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use super::plan::{node_name, provider_name};
use super::problem::{Place, Problems};
use super::{Configuration, Source, schema};

/// Names and ports.
pub fn names(own: &Configuration, problems: &mut Problems) {
    let at = Place::default();
    if own.providers.is_empty() {
        problems.add(&at.key("providers"), "there is no provider");
    }
    if own.nodes.is_empty() {
        problems.add(&at.key("nodes"), "there is no node");
    }
    let mut providers = Vec::new();
    for (index, provider) in own.providers.iter().enumerate() {
        let place = at.key("providers").item(index).key("name");
        let name = provider.name.as_str();
        if let Err(reason) = provider_name(name) {
            problems.add(&place, format!("`{name}`: {reason}"));
        }
        if providers.contains(&name) {
            problems.add(&place, format!("there are two providers `{name}`"));
        }
        providers.push(name);
    }
    let mut nodes = Vec::new();
    let mut ports = BTreeMap::new();
    for (index, node) in own.nodes.iter().enumerate() {
        let place = at.key("nodes").item(index);
        let name = node.name.as_str();
        if let Err(reason) = node_name(name) {
            problems.add(&place.key("name"), format!("`{name}`: {reason}"));
        }
        if nodes.contains(&name) {
            problems.add(&place.key("name"), format!("there are two nodes `{name}`"));
        }
        nodes.push(name);
        if !providers.contains(&node.provider.as_str()) {
            let message = schema::unknown("provider of this configuration", &node.provider, &providers);
            problems.add(&place.key("provider"), message);
        }
        let kubelet = place.key("kubelet");
        if let Some(other) = ports.insert(node.kubelet.port, name).filter(|_| node.kubelet.port != 0) {
            let port = node.kubelet.port;
            let message =
                format!("the nodes `{other}` and `{name}` have the same port {port}; 0 takes any that is free");
            problems.add(&kubelet.key("port"), message);
        }
        match (&node.kubelet.certificate, &node.kubelet.key) {
            (Some(_), None) => problems.add(&kubelet, "the certificate's `key` is missing"),
            (None, Some(_)) => problems.add(&kubelet, "the key's `certificate` is missing"),
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
}

/// A file that must be there and can be read.
pub fn file(source: &Source, path: Option<&Path>, at: &Place, problems: &mut Problems) {
    let Some(path) = path.map(|path| source.path(path)) else { return };
    let opened = File::open(&path).and_then(|file| file.metadata());
    let wrong = match opened {
        Ok(metadata) if metadata.is_dir() => "it is a folder".to_owned(),
        Ok(_) => return,
        Err(error) => error.to_string(),
    };
    problems.add(at, format!("the file {} can't be read: {wrong}", path.display()));
}
