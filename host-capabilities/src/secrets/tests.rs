//! What a guest may do with a secret, and what it never gets.

mod apart;
mod keys;
mod plugins;
mod sources;

use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use wasmtime::component::Resource;

use super::*;
use crate::bindings::vk::host::secrets::{HostSecret, HostSecretWithStore, HostWithStore};
use crate::testing::guest::{Guest, secrets};
use crate::{CallData, Grants};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn open(guest: &mut Guest, names: &[&str]) -> Result<Vec<Resource<Secret>>, Error> {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    guest.run(async |accessor| <CallData as HostWithStore<_>>::open(accessor, names).await).await.unwrap()
}

/// A second handle on the same secret, as a guest's borrow is.
fn borrow(secret: &Resource<Secret>) -> Resource<Secret> {
    Resource::new_borrow(secret.rep())
}

fn reveal(guest: &mut Guest, secret: &Resource<Secret>) -> Result<Vec<u8>, Error> {
    guest.store.data_mut().reveal(borrow(secret)).unwrap()
}

fn sign(guest: &mut Guest, secret: &Resource<Secret>, data: &[u8]) -> String {
    hex(&guest.store.data_mut().sign(borrow(secret), "hmac-sha256".to_owned(), data.to_vec()).unwrap().unwrap())
}

fn derive(guest: &mut Guest, secret: &Resource<Secret>, prefix: &str, data: &str) -> Resource<Secret> {
    let (prefix, data) = (prefix.as_bytes().to_vec(), data.as_bytes().to_vec());
    guest.store.data_mut().derive(borrow(secret), "hmac-sha256".to_owned(), prefix, data).unwrap().unwrap()
}

fn version(guest: &mut Guest, secret: &Resource<Secret>) -> u64 {
    guest.store.data_mut().version(borrow(secret)).unwrap()
}

/// A file with this content, granted as `key`.
fn file(content: &[u8], mode: &str) -> (tempfile::NamedTempFile, Grants) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    let grant = format!("key=file:{}:{mode}", file.path().display());
    (file, secrets(&[grant]))
}

/// Replaces a file as a mounted Secret is replaced: at once.
fn replace(file: &tempfile::NamedTempFile, content: &[u8]) {
    let next = file.path().with_extension("next");
    std::fs::write(&next, content).unwrap();
    std::fs::rename(&next, file.path()).unwrap();
}

