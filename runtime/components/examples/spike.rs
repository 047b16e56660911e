//! throw-away
use components::*;
use futures::StreamExt;
use host_capabilities::{Capabilities, Grants, Host, config::NodeIdentity};
use provider::*;
use std::sync::Arc;
use std::time::{Duration, Instant};
fn pod(n: usize, greed: &str) -> PodConfig {
    let env = |i: usize| EnvVar { name: format!("VAR_{i}"), value: Text::literal(format!("value-{i}")) };
    let c = |n: &str| ContainerConfig {
        name: n.into(),
        role: Role::App,
        attempt: 0,
        image: "busybox:stable".into(),
        image_id: "".into(),
        pull_policy: "IfNotPresent".into(),
        command: vec![Text::literal("sh")],
        arguments: vec![],
        working_folder: "".into(),
        env: (0..10).map(env).collect(),
        mounts: vec![],
        devices: vec![],
        ports: vec![],
        resources: Resources::default(),
        security: Security::default(),
        stdin: false,
        stdin_once: false,
        tty: false,
        stop_signal: "".into(),
        termination_message_path: "".into(),
        restart_policy: "Always".into(),
    };
    PodConfig {
        sandbox: SandboxConfig {
            key: PodKey::new(format!("uid-{n}"), "default", "web"),
            attempt: 0,
            labels: vec![("app".into(), "web".into())],
            annotations: vec![("greed".into(), greed.into())],
            hostname: "web".into(),
            domain: "".into(),
            dns: Dns::default(),
            hosts: vec![],
            host_network: false,
            host_pid: false,
            host_ipc: false,
            share_processes: false,
            sysctls: vec![],
            fs_group: None,
            runtime_class: "".into(),
            operating_system: "linux".into(),
            ports: vec![],
            volumes: vec![],
            resources: Resources::default(),
            manifest: "x".repeat(2500).into(),
        },
        containers: vec![c("a"), c("b")],
        grace_period: Duration::from_secs(30),
        active_deadline: None,
        credentials: vec![],
    }
}
fn main() {
    let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let engine = Engine::new().unwrap();
    let limits: Limits = "wall=3s".parse().unwrap();
    let bytes = Bytes::read(std::path::Path::new(&std::env::args().nth(1).unwrap()), limits.component_size).unwrap();
    let t = Instant::now();
    let cache = CodeCache::open(std::path::Path::new("/tmp/spike/code")).unwrap();
    let compiled = Compiled::new(&engine, &bytes, &limits, Some(&cache)).unwrap();
    println!("compiled in {:?}: {:?}", t.elapsed(), compiled.inspection());
    let store = host_capabilities::store::Embedded::open(std::path::Path::new("/tmp/spike/store.redb")).unwrap();
    let host = Host { io: rt.handle().clone(), store: Arc::new(store) };
    let grants = Grants {
        http: vec![host_capabilities::egress::Rule::parse("http://example.com", &["http"], false).unwrap()],
        ..Grants::default()
    };
    let caps = Arc::new(Capabilities::new(
        "spike",
        NodeIdentity {
            cluster: "c".into(),
            name: "n".into(),
            address: "".into(),
            operating_system: "linux".into(),
            cluster_domain: "".into(),
        },
        grants,
        &host,
        Box::new(|e| println!("event {e:?}")),
    ));
    rt.block_on(async {
        let p = Arc::new(ComponentProvider::load(&engine, compiled, limits, caps).await.unwrap());
        println!("{:?}", p.describe().await);
        let Kind::Pods(pods) = p.kind() else { panic!() };
        println!("{:?}", pods.create(pod(0, "")).await.unwrap().ips);
        for greed in ["spin", "alloc", "trap", "recurse", "never", "sleep", "flood", "oversize", "store", "http"] {
            let t = Instant::now();
            let r = pods.create(pod(0, greed)).await;
            println!("{greed}: {:?} {:?}", t.elapsed(), r.map(|s| s.message.len()));
        }
        for c in ["spliced", "pump"] {
            let log = p
                .logs()
                .unwrap()
                .open(
                    Target { pod: PodRef::first(PodKey::new("u", "n", "p")), container: c.into(), id: "".into() },
                    LogOptions::default(),
                )
                .await
                .unwrap();
            let n: usize = log.output.content.map(|c| c.unwrap().len()).fold(0, |a, b| async move { a + b }).await;
            println!("{c}: {n}");
        }
        {
            let log = p
                .logs()
                .unwrap()
                .open(
                    Target {
                        pod: PodRef::first(PodKey::new("u", "n", "p")),
                        container: "endless".into(),
                        id: "".into(),
                    },
                    LogOptions::default(),
                )
                .await
                .unwrap();
            let t = Instant::now();
            let mut s = log.output.content;
            let mut n = 0;
            while t.elapsed() < Duration::from_secs(4) {
                match s.next().await {
                    Some(c) => n += c.unwrap().len(),
                    None => break,
                }
            }
            println!("endless {n} after {:?}", t.elapsed());
        }
        let w: Vec<_> = p.watch().unwrap().open(None).await.unwrap().collect().await;
        println!("{w:?}");
        // bench
        for _ in 0..500 {
            pods.create(pod(0, "")).await.unwrap();
        }
        for round in 0..2 {
            let mut v = vec![];
            for i in 0..5000 {
                let q = pod(i, "");
                let t = Instant::now();
                pods.create(q).await.unwrap();
                v.push(t.elapsed());
            }
            v.sort();
            println!("create p50 {:?} p99 {:?}", v[2500], v[4950]);
            let mut v = vec![];
            for _ in 0..5000 {
                let t = Instant::now();
                pods.list(None).await.unwrap();
                v.push(t.elapsed());
            }
            v.sort();
            println!("list p50 {:?} p99 {:?} {round}", v[2500], v[4950]);
        }
        for conc in [2usize, 16, 64] {
            let t = Instant::now();
            let n = 40000;
            let hs: Vec<_> = (0..conc)
                .map(|_| {
                    let p = p.clone();
                    tokio::spawn(async move {
                        let Kind::Pods(pods) = p.kind() else { panic!() };
                        for i in 0..n / conc {
                            pods.create(pod(i, "")).await.unwrap();
                        }
                    })
                })
                .collect();
            for h in hs {
                h.await.unwrap();
            }
            println!("conc {conc}: {:.0}/s", n as f64 / t.elapsed().as_secs_f64());
        }
        // good one beside 100 spinners
        let spin: Vec<_> = (0..20)
            .map(|i| {
                let p = p.clone();
                tokio::spawn(async move {
                    let Kind::Pods(pods) = p.kind() else { panic!() };
                    pods.create(pod(i, "spin")).await
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut v = vec![];
        for _ in 0..500 {
            let t = Instant::now();
            pods.list(None).await.unwrap();
            v.push(t.elapsed());
        }
        v.sort();
        println!("beside spinners: list p50 {:?} p99 {:?}", v[250], v[495]);
        drop(spin);
    });
    println!(
        "{}",
        std::fs::read_to_string("/proc/self/status")
            .unwrap()
            .lines()
            .filter(|l| l.starts_with("VmRSS"))
            .collect::<String>()
    );
}
