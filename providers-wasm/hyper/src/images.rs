//! Images: looked up, pulled with the pod's credentials, removed name by name.
//!
//! References are completed as Kubernetes does it (`busybox` is `docker.io/library/busybox`), whatever short names the
//! engine's machine knows.

use serde::Deserialize;
use serde::de::IgnoredAny;
use vk_provider_sdk::containers::Image;
use vk_provider_sdk::host::types::PodKey;
use vk_provider_sdk::streams::Lines;
use vk_provider_sdk::types::Credential;
use vk_provider_sdk::{Error, Result, code, debug, http, text, time};

use crate::endpoint::Engine;
use crate::refusal::{self, Refusal};
use crate::remembered;

/// Until a registry has answered: the engine itself tries several times.
const PULL_TIMEOUT: u64 = 600 * time::SECOND;

/// An image as both dialects inspect it.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Inspected {
    id: String,
    repo_tags: Option<Vec<String>>,
    repo_digests: Option<Vec<String>>,
    config: Config,
    size: u64,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Config {
    user: String,
}

/// An image as both dialects list it.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Listed {
    id: String,
    repo_tags: Option<Vec<String>>,
    repo_digests: Option<Vec<String>>,
    size: u64,
}

/// `asked` is the reference that the pod writes, completed; it decides which of several digests is shown.
fn image(
    id: String,
    tags: Option<Vec<String>>,
    digests: Option<Vec<String>>,
    (user, size): (String, u64),
    asked: &str,
) -> Image {
    // Docker writes `<none>` where there is none.
    let named = |names: Option<Vec<String>>| {
        names.unwrap_or_default().into_iter().filter(|name| !name.contains("<none>")).collect::<Vec<_>>()
    };
    let digests = named(digests);
    let mut names = named(tags);
    let digest = digest_of(&digests, asked).unwrap_or_default().to_owned();
    names.extend(digests);
    Image { id, digest, names, user, size }
}

/// Of an image's digests, that of the repository that was asked for; an image may have come from several.
fn digest_of<'a>(digests: &'a [String], asked: &str) -> Option<&'a str> {
    let repository = split(asked).0;
    let is_same = |own: &&String| own.as_str() == asked;
    let is_of = |own: &&String| own.split_once('@').is_some_and(|(name, _)| name == repository);
    let found = digests.iter().find(is_same).or_else(|| digests.iter().find(is_of)).or(digests.first());
    found.map(String::as_str)
}

/// The image, if the engine has it.
pub async fn status(engine: &Engine, reference: &str) -> Result<Option<Image>> {
    let reference = complete(reference);
    let answer = engine.fetch(engine.api("GET", &format!("/images/{reference}/json"))).await?;
    match refusal::check(answer) {
        Ok(answer) => {
            let found: Inspected = answer.json()?;
            remembered::put(&key(&found.id), &found.repo_digests, 3600 * time::SECOND);
            let more = (found.config.user, found.size);
            Ok(Some(image(found.id, found.repo_tags, found.repo_digests, more, &reference)))
        }
        Err(refusal) if refusal.status == 404 || refusal.is_image_missing() => Ok(None),
        Err(refusal) => Err(not_pulled(refusal)),
    }
}

/// What an image stands for that the pod calls `asked`: `repository@digest`, or its id.
pub async fn reference(engine: &Engine, asked: &str, id: &str) -> Result<String> {
    let asked = complete(asked);
    if let Some(known) = remembered::get::<Option<Vec<String>>>(&key(id)) {
        return Ok(digest_of(&known.unwrap_or_default(), &asked).unwrap_or(id).to_owned());
    }
    let digests = status(engine, id).await?.map(|image| image.names).unwrap_or_default();
    let digests: Vec<_> = digests.into_iter().filter(|name| name.contains('@')).collect();
    Ok(digest_of(&digests, &asked).unwrap_or(id).to_owned())
}

/// The user that an image runs as, without its group.
pub async fn user(engine: &Engine, id: &str) -> Result<String> {
    let user = status(engine, id).await?.map(|image| image.user).unwrap_or_default();
    let user = user.split(':').next().unwrap_or_default();
    Ok(if user.is_empty() { "0".to_owned() } else { user.to_owned() })
}

/// The key of an image's digests in the cache.
fn key(id: &str) -> String {
    format!("digests/{id}")
}

/// Pulls an image, with each of the credentials until one is let in, or with none if there are none.
pub async fn pull(engine: &Engine, pod: &PodKey, reference: &str, credentials: &[Credential]) -> Result<Image> {
    let reference = complete(reference);
    let mut last = None;
    let attempts = credentials.iter().map(Some).chain(credentials.is_empty().then_some(None));
    for credential in attempts {
        let auth = match credential {
            Some(own) => text::join(&own.registry_auth, &format!("the credential for {}", own.registry))?,
            None => String::new(),
        };
        match pull_with(engine, &reference, &auth).await? {
            Ok(()) => {
                debug!("pulled {reference} for {}/{}", pod.namespace, pod.name);
                let found = status(engine, &reference).await?;
                return found.ok_or_else(|| {
                    Error::conflict(format!("the image {reference} went away after it was pulled"))
                        .with_reason("ErrImagePull")
                });
            }
            Err(refusal) => {
                let error = not_pulled(refusal);
                if !error.is(code::UNAUTHORIZED) {
                    return Err(error);
                }
                last = Some(error);
            }
        }
    }
    Err(last.unwrap_or_else(|| Error::internal("no pull was tried")))
}

