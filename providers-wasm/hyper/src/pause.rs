//! The pause image, and the containers that are made of it: sandboxes at a Docker, and the holders of volumes.

use vk_provider_sdk::host::types::PodKey;
use vk_provider_sdk::{Error, Result, time};

use crate::endpoint::Engine;
use crate::refusal::{self, Refusal};
use crate::settings::PAUSE_IMAGE;
use crate::{docker, images, remembered};

/// Makes a container of the pause image at a Docker; pulls the image if it is missing.
pub async fn create(engine: &Engine, pod: &PodKey, name: &str, container: &docker::Container<'_>) -> Result<()> {
    for is_pulled in [false, true] {
        let request = engine.api("POST", "/containers/create").query("name", name).json(container)?;
        match refusal::check(engine.fetch(request).await?) {
            Ok(_) => return Ok(()),
            Err(refusal) if refusal.is_image_missing() && !is_pulled => {
                images::pull(engine, pod, &image(engine), &[]).await?;
            }
            Err(refusal) => return Err(refused(refusal, name)),
        }
    }
    Ok(())
}

/// The image of sandboxes and holders at a Docker.
pub fn image(engine: &Engine) -> String {
    let own = &engine.settings.pause_image;
    if own.is_empty() { PAUSE_IMAGE.to_owned() } else { own.clone() }
}

/// The image that holders are made of: the sandbox's own, which is there. Nothing of it is ever run but its own program.
pub async fn of_sandbox(engine: &Engine, sandbox: &str) -> Result<String> {
    if !engine.is_libpod() {
        return Ok(image(engine));
    }
    let key = format!("pause-image/{}", engine.settings.endpoint);
    if let Some(id) = remembered::get(&key) {
        return Ok(id);
    }
    let found = engine.inspect(sandbox).await?;
    let id = found.ok_or_else(|| Error::conflict(format!("the sandbox {sandbox} went away while it was made")))?.image;
    remembered::put(&key, &id, 60 * time::SECOND);
    Ok(id)
}

/// Starts a sandbox or a holder. Running: success.
pub async fn start(engine: &Engine, container: &str) -> Result<()> {
    let answer = engine.fetch(engine.api("POST", &format!("/containers/{container}/start"))).await?;
    refusal::check(answer)?;
    Ok(())
}

/// A refusal to make one; says so if its name is taken.
pub fn refused(refusal: Refusal, what: &str) -> Error {
    let taken = refusal.is_taken();
    let error = Error::from(refusal);
    if taken {
        error.while_doing(&format!("the name of {what} is taken by something that is not this pod's"))
    } else {
        error
    }
}
