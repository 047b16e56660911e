//! `vk-runtime push`: a component into a registry or into ConfigMaps, as `--component` reads it from there.
//!
//! It is compiled first, so what is no component is not pushed. Into ConfigMaps it is written by server-side apply: in one
//! piece up to [`PART`], else in parts and what declares their digest last, so that who watches sees both versions whole.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use components::source::oci;
use components::source::{Address, ConfigMapAddress};
use components::{Digest, Limits};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams};

use crate::fetching::{self, FetchArguments};

/// Bytes of a part: a ConfigMap holds 1 MiB.
const PART: usize = 900 << 10;
/// Parts at most.
const PARTS: usize = 100;
/// Who wrote the ConfigMaps, as `kubectl` shows it.
const MANAGER: &str = "vk-runtime-push";

#[derive(Debug, Args)]
pub struct PushArguments {
    /// The component
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where to: oci://REGISTRY/REPOSITORY[:TAG] or configmap://NAMESPACE/NAME[/KEY]
    #[arg(value_name = "ADDRESS")]
    address: Address,
    #[command(flatten)]
    fetch: FetchArguments,
}

pub fn push(arguments: &PushArguments) -> Result<()> {
    let done = fetching::run(pushed(arguments))?;
    #[expect(clippy::print_stdout, reason = "what was asked for")]
    {
        println!("{done}");
    }
    Ok(())
}

async fn pushed(arguments: &PushArguments) -> Result<String> {
    let fetched = arguments.fetch.fetch(&Address::File(arguments.file.clone())).await?;
    let compiled = fetching::compiled(&arguments.file.display().to_string(), &fetched).await?;
    match &arguments.address {
        Address::Oci(at) => {
            let registries = arguments.fetch.source.registries(Vec::new())?;
            let pushed = oci::push(at, &registries, fetched.bytes, compiled.names()).await?;
            // Without the tag, for a tag may be moved.
            Ok(format!("oci://{}/{}@{}", at.registry, at.repository, pushed.manifest))
        }
        Address::ConfigMap(at) => {
            let api = Api::namespaced(arguments.fetch.client().await?, &at.namespace);
            let file = arguments.file.file_name().map(|name| name.to_string_lossy().into_owned());
            let key = at.key.clone().or(file).context("the address names no key, and the file has no name")?;
            apply(&api, at, &key, &fetched.bytes).await?;
            Ok(format!("configmap://{}/{}/{key} {}", at.namespace, at.name, fetched.digest))
        }
        Address::File(_) => bail!("{} is a file: cp writes files", arguments.address),
    }
}

async fn apply(api: &Api<ConfigMap>, at: &ConfigMapAddress, key: &str, bytes: &[u8]) -> Result<()> {
    if bytes.len() as u64 > Limits::default().component_size.min((PART * PARTS) as u64) {
        bail!("the component has {} bytes, which is too much for ConfigMaps", bytes.len());
    }
    let write = async |name: &str, map: ConfigMap| {
        let parameters = PatchParams::apply(MANAGER).force();
        let written = api.patch(name, &parameters, &Patch::Apply(&map)).await;
        written.map(drop).with_context(|| format!("the ConfigMap {}/{name} can't be written", at.namespace))
    };
    if bytes.len() <= PART {
        return write(&at.name, map(&at.name, BTreeMap::new(), BTreeMap::from([(key.to_owned(), bytes)]))).await;
    }
    for (number, part) in bytes.chunks(PART).enumerate() {
        let name = format!("{}-{number:02}", at.name);
        let data = BTreeMap::from([(format!("{key}.{number:02}"), part)]);
        write(&name, map(&name, BTreeMap::new(), data)).await?;
    }
    let digest = BTreeMap::from([(format!("{key}.sha256"), Digest::of(bytes).hex())]);
    write(&at.name, map(&at.name, digest, BTreeMap::new())).await
}

fn map(name: &str, text: BTreeMap<String, String>, binary: BTreeMap<String, &[u8]>) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = Some(name.to_owned());
    map.data = Some(text).filter(|text| !text.is_empty());
    let binary = binary.into_iter().map(|(key, value)| (key, ByteString(value.to_vec())));
    map.binary_data = Some(binary.collect::<BTreeMap<_, _>>()).filter(|binary| !binary.is_empty());
    map
}
