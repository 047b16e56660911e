//! Signed requests: AWS Signature Version 4 under other names. Pure but for [`Keys`], which are the host's: the secret key
//! signs there and never comes here.
//!
//! | | |
//! | --- | --- |
//! | algorithm, prefix of the key, service, end of the scope | `HYPER-HMAC-SHA256`, `HYPER`, `hyper`, `hyper_request` |
//! | headers | `X-Hyper-Date`, `X-Hyper-Content-Sha256`, `Authorization` |
//! | signed | `content-type`, `host`, `x-hyper-content-sha256`, `x-hyper-date` |
//! | differs from Amazon's | the path has no leading slash, and `host` is signed without `:80` and `:443` |

use sha2::{Digest, Sha256};
use vk_provider_sdk::host::secrets::{self, Secret};
use vk_provider_sdk::http::{Request, encode};
use vk_provider_sdk::{Error, Result, time};

const ALGORITHM: &str = "HYPER-HMAC-SHA256";
const SERVICE: &str = "hyper";
const TERMINATOR: &str = "hyper_request";
const KEY_PREFIX: &str = "HYPER";
const SIGNED_HEADERS: &str = "content-type;host;x-hyper-content-sha256;x-hyper-date";

/// The secret by this name is the access key: a mode that lets it stand in a header.
pub const ACCESS_KEY: &str = "access-key";
/// The secret by this name is the secret key: mode `sign`.
pub const SECRET_KEY: &str = "secret-key";

/// What signs: the secret key, or what was derived of it.
pub trait Key: Sized {
    /// The key that HMAC-SHA256 of `data` is, `prefix` before this one.
    fn derive(&self, prefix: &str, data: &str) -> Result<Self>;
    /// HMAC-SHA256 of `data`.
    fn sign(&self, data: &str) -> Result<Vec<u8>>;
}

impl Key for Secret {
    fn derive(&self, prefix: &str, data: &str) -> Result<Self> {
        Self::derive(self, "hmac-sha256", prefix.as_bytes(), data.as_bytes())
    }

    fn sign(&self, data: &str) -> Result<Vec<u8>> {
        Self::sign(self, "hmac-sha256", data.as_bytes())
    }
}

/// Handles on both keys, as they stood at one moment.
pub struct Keys {
    access: Secret,
    secret: Secret,
}

impl Keys {
    /// The operator's keys.
    pub async fn open() -> Result<Self> {
        let mut keys = secrets::open(vec![ACCESS_KEY.to_owned(), SECRET_KEY.to_owned()]).await?.into_iter();
        match (keys.next(), keys.next()) {
            (Some(access), Some(secret)) => Ok(Self { access, secret }),
            _ => Err(Error::internal("the host opened less than two secrets")),
        }
    }

    /// What stands for the access key in a header: a placeholder that the host fills in, or the key.
    fn access_key(&self) -> Result<String> {
        if let Ok(placeholder) = self.access.placeholder("plain") {
            return Ok(placeholder);
        }
        let key = self.access.reveal()?;
        String::from_utf8(key).map_err(|_| Error::invalid("hyper: the access key is no text"))
    }

    /// The backend does not know them: the host reads them again.
    pub async fn refused(&self) {
        self.access.refused().await;
        self.secret.refused().await;
    }
}

/// Signs a request, at this time (nanoseconds since 1970).
pub fn sign(request: Request, keys: &Keys, region: &str, now: u64) -> Result<Request> {
    let content = request.content().ok_or_else(|| Error::internal("a streamed body can't be signed"))?;
    let payload = hex(&Sha256::digest(content));
    let date = basic_date(now);
    // What Hyper.sh's own client sends where nothing is said.
    let content_type = match request.header_value("content-type") {
        Some(own) => own.to_owned(),
        None if content.is_empty() && matches!(request.method(), "POST" | "PUT") => "text/plain".to_owned(),
        None => "application/json".to_owned(),
    };
    let canonical = canonical_request(request.method(), request.url(), &content_type, &payload, &date)?;
    let scope = scope(&date, region);
    let text = string_to_sign(&date, &scope, &canonical);
    let signature = signature(&keys.secret, &date, region, &text)?;
    let authorization = authorization(&keys.access_key()?, &scope, &signature);
    let is_typed = request.header_value("content-type").is_some();
    let request = if is_typed { request } else { request.header("content-type", content_type) };
    Ok(request
        .header("x-hyper-date", date)
        .header("x-hyper-content-sha256", payload)
        .header("authorization", authorization))
}

/// What is signed of a request, as one text.
fn canonical_request(method: &str, url: &str, content_type: &str, payload: &str, date: &str) -> Result<String> {
    let rest = url.split_once("://").map(|(_, rest)| rest);
    let rest = rest.ok_or_else(|| Error::internal(format!("`{url}` is no absolute URL")))?;
    let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let host = [":443", ":80"].iter().find_map(|port| authority.strip_suffix(port)).unwrap_or(authority);
    let path: Vec<_> = path.split('/').filter(|part| !part.is_empty()).map(reencode).collect();
    let mut query: Vec<_> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (reencode(key), reencode(value)))
        .collect();
    // Stable: values of one key stay in their order.
    query.sort_by(|one, other| one.0.cmp(&other.0));
    let query: Vec<_> = query.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    let content_type = content_type.trim();
    Ok(format!(
        "{method}\n{}\n{}\ncontent-type:{content_type}\nhost:{host}\nx-hyper-content-sha256:{payload}\nx-hyper-date:{date}\n\n\
         {SIGNED_HEADERS}\n{payload}",
        path.join("/"),
        query.join("&"),
    ))
}

