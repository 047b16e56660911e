//! The check of a request's signature, from the headers that the request itself names as signed. Every header that must be
//! signed is, the body is what its hash says, and the date is within [`SKEW`] of now, either way.

use std::collections::BTreeMap;

use http::HeaderMap;
use http::request::Parts;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use ring::{digest, hmac};

use crate::answer::Refusal;

/// Seconds that clocks may differ.
const SKEW: i64 = 300;
const ALGORITHM: &str = "HYPER-HMAC-SHA256";
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Who may sign, and for where.
pub struct Authority {
    /// Secret keys by access key.
    pub keys: BTreeMap<String, String>,
    /// What the scope must name.
    pub region: String,
    /// What the header `host` must say, with its port unless that is 443.
    pub host: String,
}

/// What an `Authorization` header says.
struct Authorization<'a> {
    access_key: &'a str,
    scope: &'a str,
    signed: &'a str,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    fn parse(header: &'a str) -> Option<Self> {
        let rest = header.strip_prefix(ALGORITHM)?.strip_prefix(" Credential=")?;
        let (credential, rest) = rest.split_once(", SignedHeaders=")?;
        let (signed, signature) = rest.split_once(", Signature=")?;
        let (access_key, scope) = credential.split_once('/')?;
        Some(Self { access_key, scope, signed, signature })
    }
}

impl Authority {
    /// Refuses a request that is not signed as it must be. `now`: seconds since 1970. Returns the access key.
    pub fn check(&self, request: &Parts, body: &[u8], now: i64) -> Result<String, Refusal> {
        let unsigned = |why: &str| Refusal::new(401, format!("Authorization failed: {why}"));
        let header = |name: &str| {
            let value = request.headers.get(name).and_then(|value| value.to_str().ok());
            value.ok_or_else(|| unsigned(&format!("the header {name} is missing")))
        };
        let own = Authorization::parse(header("authorization")?)
            .ok_or_else(|| unsigned("the header Authorization is not written as it must be"))?;
        let host = without_port(header("host")?);
        if host != without_port(&self.host) {
            return Err(unsigned(&format!("the host is {host}, this is {}", self.host)));
        }
        let date = header("x-hyper-date")?;
        let at = seconds(date).ok_or_else(|| unsigned(&format!("`{date}` is no X-Hyper-Date")))?;
        if (now - at).abs() > SKEW {
            return Err(unsigned(&format!("the request is of {date}, more than {SKEW} seconds from now")));
        }
        self.check_signed(&request.headers, own.signed)?;
        let scope = format!("{}/{}/hyper/hyper_request", date.get(..8).unwrap_or_default(), self.region);
        if own.scope != scope {
            return Err(unsigned(&format!("the scope is {}, it must be {scope}", own.scope)));
        }
        let payload = hex(digest::digest(&digest::SHA256, body).as_ref());
        if header("x-hyper-content-sha256")? != payload {
            return Err(unsigned("X-Hyper-Content-Sha256 is not the hash of the body"));
        }
        let secret = self.keys.get(own.access_key).ok_or_else(|| unsigned("there is no such access key"))?;
        let query = request.uri.query().unwrap_or_default();
        let path = request.uri.path();
        let canonical = canonical(request.method.as_str(), (path, query), &request.headers, own.signed, &payload);
        let hash = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
        let text = format!("{ALGORITHM}\n{date}\n{scope}\n{hash}");
        let key = signing_key(secret, date.get(..8).unwrap_or_default(), &self.region);
        let signature = unhex(own.signature).ok_or_else(|| unsigned("the signature is no hexadecimal number"))?;
        hmac::verify(&key, text.as_bytes(), &signature)
            .map_err(|_| unsigned("the signature does not match the request and the secret key"))?;
        Ok(own.access_key.to_owned())
    }

    /// All that must be signed is, in order.
    fn check_signed(&self, headers: &HeaderMap, signed: &str) -> Result<(), Refusal> {
        let mut wanted: Vec<&str> = headers
            .keys()
            .map(http::HeaderName::as_str)
            .filter(|name| matches!(*name, "content-type" | "content-md5" | "host") || name.starts_with("x-hyper-"))
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        let wanted = wanted.join(";");
        if signed == wanted {
            return Ok(());
        }
        Err(Refusal::new(401, format!("Authorization failed: the signed headers are {signed}, they must be {wanted}")))
    }
}

fn canonical(method: &str, target: (&str, &str), headers: &HeaderMap, signed: &str, payload: &str) -> String {
    let (path, query) = target;
    let encode = |text: &str| {
        let decoded = percent_decode_str(text).collect::<Vec<u8>>();
        percent_encoding::percent_encode(&decoded, ENCODED).to_string()
    };
    let path: Vec<_> = path.split('/').filter(|part| !part.is_empty()).map(encode).collect();
    let mut pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    pairs.sort_by(|one, other| one.0.cmp(&other.0));
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(key, value)| format!("{}={}", utf8_percent_encode(key, ENCODED), utf8_percent_encode(value, ENCODED)))
        .collect();
    let mut block = String::new();
    for name in signed.split(';') {
        let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().trim();
        let value = if name == "host" { without_port(value) } else { value };
        block.push_str(&format!("{name}:{value}\n"));
    }
    format!("{method}\n{}\n{}\n{block}\n{signed}\n{payload}", path.join("/"), pairs.join("&"))
}

