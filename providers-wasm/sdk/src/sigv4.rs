//! AWS Signature Version 4 over a secret that stays in the host.
//!
//! The secret key is granted as `sign`; the access key id may be `inject` (a placeholder stands in the header as well as the id
//! does); a session token is signed with the request and so must be `reveal`. Temporary credentials rotate together: open
//! them in one [`crate::host::secrets::open`].
//!
//! ```no_run
//! # async fn demo() -> vk_provider_sdk::Result<()> {
//! use vk_provider_sdk::host::{clock, secrets};
//! use vk_provider_sdk::http::Request;
//! use vk_provider_sdk::sigv4::Signer;
//! let key = secrets::open(vec!["secret-key".into()]).await?.remove(0);
//! let request = Request::post("https://ec2.eu-central-1.amazonaws.com/")
//!     .body("application/x-www-form-urlencoded", b"Action=DescribeInstances&Version=2016-11-15".to_vec());
//! let signed = Signer::new("eu-central-1", "ec2", "AKIDEXAMPLE").sign(request, &key, clock::now())?;
//! let answer = signed.fetch().await?.ok()?;
//! # Ok(()) }
//! ```

use sha2::{Digest, Sha256};

use crate::host::secrets::Secret;
use crate::http::Request;
use crate::{Error, Result, time};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";
/// Stands for the hash of a body that is not hashed.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// What is on the way to be changed, and so not signed.
const NOT_SIGNED: &[&str] =
    &["authorization", "user-agent", "accept-encoding", "connection", "expect", "transfer-encoding", "x-amzn-trace-id"];

/// A key of HMAC-SHA256, or what was derived of it.
pub trait Key: Sized {
    /// The key that HMAC-SHA256 of `data` is, with `prefix` before this one.
    fn derive(&self, prefix: &[u8], data: &[u8]) -> Result<Self>;
    /// HMAC-SHA256 of `data`.
    fn sign(&self, data: &[u8]) -> Result<Vec<u8>>;
}

impl Key for Secret {
    fn derive(&self, prefix: &[u8], data: &[u8]) -> Result<Self> {
        Self::derive(self, "hmac-sha256", prefix, data)
    }

    fn sign(&self, data: &[u8]) -> Result<Vec<u8>> {
        Self::sign(self, "hmac-sha256", data)
    }
}

/// Signs requests to one service of one region.
#[derive(Clone, Debug)]
pub struct Signer<'a> {
    /// As `eu-central-1`.
    pub region: &'a str,
    /// As `ec2`.
    pub service: &'a str,
    /// The access key id, or a placeholder for it.
    pub key_id: &'a str,
    /// Of temporary credentials.
    pub session_token: Option<&'a str>,
    /// Whether dot segments and empty ones are taken out of the path that is signed; all services but S3.
    pub normalize: bool,
    /// Whether the path, encoded as it is sent, is encoded again; all services but S3.
    pub encode_path: bool,
    /// Whether the body's hash is sent as `x-amz-content-sha256`; S3 wants it.
    pub send_hash: bool,
}

impl<'a> Signer<'a> {
    /// As the service wants it.
    pub fn new(region: &'a str, service: &'a str, key_id: &'a str) -> Self {
        let is_s3 = service == "s3";
        Self { region, service, key_id, session_token: None, normalize: !is_s3, encode_path: !is_s3, send_hash: is_s3 }
    }

    /// With the token of temporary credentials.
    #[must_use]
    pub const fn session_token(mut self, token: &'a str) -> Self {
        self.session_token = Some(token);
        self
    }

    /// Signs a request as it is now, at this time (nanoseconds since 1970): what is added later is not signed. A streamed body
    /// is not signed either, which S3 alone takes.
    pub fn sign(&self, request: Request, key: &impl Key, now: u64) -> Result<Request> {
        let hash = request.content().map_or_else(|| UNSIGNED.to_owned(), |content| hex(&Sha256::digest(content)));
        let date = basic_date(now);
        let (host, target) = split(request.url())?;
        let mut added = vec![("x-amz-date", date.as_str())];
        if let Some(token) = self.session_token {
            added.push(("x-amz-security-token", token));
        }
        if self.send_hash || hash == UNSIGNED {
            added.push(("x-amz-content-sha256", hash.as_str()));
        }
        let own = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let headers: Vec<_> = own.chain([("host", host)]).chain(added.iter().copied()).collect();
        let (canonical, signed) = self.canonical_request(request.method(), target, &headers, &hash);
        let text = self.string_to_sign(&date, &canonical);
        let signature = self.signature(key, &date, &text)?;
        let authorization = format!(
            "{ALGORITHM} Credential={}/{}, SignedHeaders={signed}, Signature={signature}",
            self.key_id,
            self.scope(&date)
        );
        let added: Vec<_> = added.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        let request = added.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        Ok(request.header("authorization", authorization))
    }