/// `YYYYMMDD/REGION/hyper/hyper_request`.
fn scope(date: &str, region: &str) -> String {
    format!("{}/{region}/{SERVICE}/{TERMINATOR}", day(date))
}

fn string_to_sign(date: &str, scope: &str, canonical: &str) -> String {
    format!("{ALGORITHM}\n{date}\n{scope}\n{}", hex(&Sha256::digest(canonical)))
}

fn signature<K: Key>(secret: &K, date: &str, region: &str, text: &str) -> Result<String> {
    let key = secret.derive(KEY_PREFIX, day(date))?.derive("", region)?.derive("", SERVICE)?.derive("", TERMINATOR)?;
    Ok(hex(&key.sign(text)?))
}

fn authorization(access_key: &str, scope: &str, signature: &str) -> String {
    format!("{ALGORITHM} Credential={access_key}/{scope}, SignedHeaders={SIGNED_HEADERS}, Signature={signature}")
}

fn day(date: &str) -> &str {
    date.get(..8).unwrap_or(date)
}

/// `YYYYMMDDTHHMMSSZ`.
fn basic_date(now: u64) -> String {
    let mut date = time::to_rfc3339(now);
    date.truncate("YYYY-MM-DDTHH:MM:SS".len());
    date.retain(|character| !matches!(character, '-' | ':'));
    date.push('Z');
    date
}

/// Percent-encoded by the rule that is signed, whatever of it was encoded before.
fn reencode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digits = rest.clone().take(2).map(|digit| char::from(digit).to_digit(16)).collect::<Option<Vec<_>>>();
        match digits.as_deref() {
            Some([high, low]) if byte == b'%' => {
                bytes.extend(u8::try_from(high * 16 + low));
                rest.nth(1);
            }
            _ => bytes.push(byte),
        }
    }
    let mut encoded = String::with_capacity(text.len());
    encode(&mut encoded, &bytes);
    encoded
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hmac::{Hmac, KeyInit, Mac};
    use serde::Deserialize;

    /// The host's part.
    struct Known(Vec<u8>);

    impl Key for Known {
        fn derive(&self, prefix: &str, data: &str) -> Result<Self> {
            Self([prefix.as_bytes(), &self.0].concat()).sign(data).map(Self)
        }

        fn sign(&self, data: &str) -> Result<Vec<u8>> {
            let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).unwrap();
            mac.update(data.as_bytes());
            Ok(mac.finalize().into_bytes().to_vec())
        }
    }

    /// A request whose signature is known.
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Vector {
        name: String,
        access_key: String,
        secret_key: String,
        date: String,
        region: String,
        method: String,
        url: String,
        content_type: String,
        body: String,
        canonical_request: String,
        string_to_sign: String,
        authorization: String,
    }

    #[test]
    fn known_requests_have_their_known_signatures() {
        let vectors: Vec<Vector> = serde_json::from_str(include_str!("../../tests/signatures.json")).unwrap();
        assert_eq!(vectors.len(), 7);
        for own in vectors {
            let payload = hex(&Sha256::digest(&own.body));
            let canonical = canonical_request(&own.method, &own.url, &own.content_type, &payload, &own.date).unwrap();
            assert_eq!(canonical, own.canonical_request, "{}", own.name);
            let scope = scope(&own.date, &own.region);
            let text = string_to_sign(&own.date, &scope, &canonical);
            assert_eq!(text, own.string_to_sign, "{}", own.name);
            let key = Known(own.secret_key.into_bytes());
            let signature = signature(&key, &own.date, &own.region, &text).unwrap();
            assert_eq!(authorization(&own.access_key, &scope, &signature), own.authorization, "{}", own.name);
        }
    }

    #[test]
    fn dates_are_written_without_separators() {
        assert_eq!(basic_date(1_514_862_245 * time::SECOND + 999), "20180102T030405Z");
    }

    #[test]
    fn what_is_encoded_already_is_not_encoded_twice() {
        assert_eq!(reencode("a%2fb c:%"), "a%2Fb%20c%3A%25");
        assert_eq!(reencode("%zz"), "%25zz");
    }

    #[test]
    fn default_ports_are_not_signed_and_others_are() {
        for (url, host) in [
            ("https://us-west-1.hyper.sh:443/v1.23/info", "host:us-west-1.hyper.sh\n"),
            ("http://localhost:80/v1.23/info", "host:localhost\n"),
            ("http://localhost:8080", "host:localhost:8080\n"),
        ] {
            let canonical = canonical_request("GET", url, "application/json", "", "").unwrap();
            assert!(canonical.contains(host), "{canonical}");
        }
    }
}
