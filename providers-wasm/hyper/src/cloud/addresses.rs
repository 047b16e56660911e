//! Floating IPs. A pod's is named by node and UID, so that it is found again without any memory; others are never touched.
//!
//! Hyper.sh gives an address out first and lets it be named then. What must not be lost between the two is written down
//! before: which addresses there were. After a crash, one that has no name and was not there before is taken for ours. Pods
//! take their turns for it.
//!
//! Cost: a list of all addresses for each change; an address is billed by the month.

use serde::{Deserialize, Deserializer};
use vk_provider_sdk::host::cache;
use vk_provider_sdk::host::store::{self, Condition};
use vk_provider_sdk::{Error, Result, time, warn};

use super::refused;
use crate::endpoint::Engine;
use crate::names::Names;
use crate::refusal;

/// The turn to allocate one.
const TURN: &str = "address/turn";
/// How long a turn may last: three requests.
const TURN_LASTS: u64 = 120 * time::SECOND;
/// What was there before one was allocated.
const BEFORE: &str = "address/before";

/// A floating IP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Address {
    /// The address.
    #[serde(deserialize_with = "or_empty")]
    pub fip: String,
    /// Its name; may be empty.
    #[serde(deserialize_with = "or_empty")]
    pub name: String,
    /// The container that has it: id or name; may be empty.
    #[serde(deserialize_with = "or_empty")]
    container: String,
    /// The service that has it; may be empty.
    #[serde(deserialize_with = "or_empty")]
    service: String,
}

fn or_empty<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl Address {
    fn is_anonymous(&self) -> bool {
        self.name.is_empty() && self.container.is_empty() && self.service.is_empty()
    }
}

/// All of the account.
pub async fn all(engine: &Engine) -> Result<Vec<Address>> {
    let answer = engine.fetch(engine.api("GET", "/fips")).await?;
    Ok(refusal::check(answer)?.json::<Option<Vec<Address>>>()?.unwrap_or_default())
}

/// The pod's own; allocated if there is none yet.
pub async fn take(engine: &Engine, names: Names<'_>) -> Result<String> {
    let own = names.own();
    if let Some(found) = all(engine).await?.into_iter().find(|address| address.name == own) {
        return Ok(found.fip);
    }
    let _turn = Turn::take()?;
    // Only one that has no name is looked for by what was there before.
    let present = all(engine).await?;
    let fip = match lost(&present).await? {
        Some(fip) => fip,
        None => allocate(engine, &present).await?,
    };
    act(engine, "name", &[("ip", &fip), ("name", &own)], "naming a floating IP").await?;
    store::delete(BEFORE.to_owned(), Condition::Always).await?;
    Ok(fip)
}

/// An address that was given out and never named; what was written down is forgotten if there is none.
async fn lost(present: &[Address]) -> Result<Option<String>> {
    let Some(entry) = store::get(BEFORE.to_owned()).await? else { return Ok(None) };
    let before: Vec<String> = serde_json::from_slice(&entry.value)?;
    Ok(new_one(present, &before).map(str::to_owned))
}

/// Of these addresses, one without a name or use that was not there before.
fn new_one<'a>(present: &'a [Address], before: &[String]) -> Option<&'a str> {
    let found = present.iter().find(|address| address.is_anonymous() && !before.contains(&address.fip));
    found.map(|address| address.fip.as_str())
}

async fn allocate(engine: &Engine, present: &[Address]) -> Result<String> {
    let before: Vec<_> = present.iter().map(|address| address.fip.as_str()).collect();
    store::put(BEFORE.to_owned(), serde_json::to_vec(&before)?, Condition::Always, None).await?;
    let answer = engine.fetch(engine.api("POST", "/fips/allocate").query("count", "1")).await?;
    match refusal::check(answer) {
        Ok(answer) => {
            let given: Vec<String> = answer.json()?;
            given.into_iter().next().ok_or_else(|| Error::internal("Hyper.sh allocated no floating IP"))
        }
        Err(refusal) => {
            store::delete(BEFORE.to_owned(), Condition::Always).await?;
            Err(refused::limit(refusal, "a floating IP"))
        }
    }
}

