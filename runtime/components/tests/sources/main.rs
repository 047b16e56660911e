//! Where components come from: files, a real registry, registries that misbehave; and who signed them.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on fails; outside of test functions the lints don't know that they are in one"
)]

mod docker_registry;
mod fake_registry;
mod file;
mod hostile_registries;
mod registry;
mod signatures;

use components::source::oci::{Credentials, Login, OciSource, Poll, Registries};
use components::source::{Address, OciAddress, Policy};

/// The smallest component.
pub const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

pub(crate) fn oci(text: &str) -> OciAddress {
    match text.parse().unwrap() {
        Address::Oci(own) => own,
        other => panic!("{other}"),
    }
}

/// Reaches this registry through plain HTTP.
pub fn plain(host: &str) -> Registries {
    Registries::new(Credentials::default(), [host.to_owned()], &[]).unwrap()
}

pub(crate) fn source(host: &str, rest: &str, policy: Policy) -> OciSource {
    OciSource::new(&oci(&format!("oci://{host}/{rest}")), &plain(host), policy, Poll::default())
}

pub(crate) fn password(user: &str, password: &str) -> Login {
    Login::Password { user: user.to_owned(), password: password.to_owned().into() }
}