fn signing_key(secret: &str, day: &str, region: &str) -> hmac::Key {
    let mut key = format!("HYPER{secret}").into_bytes();
    for part in [day, region, "hyper", "hyper_request"] {
        key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), part.as_bytes()).as_ref().to_vec();
    }
    hmac::Key::new(hmac::HMAC_SHA256, &key)
}

/// Ports that HTTP clients leave out are not signed.
fn without_port(host: &str) -> &str {
    host.strip_suffix(":443").or_else(|| host.strip_suffix(":80")).unwrap_or(host)
}

/// Seconds since 1970 of `YYYYMMDDTHHMMSSZ`.
fn seconds(date: &str) -> Option<i64> {
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", date).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs.map(|pair| Some(digit(*pair.first()?)? * 16 + digit(*pair.last()?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use serde::Deserialize;

    /// The same known signatures that the provider is held to.
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
        authorization: String,
    }

    fn vectors() -> Vec<Vector> {
        serde_json::from_str(include_str!("../../../../providers-wasm/hyper/tests/signatures.json")).unwrap()
    }

    fn parts(own: &Vector, body: &str) -> (Authority, Parts) {
        let uri: http::Uri = own.url.parse().unwrap();
        let host = uri.authority().unwrap().as_str().to_owned();
        let request = Request::builder()
            .method(own.method.as_str())
            .uri(uri.path_and_query().unwrap().as_str())
            .header("host", &host)
            .header("content-type", &own.content_type)
            .header("x-hyper-date", &own.date)
            .header("x-hyper-content-sha256", hex(digest::digest(&digest::SHA256, body.as_bytes()).as_ref()))
            .header("authorization", &own.authorization)
            .header("user-agent", "any")
            .body(())
            .unwrap();
        let keys = [(own.access_key.clone(), own.secret_key.clone())].into();
        (Authority { keys, region: own.region.clone(), host }, request.into_parts().0)
    }

    fn check(own: &Vector, body: &str, change: impl Fn(&mut Authority, &mut Parts)) -> Result<String, String> {
        let (mut authority, mut parts) = parts(own, body);
        change(&mut authority, &mut parts);
        authority.check(&parts, body.as_bytes(), seconds(&own.date).unwrap()).map_err(|refusal| {
            assert_eq!(refusal.status, 401);
            refusal.text
        })
    }

    #[test]
    fn known_signatures_are_good() {
        for own in vectors() {
            assert_eq!(check(&own, &own.body, |_, _| {}).as_deref(), Ok("AKEXAMPLE"), "{}", own.name);
        }
    }

    #[test]
    fn whatever_is_changed_makes_it_bad() {
        let own = &vectors()[1];
        let set = |name: &'static str, value: &'static str| {
            move |_: &mut Authority, parts: &mut Parts| {
                parts.headers.insert(name, http::HeaderValue::from_static(value));
            }
        };
        let refused = |result: Result<String, String>, says: &str| {
            let text = result.unwrap_err();
            assert!(text.contains(says), "{text}");
        };
        refused(check(own, "{}", |_, _| {}), "does not match");
        refused(check(own, &own.body, set("content-type", "text/plain")), "does not match");
        refused(check(own, &own.body, set("x-hyper-content-sha256", "00")), "hash of the body");
        refused(check(own, &own.body, set("x-hyper-more", "1")), "x-hyper-more");
        refused(check(own, &own.body, set("host", "us-west-1.hyper.sh")), "the host is");
        refused(check(own, &own.body, set("x-hyper-date", "20180102T031006Z")), "");
        refused(check(own, &own.body, set("authorization", "Basic x")), "not written as it must be");
        refused(check(own, &own.body, |_, parts| parts.method = http::Method::GET), "does not match");
        refused(
            check(own, &own.body, |_, parts| parts.uri = "/v1.23/containers/create?name=b".parse().unwrap()),
            "match",
        );
        refused(check(own, &own.body, |authority, _| authority.region = "us-west-1".into()), "the scope is");
        refused(check(own, &own.body, |authority, _| authority.keys.clear()), "no such access key");
        refused(check(own, &own.body, |_, parts| _ = parts.headers.remove("x-hyper-date")), "x-hyper-date is missing");
    }

    #[test]
    fn a_request_is_of_now() {
        let own = &vectors()[0];
        let (authority, parts) = parts(own, &own.body);
        let at = seconds(&own.date).unwrap();
        for (now, good) in [(at + 300, true), (at - 300, true), (at + 301, false), (at - 301, false)] {
            assert_eq!(authority.check(&parts, own.body.as_bytes(), now).is_ok(), good, "{}", now - at);
        }
    }
}
