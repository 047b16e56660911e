//! The pod's `/etc/hosts`, where it has a domain: the engine's own file lacks it. It lies in the pod's volume, and is written
//! once the address is known.

use vk_provider_sdk::archive::{Archive, Owner};
use vk_provider_sdk::host::clock;
use vk_provider_sdk::types::SandboxConfig;
use vk_provider_sdk::{Result, time};

use crate::endpoint::Engine;
use crate::holders::put;
use crate::names::Names;

/// Where it is in the pod's volume.
pub const HOSTS: &str = "hosts";

/// Whether the pod has an `/etc/hosts` of ours: the engine's own lacks the domain.
pub fn has_hosts_file(sandbox: &SandboxConfig) -> bool {
    !sandbox.domain.is_empty() && !sandbox.host_network
}

/// The pod's `/etc/hosts`.
pub fn hosts_file(sandbox: &SandboxConfig, ips: &[String]) -> String {
    let mut text = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
    for ip in ips {
        text.push_str(&format!("{ip}\t{0}.{1}\t{0}\n", sandbox.hostname, sandbox.domain));
    }
    for alias in &sandbox.hosts {
        text.push_str(&format!("{}\t{}\n", alias.ip, alias.hostnames.join("\t")));
    }
    text
}

/// Gives the pod its `/etc/hosts`, once its address is known.
pub async fn write(engine: &Engine, config: &SandboxConfig, names: Names<'_>, ips: &[String]) -> Result<()> {
    let mut archive = Archive::new(clock::now() / time::SECOND);
    archive.file(HOSTS, Owner::root(0o644), hosts_file(config, ips).as_bytes())?;
    put(engine, &names.files(), archive.finish()?).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use vk_provider_sdk::types::HostAlias;

    #[test]
    fn the_hosts_file_names_the_pod_with_its_domain() {
        let mut own = SandboxConfig { hostname: "web-0".into(), ..SandboxConfig::default() };
        own.domain = "web.default.svc.cluster.local".into();
        own.hosts = vec![HostAlias { ip: "10.1.2.3".into(), hostnames: vec!["a.b".into(), "c".into()] }];
        let text = hosts_file(&own, &["10.88.0.2".into()]);
        assert!(text.contains("10.88.0.2\tweb-0.web.default.svc.cluster.local\tweb-0\n"), "{text}");
        assert!(text.contains("10.1.2.3\ta.b\tc\n"), "{text}");
        assert!(has_hosts_file(&own));
        assert!(!has_hosts_file(&SandboxConfig::default()));
    }
}
