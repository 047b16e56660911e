//! The engine: where it is, which of its APIs is spoken, and requests to it.
//!
//! Three dialects. The Hyper.sh cloud where the endpoint is called so: Docker's API 1.23, signed ([`crate::cloud`]). Else an
//! engine: libpod's API where the engine is a Podman (it takes what Docker's form of the same engine drops without a
//! word), Docker's otherwise, in the newest version that both sides know. Which of the two,
//! `/_ping` tells; the answer is kept in the cache for [`REMEMBERED`].

use serde::{Deserialize, Serialize};
use vk_provider_sdk::host::{clock, config};
use vk_provider_sdk::http::{Answer, Request, Streaming};
use vk_provider_sdk::time::SECOND;
use vk_provider_sdk::{Error, Result, code, identity};

use crate::cloud::signature::{self, Keys};
use crate::remembered;
use crate::settings::{FloatingIp, Settings};

/// How long a dialect is believed; `describe` asks anew each time.
const REMEMBERED: u64 = 60 * SECOND;
/// The version of libpod's API that is asked for; every Podman from 4.0 on serves it.
const LIBPOD: &str = "/v4.0.0/libpod";
/// The newest version of Docker's API that is spoken.
const DOCKER_NEWEST: (u32, u32) = (1, 47);
/// The oldest one: what Docker 20.10 and Podman 4 speak.
const DOCKER_OLDEST: (u32, u32) = (1, 40);
/// Hyper.sh's only version.
const CLOUD: &str = "/v1.23";
/// The region whose name an endpoint does not tell.
const DEFAULT_REGION: &str = "us-west-1";
/// Bytes that an answer may have: the list of some 20,000 containers.
const MAX_ANSWER: u64 = 32 << 20;

/// Which API is spoken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dialect {
    /// Podman's own. `compatible` is the version of Docker's API beside it.
    Libpod { version: String, compatible: String },
    /// Docker's, in this version.
    Docker { api: String },
    /// Hyper.sh's, signed for this region.
    Cloud { region: String },
}

/// Where an engine is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Location {
    /// Scheme and authority.
    url: String,
    /// `unix:///PATH`, or empty.
    socket: String,
}

impl Location {
    fn parse(endpoint: &str) -> Result<Self> {
        if let Some(path) = endpoint.strip_prefix("unix://").filter(|path| path.starts_with('/')) {
            return Ok(Self { url: "http://engine".to_owned(), socket: format!("unix://{path}") });
        }
        let authority = ["http://", "https://"].iter().find_map(|scheme| endpoint.strip_prefix(scheme));
        let Some(authority) = authority.map(|rest| rest.trim_end_matches('/')).filter(|rest| !rest.is_empty()) else {
            return Err(Error::invalid(format!(
                "hyper: the endpoint `{endpoint}` is no unix:///PATH, http://HOST:PORT or https://HOST:PORT"
            )));
        };
        if authority.contains(['/', '?', '#', '@']) {
            return Err(Error::invalid(format!("hyper: the endpoint `{endpoint}` has more than a host and a port")));
        }
        Ok(Self { url: endpoint.trim_end_matches('/').to_owned(), socket: String::new() })
    }
}

/// The region that the cloud's requests are signed for; none if the endpoint is an engine.
fn region(settings: &Settings) -> Result<Option<String>> {
    let rest = settings.endpoint.split_once("://").map_or("", |(_, rest)| rest);
    let host = rest.split([':', '/']).next().unwrap_or_default();
    let named = host.strip_suffix(".hyper.sh").or((host == "hyper.sh").then_some(""));
    if named.is_none() && settings.dialect.is_empty() {
        let set = [
            ("region", !settings.region.is_empty()),
            ("size", settings.size.is_some()),
            ("floating-ip", settings.floating_ip != FloatingIp::default()),
        ];
        return match set.into_iter().find(|(_, is_set)| *is_set) {
            Some((key, _)) => Err(Error::invalid(format!(
                "hyper: the setting `{key}` is Hyper.sh's, and {} is an engine (is `dialect=cloud` missing?)",
                settings.endpoint
            ))),
            None => Ok(None),
        };
    }
    if rest.is_empty() || settings.endpoint.starts_with("unix:") {
        return Err(Error::invalid(format!("hyper: the cloud is at no socket, as {} is", settings.endpoint)));
    }
    if !settings.pause_image.is_empty() {
        return Err(Error::invalid("hyper: the setting `pause-image` is for engines, Hyper.sh has no sandboxes"));
    }
    let named = named.filter(|region| !region.is_empty()).and_then(|named| named.split('.').next());
    let set = (!settings.region.is_empty()).then_some(settings.region.as_str());
    Ok(Some(named.or(set).unwrap_or(DEFAULT_REGION).to_owned()))
}

/// An engine, and for which node it is used.
#[derive(Clone, Debug)]
pub struct Engine {
    location: Location,
    tls: String,
    /// The API that is spoken.
    pub dialect: Dialect,
    /// `CLUSTER/NODE`: what the label [`identity::NODE`] of every object says.
    pub node: String,
    /// What the operator set.
    pub settings: Settings,
}

