//! What was asked for is read back: engines drop what they don't know, or what their machine can't do, without a word. Pure.
//!
//! Not compared, because engines don't tell: the seccomp filter, `/proc` masks, shared memory with the machine.

use crate::mounts::{Planned, Source};
use crate::object::{Inspected, Mount};
use crate::request::Wanted;

/// The pod's field that the engine did not take; none if it took all.
pub fn missing(wanted: &Wanted, got: &Inspected, is_libpod: bool) -> Option<String> {
    let config = &got.config;
    let host = &got.host_config;
    let limits = &wanted.limits;
    let is_asked = |asked: Option<i64>, got: i64| asked.is_none_or(|asked| asked == got);
    let security_opt = |option: &str| host.security_opt.iter().any(|own| own.starts_with(option));
    let scalar: [(&str, bool); 17] = [
        ("image", id(&wanted.image) == id(&got.image)),
        ("command, args", has_command(wanted, got)),
        ("workingDir", wanted.working_folder.is_empty() || wanted.working_folder == config.working_dir),
        ("securityContext.runAsUser, runAsGroup", wanted.user.is_empty() || wanted.user == config.user),
        ("securityContext.supplementalGroups", wanted.groups.iter().all(|group| host.group_add.contains(group))),
        ("securityContext.privileged", wanted.privileged == host.privileged),
        ("securityContext.readOnlyRootFilesystem", wanted.read_only_root == host.readonly_rootfs),
        ("securityContext.allowPrivilegeEscalation", !wanted.no_new_privileges || security_opt("no-new-privileges")),
        ("securityContext.capabilities", has_capabilities(wanted, got, is_libpod)),
        ("tty", wanted.tty == config.tty),
        ("stdin", wanted.stdin == config.open_stdin),
        ("resources.requests.cpu", is_asked(limits.shares, host.cpu_shares)),
        ("resources.limits.cpu", is_asked(limits.quota, host.cpu_quota)),
        ("resources.limits.memory", is_asked(limits.memory, host.memory)),
        ("resources.limits.memory (swap)", is_asked(limits.memory, host.memory_swap)),
        ("resources.requests.memory", is_asked(limits.reservation, host.memory_reservation)),
        ("securityContext.appArmorProfile", has_app_armor(wanted, got, is_libpod)),
    ];
    if let Some((field, _)) = scalar.into_iter().find(|(_, is_there)| !is_there) {
        return Some(field.to_owned());
    }
    if let Some((name, _)) = wanted.env.iter().find(|variable| !has_variable(got, variable)) {
        return Some(format!("env `{name}`"));
    }
    let mount = wanted.mounts.iter().find(|own| !got.mounts.iter().any(|mount| is_mount(own, mount)));
    mount.map(|own| format!("volumeMounts `{}`", own.destination))
}

/// An image's id: Docker writes its algorithm before it.
fn id(id: &str) -> &str {
    id.trim_start_matches("sha256:")
}

fn has_command(wanted: &Wanted, got: &Inspected) -> bool {
    // libpod tells a program without arguments as its own argument.
    let arguments = if got.args.len() == 1 && got.args.first() == Some(&got.path) { &[] } else { got.args.as_slice() };
    let mut run = [&got.path].into_iter().chain(arguments);
    if wanted.command.is_empty() {
        // After what the image begins with.
        return arguments.ends_with(&wanted.arguments) || run.eq(&wanted.arguments);
    }
    let same = run.by_ref().eq(wanted.command.iter().chain(&wanted.arguments));
    // `true true` is told as `true` is.
    same || [&got.path].into_iter().chain(&got.args).eq(wanted.command.iter().chain(&wanted.arguments))
}

fn has_variable(got: &Inspected, (name, value): &(String, String)) -> bool {
    got.config
        .env
        .iter()
        .any(|own| own.strip_prefix(name.as_str()).and_then(|own| own.strip_prefix('=')) == Some(value))
}

