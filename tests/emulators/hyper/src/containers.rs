//! Calls about containers and images: Hyper.sh's, said in Docker's present words to the engine.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::account::{self, within};
use crate::answer::{Answer, Refusal, empty, json as answer_json};
use crate::bodies::{self, is_name, size};
use crate::cloud::Cloud;
use crate::engine::{self, Content};
use crate::query::Query;

/// An answer of the engine, as it comes.
fn pass(answer: Response<Incoming>) -> Answer {
    let (mut parts, body) = answer.into_parts();
    parts.headers.remove("transfer-encoding");
    parts.headers.remove("content-length");
    Response::from_parts(parts, body.boxed())
}

impl Cloud {
    pub(crate) async fn create_container(&self, query: &Query, body: &[u8]) -> Result<Answer, Refusal> {
        let own: bodies::Container = bodies::read(body)?;
        own.check()?;
        let name = query.get("name");
        if !is_name(name) {
            return Err(Refusal::bad(format!("Bad parameter: `{name}` is no name of a container")));
        }
        let volumes = own.binds()?;
        {
            let state = self.account.state();
            if let Some((id, _)) = state.containers.iter().find(|(_, known)| known.name == name) {
                let text = format!("Conflict. The name \"/{name}\" is already in use by container {id}");
                return Err(Refusal::new(409, text));
            }
            within("container", state.containers.len(), state.quotas.container)?;
            for volume in &volumes {
                let Some(known) = state.volumes.get(*volume) else {
                    return Err(Refusal::new(404, format!("no such volume: {volume}")));
                };
                if !known.container.is_empty() {
                    let text = format!("Conflict. The volume {volume} is used by container {}", known.container);
                    return Err(Refusal::new(409, text));
                }
            }
        }
        let id = self.make(name, &own).await?;
        let mut ports = Vec::new();
        for port in own.host_config.port_bindings.keys() {
            ports.extend(port.strip_suffix("/tcp").and_then(|port| port.parse::<u16>().ok()));
        }
        let mut state = self.account.state();
        for volume in volumes {
            if let Some(known) = state.volumes.get_mut(volume) {
                known.container.clone_from(&id);
            }
        }
        let container = account::Container { name: name.to_owned(), size: own.size().to_owned(), ports };
        state.containers.insert(id.clone(), container);
        Ok(answer_json(201, &json!({"Id": id, "Warnings": null})))
    }

    /// Makes it at the engine: a size is a control group.
    async fn make(&self, name: &str, own: &bodies::Container) -> Result<String, Refusal> {
        let (cores, memory) = size(own.size())?;
        let mut labels = own.labels.clone();
        labels.entry("sh_hyper_instancetype".to_owned()).or_insert_with(|| own.size().to_owned());
        let ports: BTreeMap<_, _> = own.exposed_ports.keys().map(|port| (port, json!({}))).collect();
        let body = json!({
            "Image": own.image, "Labels": labels, "Hostname": own.hostname, "Entrypoint": list(&own.entrypoint),
            "Cmd": list(&own.cmd), "Env": own.env, "WorkingDir": own.working_dir, "Tty": own.tty,
            "OpenStdin": own.open_stdin, "StdinOnce": own.stdin_once, "ExposedPorts": ports,
            "Healthcheck": {"Test": ["NONE"]},
            "HostConfig": {
                "NanoCpus": cores * 1_000_000_000, "Memory": memory, "ReadonlyRootfs": own.host_config.readonly_rootfs,
                "Binds": own.host_config.binds,
                "RestartPolicy": {"Name": own.host_config.restart_policy.name},
            },
        });
        let made = self.engine.call("POST", &format!("/containers/create?name={name}"), Content::json(&body)).await?;
        let made: Value = serde_json::from_slice(&made).map_err(Refusal::broken)?;
        made["Id"].as_str().map(str::to_owned).ok_or_else(|| Refusal::broken("the engine tells no id"))
    }