impl Engine {
    /// The engine of the configuration, its dialect as last seen.
    pub async fn open() -> Result<Self> {
        let (mut engine, key) = Self::unasked()?;
        if engine.is_cloud() {
            return Ok(engine);
        }
        match remembered::get(&key) {
            Some(dialect) => engine.dialect = dialect,
            None => engine.ask(&key).await?,
        }
        Ok(engine)
    }

    /// The engine of the configuration, which answers now.
    pub async fn ping() -> Result<Self> {
        let (mut engine, key) = Self::unasked()?;
        if !engine.is_cloud() {
            engine.ask(&key).await?;
        }
        Ok(engine)
    }

    fn unasked() -> Result<(Self, String)> {
        let settings = Settings::read()?;
        let location = Location::parse(&settings.endpoint)?;
        let key = format!("dialect/{}", settings.endpoint);
        let dialect = match region(&settings)? {
            Some(region) => Dialect::Cloud { region },
            None => Dialect::Docker { api: String::new() },
        };
        let node = identity::node(&config::node());
        Ok((Self { location, tls: settings.tls.clone(), dialect, node, settings }, key))
    }

    async fn ask(&mut self, key: &str) -> Result<()> {
        let answer = self.fetch(self.request("GET", "/_ping")).await?;
        if answer.status != 200 {
            return Err(answer.error().while_doing("asking the engine for its version").of_provider());
        }
        self.dialect = negotiate(|name| answer.header(name))?;
        remembered::put(key, &self.dialect, REMEMBERED);
        Ok(())
    }

    /// A request to a path of the dialect's API.
    pub fn api(&self, method: &str, path: &str) -> Request {
        match &self.dialect {
            Dialect::Libpod { .. } => self.request(method, &format!("{LIBPOD}{path}")),
            Dialect::Docker { api } => self.request(method, &format!("/v{api}{path}")),
            Dialect::Cloud { .. } => self.request(method, &format!("{CLOUD}{path}")),
        }
    }

    /// A request to a path of Docker's API, whatever the dialect.
    pub fn docker(&self, method: &str, path: &str) -> Request {
        match &self.dialect {
            Dialect::Libpod { compatible, .. } => self.request(method, &format!("/v{compatible}{path}")),
            _ => self.api(method, path),
        }
    }

    fn request(&self, method: &str, path: &str) -> Request {
        let request = Request::new(method, format!("{}{path}", self.location.url)).max(MAX_ANSWER);
        request.endpoint(&self.location.socket).tls(&self.tls)
    }

    /// Sends it and returns the whole answer, whatever its status.
    pub async fn fetch(&self, request: Request) -> Result<Answer> {
        let Dialect::Cloud { region } = &self.dialect else {
            return request.fetch().await.map_err(|error| self.unreachable(error));
        };
        let keys = Keys::open().await.map_err(Error::of_provider)?;
        let request = signature::sign(request, &keys, region, clock::now())?;
        let answer = request.fetch().await.map_err(|error| self.unreachable(error))?;
        self.refused(&keys, &answer).await.map_or(Ok(answer), Err)
    }

    /// Sends it and returns once the head of the answer is there.
    pub async fn send(&self, request: Request) -> Result<Streaming> {
        let Dialect::Cloud { region } = &self.dialect else {
            return request.send().await.map_err(|error| self.unreachable(error));
        };
        let keys = Keys::open().await.map_err(Error::of_provider)?;
        let request = signature::sign(request, &keys, region, clock::now())?;
        let answer = request.send().await.map_err(|error| self.unreachable(error))?;
        if matches!(answer.status, 401 | 429) {
            let answer = answer.into_answer().await;
            let error = self.refused(&keys, &answer).await;
            return Err(error.unwrap_or_else(|| answer.error()));
        }
        Ok(answer)
    }

    /// What concerns every call to the cloud: keys that it does not take, and too many requests.
    async fn refused(&self, keys: &Keys, answer: &Answer) -> Option<Error> {
        match answer.status {
            401 => {
                keys.refused().await;
                let what = format!("Hyper.sh ({}) does not take the keys", self.settings.endpoint);
                Some(answer.error().while_doing(&what).of_provider())
            }
            429 => Some(answer.error().while_doing("Hyper.sh has too many requests").of_provider()),
            _ => None,
        }
    }

    /// An engine that does not answer concerns every call.
    fn unreachable(&self, error: Error) -> Error {
        let error = error.while_doing(&format!("the engine at {}", self.settings.endpoint));
        let concerns_all = [code::UNAVAILABLE, code::CLOSED, code::DENIED].iter().any(|code| error.is(code));
        if concerns_all { error.of_provider() } else { error }
    }

    /// Whether libpod's API is spoken.
    pub const fn is_libpod(&self) -> bool {
        matches!(self.dialect, Dialect::Libpod { .. })
    }