#[tokio::test]
async fn a_secret_that_was_not_granted_is_denied_by_name() {
    let (_file, granted) = file(b"canary", "reveal");
    let mut guest = Guest::new(granted);
    for names in [&["other"][..], &["key", "other"], &[""], &["KEY"], &["key "]] {
        let error = open(&mut guest, names).await.unwrap_err();
        assert_eq!(error.code, "denied");
        let flag = format!("--secret={}=SOURCE:MODE", names[names.len() - 1]);
        assert!(error.message.contains(&flag) && !error.message.contains("canary"), "{}", error.message);
    }
    assert_eq!(open(&mut Guest::new(Grants::default()), &["key"]).await.unwrap_err().code, "denied");
    assert!(open(&mut guest, &[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_secret_to_sign_with_is_never_read() {
    let (_file, granted) = file(b"canary", "sign");
    let mut guest = Guest::new(granted);
    let secret = open(&mut guest, &["key"]).await.unwrap().remove(0);
    let error = reveal(&mut guest, &secret).unwrap_err();
    assert_eq!(error.code, "denied");
    assert!(error.message.contains("--secret=key=SOURCE:reveal"), "{}", error.message);
    // Nor is what was derived from it.
    let derived = derive(&mut guest, &secret, "AWS4", "20150830");
    let deeper = derive(&mut guest, &derived, "", "us-east-1");
    assert_eq!(reveal(&mut guest, &derived).unwrap_err().code, "denied");
    assert_eq!(reveal(&mut guest, &deeper).unwrap_err().code, "denied");
    assert!(!sign(&mut guest, &secret, b"x").is_empty());
}

#[tokio::test]
async fn a_secret_to_be_read_is_read_without_its_trailing_newline() {
    for (content, value) in
        [(&b"canary\n"[..], &b"canary"[..]), (b"a\r\n\n", b"a"), (b" a\nb ", b" a\nb "), (b"\xff", b"\xff")]
    {
        let (_file, granted) = file(content, "reveal");
        let mut guest = Guest::new(granted);
        let secret = open(&mut guest, &["key"]).await.unwrap().remove(0);
        assert_eq!(reveal(&mut guest, &secret).unwrap(), value);
    }
}

#[tokio::test]
async fn signatures_are_hmac_sha256() {
    // RFC 4231, test cases 1, 2 and 6.
    let long = [0xaa; 131];
    for (key, data, tag) in [
        (&[0x0b; 20][..], &b"Hi There"[..], "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (
            &long,
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
    ] {
        let (_file, granted) = file(key, "sign");
        let mut guest = Guest::new(granted);
        let secret = open(&mut guest, &["key"]).await.unwrap().remove(0);
        assert_eq!(sign(&mut guest, &secret, data), tag);
    }
}

#[tokio::test]
async fn handles_derive_the_keys_of_signature_version_4_and_its_kin() {
    let vectors = [
        // The example of the AWS documentation: ListUsers of IAM.
        (
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            ["AWS4", "20150830", "us-east-1", "iam", "aws4_request"],
            "AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/iam/aws4_request\n\
             f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59",
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
        ),
        // Hyper.sh's signature of a list of containers.
        (
            "SKEXAMPLE0123456789",
            ["HYPER", "20180102", "us-west-1", "hyper", "hyper_request"],
            "HYPER-HMAC-SHA256\n20180102T030405Z\n20180102/us-west-1/hyper/hyper_request\n\
             07f90f31f69d804300b33d7e061faf7c5bc70770dce81830520f758591fd9e9d",
            "ae63e4eaf7d9c607a21cdeb05a00731f6171b2f703fce95e8c93fd07a843988a",
        ),
    ];
    for (value, [prefix, date, region, service, request], to_sign, signature) in vectors {
        let (_file, granted) = file(value.as_bytes(), "sign");
        let mut guest = Guest::new(granted);
        let secret = open(&mut guest, &["key"]).await.unwrap().remove(0);
        let mut key = derive(&mut guest, &secret, prefix, date);
        for step in [region, service, request] {
            key = derive(&mut guest, &key, "", step);
        }
        assert_eq!(sign(&mut guest, &key, to_sign.as_bytes()), signature, "{prefix}");
    }
}

#[tokio::test]
async fn an_unknown_algorithm_or_encoding_is_unsupported() {
    let (_file, granted) = file(b"canary", "reveal");
    let mut guest = Guest::new(granted);
    let secret = open(&mut guest, &["key"]).await.unwrap().remove(0);
    let call = guest.store.data_mut();
    for algorithm in ["", "hmac-sha1", "rs512", "HMAC-SHA256"] {
        let error = call.sign(borrow(&secret), algorithm.to_owned(), Vec::new()).unwrap().unwrap_err();
        assert_eq!(error.code, "unsupported");
        assert!(error.message.contains(&format!("`{algorithm}`")), "{}", error.message);
        assert!(call.derive(borrow(&secret), algorithm.to_owned(), Vec::new(), Vec::new()).unwrap().is_err());
    }
    // No key is derived from a private key.
    let error = call.derive(borrow(&secret), "rs256".to_owned(), Vec::new(), Vec::new()).unwrap().err().unwrap();
    assert_eq!(error.code, "unsupported");
    for encoding in ["", "hex", "Plain"] {
        let error = call.placeholder(borrow(&secret), encoding.to_owned()).unwrap().unwrap_err();
        assert_eq!(error.code, "unsupported");
    }
}

#[tokio::test]
async fn sources_without_a_secret_say_so_and_nothing_of_it() {
    let (own, granted) = file(b"canary", "reveal");
    let mut guest = Guest::new(granted);
    open(&mut guest, &["key"]).await.unwrap();
    // Emptied: what was there before does not come back.
    replace(&own, b"\n");
    for _ in 0..2 {
        let error = open(&mut guest, &["key"]).await.unwrap_err();
        assert_eq!(error.code, "not-found");
        assert!(error.message.contains("`key`") && error.message.contains("empty"), "{}", error.message);
    }
    replace(&own, &vec![b'x'; (1 << 20) + 1]);
    let error = open(&mut guest, &["key"]).await.unwrap_err();
    assert_eq!(error.code, "unavailable");
    assert!(error.message.contains("the limit is 1048576"), "{}", error.message);
    std::fs::remove_file(own.path()).unwrap();
    let error = open(&mut guest, &["key"]).await.unwrap_err();
    assert_eq!(error.code, "not-found");
    assert!(error.message.contains(own.path().to_str().unwrap()), "{}", error.message);
    replace(&own, b"next");
    open(&mut guest, &["key"]).await.unwrap();

    let mut guest =
        Guest::new(secrets(&["key=env:NO_SUCH_VARIABLE_HERE:sign".to_owned(), "folder=file:/tmp:sign".to_owned()]));
    let error = open(&mut guest, &["key"]).await.unwrap_err();
    assert_eq!(error.code, "not-found");
    assert!(error.message.contains("NO_SUCH_VARIABLE_HERE"), "{}", error.message);
    let error = open(&mut guest, &["folder"]).await.unwrap_err();
    assert_eq!(error.code, "unavailable");
    assert!(error.message.contains("/tmp"), "{}", error.message);
}

#[tokio::test]
async fn a_changed_file_is_read_again_and_its_version_tells() {
    let (own, granted) = file(b"one", "reveal");
    let mut guest = Guest::new(granted);
    let mut seen = Vec::new();
    for content in [&b"one"[..], b"two", b"two\n", b"one"] {
        replace(&own, content);
        let secret = open(&mut guest, &["key"]).await.unwrap().remove(0);
        seen.push((version(&mut guest, &secret), reveal(&mut guest, &secret).unwrap()));
    }
    assert_eq!(seen.iter().map(|(_, value)| value.as_slice()).collect::<Vec<_>>(), [b"one", b"two", b"two", b"one"]);
    let [one, two, again, back] = [seen[0].0, seen[1].0, seen[2].0, seen[3].0];
    assert!(one != two && two == again && one == back, "{seen:?}");
    // A refused secret that is the same as before has the same version: nothing is gained by trying again.
    let secret = open(&mut guest, &["key"]).await.unwrap().remove(0);
    guest.run(async |accessor| <CallData as HostSecretWithStore<_>>::refused(accessor, secret).await).await.unwrap();
    let secret = open(&mut guest, &["key"]).await.unwrap().remove(0);
    assert_eq!(version(&mut guest, &secret), one);
    // It tells nothing to who knows other versions: another process, or another name, has others.
    let (_other, granted) = file(b"one", "reveal");
    let mut other = Guest::new(granted);
    let secret = open(&mut other, &["key"]).await.unwrap().remove(0);
    assert_ne!(version(&mut other, &secret), one);
}

#[tokio::test]
async fn an_open_handle_keeps_its_version() {
    let (own, granted) = file(b"one", "reveal");
    let mut guest = Guest::new(granted);
    let secret = open(&mut guest, &["key"]).await.unwrap().remove(0);
    replace(&own, b"two");
    open(&mut guest, &["key"]).await.unwrap();
    assert_eq!(reveal(&mut guest, &secret).unwrap(), b"one");
}

/// Two sources that rotate together, after some readings.
struct Rotating {
    readings: Arc<AtomicU32>,
    /// After how many readings of both they change; each so many again.
    every: u32,
}

#[async_trait]
impl SecretSource for Rotating {
    async fn read(&self) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        let reading = self.readings.fetch_add(1, Ordering::Relaxed);
        Ok(Zeroizing::new(format!("generation {}", reading / self.every).into_bytes()))
    }
}

#[tokio::test]
async fn parts_that_rotate_together_never_mix() {
    let rotating = |every| {
        let readings = Arc::new(AtomicU32::new(every - 1));
        let source = || Box::new(Rotating { readings: readings.clone(), every }) as Box<dyn SecretSource>;
        let mut secrets = Secrets::default();
        for name in ["id", "key"] {
            secrets.add(name.to_owned(), Mode::Sign, Vec::new(), source());
        }
        secrets
    };
    let names = ["id".to_owned(), "key".to_owned()];
    // The first reading gets one part of each generation.
    for every in [5, 7, 9] {
        let secrets = rotating(every);
        let opened = secrets.open(&names).await.unwrap();
        let shown: Vec<_> = opened.iter().map(|secret| secret.bytes().to_vec()).collect();
        assert_eq!(shown[0], shown[1], "{every}");
    }
    let error = rotating(1).open(&names).await.err().unwrap();
    assert_eq!(error.code, "unavailable");
    assert!(error.message.contains("id, key"), "{}", error.message);
}

#[test]
fn a_grant_shows_where_a_secret_is_and_not_what() {
    let grant: SecretGrant = "key=env:PATH:reveal".parse().unwrap();
    let shown = format!("{grant:?}");
    assert!(shown.contains("PATH") && !shown.contains(&std::env::var("PATH").unwrap()), "{shown}");
}
