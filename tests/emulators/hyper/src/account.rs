//! What an account has: floating IPs, volumes, containers, uploads and quotas; and what the test set: faults.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::answer::Refusal;

/// A floating IP that was allocated.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Address {
    /// Its name; may be empty.
    pub name: String,
    /// The id of the container that has it; may be empty.
    pub container: String,
}

/// A volume.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Volume {
    /// Gigabytes, as text.
    pub size: String,
    /// The id of the container whose it is; may be empty.
    pub container: String,
    /// Filled by an upload.
    pub filled: bool,
}

/// A container that was made.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its size.
    pub size: String,
    /// TCP ports that a floating IP leads to.
    pub ports: Vec<u16>,
}

/// Volumes that are being filled.
#[derive(Clone, Debug, Default)]
pub struct Upload {
    /// Stands for a signature.
    pub cookie: String,
    /// What may be sent.
    pub volumes: Vec<String>,
}

/// How much of a thing an account may have.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quotas {
    /// Containers, running or not.
    pub container: usize,
    /// Volumes.
    pub volume: usize,
    /// Floating IPs.
    pub fip: usize,
}

impl Default for Quotas {
    /// What an account begins with.
    fn default() -> Self {
        Self { container: 10, volume: 40, fip: 2 }
    }
}

/// What is to go wrong.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    /// The call, as `POST /containers/{}/start`.
    pub call: String,
    /// How often.
    pub times: u32,
    /// It is answered with this status.
    pub status: Option<u16>,
    /// And this text.
    pub text: String,
    /// And this header, seconds.
    pub retry_after: Option<u64>,
    /// It is answered after so long.
    pub delay_ms: u64,
    /// It is done before, whatever is answered.
    pub done: bool,
}

/// Everything.
#[derive(Default)]
pub struct State {
    /// By address.
    pub addresses: BTreeMap<Ipv4Addr, Address>,
    /// By name.
    pub volumes: BTreeMap<String, Volume>,
    /// By id.
    pub containers: BTreeMap<String, Container>,
    /// By session.
    pub uploads: BTreeMap<String, Upload>,
    /// How much there may be.
    pub quotas: Quotas,
    /// What is to go wrong.
    pub faults: Vec<Fault>,
    /// A list tells states only in sentences.
    pub list_without_state: bool,
    /// How often each call was made.
    pub calls: BTreeMap<String, u64>,
    /// Requests that were not as the documents say, or not signed.
    pub violations: Vec<String>,
}

impl State {
    /// The id of a container by id, its beginning, or name.
    pub fn container(&self, reference: &str) -> Result<String, Refusal> {
        let by_id = self.containers.keys().find(|id| reference.len() >= 12 && id.starts_with(reference));
        let by_name = || self.containers.iter().find(|(_, own)| own.name == reference).map(|(id, _)| id);
        let found = by_id.or_else(by_name).cloned();
        found.ok_or_else(|| Refusal::new(404, format!("No such container: {reference}")))
    }

    /// The floating IP of a container; empty if it has none.
    pub fn address_of(&self, container: &str) -> String {
        let found = self.addresses.iter().find(|(_, address)| address.container == container);
        found.map(|(ip, _)| ip.to_string()).unwrap_or_default()
    }

    /// A container is gone: its address and volumes are free.
    pub fn forget(&mut self, container: &str) {
        self.containers.remove(container);
        for address in self.addresses.values_mut().filter(|address| address.container == container) {
            address.container.clear();
        }
        for volume in self.volumes.values_mut().filter(|volume| volume.container == container) {
            volume.container.clear();
        }
    }

    /// What is to go wrong with this call.
    pub fn fault(&mut self, call: &str) -> Option<Fault> {
        let found = self.faults.iter_mut().find(|fault| fault.call == call && fault.times > 0)?;
        found.times -= 1;
        Some(found.clone())
    }
}

/// Refuses one more of a thing.
pub fn within(what: &str, used: usize, quota: usize) -> Result<(), Refusal> {
    if used < quota {
        return Ok(());
    }
    Err(Refusal::new(403, format!("Quota exceeded: {what} ({used} of {quota} in use)")))
}

/// An account, behind a lock.
#[derive(Default)]
pub struct Account(Mutex<State>);

impl Account {
    /// Its state; held shortly.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_known_by_id_and_name_until_it_is_gone() {
        let mut state = State::default();
        let id = "0123456789abcdef".to_owned();
        state.containers.insert(id.clone(), Container { name: "web".into(), ..Container::default() });
        let ip = Ipv4Addr::new(209, 177, 88, 1);
        state.addresses.insert(ip, Address { container: id.clone(), ..Address::default() });
        state.volumes.insert("v".into(), Volume { container: id.clone(), ..Volume::default() });
        for reference in ["web", &id, "0123456789ab"] {
            assert_eq!(state.container(reference).unwrap(), id);
        }
        assert_eq!(state.address_of(&id), "209.177.88.1");
        state.forget(&id);
        assert!(state.address_of(&id).is_empty() && state.volumes["v"].container.is_empty());
        assert_eq!(state.container("web").unwrap_err().status, 404);
    }

    #[test]
    fn quotas_and_faults_are_counted() {
        assert!(within("fip", 1, 2).is_ok());
        let refusal = within("fip", 2, 2).unwrap_err();
        assert_eq!((refusal.status, refusal.text.as_str()), (403, "Quota exceeded: fip (2 of 2 in use)"));
        let mut state = State::default();
        state.faults.push(Fault { call: "GET /info".into(), times: 2, ..Fault::default() });
        assert!(state.fault("GET /fips").is_none());
        assert!(state.fault("GET /info").is_some() && state.fault("GET /info").is_some());
        assert!(state.fault("GET /info").is_none());
    }
}