    /// Whether it is the Hyper.sh cloud.
    pub const fn is_cloud(&self) -> bool {
        matches!(self.dialect, Dialect::Cloud { .. })
    }

    /// What stands before ids that are shown.
    pub const fn scheme(&self) -> &'static str {
        match self.dialect {
            Dialect::Libpod { .. } => "podman",
            Dialect::Docker { .. } => "docker",
            Dialect::Cloud { .. } => "hyper",
        }
    }

    /// An engine's id as it is shown: with its scheme.
    pub fn shown_id(&self, id: &str) -> String {
        format!("{}://{id}", self.scheme())
    }
}

/// An id without its scheme.
pub fn bare_id(id: &str) -> &str {
    id.split_once("://").map_or(id, |(_, id)| id)
}

fn negotiate<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Result<Dialect> {
    let newest = header("api-version").and_then(version).unwrap_or(DOCKER_OLDEST);
    if newest < DOCKER_OLDEST {
        let (major, minor) = newest;
        return Err(Error::unsupported(format!(
            "hyper: the engine speaks version {major}.{minor} of Docker's API; from 1.40 on it can be used"
        ))
        .of_provider());
    }
    let (major, minor) = newest.min(DOCKER_NEWEST);
    let api = format!("{major}.{minor}");
    Ok(match header("libpod-api-version") {
        Some(version) => Dialect::Libpod { version: version.to_owned(), compatible: api },
        None => Dialect::Docker { api },
    })
}

fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiated(headers: &[(&str, &'static str)]) -> Result<Dialect> {
        negotiate(|name| headers.iter().find(|(own, _)| *own == name).map(|(_, value)| *value))
    }

    #[test]
    fn a_podman_is_spoken_to_in_its_own_language() {
        let own = negotiated(&[("api-version", "1.41"), ("libpod-api-version", "4.3.1")]).unwrap();
        assert_eq!(own, Dialect::Libpod { version: "4.3.1".into(), compatible: "1.41".into() });
    }

    #[test]
    fn dockers_version_is_the_newest_that_both_know() {
        let spoken = |newest| negotiated(&[("api-version", newest)]);
        assert_eq!(spoken("1.41").unwrap(), Dialect::Docker { api: "1.41".into() });
        assert_eq!(spoken("1.52").unwrap(), Dialect::Docker { api: "1.47".into() });
        let error = spoken("1.23").unwrap_err();
        assert!(error.message.contains("1.23"), "{error:?}");
    }

    #[test]
    fn endpoints_are_sockets_or_hosts() {
        let unix = Location::parse("unix:///run/podman/podman.sock").unwrap();
        assert_eq!((unix.url.as_str(), unix.socket.as_str()), ("http://engine", "unix:///run/podman/podman.sock"));
        let tcp = Location::parse("https://engine.example.com:2376/").unwrap();
        assert_eq!((tcp.url.as_str(), tcp.socket.as_str()), ("https://engine.example.com:2376", ""));
        for endpoint in ["", "unix://relative", "tcp://host:2375", "http://", "http://host/path", "http://u:p@host"] {
            assert!(Location::parse(endpoint).unwrap_err().is("invalid"), "{endpoint}");
        }
    }

    fn region_of(endpoint: &str, dialect: &str, own: &str) -> Result<Option<String>> {
        let (endpoint, dialect, own) = (endpoint.to_owned(), dialect.to_owned(), own.to_owned());
        region(&Settings { endpoint, dialect, region: own, ..Settings::default() })
    }

    #[test]
    fn the_cloud_is_known_by_its_name_or_said() {
        for (endpoint, dialect, own, found) in [
            ("https://us-west-1.hyper.sh", "", "", Some("us-west-1")),
            ("https://eu-central-1.hyper.sh:443/", "", "us-west-1", Some("eu-central-1")),
            ("https://hyper.sh", "", "", Some("us-west-1")),
            ("https://10.0.0.1:8443", "cloud", "", Some("us-west-1")),
            ("https://10.0.0.1:8443", "cloud", "eu-central-1", Some("eu-central-1")),
            ("https://hyper.sh.example.com", "", "", None),
            ("unix:///run/podman/podman.sock", "", "", None),
        ] {
            assert_eq!(region_of(endpoint, dialect, own).unwrap().as_deref(), found, "{endpoint}");
        }
    }

    #[test]
    fn settings_of_the_other_kind_are_refused_by_name() {
        let error = region_of("unix:///run/podman/podman.sock", "", "us-west-1").unwrap_err();
        assert!(error.is("invalid") && error.message.contains("`region`"), "{error:?}");
        assert!(region_of("unix:///run/podman/podman.sock", "cloud", "").unwrap_err().is("invalid"));
        let pause = Settings {
            endpoint: "https://us-west-1.hyper.sh".into(),
            pause_image: "pause".into(),
            ..Settings::default()
        };
        assert!(region(&pause).unwrap_err().message.contains("`pause-image`"));
    }
}
