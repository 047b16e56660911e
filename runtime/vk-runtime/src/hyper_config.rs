//! Hyper.sh's own folder of configuration, where `--provider-config` names it: its `config.json`, as the `hyper` command
//! wrote it.
//!
//! | in the file | becomes |
//! | --- | --- |
//! | `clouds.ENDPOINT.accesskey` | the secret `access-key`, filled into requests to the endpoint's host (`inject`) |
//! | `clouds.ENDPOINT.secretkey` | the secret `secret-key`, which signs (`sign`) |
//! | `clouds.ENDPOINT.region` | the settings `region`, and `endpoint` where none is said |
//!
//! The entry is that of the endpoint's host, else that of `tcp://*.hyper.sh:443`. The keys themselves are read by the source of
//! secrets, when they are used and again when the file changes; here they are only looked for. `auths` is not read: pull
//! credentials are the pods' own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use host_capabilities::secrets::{Mode, Origin, SecretGrant};
use serde_json::Value;

/// Which entry counts for every region that has none of its own.
const EVERY_REGION: &str = "tcp://*.hyper.sh:443";
/// The region of an entry that names none.
const REGION: &str = "us-west-1";

/// What a folder comes to.
#[derive(Debug, PartialEq, Eq)]
pub struct HyperConfig {
    /// What the provider is told.
    pub settings: BTreeMap<String, String>,
    /// What it may use.
    pub secrets: Vec<SecretGrant>,
}

/// The file that the folder is there for.
pub fn file(folder: &Path) -> PathBuf {
    folder.join("config.json")
}

/// Reads a folder for the endpoint that is configured.
pub fn read(folder: &Path, endpoint: Option<&str>) -> Result<HyperConfig> {
    let path = file(folder);
    let text = std::fs::read_to_string(&path).with_context(|| format!("the file {} can't be read", path.display()));
    let whole: Value = serde_json::from_str(&text?).with_context(|| format!("{} is no JSON", path.display()))?;
    parse(&whole, &path, endpoint).with_context(|| format!("the file {} can't be used", path.display()))
}

fn parse(whole: &Value, path: &Path, endpoint: Option<&str>) -> Result<HyperConfig> {
    let clouds = whole.get("clouds").and_then(Value::as_object).context("it has no `clouds`")?;
    let host = endpoint.and_then(host);
    let own = host.iter().flat_map(|host| [format!("tcp://{host}:443"), format!("https://{host}:443")]);
    let key = own.chain([EVERY_REGION.to_owned()]).find(|key| clouds.contains_key(key));
    let Some((key, cloud)) = key.and_then(|key| clouds.get_key_value(&key)) else {
        bail!("`clouds` has no entry `{EVERY_REGION}`, nor one for {}", host.unwrap_or("the endpoint"));
    };
    for name in ["accesskey", "secretkey"] {
        if cloud.get(name).and_then(Value::as_str).is_none_or(str::is_empty) {
            bail!("`clouds.{key}` has no `{name}`");
        }
    }
    let region = cloud.get("region").and_then(Value::as_str).filter(|own| !own.is_empty()).unwrap_or(REGION);
    let host = host.map_or_else(|| format!("{region}.hyper.sh"), str::to_owned);
    let mut settings = BTreeMap::new();
    settings.insert("endpoint".to_owned(), endpoint.map_or_else(|| format!("https://{host}"), str::to_owned));
    settings.insert("region".to_owned(), region.to_owned());
    let path = path.to_str().context("its path is no UTF-8")?;
    let place = key.replace('~', "~0").replace('/', "~1");
    let origin = |name: &str| Origin::Json { path: path.to_owned(), pointer: format!("/clouds/{place}/{name}") };
    let bound = host.parse().map_err(anyhow::Error::msg)?;
    let secrets = vec![
        SecretGrant {
            name: "access-key".to_owned(),
            origin: origin("accesskey"),
            mode: Mode::Inject,
            hosts: vec![bound],
        },
        SecretGrant { name: "secret-key".to_owned(), origin: origin("secretkey"), mode: Mode::Sign, hosts: Vec::new() },
    ];
    Ok(HyperConfig { settings, secrets })
}

/// The host of a URL, without its port.
fn host(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    rest.split(['/', ':']).next().filter(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PATH: &str = "/root/.hyper/config.json";

    fn of(whole: &Value, endpoint: Option<&str>) -> Result<HyperConfig> {
        parse(whole, Path::new(PATH), endpoint)
    }

    fn keys(region: &str) -> Value {
        json!({ "accesskey": "AK", "secretkey": "SK", "region": region })
    }

    #[test]
    fn its_keys_become_secrets_that_the_provider_never_sees() {
        let own = of(&json!({ "clouds": { EVERY_REGION: keys("eu-central-1") } }), None).unwrap();
        assert_eq!(own.settings["endpoint"], "https://eu-central-1.hyper.sh");
        assert_eq!(own.settings["region"], "eu-central-1");
        let [access, secret] = own.secrets.as_slice() else { panic!() };
        assert_eq!((access.mode, secret.mode), (Mode::Inject, Mode::Sign));
        assert_eq!(access.hosts, ["eu-central-1.hyper.sh".parse().unwrap()]);
        let pointer = "/clouds/tcp:~1~1*.hyper.sh:443/secretkey".to_owned();
        assert_eq!(secret.origin, Origin::Json { path: PATH.to_owned(), pointer });
        assert!(!format!("{own:?}").contains("SK"));
    }

    #[test]
    fn the_entry_of_the_host_counts_more_than_that_of_all() {
        let whole = json!({ "clouds": {
            EVERY_REGION: keys("us-west-1"),
            "tcp://eu-central-1.hyper.sh:443": keys("eu-central-1"),
        } });
        let own = of(&whole, Some("https://eu-central-1.hyper.sh")).unwrap();
        assert_eq!(own.settings["region"], "eu-central-1");
        let other = of(&whole, Some("https://us-west-1.hyper.sh")).unwrap();
        assert_eq!(other.settings["endpoint"], "https://us-west-1.hyper.sh");
        assert_eq!(other.settings["region"], "us-west-1");
    }

    #[test]
    fn what_is_missing_is_named_and_no_key_is_shown() {
        for (whole, says) in [
            (json!({}), "`clouds`"),
            (json!({ "clouds": {} }), EVERY_REGION),
            (json!({ "clouds": { EVERY_REGION: { "accesskey": "AKEY" } } }), "`secretkey`"),
            (json!({ "clouds": { EVERY_REGION: { "accesskey": "", "secretkey": "SKEY" } } }), "`accesskey`"),
        ] {
            let error = of(&whole, None).unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains("KEY"), "{error}");
        }
    }
}
