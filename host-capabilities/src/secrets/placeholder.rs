//! Strings that stand for secrets in requests.
//!
//! Made of 144 random bits for one call, known to that call alone, and worth nothing elsewhere. Bounds: 256 in a call, for
//! values of at most 64 KiB.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use provider::Code;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::Secret;
use super::binding::{Binding, Destination};
use super::fill::Filling;
use crate::error::{Error, error};
use crate::forms;

/// How each begins.
pub(super) const PREFIX: &[u8] = b"vk-secret-";
/// Random characters behind that.
pub(super) const RANDOM: usize = 24;
/// All of it.
pub(super) const LENGTH: usize = PREFIX.len() + RANDOM;

const MAX_PLACEHOLDERS: usize = 256;
const MAX_VALUE: usize = 64 * 1024;

/// A string, and what stands in its place on the way out.
pub(super) struct Placeholder {
    pub(super) text: String,
    /// The value, encoded.
    pub(super) value: Zeroizing<Vec<u8>>,
    /// Where it may go; none: wherever the provider may.
    hosts: Option<Arc<[Binding]>>,
}

/// The placeholders of one call.
#[derive(Default)]
pub(crate) struct Placeholders(Mutex<Vec<Arc<Placeholder>>>);

impl Placeholders {
    fn all(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Placeholder>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new one.
    pub(super) fn make(&self, secret: &Secret, encoding: &str) -> Result<String, Error> {
        let name = secret.name();
        if secret.bytes().len() > MAX_VALUE {
            let message =
                format!("the secret `{name}` has {} bytes, at most {MAX_VALUE} are filled in", secret.bytes().len());
            return Err(error(Code::Limit, message));
        }
        let value = encode(name, secret.bytes(), encoding)?;
        let mut random = [0; RANDOM / 4 * 3];
        SystemRandom::new()
            .fill(&mut random)
            .map_err(|_| error(Code::Internal, "secrets: the system has no random numbers"))?;
        let mut text = String::from_utf8_lossy(PREFIX).into_owned();
        URL_SAFE_NO_PAD.encode_string(random, &mut text);
        let mut all = self.all();
        if all.len() >= MAX_PLACEHOLDERS {
            return Err(error(
                Code::Limit,
                format!("secrets: {MAX_PLACEHOLDERS} placeholders in one call is the limit"),
            ));
        }
        let hosts = secret.hosts().cloned();
        all.push(Arc::new(Placeholder { text: text.clone(), value, hosts }));
        Ok(text)
    }

    /// What is to be filled in on the way there.
    pub(crate) fn towards(&self, destination: Destination<'_>) -> Arc<Filling> {
        let reaches = |own: &&Arc<Placeholder>| match &own.hosts {
            None => true,
            Some(hosts) => hosts.iter().any(|bound| bound.reaches(destination)),
        };
        Arc::new(Filling::new(self.all().iter().filter(reaches).cloned().collect()))
    }

    /// Whether one of them stands in this text.
    pub(crate) fn stand_in(&self, text: &[u8]) -> bool {
        self.all().iter().any(|own| memchr::memmem::find(text, own.text.as_bytes()).is_some())
    }
}

/// The value in an encoding of the contract.
fn encode(name: &str, value: &[u8], encoding: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    let invalid = |reason: &str| error(Code::Invalid, format!("the secret `{name}`: {reason}"));
    let encoded = match encoding {
        "plain" => value.to_vec(),
        "base64" => STANDARD.encode(value).into_bytes(),
        "basic" if value.contains(&b':') => STANDARD.encode(value).into_bytes(),
        "basic" => return Err(invalid("the encoding `basic` is of a value `user:password`, and it has no colon")),
        "form" => forms::percent(value, "+", true),
        "json" => match std::str::from_utf8(value) {
            Ok(text) => forms::json(text),
            Err(_) => return Err(invalid("it is no UTF-8, and so no JSON string")),
        },
        other => {
            let message = format!(
                "secret.placeholder: the encoding `{}` is none of plain, basic, form, json, base64",
                other.escape_debug()
            );
            return Err(error(Code::Unsupported, message));
        }
    };
    Ok(Zeroizing::new(encoded))
}
