//! Configuration files: what they come to, and what is said of wrong ones.

use std::path::{Path, PathBuf};

use super::plan::Plan;
use super::{Source, flags, read, schema_text};
use crate::arguments::Arguments;

const WHOLE: &str = "\
apiVersion: vk-runtime.io/v1alpha1
kind: Configuration
stateDir: state
log: { level: debug, format: json }
audit: { uses: off }
cluster:
  id: test
  domain: cluster.example
  dns: [10.96.0.10]
providers:
- name: engine
  component: engine.wasm
  limits: { memory: 128Mi, calls: 16 }
  allow:
    dial: ['unix:///run/engine.sock']
    http: ['GET https://api.example.com/v1']
    addresses: [10.0.0.0/8]
  podSecrets: deny
  secrets:
  - { name: key, from: 'env:KEY', mode: sign }
  config: { endpoint: 'unix:///run/engine.sock', retries: 3, prices: { small: 0.5 } }
nodes:
- name: one
  provider: engine
  labels: { zone: y }
  taints: ['a=b:NoExecute']
- name: two
  provider: engine
  os: windows
  addresses: ['10.0.0.2', 'fd00::2']
  kubelet: { port: 0 }
  shutdown: drain
  drainTimeout: 90s
  staysDeleted: true
  dns: []
  taints: []
  config: { retries: '4' }
