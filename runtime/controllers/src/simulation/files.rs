//! Files of pods: made of a ConfigMap and of a label that change, given with a pod and replaced while it runs.

use std::collections::BTreeMap;

use async_trait::async_trait;
use provider::{Code, Error, File, Files, PodRef, Result, Volume};
use serde_json::{Value, json};

use super::backend::Object;
use super::provider::Driver;

/// The ConfigMap that all pods' files are made of.
pub const SETTINGS: &str = "settings";

/// By volume and path.
pub type Contents = BTreeMap<String, BTreeMap<String, String>>;

/// Gives a pod volumes of files.
pub fn add_to(pod: &mut Value) {
    pod["spec"]["volumes"] = json!([
        { "name": SETTINGS, "configMap": { "name": SETTINGS } },
        { "name": "labels", "downwardAPI": {
            "items": [{ "path": "n", "fieldRef": { "fieldPath": "metadata.labels['n']" } }],
        } },
    ]);
    pod["spec"]["containers"][0]["volumeMounts"] =
        json!([{ "name": SETTINGS, "mountPath": "/settings" }, { "name": "labels", "mountPath": "/labels" }]);
}

/// The ConfigMap with this value.
pub fn settings(value: u32) -> Value {
    json!({ "metadata": { "name": SETTINGS, "uid": SETTINGS }, "data": { "K": value.to_string() } })
}

/// Whether the backend's object has other files than the pod should have.
pub fn are_old(pod: &Value, object: &Object, settings: &Value) -> bool {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let file = |path: &str, value: &Value| BTreeMap::from([(path.to_owned(), text(value))]);
    let wanted = Contents::from([
        (SETTINGS.to_owned(), file("K", &settings["data"]["K"])),
        ("labels".to_owned(), file("n", &pod["metadata"]["labels"]["n"])),
    ]);
    let lasts = pod["spec"]["restartPolicy"] == "Always";
    lasts && pod["spec"]["volumes"].is_array() && object.files != wanted
}

/// What a pod is given.
pub async fn contents(volumes: &[Volume]) -> Result<Contents> {
    let mut contents = Contents::new();
    for volume in volumes {
        if let Volume::Files { name, files } = volume {
            contents.insert(name.clone(), read(files).await?);
        }
    }
    Ok(contents)
}

async fn read(files: &[File]) -> Result<BTreeMap<String, String>> {
    let mut read = BTreeMap::new();
    for file in files {
        let content = file.content.read().await?;
        read.insert(file.path.clone(), String::from_utf8_lossy(&content).into_owned());
    }
    Ok(read)
}

#[async_trait]
impl Files for Driver {
    async fn update(&self, pod: PodRef, volume: String, files: Vec<File>) -> Result<()> {
        let files = read(&files).await?;
        let what = || format!("files {} {} {volume} {files:?}", pod.key, pod.attempt);
        self.call(what, |backend| {
            let object = backend.find(&pod.key, pod.attempt).filter(|object| object.stands);
            let object = object.ok_or_else(|| Error::new(Code::NotFound, "there is no such pod"))?;
            object.files.insert(volume.clone(), files.clone());
            Ok(())
        })
        .await
    }
}
