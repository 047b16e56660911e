//! Calls about volumes: real ones at the engine, filled by uploads.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::account::{Upload, Volume, within};
use crate::answer::{Answer, Refusal, empty, json as answer_json};
use crate::bodies::{self, is_name};
use crate::cloud::Cloud;
use crate::engine::Content;
use crate::query::Query;

/// Where a volume is while it is filled.
const MOUNTED: &str = "/volume";

impl Cloud {
    pub(crate) async fn create_volume(&self, body: &[u8]) -> Result<Answer, Refusal> {
        let own: bodies::Volume = bodies::read(body)?;
        if !is_name(&own.name) || own.driver != "hyper" || !own.driver_opts.snapshot.is_empty() {
            return Err(Refusal::bad(format!("Bad parameter: volume `{}` of driver `{}`", own.name, own.driver)));
        }
        if !own.driver_opts.size.parse::<u64>().is_ok_and(|size| (10..=50).contains(&size)) {
            let text = format!("Bad parameter: DriverOpts.size `{}` is not from 10 to 50", own.driver_opts.size);
            return Err(Refusal::bad(text));
        }
        {
            let state = self.account.state();
            if state.volumes.contains_key(&own.name) {
                return Err(Refusal::new(409, format!("Conflict. The volume {} is there already", own.name)));
            }
            within("volume", state.volumes.len(), state.quotas.volume)?;
        }
        let body = json!({"Name": own.name, "Labels": own.labels});
        self.engine.call("POST", "/volumes/create", Content::json(&body)).await?;
        let volume = Volume { size: own.driver_opts.size, ..Volume::default() };
        let told = told(&own.name, &volume);
        self.account.state().volumes.insert(own.name, volume);
        Ok(answer_json(201, &told))
    }

    pub(crate) fn list_volumes(&self) -> Result<Answer, Refusal> {
        let state = self.account.state();
        let all: Vec<_> = state.volumes.iter().map(|(name, volume)| told(name, volume)).collect();
        Ok(answer_json(200, &json!({"Volumes": all, "Warnings": null})))
    }

    pub(crate) fn inspect_volume(&self, name: &str) -> Result<Answer, Refusal> {
        let state = self.account.state();
        let volume = state.volumes.get(name).ok_or_else(|| missing(name))?;
        Ok(answer_json(200, &told(name, volume)))
    }

    pub(crate) async fn remove_volume(&self, name: &str) -> Result<Answer, Refusal> {
        let user = self.account.state().volumes.get(name).ok_or_else(|| missing(name))?.container.clone();
        if !user.is_empty() {
            return Err(Refusal::new(409, format!("Conflict. The volume {name} is used by container {user}")));
        }
        self.engine.call("DELETE", &format!("/volumes/{name}"), Content::default()).await?;
        self.account.state().volumes.remove(name);
        Ok(empty(204))
    }

    pub(crate) fn initialize_volumes(&self, body: &[u8]) -> Result<Answer, Refusal> {
        let own: bodies::Initialize = bodies::read(body)?;
        let mut state = self.account.state();
        for one in &own.volume {
            let volume = state.volumes.get(&one.name).ok_or_else(|| missing(&one.name))?;
            if !one.source.starts_with('/') {
                return Err(Refusal::new(501, format!("the emulator fills no volume from {}", one.source)));
            }
            if !volume.container.is_empty() || (volume.filled && !own.reload) {
                return Err(Refusal::new(409, format!("Conflict. The volume {} is filled or used", one.name)));
            }
        }
        let session = format!("s{}", state.uploads.len() + 1);
        let cookie = self.random();
        let volumes: Vec<_> = own.volume.into_iter().map(|one| one.name).collect();
        let url = |name: &String| format!("https://{}/upload/{session}/{name}", self.authority.host);
        let uploaders: BTreeMap<_, _> = volumes.iter().map(|name| (name.clone(), url(name))).collect();
        state.uploads.insert(session.clone(), Upload { cookie: cookie.clone(), volumes });
        Ok(answer_json(200, &bodies::Session { session, cookie, uploaders }))
    }

    pub(crate) fn finish_upload(&self, query: &Query) -> Result<Answer, Refusal> {
        let session = query.get("session");
        let known = self.account.state().uploads.remove(session);
        known.map(|_| empty(204)).ok_or_else(|| Refusal::new(404, format!("No such session: {session}")))
    }

    /// An archive for a volume; signed by its cookie.
    pub(crate) async fn upload(&self, path: &str, query: &str, archive: Vec<u8>) -> Result<Answer, Refusal> {
        let missing = || Refusal::new(404, format!("No such upload: {path}"));
        let (session, volume) = path.split_once('/').ok_or_else(missing)?;
        {
            let state = self.account.state();
            let upload = state.uploads.get(session).ok_or_else(missing)?;
            let cookie = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "cookie");
            if cookie.is_none_or(|(_, value)| value != upload.cookie) {
                return Err(Refusal::new(401, "the cookie is not that of the session"));
            }
            if !upload.volumes.iter().any(|own| own == volume) {
                return Err(missing());
            }
        }
        // The first entry's name: a folder volume begins with the folder itself.
        let name: Vec<u8> = archive.iter().take(100).copied().take_while(|byte| *byte != 0).collect();
        if !matches!(name.as_slice(), b"." | b"./") {
            let text = format!("Bad archive: it begins with `{}`, not with its folder", String::from_utf8_lossy(&name));
            return Err(Refusal::bad(text));
        }
        self.unpack(volume, archive).await?;
        if let Some(own) = self.account.state().volumes.get_mut(volume) {
            own.filled = true;
        }
        Ok(empty(200))
    }

    /// A volume is filled through a container that has it and never runs.
    async fn unpack(&self, volume: &str, archive: Vec<u8>) -> Result<(), Refusal> {
        let images = self.engine.get("/images/json").await?;
        let body = json!({"Image": images[0]["Id"], "HostConfig": {"Binds": [format!("{volume}:{MOUNTED}")]}});
        let made = self.engine.call("POST", "/containers/create", Content::json(&body)).await?;
        let made: Value = serde_json::from_slice(&made).map_err(Refusal::broken)?;
        let id = made["Id"].as_str().unwrap_or_default();
        let content = Content { kind: "application/x-tar", bytes: archive, ..Content::default() };
        let path = format!("/containers/{id}/archive?path={MOUNTED}");
        let unpacked = self.engine.call("PUT", &path, content).await;
        self.engine.call("DELETE", &format!("/containers/{id}?force=true"), Content::default()).await?;
        unpacked.map(|_| ())
    }
}

fn told(name: &str, volume: &Volume) -> Value {
    json!({
        "Name": name, "Driver": "hyper", "Mountpoint": "", "CreatedAt": "",
        "Labels": {"size": volume.size, "snapshot": "", "container": volume.container},
    })
}

fn missing(name: &str) -> Refusal {
    Refusal::new(404, format!("no such volume: {name}"))
}