async fn pull_with(engine: &Engine, reference: &str, auth: &str) -> Result<Result<(), Refusal>> {
    let request = if engine.is_libpod() {
        engine.api("POST", "/images/pull").query("reference", reference)
    } else {
        let (name, tag) = split(reference);
        engine.api("POST", "/images/create").query("fromImage", name).query("tag", tag)
    };
    let request = if auth.is_empty() { request } else { request.header("X-Registry-Auth", auth) };
    let answer = engine.send(request.timeout(PULL_TIMEOUT)).await?;
    if !http::is_success(answer.status) {
        return Ok(Err(Refusal::of(&answer.into_answer().await)));
    }
    // A failure is a line of the answer, whose status has long been sent.
    let mut lines = Lines::new(answer.body);
    let mut failure = None;
    while let Some(line) = lines.next().await? {
        failure = failure.or_else(|| failed(&line));
    }
    Ok(failure.map_or(Ok(()), |message| Err(Refusal::in_stream(message))))
}

/// The failure that a line of a pull tells.
fn failed(line: &[u8]) -> Option<String> {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Line {
        error: String,
        error_detail: Detail,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Detail {
        message: String,
    }
    let line: Line = serde_json::from_slice(line).ok()?;
    [line.error_detail.message, line.error].into_iter().find(|message| !message.is_empty())
}

/// What a failed pull means to the kubelet. All of it is tried again.
fn not_pulled(refusal: Refusal) -> Error {
    let (code, reason) = if refusal.says(&["invalid reference format", "unknown transport", "repository name must be"])
    {
        (code::INVALID, "InvalidImageName")
    } else if refusal.says(&[
        "unauthorized",
        "authentication required",
        "no basic auth credentials",
        "access to the resource is denied",
        "denied: ",
    ]) {
        (code::UNAUTHORIZED, "ErrImagePull")
    } else if refusal.says(&["toomanyrequests", "too many requests"]) {
        (code::THROTTLED, "ErrImagePull")
    } else if refusal.says(&["manifest unknown", "not found", "name unknown", "no such image", "image not known"]) {
        (code::NOT_FOUND, "ErrImagePull")
    } else if refusal.says(&[
        "pinging container registry",
        "no such host",
        "connection refused",
        "i/o timeout",
        "server misbehaving",
        "connection reset",
        "network is unreachable",
        "no route to host",
    ]) {
        (code::UNAVAILABLE, "RegistryUnavailable")
    } else {
        (code::UNAVAILABLE, "ErrImagePull")
    };
    // Another registry may answer well: this is about the pod alone.
    Error::new(code, refusal.message).with_reason(reason)
}

/// All images.
pub async fn list(engine: &Engine) -> Result<Vec<Image>> {
    let answer = engine.fetch(engine.api("GET", "/images/json")).await?;
    let listed: Option<Vec<Listed>> = refusal::check(answer)?.json()?;
    let images = listed.unwrap_or_default().into_iter();
    Ok(images.map(|own| image(own.id, own.repo_tags, own.repo_digests, (String::new(), own.size), "")).collect())
}

/// Removes an image: its names one by one, since by force its containers would go too.
pub async fn remove(engine: &Engine, id: &str) -> Result<()> {
    let Some(image) = status(engine, id).await? else { return Ok(()) };
    // Asked first: the names of one in use would go but for the last. Hyper.sh can't be asked.
    if !engine.is_cloud() {
        let filters = serde_json::json!({ "ancestor": [&image.id] }).to_string();
        let request = engine.api("GET", "/containers/json").query("all", "true").query("filters", &filters);
        let users: Option<Vec<IgnoredAny>> = refusal::check(engine.fetch(request).await?)?.json()?;
        if users.is_some_and(|users| !users.is_empty()) {
            return Err(Error::conflict(format!("the image {id} is used by a container")));
        }
    }
    let mut names: Vec<_> = image.names.iter().filter(|name| !name.contains('@')).map(String::as_str).collect();
    if names.is_empty() {
        names.push(&image.id);
    }
    for name in names {
        match refusal::check_gone(engine.fetch(engine.api("DELETE", &format!("/images/{name}"))).await?) {
            Err(refusal) if refusal.is_image_missing() => {}
            Err(refusal) if refusal.is_in_use() || refusal.status == 409 => {
                return Err(Error::conflict(refusal.message));
            }
            result => result?,
        }
    }
    Ok(())
}

/// A reference with its registry, as Kubernetes completes it. Ids stay as they are.
fn complete(reference: &str) -> String {
    let is_id = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id(reference) || reference.strip_prefix("sha256:").is_some_and(is_id) {
        return reference.to_owned();
    }
    match reference.split_once('/') {
        Some((first, _)) if is_registry(first) => reference.to_owned(),
        Some(_) => format!("docker.io/{reference}"),
        None => format!("docker.io/library/{reference}"),
    }
}

/// Whether a reference's first part is no user of Docker Hub: these have names in lower case.
fn is_registry(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// Name, and tag or digest: without one Docker would pull all tags.
fn split(reference: &str) -> (&str, &str) {
    if let Some((name, digest)) = reference.split_once('@') {
        return (name, digest);
    }
    let path = reference.rfind('/').map_or(0, |slash| slash + 1);
    match reference[path..].rfind(':') {
        Some(colon) => (&reference[..path + colon], &reference[path + colon + 1..]),
        None => (reference, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_completed_as_kubernetes_does() {
        let id = "8bc5b0ae93460d7d44b54eeca8ebc50d8c6ef22f81d0b90ade78eb56b03a204b";
        for (written, complete_) in [
            ("busybox:latest", "docker.io/library/busybox:latest"),
            ("library/busybox", "docker.io/library/busybox"),
            ("team/app@sha256:ab", "docker.io/team/app@sha256:ab"),
            ("localhost/app:1", "localhost/app:1"),
            ("registry:5000/app", "registry:5000/app"),
            ("ghcr.io/team/app:1", "ghcr.io/team/app:1"),
            ("REGISTRY/app:1", "REGISTRY/app:1"),
            (id, id),
        ] {
            assert_eq!(complete(written), complete_);
        }
    }

    #[test]
    fn a_reference_is_split_at_its_tag_or_digest() {
        assert_eq!(split("localhost:5000/app:1.2"), ("localhost:5000/app", "1.2"));
        assert_eq!(split("localhost:5000/app"), ("localhost:5000/app", "latest"));
        assert_eq!(split("docker.io/a/b@sha256:ab"), ("docker.io/a/b", "sha256:ab"));
    }

    #[test]
    fn failures_are_found_in_the_stream() {
        assert_eq!(failed(br#"{"stream":"Copying blob"}"#), None);
        assert_eq!(failed(br#"{"images":["a"],"id":"a"}"#), None);
        assert_eq!(failed(br#"{"error":"manifest unknown"}"#).as_deref(), Some("manifest unknown"));
        let docker = br#"{"errorDetail":{"message":"pull access denied"},"error":"old"}"#;
        assert_eq!(failed(docker).as_deref(), Some("pull access denied"));
        assert_eq!(failed(b"not json"), None);
    }

    #[test]
    fn failed_pulls_have_the_kubelets_reasons() {
        for (message, code, reason) in [
            ("initializing source: reading manifest x in r/x: manifest unknown", "not-found", "ErrImagePull"),
            (
                "unable to retrieve auth token: invalid username/password: unauthorized: authentication required",
                "unauthorized",
                "ErrImagePull",
            ),
            (
                "pinging container registry r:5000: Get \"http://r:5000/v2/\": dial tcp: connection refused",
                "unavailable",
                "RegistryUnavailable",
            ),
            ("invalid reference format", "invalid", "InvalidImageName"),
            ("Invalid image name \"UPPER/x:1\", unknown transport", "invalid", "InvalidImageName"),
            ("toomanyrequests: You have reached your pull rate limit", "throttled", "ErrImagePull"),
            ("something else", "unavailable", "ErrImagePull"),
        ] {
            let error = not_pulled(Refusal::in_stream(message.into()));
            assert_eq!((error.code.as_str(), error.reason.as_str()), (code, reason), "{message}");
            assert!(error.message == message && error.scope.is_empty());
        }
    }

    #[test]
    fn an_image_has_its_names_and_the_digest_that_was_asked_for() {
        let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let (tags, digests) = (
            names(&["docker.io/library/busybox:latest", "<none>:<none>"]),
            names(&[
                "ghcr.io/team/box@sha256:12",
                "docker.io/library/busybox@sha256:23",
                "docker.io/library/busybox@sha256:34",
            ]),
        );
        let own = |asked| image("8bc5".into(), tags.clone(), digests.clone(), ("1000".into(), 5), asked);
        assert_eq!(own("docker.io/library/busybox:latest").names.len(), 4);
        for (asked, digest) in [
            ("docker.io/library/busybox:latest", "docker.io/library/busybox@sha256:23"),
            ("docker.io/library/busybox@sha256:34", "docker.io/library/busybox@sha256:34"),
            ("ghcr.io/team/box", "ghcr.io/team/box@sha256:12"),
            ("ghcr.io/other/box:1", "ghcr.io/team/box@sha256:12"),
        ] {
            assert_eq!(own(asked).digest, digest);
        }
        assert_eq!(image("a".into(), None, None, (String::new(), 0), "x").digest, "");
    }
}
