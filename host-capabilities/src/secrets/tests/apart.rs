//! Grants that don't go together, and providers that don't share.

use tokio::runtime::Handle;

use super::*;

#[tokio::test]
async fn a_secret_is_granted_once() {
    let grants = ["key=env:A:sign", "key=env:B:reveal"].map(|grant| grant.parse().unwrap());
    let error = Secrets::new(grants, &Sources::new(Handle::current())).unwrap_err().to_string();
    assert!(error.contains("`key`") && error.contains("twice"), "{error}");
    // One that is made of parts is checked as one that is read.
    let unbound =
        SecretGrant { name: "key".to_owned(), origin: "env:A".parse().unwrap(), mode: Mode::Inject, hosts: Vec::new() };
    assert!(Secrets::new([unbound], &Sources::new(Handle::current())).is_err());
}

#[tokio::test]
async fn nodes_of_one_provider_share_its_secrets_and_providers_do_not() {
    let (_file, granted) = file(b"canary-4711", "reveal");
    let (_other_file, others) = file(b"canary-0815", "reveal");
    let [mut one, mut two] = [Guest::new(granted.clone()), Guest::new(granted)];
    let mut other = Guest::new(others);
    for guest in [&mut one, &mut two, &mut other] {
        let secret = open(guest, &["key"]).await.unwrap().remove(0);
        reveal(guest, &secret).unwrap();
    }
    let said = "canary-4711 canary-0815".to_owned();
    assert_eq!(one.capabilities.mask(said.clone()), "*** canary-0815");
    assert_eq!(two.capabilities.mask(said.clone()), "*** canary-0815");
    assert_eq!(other.capabilities.mask(said), "canary-4711 ***");
    // A handle of one is no handle of the other.
    let secret = open(&mut one, &["key"]).await.unwrap().remove(0);
    for number in 0..100 {
        let forged = Resource::<Secret>::new_own(number);
        let found = other.store.data_mut().reveal(forged);
        assert!(found.is_err() || found.unwrap().unwrap() == b"canary-0815");
    }
    assert_eq!(reveal(&mut one, &secret).unwrap(), b"canary-4711");
}

#[test]
fn what_is_granted_is_printed_by_name() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let grant = "key=env:PATH:sign".parse().unwrap();
    let secrets = Secrets::new([grant], &Sources::new(runtime.handle().clone())).unwrap();
    assert_eq!(format!("{secrets:?}"), r#"{"key": "sign"}"#);
    assert_eq!(secrets.names().collect::<Vec<_>>(), [("key", Mode::Sign)]);
}
