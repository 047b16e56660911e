//! Sources beside files and the environment: fields of JSON files, keys of Kubernetes Secrets, tokens of ServiceAccounts.

use std::sync::Mutex;
use std::time::Duration;

use tokio::runtime::Handle;

use super::*;

fn json(pointer: &str, content: &str) -> (tempfile::NamedTempFile, Guest) {
    let own = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(own.path(), content).unwrap();
    let guest = Guest::new(secrets(&[format!("key=json:{}#{pointer}:reveal", own.path().display())]));
    (own, guest)
}

async fn value(guest: &mut Guest) -> Result<String, Error> {
    let secret = open(guest, &["key"]).await?.remove(0);
    Ok(String::from_utf8(reveal(guest, &secret).unwrap()).unwrap())
}

#[tokio::test]
async fn a_field_of_a_json_file_is_read_and_read_again_when_it_changes() {
    let (own, mut guest) = json("/clouds/tcp:~1~1*.hyper.sh:443/secretkey", "");
    let document = |value: &str| format!(r#"{{"clouds": {{"tcp://*.hyper.sh:443": {{"secretkey": {value}}}}}}}"#);
    for (written, read) in [("\"one\\n\"", "one\n"), ("12", "12"), ("true", "true")] {
        replace(&own, document(written).as_bytes());
        assert_eq!(value(&mut guest).await.unwrap(), read);
        assert_eq!(value(&mut guest).await.unwrap(), read);
    }
    for (content, code) in
        [(document("null"), "not-found"), ("{}".to_owned(), "not-found"), (document("{\"canary\": 4711}"), "not-found")]
    {
        replace(&own, content.as_bytes());
        for _ in 0..2 {
            let error = value(&mut guest).await.unwrap_err();
            assert_eq!(error.code, code, "{content}");
            assert!(!error.message.contains("canary"), "{}", error.message);
        }
    }
    // It may be half written: the next reading tells.
    replace(&own, document("\"two\"").as_bytes());
    value(&mut guest).await.unwrap();
    replace(&own, b"{\"canary-4711");
    assert_eq!(value(&mut guest).await.unwrap(), "two");
    let (_own, mut fresh) = json("/a", "{\"canary-4711");
    let error = value(&mut fresh).await.unwrap_err();
    assert_eq!(error.code, "unavailable");
    assert!(error.message.contains("line 1") && !error.message.contains("canary"), "{}", error.message);
}

/// A cluster whose answers the test sets.
#[derive(Default)]
struct Fake {
    secret: Mutex<Option<Result<Vec<u8>, SourceError>>>,
    tokens: AtomicU32,
    down: AtomicBool,
}

#[async_trait]
impl Cluster for Fake {
    async fn secret_key(&self, namespace: &str, name: &str, key: &str) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        assert_eq!((namespace, name, key), ("kube-system", "hyper", "secret-key"));
        self.secret.lock().unwrap().clone().expect("the test says what there is").map(Zeroizing::new)
    }

    async fn token(
        &self,
        service_account: Option<(&str, &str)>,
        audience: &str,
        life: Duration,
    ) -> Result<Token, SourceError> {
        assert_eq!((service_account, audience, life.as_secs()), (None, "sts.example.com", 3600));
        if self.down.load(Ordering::Relaxed) {
            return Err(SourceError::Unavailable("the API server does not answer".to_owned()));
        }
        let number = self.tokens.fetch_add(1, Ordering::Relaxed);
        Ok(Token { value: Zeroizing::new(format!("token-{number}").into_bytes()), life: Duration::from_secs(1000) })
    }
}

fn in_cluster(cluster: &Arc<Fake>, grant: &str) -> Guest {
    let sources = Sources { io: Handle::current(), cluster: Some(cluster.clone()) };
    let secrets = Secrets::new([grant.parse().unwrap()], &sources).unwrap();
    Guest::new(Grants { secrets: secrets.into(), ..Grants::default() })
}