    fn scope(&self, date: &str) -> String {
        format!("{}/{}/{}/{TERMINATOR}", day(date), self.region, self.service)
    }

    /// What is signed of a request as one text, and the names of the headers in it.
    fn canonical_request(&self, method: &str, target: &str, headers: &[(&str, &str)], hash: &str) -> (String, String) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut lines: Vec<(String, String)> = Vec::new();
        for (name, value) in headers {
            let name = name.to_ascii_lowercase();
            let value = value.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
            match lines.iter_mut().find(|(own, _)| *own == name) {
                _ if NOT_SIGNED.contains(&name.as_str()) => {}
                Some((_, known)) => *known = format!("{known},{value}"),
                None => lines.push((name, value)),
            }
        }
        lines.sort();
        let names: Vec<_> = lines.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(";");
        let block: String = lines.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        (format!("{method}\n{}\n{}\n{block}\n{names}\n{hash}", self.path(path), canonical_query(query)), names)
    }

    fn path(&self, path: &str) -> String {
        let mut kept: Vec<&str> = Vec::new();
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        for (index, part) in parts.iter().enumerate() {
            let is_last = index + 1 == parts.len();
            match *part {
                "" | "." | ".." if self.normalize => {
                    if *part == ".." {
                        kept.pop();
                    }
                    if is_last && !kept.is_empty() {
                        kept.push("");
                    }
                }
                other => kept.push(other),
            }
        }
        let encode = |part: &&str| if self.encode_path { encoded(part.as_bytes()) } else { (*part).to_owned() };
        format!("/{}", kept.iter().map(encode).collect::<Vec<_>>().join("/"))
    }

    fn string_to_sign(&self, date: &str, canonical: &str) -> String {
        format!("{ALGORITHM}\n{date}\n{}\n{}", self.scope(date), hex(&Sha256::digest(canonical)))
    }

    fn signature(&self, key: &impl Key, date: &str, text: &str) -> Result<String> {
        let key = key.derive(b"AWS4", day(date).as_bytes())?;
        let key = key.derive(b"", self.region.as_bytes())?.derive(b"", self.service.as_bytes())?;
        Ok(hex(&key.derive(b"", TERMINATOR.as_bytes())?.sign(text.as_bytes())?))
    }
}

/// Host and target of a URL; the port that a scheme has anyway is not said in `Host`.
fn split(url: &str) -> Result<(&str, &str)> {
    let (scheme, rest) =
        url.split_once("://").ok_or_else(|| Error::invalid("sigv4: only an absolute URL can be signed"))?;
    let (host, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let port = if scheme == "http" { ":80" } else { ":443" };
    Ok((host.strip_suffix(port).unwrap_or(host), target))
}

/// Sorted by name, then value, each decoded and encoded again.
fn canonical_query(query: &str) -> String {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<(String, String)> = pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (encoded(&decoded(name)), encoded(&decoded(value))))
        .collect();
    pairs.sort();
    pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// Percent-encoded but for the unreserved characters of RFC 3986.
fn encoded(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len()), |mut text, byte| {
        match byte {
            b if b.is_ascii_alphanumeric() || b"-._~".contains(b) => text.push(char::from(*b)),
            b => text.push_str(&format!("%{b:02X}")),
        }
        text
    })
}

fn decoded(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        match (first, tail) {
            (b'%', [high, low, behind @ ..]) if digit(high).is_some() && digit(low).is_some() => {
                decoded.push(digit(high).unwrap_or_default() << 4 | digit(low).unwrap_or_default());
                rest = behind;
            }
            _ => decoded.push(*first),
        }
    }
    decoded
}

fn day(date: &str) -> &str {
    date.get(..8).unwrap_or(date)
}

