//! One key, parts, and what must never load.

use std::io::Write;
use std::sync::Mutex as StdMutex;
use std::sync::PoisonError;

use futures::stream;

use super::*;

/// ConfigMaps of the namespace `kube-system`.
#[derive(Default)]
struct Cluster(StdMutex<BTreeMap<String, ConfigMap>>);

impl Cluster {
    fn put(&self, name: &str, version: &str, data: &[(&str, &[u8])]) {
        let data = data.iter().map(|(key, value)| ((*key).to_owned(), Bytes::copy_from_slice(value))).collect();
        let map = ConfigMap { resource_version: version.to_owned(), data };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), map);
    }
}

#[async_trait]
impl ConfigMaps for Cluster {
    async fn get(&self, namespace: &str, name: &str) -> Result<Option<ConfigMap>, ConfigMapError> {
        if namespace != "kube-system" {
            return Err(ConfigMapError::Refused(format!("configmaps \"{name}\" is forbidden")));
        }
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned())
    }

    fn watch(&self, _: &str, _: &str) -> BoxStream<'static, ()> {
        stream::pending().boxed()
    }
}

fn source(address: &str, cluster: &Arc<Cluster>) -> ConfigMapSource {
    match address.parse().unwrap() {
        Address::ConfigMap(own) => ConfigMapSource::new(&own, cluster.clone(), Policy::default()),
        other => panic!("{other}"),
    }
}

async fn error(address: &str, cluster: &Arc<Cluster>) -> String {
    source(address, cluster).fetch(None).await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_key_is_a_component_compressed_or_not() {
    let cluster = Arc::new(Cluster::default());
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"\0asm component").unwrap();
    cluster.put("hyper", "1", &[("a.wasm", b"\0asm component"), ("b.wasm.gz", &gzip.finish().unwrap())]);
    for key in ["a.wasm", "b.wasm.gz"] {
        let source = source(&format!("configmap://kube-system/hyper/{key}"), &cluster);
        let fetched = source.fetch(None).await.unwrap().unwrap();
        assert_eq!(fetched.bytes.as_ref(), b"\0asm component");
        assert_eq!(fetched.digest, Digest::of(b"\0asm component"));
        assert!(source.fetch(Some(&fetched.revision)).await.unwrap().is_none(), "nothing has changed");
    }
}

#[tokio::test]
async fn without_a_key_it_is_the_only_one() {
    let cluster = Arc::new(Cluster::default());
    cluster.put("one", "1", &[("x.wasm", b"\0asm"), ("x.wasm.sigstore.json", b"{}")]);
    assert!(source("configmap://kube-system/one", &cluster).fetch(None).await.unwrap().is_some());
    cluster.put("two", "1", &[("x.wasm", b"\0asm"), ("y.wasm", b"\0asm")]);
    let said = error("configmap://kube-system/two", &cluster).await;
    assert!(said.contains("it has several keys (x.wasm, y.wasm)"), "{said}");
}

#[tokio::test]
async fn parts_are_put_together_from_one_and_from_several_maps() {
    let cluster = Arc::new(Cluster::default());
    let digest = Digest::of(b"\0asm in three parts").hex();
    cluster.put("hyper-01", "7", &[("x.wasm.01", b" in three")]);
    cluster.put("hyper-02", "8", &[("x.wasm.02", b" parts")]);
    // What is left of a version with more parts does no harm.
    cluster.put("hyper-03", "3", &[("x.wasm.03", b" and more")]);
    let sum = format!("{digest}  x.wasm\n");
    cluster.put("hyper", "9", &[("x.wasm.00", b"\0asm"), ("x.wasm.sha256", sum.as_bytes())]);
    for address in ["configmap://kube-system/hyper", "configmap://kube-system/hyper/x.wasm"] {
        let fetched = source(address, &cluster).fetch(None).await.unwrap().unwrap();
        assert_eq!(fetched.bytes.as_ref(), b"\0asm in three parts");
    }
}

#[tokio::test]
async fn parts_of_two_versions_never_load() {
    let cluster = Arc::new(Cluster::default());
    let digest = Digest::of(b"new new").hex();
    cluster.put("hyper-00", "7", &[("x.wasm.00", b"new")]);
    cluster.put("hyper-01", "2", &[("x.wasm.01", b" old")]);
    cluster.put("hyper", "8", &[("x.wasm.sha256", digest.as_bytes())]);
    let source =
        ConfigMapSource { retry: Duration::from_millis(1), ..source("configmap://kube-system/hyper", &cluster) };
    let error = source.fetch(None).await.unwrap_err();
    assert!(error.is_passing());
    assert_eq!(
        error.to_string(),
        format!(
            "configmap://kube-system/hyper: 2 parts don't make what has the digest sha256:{digest}, and x.wasm.02 (in hyper or hyper-02) is not there: they are of two versions, or not all are written"
        )
    );
    // The other part is written, which nobody tells: it is looked at again.
    cluster.put("hyper-01", "9", &[("x.wasm.01", b" new")]);
    source.changed().await;
    assert_eq!(source.fetch(None).await.unwrap().unwrap().bytes.as_ref(), b"new new");
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_said() {
    let cluster = Arc::new(Cluster::default());
    cluster.put("parts", "1", &[("x.wasm.00", b"\0asm")]);
    cluster.put("wrong", "1", &[("x.wasm", b"\0asm"), ("x.wasm.sha256", Digest::of(b"other").hex().as_bytes())]);
    cluster.put("short", "1", &[("x.wasm", b"\0asm"), ("x.wasm.sha256", b"12")]);
    cluster.put("large", "1", &[("x.wasm", &vec![0; (64 << 20) + 1])]);
    for (address, says) in [
        ("configmap://kube-system/none", "there is no such ConfigMap"),
        ("configmap://kube-system/wrong/y.wasm", "there is no such key in the ConfigMap"),
        ("configmap://kube-system/parts", "it has parts of x.wasm, and no x.wasm.sha256"),
        ("configmap://kube-system/wrong", "its value has the digest sha256:"),
        ("configmap://kube-system/short", "its x.wasm.sha256 is no SHA-256"),
        ("configmap://kube-system/large", "it has 67108865 bytes, and no more than 67108864 bytes are taken"),
        ("configmap://default/hyper", "configmaps \"hyper\" is forbidden"),
    ] {
        let said = error(address, &cluster).await;
        assert!(said.starts_with(address) && said.contains(says), "{said}");
    }
}