";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("engine.wasm"), "").unwrap();
        Self(folder)
    }

    fn file(&self, text: &str) -> PathBuf {
        let path = self.0.path().join("vk.yaml");
        std::fs::write(&path, text).unwrap();
        path
    }

    fn plan(&self, text: &str) -> Result<Plan, String> {
        let (configuration, source) = read(&self.file(text)).map_err(|problems| problems.to_string())?;
        Plan::new(&configuration, &source).map_err(|problems| problems.to_string())
    }

    /// What is said of the file, a line each, without the folder.
    fn problems(&self, text: &str) -> Vec<String> {
        let folder = format!("{}/", self.0.path().display());
        self.plan(text)
            .map_or_else(|text| text.replace(&folder, ""), |_| String::new())
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

#[test]
fn a_file_says_what_runs() {
    let folder = Folder::new();
    let plan = folder.plan(WHOLE).unwrap();
    assert_eq!(plan.state_dir, folder.0.path().join("state"));
    assert_eq!((plan.cluster_id.as_deref(), plan.cluster_domain.as_str()), (Some("test"), "cluster.example"));
    let engine = &plan.providers["engine"];
    assert_eq!(engine.component.to_string(), folder.0.path().join("engine.wasm").display().to_string());
    assert_eq!((engine.limits.memory, engine.limits.calls), (128 << 20, 16));
    assert_eq!(engine.dial[0].to_string(), "unix:///run/engine.sock");
    assert_eq!(engine.http[0].to_string(), "GET https://api.example.com:443/v1");
    assert_eq!(engine.secrets[0].name, "key");
    assert!(!engine.pod_secrets.may_reveal());
    let (one, two) = (&plan.nodes["one"], &plan.nodes["two"]);
    assert_eq!((one.kubelet.port, two.kubelet.port), (10_250, 0));
    assert_eq!(one.labels["zone"], "y", "as YAML 1.2 has it");
    assert_eq!((one.dns.len(), two.dns.len()), (1, 0));
    assert_eq!((one.taints.len(), two.taints.len()), (1, 0));
    assert_eq!(two.os.label(), "windows");
    assert_eq!((one.drain_timeout.as_secs(), two.drain_timeout.as_secs()), (300, 90));
    assert_eq!((one.stays_deleted, two.stays_deleted), (false, true));
    let told = |settings: &std::collections::BTreeMap<String, String>| {
        settings.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(told(&one.settings), "endpoint=unix:///run/engine.sock prices.small=0.5 retries=3");
    assert_eq!(told(&two.settings), "endpoint=unix:///run/engine.sock prices.small=0.5 retries=4");
}

#[test]
fn flags_and_a_file_come_to_the_same() {
    let folder = Folder::new();
    let component = folder.0.path().join("engine.wasm").display().to_string();
    let words = [
        "vk-runtime",
        "--component",
        &component,
        "--nodename",
        "one",
        "--limit",
        "calls=16",
        "--allow-dial",
        "unix:///run/engine.sock",
        "--secret",
        "key=env:KEY:sign",
        "--config",
        "retries=3",
        "--label",
        "zone=a",
        "--cluster-id",
        "test",
        "--state-dir",
        "/state",
        "--shutdown",
        "drain",
        "--drain-timeout",
        "2m",
        "--stays-deleted",
    ];
    let run = Arguments::read(words.iter().map(Into::into)).unwrap().run;
    let of_flags = Plan::new(&flags::configuration(&run, |_| None).unwrap(), &Source::Flags).unwrap();
    let of_file = folder
        .plan(
            "apiVersion: vk-runtime.io/v1alpha1\nkind: Configuration\nstateDir: /state\ncluster: { id: test }\nproviders:\n\
             - { name: engine, component: engine.wasm, limits: { calls: 16 }, allow: { dial: ['unix:///run/engine.sock'] },\n    \
             secrets: [{ name: key, from: 'env:KEY', mode: sign }], config: { retries: 3 } }\n\
             nodes: [{ name: one, provider: engine, labels: { zone: a }, shutdown: drain, drainTimeout: 2m, staysDeleted: true }]\n",
        )
        .unwrap();
    assert_eq!(format!("{of_flags:?}"), format!("{of_file:?}"));
}

#[test]
fn every_wrong_line_is_told_with_its_place() {
    let folder = Folder::new();
    let text = "\
apiVersion: vk-runtime.io/v1
kind: Configuration
statedir: /x
providers:
- name: engine
  component: engine.wasm
  allow:
    htp: []
    dial: 'unix:///run/engine.sock'
  limits: { calls: [1] }
nodes:
- name: one
  kubelet: { port: 70000 }
  labels: { a: 1 }
  nonsense: true
";
    assert_eq!(
        folder.problems(text),
        [
            "vk.yaml:1:1: apiVersion: `vk-runtime.io/v1` is no value of this; there are: vk-runtime.io/v1alpha1",
            "vk.yaml:3:1: statedir: `statedir` is no key here; did you mean `stateDir`? There are: apiVersion, audit, cluster, kind, \
         log, metrics, nodes, providers, stateDir",
            "vk.yaml:8:5: providers[0].allow.htp: `htp` is no key here; did you mean `http`? There are: addresses, dial, http, \
         podCIDRs",
            "vk.yaml:9:5: providers[0].allow.dial: a list is wanted here, not `unix:///run/engine.sock`",
            "vk.yaml:10:13: providers[0].limits.calls: a whole number or a text is wanted here, not a list",
            "vk.yaml:12:3: nodes[0]: the key `provider` is missing",
            "vk.yaml:13:14: nodes[0].kubelet.port: 70000 is more than 65535, the most that this may be",
            "vk.yaml:14:13: nodes[0].labels.a: a text is wanted here, not the number 1 (in quotes it is a text)",
            "vk.yaml:15:3: nodes[0].nonsense: `nonsense` is no key here; there are: addresses, bootstrapKubeconfig, \
         config, dns, drainTimeout, kubeconfig, kubelet, labels, name, os, provider, shutdown, staysDeleted, taints",
        ]
    );
}

#[test]
fn what_no_schema_says_is_told_too() {
    let folder = Folder::new();
    let text = "\
apiVersion: vk-runtime.io/v1alpha1
kind: Configuration
cluster: { kubeconfig: none.kubeconfig, id: A }
providers:
- name: engine
  component: none.wasm
  limits: { memory: much, memry: 1Mi }
  allow: { http: [example.com], dial: [host], addresses: [x], podCIDRs: [10.0.0.0/33] }
  secrets: [{ name: key, from: 'vault:x', mode: sign }]
  config: { list: [1] }
- name: engine
  component: ftp://x
nodes:
- { name: one, provider: engne, taints: ['key:Never'], drainTimeout: long }
- { name: one, provider: engine, kubelet: { certificate: c.pem } }
- { name: A_b, provider: engine, kubelet: { port: 0 } }
";
    let problems = folder.problems(text);
    for says in [
        "vk.yaml:3:12: cluster.kubeconfig: the file none.kubeconfig can't be read: No such file",
        "vk.yaml:3:41: cluster.id: `A`: it is made of a-z",
        "vk.yaml:6:3: providers[0].component: the file none.wasm can't be read",
        "vk.yaml:7:13: providers[0].limits.memory: the limit memory can't be `much`",
        "vk.yaml:7:27: providers[0].limits.memry: `memry` is no limit",
        "vk.yaml:8:19: providers[0].allow.http[0]: `example.com`: the scheme is missing",
        "providers[0].allow.dial[0]: `host`: the port is missing",
        "providers[0].allow.addresses[0]: ",
        "providers[0].allow.podCIDRs[0]: ",
        "vk.yaml:9:13: providers[0].secrets[0]: the source `vault` is none of",
        "vk.yaml:10:3: providers[0].config: `list` is a list",
        "vk.yaml:11:3: providers[1].name: there are two providers `engine`",
        "vk.yaml:12:3: providers[1].component: `ftp://x` is no address of a component",
        "vk.yaml:14:16: nodes[0].provider: `engne` is no provider of this configuration; did you mean `engine`?",
        "nodes[0].taints[0]: the effect `Never`",
        "nodes[0].drainTimeout: a time is written as 30s or 5m",
        "vk.yaml:15:5: nodes[1].name: there are two nodes `one`",
        "nodes[1].kubelet.port: the nodes `one` and `one` have the same port 10250; 0 takes any that is free",
        "nodes[1].kubelet: the certificate's `key` is missing",
        "nodes[2].name: `A_b`: a node's name is made of",
    ] {
        assert!(problems.iter().any(|line| line.contains(says)), "{says:?} is missing:\n{}", problems.join("\n"));
    }
}

#[test]
fn what_is_no_document_is_told_with_its_line() {
    let folder = Folder::new();
    for (text, says) in [
        ("a: [", "vk.yaml: "),
        ("a: 1\na: 2\n", "line 2"),
        ("", "a mapping (keys with values) is wanted here, not nothing"),
        ("[]", "a mapping (keys with values) is wanted here, not a list"),
    ] {
        let problems = folder.problems(text).join("\n");
        assert!(problems.contains(says), "{text:?}: {problems}");
    }
    let error = read(Path::new("/no/such/vk.yaml")).unwrap_err().to_string();
    assert!(error.contains("/no/such/vk.yaml: it can't be read: No such file"), "{error}");
}

#[test]
fn the_filled_in_configuration_comes_to_the_same() {
    let folder = Folder::new();
    let plan = folder.plan(WHOLE).unwrap();
    let (configuration, _) = read(&folder.file(WHOLE)).unwrap();
    let printed = serde_saphyr::to_string(&plan.fill_in(configuration)).unwrap();
    assert!(printed.contains("from: env:KEY") && printed.contains("port: 10250"), "{printed}");
    assert_eq!(format!("{:?}", folder.plan(&printed).unwrap()), format!("{plan:?}"), "{printed}");
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_schema_that_is_shipped_is_that_of_the_types() {
    let shipped = std::fs::read_to_string(repository().join("deploy/configuration.schema.json")).unwrap_or_default();
    assert!(shipped == schema_text(), "`vk-runtime config schema >deploy/configuration.schema.json` makes it anew");
}

#[test]
fn the_example_is_right() {
    let text = std::fs::read_to_string(repository().join("deploy/examples/configuration.yaml")).unwrap();
    let folder = Folder::new();
    for file in ["hyper.wasm", "mock.wasm", "node.kubeconfig"] {
        std::fs::write(folder.0.path().join(file), "").unwrap();
    }
    let text = text.replace("/etc/vk-runtime/", "");
    assert_eq!(folder.problems(&text), Vec::<String>::new());
}
