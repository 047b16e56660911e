//! A CertificateSigningRequest: made once for a key, followed until it is answered.
//!
//! The key is on disk before the request is made, and the request is named after it, so that after a crash the same
//! request goes on. One that is denied, has failed or is gone is given up with its key.

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::{Folder, GROUP, IdentityError, Pair, Purpose, user};
use crate::api::{Api, Event, Watch};

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
/// The controller manager drops within a day what nobody answered.
const LONGEST_WAIT: Duration = Duration::from_secs(25 * 3_600);

/// Has a certificate made for this node. Waits until somebody answers; `told` hears once that it waits.
pub(super) async fn certificate(
    api: &Api,
    folder: &Folder,
    node: &str,
    purpose: &Purpose,
    told: impl FnOnce(&str),
) -> Result<Pair, IdentityError> {
    let key = key(folder, purpose)?;
    let name = name(&key);
    let request = object(&name, node, purpose, &key)?;
    let failed = |error| IdentityError::Api { name: name.clone(), error };
    match api.post(REQUESTS, &request).await {
        Ok(()) => tracing::info!(node, request = name, signer = purpose.signer(), "a certificate is asked for"),
        // Of before a crash.
        Err(error) if error.is_conflict() => {}
        Err(error) => return Err(failed(error)),
    }
    told(&name);
    let answer = answer(api, &name).await;
    let pair = answer.and_then(|chain| Pair::new(&chain, Zeroizing::new(key.serialize_pem())));
    let pair = pair.and_then(|pair| match pair.user() {
        own if own == user(node) => Ok(pair),
        other => Err(IdentityError::Unusable {
            what: "certificate".to_owned(),
            reason: format!("it is for {other:?} instead of {:?}", user(node)),
        }),
    });
    match pair {
        Ok(pair) => {
            folder.keep(purpose, &pair)?;
            Ok(pair)
        }
        Err(error) => {
            // The next request is another one.
            if !matches!(error, IdentityError::Api { .. }) {
                folder.forget_key(purpose)?;
            }
            Err(error)
        }
    }
}

/// The key of the request that is under way, or a new one (ECDSA, P-256).
fn key(folder: &Folder, purpose: &Purpose) -> Result<KeyPair, IdentityError> {
    if let Some(text) = folder.key(purpose)?
        && let Ok(key) = KeyPair::from_pem(&text)
    {
        return Ok(key);
    }
    let unusable = |error: rcgen::Error| IdentityError::Unusable { what: "new key".into(), reason: error.to_string() };
    let key = KeyPair::generate().map_err(unusable)?;
    folder.keep_key(purpose, &Zeroizing::new(key.serialize_pem()))?;
    Ok(key)
}

/// Half of a coordinate of the public key: nobody can foresee it, or make a request of this name with another key.
fn name(key: &KeyPair) -> String {
    let public = key.public_key_raw();
    let part = public.get(public.len().saturating_sub(16)..).unwrap_or(public);
    part.iter().fold("node-csr-".to_owned(), |name, byte| format!("{name}{byte:02x}"))
}

fn object(name: &str, node: &str, purpose: &Purpose, key: &KeyPair) -> Result<Value, IdentityError> {
    let unusable = |error: rcgen::Error| IdentityError::Unusable {
        what: format!("name of node {node:?} in a certificate request"),
        reason: error.to_string(),
    };
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::OrganizationName, GROUP);
    parameters.distinguished_name.push(DnType::CommonName, user(node));
    if let Purpose::Serving(own) = purpose {
        for name in &own.names {
            parameters.subject_alt_names.push(SanType::DnsName(name.as_str().try_into().map_err(unusable)?));
        }
        let addresses = own.addresses.iter().copied().map(|address: IpAddr| SanType::IpAddress(address));
        parameters.subject_alt_names.extend(addresses);
    }
    let request = parameters.serialize_request(key).and_then(|request| request.pem()).map_err(unusable)?;
    Ok(json!({
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": { "name": name },
        "spec": {
            "request": STANDARD.encode(request),
            "signerName": purpose.signer(),
            "usages": ["digital signature", purpose.usage()],
        },
    }))
}

/// The certificate, as soon as it is made.
async fn answer(api: &Api, name: &str) -> Result<String, IdentityError> {
    let refused = |what: String| IdentityError::Refused { name: name.to_owned(), what };
    let (answers, mut answered) = mpsc::unbounded_channel();
    let watch = Watch { path: REQUESTS.to_owned(), field_selector: format!("metadata.name={name}"), is_busy: false };
    let mut is_there = false;
    let watching = watch.run::<Box<CertificateSigningRequest>>(api.clone(), |event| {
        let gone = || Some(Err("deleted before it was answered".to_owned()));
        let answer = match event {
            Event::Listing => {
                is_there = false;
                None
            }
            Event::Applied(request) => {
                is_there = true;
                read(&request)
            }
            Event::Listed if is_there => None,
            Event::Listed | Event::Deleted(_) => gone(),
            Event::Failed(error) => {
                tracing::debug!(request = name, %error, "a certificate request can't be watched");
                None
            }
        };
        if let Some(answer) = answer {
            // Fails only when nobody waits any more.
            let _ = answers.send(answer);
        }
    });
    tokio::select! {
        () = watching => Err(refused("not answered".to_owned())),
        answer = answered.recv() => match answer {
            Some(Ok(chain)) => Ok(chain),
            Some(Err(what)) => Err(refused(what)),
            None => Err(refused("not answered".to_owned())),
        },
        () = tokio::time::sleep(LONGEST_WAIT) => Err(refused("not answered for a day".to_owned())),
    }
}

/// What was answered; none: nothing yet.
fn read(request: &CertificateSigningRequest) -> Option<Result<String, String>> {
    let status = request.status.as_ref()?;
    let conditions = status.conditions.as_deref().unwrap_or_default();
    for (kind, word) in [("Denied", "denied"), ("Failed", "not signed")] {
        if let Some(condition) = conditions.iter().find(|condition| condition.type_ == kind) {
            let reason = condition.reason.as_deref().unwrap_or_default();
            let message = condition.message.as_deref().unwrap_or_default();
            return Some(Err(format!("{word}: {reason}: {message}")));
        }
    }
    let chain = status.certificate.as_ref().filter(|chain| !chain.0.is_empty())?;
    Some(String::from_utf8(chain.0.clone()).map_err(|_| "answered with a certificate that is no text".to_owned()))
}
