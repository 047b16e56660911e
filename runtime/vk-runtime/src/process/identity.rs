//! A node's own identity, where it joins with bootstrap credentials, and the certificate that its kubelet API serves with.
//!
//! Certificates lie in `pki/NODE` of the state folder. Where the host has no identity of its own it is the node's: the
//! kubeconfig that is named for it is then written.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use controllers::identity::{self, Folder, Joined, Keeper, Pair, ServingNames};
use controllers::{Api, NodeConditions};
use kubelet_api::{Credentials, Identity};
use tokio::task::JoinSet;

use crate::configuration::plan::{NodePlan, Plan};
use crate::{cluster, state};

/// How long a node is waited for while others wait too; it is tried again, and its request is the same.
const PATIENCE: Duration = Duration::from_secs(10);

fn folder(state_dir: &Path, node: &str) -> Result<Folder> {
    Ok(Folder::open(&state_dir.join("pki").join(node))?)
}

async fn join(plan: &NodePlan, bootstrap: &Path, state_dir: &Path) -> Result<Joined> {
    let config = cluster::config(Some(bootstrap)).await?;
    Ok(identity::join(&plan.name, folder(state_dir, &plan.name)?, config).await?)
}

/// Makes the host's kubeconfig of the node that joins, where there is none. Waits until the node has joined.
pub async fn of_host(plan: &Plan) -> Result<()> {
    let Some(path) = &plan.kubeconfig else { return Ok(()) };
    let joining = plan.nodes.values().find_map(|node| Some((node, node.bootstrap_kubeconfig.as_deref()?)));
    let Some((node, bootstrap)) = joining.filter(|_| plan.kubeconfig_is_written) else { return Ok(()) };
    state::make(&plan.state_dir)?;
    let joined = join(node, bootstrap, &plan.state_dir).await?;
    if !path.exists() {
        joined.write_kubeconfig(path)?;
    }
    Ok(())
}

/// The identity of a node that joins; none: it does not.
pub async fn of_node(plan: &NodePlan, state_dir: &Path) -> Result<Option<Joined>> {
    let Some(bootstrap) = plan.bootstrap_kubeconfig.as_deref() else { return Ok(None) };
    let joined = tokio::time::timeout(PATIENCE, join(plan, bootstrap, state_dir)).await;
    joined.with_context(|| format!("the node {} was given no client certificate yet", plan.name))?.map(Some)
}

/// Keeps a node's certificates good, until what is returned is dropped.
pub fn keep(
    plan: &NodePlan,
    state_dir: &Path,
    addresses: &[IpAddr],
    joined: Option<Joined>,
    api: &Api,
    conditions: &NodeConditions,
    credentials: Credentials,
) -> Result<JoinSet<()>> {
    let mut keeping = JoinSet::new();
    if let Some(joined) = joined {
        keeping.spawn(Keeper::client(joined, api.clone(), conditions.clone())?.run());
    }
    if plan.kubelet.rotate_server_certificates {
        let names = ServingNames { names: vec![plan.name.clone()], addresses: addresses.to_vec() };
        let install = move |pair: &Pair| {
            let identity = Identity::from_pem(pair.chain().as_bytes(), pair.key().as_bytes());
            identity.and_then(|own| credentials.set_identity(own)).map_err(|error| error.to_string())
        };
        let folder = folder(state_dir, &plan.name)?;
        keeping.spawn(Keeper::serving(&plan.name, folder, names, api.clone(), conditions.clone(), install).run());
    }
    Ok(keeping)
}