fn has_capabilities(wanted: &Wanted, got: &Inspected, is_libpod: bool) -> bool {
    if wanted.privileged {
        return true;
    }
    let (add, drop) = (&wanted.add_capabilities, &wanted.drop_capabilities);
    let is_in = |list: &[String], name: &str| list.iter().any(|own| plain(own) == plain(name));
    if !is_libpod {
        // Docker tells what it was asked.
        let host = &got.host_config;
        return add.iter().all(|name| is_in(&host.cap_add, name))
            && drop.iter().all(|name| is_in(&host.cap_drop, name));
    }
    // libpod tells what it came to; nothing at all where none is left.
    let bounding = got.bounding_caps.as_deref().unwrap_or_default();
    if is_in(add, "ALL") {
        return !bounding.is_empty();
    }
    let has_dropped = if is_in(drop, "ALL") {
        bounding.iter().all(|name| is_in(add, name))
    } else {
        drop.iter().all(|name| is_in(add, name) || !is_in(bounding, name))
    };
    has_dropped && add.iter().all(|name| is_in(bounding, name))
}

fn plain(capability: &str) -> &str {
    capability.trim_start_matches("CAP_")
}

fn has_app_armor(wanted: &Wanted, got: &Inspected, is_libpod: bool) -> bool {
    // A machine without AppArmor confines nothing, and says so.
    if wanted.app_armor.is_empty() || wanted.app_armor == "unconfined" {
        return true;
    }
    let option = format!("apparmor={}", wanted.app_armor);
    got.app_armor_profile == wanted.app_armor || (!is_libpod && got.host_config.security_opt.contains(&option))
}

