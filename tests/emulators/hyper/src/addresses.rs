//! Calls about floating IPs.

use std::net::Ipv4Addr;

use serde_json::json;

use crate::account::{Address, within};
use crate::answer::{Answer, Refusal, empty, json as answer_json};
use crate::cloud::Cloud;
use crate::forward;
use crate::query::Query;

impl Cloud {
    pub(crate) fn list_addresses(&self, query: &Query) -> Result<Answer, Refusal> {
        let filters: serde_json::Value = serde_json::from_str(query.get("filters")).unwrap_or_default();
        let dangling = filters["dangling"][0] == "true";
        let state = self.account.state();
        let all = state.addresses.iter().filter(|(_, own)| !dangling || own.container.is_empty());
        let all = all.map(|(ip, own)| json!({"fip": ip, "name": own.name, "container": own.container, "service": ""}));
        Ok(answer_json(200, &all.collect::<Vec<_>>()))
    }

    pub(crate) async fn allocate_addresses(&self, query: &Query) -> Result<Answer, Refusal> {
        let count: usize = query.get("count").parse().unwrap_or(0);
        if count == 0 {
            return Err(Refusal::bad("Bad parameter: `0` is no value for `count`"));
        }
        let mut given: Vec<Ipv4Addr> = Vec::new();
        {
            let mut state = self.account.state();
            for _ in 0..count {
                within("fip", state.addresses.len(), state.quotas.fip)?;
                let free = self.pool.iter().find(|ip| !state.addresses.contains_key(ip));
                let free = *free.ok_or_else(|| Refusal::new(500, "the region has no floating IP left"))?;
                state.addresses.insert(free, Address::default());
                given.push(free);
            }
        }
        for ip in &given {
            forward::own("add", *ip).await.map_err(Refusal::broken)?;
        }
        Ok(answer_json(201, &given))
    }

    pub(crate) async fn attach_address(&self, query: &Query) -> Result<Answer, Refusal> {
        let ip = self.address(query.get("ip"))?;
        let (id, ports) = {
            let mut state = self.account.state();
            let id = state.container(query.get("container"))?;
            if !state.address_of(&id).is_empty() {
                return Err(Refusal::new(409, format!("Conflict. The container {id} has a floating IP")));
            }
            let ports = state.containers.get(&id).map(|own| own.ports.clone()).unwrap_or_default();
            let Some(own) = state.addresses.get_mut(&ip) else { return Err(missing(ip)) };
            if !own.container.is_empty() {
                return Err(Refusal::new(409, format!("Conflict. {ip} is attached to {}", own.container)));
            }
            own.container.clone_from(&id);
            (id, ports)
        };
        self.forwards.lead(&self.engine, ip, &ports, &id).await.map_err(Refusal::broken)?;
        Ok(empty(204))
    }

    pub(crate) fn detach_address(&self, query: &Query) -> Result<Answer, Refusal> {
        let mut state = self.account.state();
        let id = state.container(query.get("container"))?;
        let found = state.addresses.iter_mut().find(|(_, own)| own.container == id);
        let (ip, own) = found.ok_or_else(|| Refusal::new(404, format!("The container {id} has no floating IP")))?;
        own.container.clear();
        self.forwards.end(*ip);
        Ok(answer_json(200, ip))
    }

    pub(crate) async fn release_address(&self, query: &Query) -> Result<Answer, Refusal> {
        let ip = self.address(query.get("ip"))?;
        {
            let mut state = self.account.state();
            let attached = state.addresses.get(&ip).map(|own| own.container.clone()).unwrap_or_default();
            if !attached.is_empty() {
                return Err(Refusal::new(409, format!("Conflict. {ip} is attached to {attached}")));
            }
            state.addresses.remove(&ip);
        }
        forward::own("del", ip).await.map_err(Refusal::broken)?;
        Ok(empty(204))
    }

    pub(crate) fn name_address(&self, query: &Query) -> Result<Answer, Refusal> {
        let ip = self.address(query.get("ip"))?;
        let name = query.get("name");
        let mut state = self.account.state();
        if state.addresses.iter().any(|(other, own)| *other != ip && own.name == name) {
            return Err(Refusal::new(409, format!("Conflict. The name {name} is already in use")));
        }
        if let Some(own) = state.addresses.get_mut(&ip) {
            name.clone_into(&mut own.name);
        }
        Ok(empty(204))
    }

    fn address(&self, text: &str) -> Result<Ipv4Addr, Refusal> {
        let ip = text.parse().map_err(|_| Refusal::bad(format!("Bad parameter: `{text}` is no address")))?;
        if self.account.state().addresses.contains_key(&ip) { Ok(ip) } else { Err(missing(ip)) }
    }
}

fn missing(ip: Ipv4Addr) -> Refusal {
    Refusal::new(404, format!("No such floating IP: {ip}"))
}