/// `YYYYMMDDTHHMMSSZ`.
fn basic_date(now: u64) -> String {
    let mut date: String = time::to_rfc3339(now).split('.').next().unwrap_or_default().replace(['-', ':'], "");
    date.push('Z');
    date
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit, Mac};
    use serde::Deserialize;

    use super::*;

    /// What the host does with a secret key.
    struct Local(Vec<u8>);

    impl Key for Local {
        fn derive(&self, prefix: &[u8], data: &[u8]) -> Result<Self> {
            Self([prefix, &self.0].concat()).sign(data).map(Self)
        }

        fn sign(&self, data: &[u8]) -> Result<Vec<u8>> {
            let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).unwrap();
            mac.update(data);
            Ok(mac.finalize().into_bytes().to_vec())
        }
    }

    #[derive(Deserialize)]
    struct Suite {
        vectors: Vec<Vector>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Vector {
        name: String,
        normalize: bool,
        sign_body: bool,
        #[serde(default)]
        session_token: Option<String>,
        method: String,
        target: String,
        headers: Vec<(String, String)>,
        body: String,
        canonical_request: String,
        string_to_sign: String,
        signature: String,
    }

    const ID: &str = "AKIDEXAMPLE";
    /// 2015-08-30T12:36:00Z.
    const AT: u64 = 1_440_938_160 * time::SECOND;

    fn key() -> Local {
        Local(b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_vec())
    }

    #[test]
    fn the_suite_that_aws_publishes_is_signed_as_it_says() {
        let suite: Suite = serde_json::from_str(include_str!("../tests/data/sigv4.json")).unwrap();
        assert_eq!(suite.vectors.len(), 38);
        for vector in suite.vectors {
            let signer = Signer { normalize: vector.normalize, ..Signer::new("us-east-1", "service", ID) };
            let hash = hex(&Sha256::digest(&vector.body));
            let date = basic_date(AT);
            let mut headers: Vec<_> =
                vector.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            headers.push(("X-Amz-Date", &date));
            if let Some(token) = &vector.session_token {
                headers.push(("X-Amz-Security-Token", token));
            }
            if vector.sign_body {
                headers.push(("x-amz-content-sha256", &hash));
            }
            let (canonical, _) = signer.canonical_request(&vector.method, &vector.target, &headers, &hash);
            assert_eq!(canonical, vector.canonical_request, "{}", vector.name);
            let text = signer.string_to_sign(&date, &canonical);
            assert_eq!(text, vector.string_to_sign, "{}", vector.name);
            assert_eq!(signer.signature(&key(), &date, &text).unwrap(), vector.signature, "{}", vector.name);
        }
    }

    #[test]
    fn a_request_is_signed_with_what_it_is_sent_with() {
        // The suite's `get-vanilla-query-order-key-case` and `post-vanilla`.
        for (method, url, signature) in [
            (
                "GET",
                "https://example.amazonaws.com:443/?Param2=value2&Param1=value1",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "POST",
                "https://example.amazonaws.com",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
        ] {
            let request = Request::new(method, url).header("user-agent", "any");
            let signed = Signer::new("us-east-1", "service", ID).sign(request, &key(), AT).unwrap();
            assert_eq!(signed.header_value("x-amz-date"), Some("20150830T123600Z"));
            assert_eq!(
                signed.header_value("authorization").unwrap(),
                format!(
                    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                     SignedHeaders=host;x-amz-date, Signature={signature}"
                )
            );
        }
    }

    #[test]
    fn s3_is_signed_as_it_wants_it() {
        let request = Request::get("https://bucket.s3.amazonaws.com/a//b%20c/../d");
        let signer = Signer::new("us-east-1", "s3", ID).session_token("token");
        assert_eq!(signer.path("/a//b%20c/../d"), "/a//b%20c/../d");
        let signed = signer.sign(request, &key(), AT).unwrap();
        assert_eq!(signed.header_value("x-amz-content-sha256"), Some(hex(&Sha256::digest(b"")).as_str()));
        let authorization = signed.header_value("authorization").unwrap();
        assert!(authorization.contains("SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token"));
    }

    #[test]
    fn paths_are_encoded_twice_and_queries_once() {
        let signer = Signer::new("us-east-1", "ec2", ID);
        assert_eq!(signer.path("/a%20b/c"), "/a%2520b/c");
        assert_eq!(canonical_query("b=%2F&a=x+y&b=&%zz"), "%25zz=&a=x%2By&b=&b=%2F");
    }
}