fn is_mount(own: &Planned, got: &Mount) -> bool {
    let is_source = match &own.source {
        Source::Bind(source) => got.r#type == "bind" && got.source == *source,
        Source::Volume(name) => got.r#type == "volume" && got.name == *name,
    };
    let is_propagation = own.propagation.is_empty() || got.propagation == own.propagation;
    is_source && is_propagation && got.destination == own.destination && got.writable != own.read_only
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use serde_json::{Value, json};

    /// As Podman 4.3.1 tells it, shortened.
    fn inspected() -> Value {
        json!({
            "Image": "8bc5", "Path": "sh", "Args": ["-c", "id"], "AppArmorProfile": "",
            "BoundingCaps": ["CAP_NET_ADMIN"],
            "Mounts": [
                {"Type": "bind", "Source": "/v/files/cfg", "Destination": "/cfg", "RW": false, "Propagation": "rprivate"},
                {"Type": "volume", "Name": "mem", "Source": "/v/mem", "Destination": "/m", "RW": true, "Propagation": "rprivate"}],
            "Config": {"User": "1000:1001", "Tty": false, "OpenStdin": false, "WorkingDir": "/tmp",
                "Env": ["A=", "B=x=y", "PATH=/bin"], "StopSignal": 10},
            "HostConfig": {"CapAdd": ["CAP_NET_ADMIN"], "CapDrop": ["CAP_CHOWN"], "GroupAdd": ["2000"], "Privileged": false,
                "ReadonlyRootfs": true, "SecurityOpt": ["no-new-privileges"], "CpuShares": 102, "Memory": 67_108_864,
                "CpuQuota": 50_000, "MemoryReservation": 33_554_432, "MemorySwap": 67_108_864},
        })
    }

    fn wanted() -> Wanted {
        let mount = |source, destination: &str, read_only| Planned {
            source,
            destination: destination.into(),
            read_only,
            propagation: "",
            make: None,
        };
        Wanted {
            image: "sha256:8bc5".into(),
            command: vec!["sh".into(), "-c".into()],
            arguments: vec!["id".into()],
            working_folder: "/tmp".into(),
            env: vec![("A".into(), String::new()), ("B".into(), "x=y".into())],
            user: "1000:1001".into(),
            groups: vec!["2000".into()],
            add_capabilities: vec!["CAP_NET_ADMIN".into()],
            drop_capabilities: vec!["ALL".into()],
            no_new_privileges: true,
            read_only_root: true,
            limits: Limits {
                shares: Some(102),
                quota: Some(50_000),
                memory: Some(64 << 20),
                reservation: Some(32 << 20),
            },
            mounts: vec![
                mount(Source::Bind("/v/files/cfg".into()), "/cfg", true),
                mount(Source::Volume("mem".into()), "/m", false),
            ],
            ..Wanted::default()
        }
    }

    fn read(value: Value) -> Inspected {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_was_taken_is_not_missed() {
        assert_eq!(missing(&wanted(), &read(inspected()), true), None);
        let arguments_alone = Wanted { command: Vec::new(), ..wanted() };
        assert_eq!(missing(&arguments_alone, &read(inspected()), true), None);
    }

    #[test]
    fn a_program_without_arguments_is_told_in_two_ways() {
        let own = Wanted { command: vec!["true".into()], arguments: Vec::new(), ..wanted() };
        let twice = Wanted { arguments: vec!["true".into()], ..own.clone() };
        let mut got = inspected();
        (got["Path"], got["Args"]) = (json!("true"), json!(["true"]));
        assert_eq!(missing(&own, &read(got.clone()), true), None);
        assert_eq!(missing(&twice, &read(got.clone()), true), None);
        let arguments = Wanted { command: Vec::new(), arguments: vec!["true".into()], ..wanted() };
        assert_eq!(missing(&arguments, &read(got.clone()), true), None);
        (got["Args"], got["HostConfig"]["CapDrop"]) = (json!([]), json!(["ALL"]));
        assert_eq!(missing(&own, &read(got), false), None);
    }

    #[test]
    fn each_field_that_was_dropped_is_named() {
        for (path, value, field) in [
            ("/Image", json!("other"), "image"),
            ("/Args", json!(["-c"]), "command, args"),
            ("/Config/WorkingDir", json!("/"), "workingDir"),
            ("/Config/User", json!(""), "securityContext.runAsUser, runAsGroup"),
            ("/Config/Tty", json!(true), "tty"),
            ("/Config/OpenStdin", json!(true), "stdin"),
            ("/Config/Env", json!(["B=x=y"]), "env `A`"),
            ("/HostConfig/GroupAdd", json!(null), "securityContext.supplementalGroups"),
            ("/HostConfig/Privileged", json!(true), "securityContext.privileged"),
            ("/HostConfig/ReadonlyRootfs", json!(false), "securityContext.readOnlyRootFilesystem"),
            ("/HostConfig/SecurityOpt", json!([]), "securityContext.allowPrivilegeEscalation"),
            ("/BoundingCaps", json!(["CAP_NET_ADMIN", "CAP_CHOWN"]), "securityContext.capabilities"),
            ("/BoundingCaps", json!([]), "securityContext.capabilities"),
            ("/HostConfig/CpuShares", json!(0), "resources.requests.cpu"),
            ("/HostConfig/CpuQuota", json!(0), "resources.limits.cpu"),
            ("/HostConfig/Memory", json!(0), "resources.limits.memory"),
            ("/HostConfig/MemorySwap", json!(-1), "resources.limits.memory (swap)"),
            ("/HostConfig/MemoryReservation", json!(0), "resources.requests.memory"),
            ("/Mounts/0/RW", json!(true), "volumeMounts `/cfg`"),
            ("/Mounts/0/Source", json!("/v/files"), "volumeMounts `/cfg`"),
            ("/Mounts/1/Name", json!("other"), "volumeMounts `/m`"),
        ] {
            let mut got = inspected();
            *got.pointer_mut(path).unwrap() = value;
            assert_eq!(missing(&wanted(), &read(got), true).as_deref(), Some(field), "{path}");
        }
    }

    #[test]
    fn where_no_capability_is_left_libpod_tells_none() {
        let own = Wanted { add_capabilities: Vec::new(), ..wanted() };
        let mut got = inspected();
        got["BoundingCaps"] = Value::Null;
        assert_eq!(missing(&own, &read(got), true), None);
    }

    #[test]
    fn docker_lists_capabilities_as_they_were_asked() {
        let mut got = inspected();
        got["BoundingCaps"] = Value::Null;
        assert_eq!(missing(&wanted(), &read(got.clone()), false).as_deref(), Some("securityContext.capabilities"));
        got["HostConfig"]["CapDrop"] = json!(["ALL"]);
        assert_eq!(missing(&wanted(), &read(got), false), None);
    }

    #[test]
    fn a_profile_that_is_not_in_force_is_missed() {
        let own = Wanted { app_armor: "mine".into(), ..wanted() };
        assert_eq!(missing(&own, &read(inspected()), true).as_deref(), Some("securityContext.appArmorProfile"));
        let own = Wanted { app_armor: "unconfined".into(), ..wanted() };
        assert_eq!(missing(&own, &read(inspected()), true), None);
    }
}
