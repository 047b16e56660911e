//! A pod of 4 KB: two containers with ten variables each, and its manifest.

use std::time::Duration;

use provider::{ContainerConfig, Dns, EnvVar, PodConfig, PodKey, Resources, Role, SandboxConfig, Security, Text};

/// Bytes of its manifest.
const MANIFEST: usize = 2_500;

/// Pod number `n`.
pub fn pod(n: usize) -> PodConfig {
    PodConfig {
        sandbox: SandboxConfig {
            key: PodKey::new(format!("4f6a3c1e-0000-4000-8000-{n:012}"), "default", format!("web-{n}")),
            attempt: 0,
            labels: vec![("app".into(), "web".into())],
            annotations: Vec::new(),
            hostname: "web".into(),
            domain: String::new(),
            dns: Dns::default(),
            hosts: Vec::new(),
            host_network: false,
            host_pid: false,
            host_ipc: false,
            share_processes: false,
            sysctls: Vec::new(),
            fs_group: None,
            runtime_class: String::new(),
            operating_system: "linux".into(),
            ports: Vec::new(),
            volumes: Vec::new(),
            resources: Resources::default(),
            manifest: "x".repeat(MANIFEST).into(),
        },
        containers: vec![container("server"), container("proxy")],
        grace_period: Duration::from_secs(30),
        active_deadline: None,
        credentials: Vec::new(),
    }
}

fn container(name: &str) -> ContainerConfig {
    let variable = |n| EnvVar { name: format!("VARIABLE_{n}"), value: Text::literal(format!("some value {n}")) };
    ContainerConfig {
        name: name.into(),
        role: Role::App,
        attempt: 0,
        image: "registry.example.com/team/image:1.2.3".into(),
        image_id: String::new(),
        pull_policy: "IfNotPresent".into(),
        command: vec![Text::literal("server"), Text::literal("--port=80")],
        arguments: Vec::new(),
        working_folder: String::new(),
        env: (0..10).map(variable).collect(),
        mounts: Vec::new(),
        devices: Vec::new(),
        ports: Vec::new(),
        resources: Resources::default(),
        security: Security::default(),
        stdin: false,
        stdin_once: false,
        tty: false,
        stop_signal: String::new(),
        termination_message_path: String::new(),
        restart_policy: "Always".into(),
    }
}