/// Gives an address back that a crash left without a name, unless one is being allocated now.
pub async fn recover(engine: &Engine) -> Result<()> {
    if store::get(BEFORE.to_owned()).await?.is_none() {
        return Ok(());
    }
    let Ok(_turn) = Turn::take() else { return Ok(()) };
    if let Some(fip) = lost(&all(engine).await?).await? {
        warn!("the floating IP {fip} was allocated before a crash and has no pod: it is released");
        act(engine, "release", &[("ip", &fip)], "releasing a floating IP").await?;
    }
    store::delete(BEFORE.to_owned(), Condition::Always).await
}

/// Gives a container the address, taking it from another one of the pod.
pub async fn attach(engine: &Engine, fip: &str, container: &str, name: &str) -> Result<()> {
    let found = all(engine).await?.into_iter().find(|address| address.fip == fip);
    let found = found.ok_or_else(|| Error::conflict(format!("the floating IP {fip} is gone")))?;
    if found.container == container || found.container == name {
        return Ok(());
    }
    detach(engine, &found).await?;
    act(engine, "attach", &[("ip", fip), ("container", container)], "attaching the floating IP").await
}

async fn detach(engine: &Engine, address: &Address) -> Result<()> {
    if address.container.is_empty() {
        return Ok(());
    }
    act(engine, "detach", &[("container", &address.container)], "detaching the floating IP").await
}

/// Gives the pod's address back.
pub async fn release(engine: &Engine, names: Names<'_>) -> Result<()> {
    let own = names.own();
    for address in all(engine).await?.iter().filter(|address| address.name == own) {
        detach(engine, address).await?;
        act(engine, "release", &[("ip", &address.fip)], "releasing the floating IP").await?;
    }
    Ok(())
}

/// One of the verbs; what is gone is success.
async fn act(engine: &Engine, verb: &str, parameters: &[(&str, &str)], doing: &str) -> Result<()> {
    let mut request = engine.api("POST", &format!("/fips/{verb}"));
    for (name, value) in parameters {
        request = request.query(name, value);
    }
    let answer = engine.fetch(request).await?;
    if matches!(verb, "detach" | "release") {
        return refusal::check_gone(answer).map_err(|refusal| Error::from(refusal).while_doing(doing));
    }
    refusal::check(answer).map(|_| ()).map_err(|refusal| Error::from(refusal).while_doing(doing))
}

/// The turn, until it is dropped. It ends with the host too, and by itself.
struct Turn(u64);

impl Turn {
    fn take() -> Result<Self> {
        match cache::put(TURN, &[], Condition::Absent, TURN_LASTS) {
            Ok(version) => Ok(Self(version)),
            Err(_) => {
                let error = Error::unavailable("another pod's floating IP is being allocated");
                Err(error.after(time::SECOND))
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Whose time was over.
        let _ = cache::delete(TURN, Condition::Version(self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Address> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn only_a_new_address_without_name_or_use_is_taken_for_ours() {
        let present = read(
            r#"[{"fip":"1.1.1.1","name":"","container":"","service":""},
                {"fip":"2.2.2.2","name":"mine","container":"","service":""},
                {"fip":"3.3.3.3","name":"","container":"ab","service":""},
                {"fip":"4.4.4.4","name":null,"container":null,"service":"web"},
                {"fip":"5.5.5.5","name":null,"container":null,"service":null}]"#,
        );
        assert_eq!(new_one(&present, &["1.1.1.1".into()]), Some("5.5.5.5"));
        assert_eq!(new_one(&present, &["1.1.1.1".into(), "5.5.5.5".into()]), None);
    }
}