    pub(crate) async fn list_containers(&self, query: &Query) -> Result<Answer, Refusal> {
        let filters: BTreeMap<String, Value> = match query.get("filters") {
            "" => BTreeMap::new(),
            text => {
                serde_json::from_str(text).map_err(|error| Refusal::bad(format!("Bad parameter: filters: {error}")))?
            }
        };
        if let Some(key) = filters.keys().find(|key| !matches!(key.as_str(), "label" | "status" | "exited")) {
            return Err(Refusal::bad(format!("Bad parameter: filters: there is no filter `{key}`")));
        }
        let listed = self.engine.get(&format!("/containers/json?{}", query.to_text())).await?;
        let state = self.account.state();
        let mut entries = Vec::new();
        for mut entry in listed.as_array().cloned().unwrap_or_default() {
            let id = entry["Id"].as_str().unwrap_or_default().to_owned();
            if !state.containers.contains_key(&id) {
                continue;
            }
            entry["State"] = if state.list_without_state { json!("") } else { json!(word(entry["State"].as_str())) };
            entry["Labels"]["sh.hyper.fip"] = json!(state.address_of(&id));
            entries.push(entry);
        }
        Ok(answer_json(200, &entries))
    }

    pub(crate) async fn inspect_container(&self, reference: &str) -> Result<Answer, Refusal> {
        let id = self.account.state().container(reference)?;
        let mut found = self.engine.get(&format!("/containers/{id}/json")).await?;
        found["State"]["Status"] = json!(word(found["State"]["Status"].as_str()));
        found["Config"]["Labels"]["sh.hyper.fip"] = json!(self.account.state().address_of(&id));
        Ok(answer_json(200, &found))
    }

    /// `start`, `stop`, `kill`.
    pub(crate) async fn act(&self, reference: &str, verb: &str, query: &Query) -> Result<Answer, Refusal> {
        let id = self.account.state().container(reference)?;
        let path = format!("/containers/{id}/{verb}?{}", query.to_text());
        let answer = self.engine.send("POST", &path, Content::default()).await.map_err(Refusal::broken)?;
        let status = answer.status().as_u16();
        if status < 400 {
            return Ok(empty(status));
        }
        let body = answer.into_body().collect().await.map_err(Refusal::broken)?.to_bytes();
        Err(engine::refusal(status, &body))
    }

    pub(crate) async fn remove_container(&self, reference: &str, query: &Query) -> Result<Answer, Refusal> {
        let id = self.account.state().container(reference)?;
        let force = query.is_set("force");
        // Named volumes stay, as Hyper.sh's do.
        self.engine.call("DELETE", &format!("/containers/{id}?force={force}&v=true"), Content::default()).await?;
        self.forget(&id);
        Ok(answer_json(200, &Vec::<String>::new()))
    }

    /// `logs`, `stats`: streams.
    pub(crate) async fn stream(&self, reference: &str, what: &str, query: &Query) -> Result<Answer, Refusal> {
        let id = self.account.state().container(reference)?;
        let path = format!("/containers/{id}/{what}?{}", query.to_text());
        let answer = self.engine.send("GET", &path, Content::default()).await.map_err(Refusal::broken)?;
        Ok(pass(answer))
    }

    /// Images are the engine's: the rest of a path, as it is.
    pub(crate) async fn image(
        &self,
        method: &str,
        path: &str,
        query: &Query,
        registry_auth: &str,
    ) -> Result<Answer, Refusal> {
        let content = Content { registry_auth: registry_auth.to_owned(), ..Content::default() };
        let path = format!("{path}?{}", query.to_text());
        let answer = self.engine.send(method, &path, content).await.map_err(Refusal::broken)?;
        let status = answer.status().as_u16();
        if status < 400 {
            return Ok(pass(answer));
        }
        let body: Bytes = answer.into_body().collect().await.map_err(Refusal::broken)?.to_bytes();
        Err(engine::refusal(status, &body))
    }
}

/// An empty list is none: else the image's own would be replaced by nothing.
fn list(values: &[String]) -> Value {
    if values.is_empty() { Value::Null } else { json!(values) }
}

/// Docker's word for what Podman calls otherwise.
fn word(state: Option<&str>) -> &str {
    match state.unwrap_or_default() {
        "configured" | "initialized" => "created",
        "stopping" => "running",
        "stopped" => "exited",
        other => other,
    }
}