#[tokio::test]
async fn a_key_of_a_kubernetes_secret_is_followed() {
    let cluster = Arc::new(Fake::default());
    let says = |answer| *cluster.secret.lock().unwrap() = Some(answer);
    let mut guest = in_cluster(&cluster, "key=kube:kube-system/hyper/secret-key:reveal");
    says(Err(SourceError::Unavailable("no answer".to_owned())));
    assert_eq!(value(&mut guest).await.unwrap_err().code, "unavailable");
    says(Ok(b"one\n".to_vec()));
    assert_eq!(value(&mut guest).await.unwrap(), "one\n");
    // What was read holds while nobody answers.
    says(Err(SourceError::Unavailable("no answer".to_owned())));
    assert_eq!(value(&mut guest).await.unwrap(), "one\n");
    says(Ok(b"two".to_vec()));
    assert_eq!(value(&mut guest).await.unwrap(), "two");
    // And not when it was taken away.
    says(Err(SourceError::Missing("there is no Secret kube-system/hyper".to_owned())));
    let error = value(&mut guest).await.unwrap_err();
    assert_eq!(error.code, "not-found");
    assert!(error.message.contains("kube-system/hyper"), "{}", error.message);
    says(Err(SourceError::Unavailable("no answer".to_owned())));
    assert_eq!(value(&mut guest).await.unwrap_err().code, "unavailable");
}

#[tokio::test]
async fn without_a_cluster_there_is_none_of_its_secrets() {
    for grant in ["key=kube:a/b/c:reveal", "key=token:sts.example.com:reveal"] {
        let mut guest = Guest::new(secrets(&[grant.to_owned()]));
        let error = value(&mut guest).await.unwrap_err();
        assert_eq!(error.code, "unavailable");
        assert!(error.message.contains("no cluster"), "{}", error.message);
    }
}

#[tokio::test]
async fn a_token_is_kept_until_it_is_refused_or_old() {
    let cluster = Arc::new(Fake::default());
    let sources = Sources { io: Handle::current(), cluster: Some(cluster.clone()) };
    let secrets = Secrets::new(["key=token:sts.example.com:reveal".parse().unwrap()], &sources).unwrap();
    tokio::time::pause();
    let names = ["key".to_owned()];
    let value = async || String::from_utf8(secrets.open(&names).await.unwrap()[0].bytes().to_vec()).unwrap();
    assert_eq!(value().await, "token-0");
    assert_eq!(value().await, "token-0");
    tokio::time::advance(Duration::from_secs(801)).await;
    assert_eq!(value().await, "token-1");
    // Refused at once: nothing newer can be had. Refused later: a new one.
    secrets.forget("key").await;
    assert_eq!(value().await, "token-1");
    tokio::time::advance(Duration::from_secs(11)).await;
    secrets.forget("key").await;
    assert_eq!(value().await, "token-2");
    // While there is no next, the last is good to its end and no longer.
    cluster.down.store(true, Ordering::Relaxed);
    tokio::time::advance(Duration::from_secs(950)).await;
    assert_eq!(value().await, "token-2");
    tokio::time::advance(Duration::from_secs(60)).await;
    let error = secrets.open(&names).await.err().unwrap();
    assert_eq!(error.code, "unavailable");
}

#[tokio::test]
async fn a_source_that_fails_says_once_that_its_last_value_is_kept() {
    let lines = crate::testing::lines::Lines::capture();
    let cluster = Arc::new(Fake::default());
    let mut guest = in_cluster(&cluster, "key=kube:kube-system/hyper/secret-key:reveal");
    for answer in [Ok(b"canary-4711".to_vec()), Err(SourceError::Unavailable("no answer".to_owned()))] {
        *cluster.secret.lock().unwrap() = Some(answer);
        for _ in 0..3 {
            assert_eq!(value(&mut guest).await.unwrap(), "canary-4711");
        }
    }
    *cluster.secret.lock().unwrap() = Some(Ok(b"canary-4711".to_vec()));
    value(&mut guest).await.unwrap();
    let text = lines.text();
    assert_eq!(text.matches("its last value is kept: no answer").count(), 1, "{text}");
    assert!(!text.contains("4711"), "{text}");
}
