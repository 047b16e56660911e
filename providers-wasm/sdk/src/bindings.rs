//! Rust's view of the contract, generated from `wit/`.
//!
//! One world for what can be imported, and one for each interface that can be exported: a provider exports what it has
//! and nothing else. All of them share the types of the first. Records that providers fill in have a `Default`.

#![allow(
    missing_docs,
    unsafe_code,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated"
)]

wit_bindgen::generate!({
    path: ["wit/host", "wit/provider"],
    inline: r#"
        package vk:sdk@0.1.0;
        world imports {
            include vk:host/capabilities@0.1.0;
            import vk:provider/types@0.1.0;
            import vk:provider/sessions@0.1.0;
        }
    "#,
    world: "vk:sdk/imports",
    runtime_path: "::wit_bindgen::rt",
    additional_type_attributes: {
        "vk:host/types@0.1.0/pod-key": [#[derive(PartialEq, Eq, Default)]],
        "vk:host/types@0.1.0/error": [#[derive(PartialEq, Eq, Default)]],
        "vk:host/config@0.1.0/node-identity": [#[derive(PartialEq, Eq, Default)]],
        "vk:host/dial@0.1.0/options": [#[derive(Default)]],
        "vk:host/dial@0.1.0/sending": [#[derive(Default)]],
        "vk:provider/types@0.1.0/origin": [#[derive(PartialEq, Eq, Default)]],
        "vk:provider/types@0.1.0/extended-resource": [#[derive(PartialEq, Eq)]],
        "vk:provider/types@0.1.0/resources": [#[derive(PartialEq, Eq, Default)]],
        "vk:provider/types@0.1.0/security": [#[derive(Default)]],
        "vk:provider/types@0.1.0/dns": [#[derive(Default)]],
        "vk:provider/types@0.1.0/container-config": [#[derive(Default)]],
        "vk:provider/types@0.1.0/sandbox-config": [#[derive(Default)]],
        "vk:provider/types@0.1.0/volume": [#[derive(Default)]],
        "vk:provider/types@0.1.0/mount": [#[derive(Default)]],
        "vk:provider/types@0.1.0/container-state": [#[derive(PartialEq, Eq, Default)]],
        "vk:provider/types@0.1.0/pod-state": [#[derive(PartialEq, Eq, Default)]],
        "vk:provider/types@0.1.0/change": [#[derive(PartialEq, Eq, Default)]],
    },
    generate_all,
});

/// Bindings of one interface that can be exported, and a macro that exports it.
macro_rules! export {
    ($module:ident, $world:tt, $inline:tt, $bindings:tt, [$($attributes:tt)*], { $($with:tt)* }) => {
        pub mod $module {
            wit_bindgen::generate!({
                path: ["wit/host", "wit/provider"],
                inline: $inline,
                world: $world,
                runtime_path: "::vk_provider_sdk::rt",
                pub_export_macro: true,
                export_macro_name: "export",
                default_bindings_module: $bindings,
                additional_type_attributes: { $($attributes)* },
                with: { "vk:host/types@0.1.0": crate::bindings::vk::host::types, $($with)* },
            });
        }
    };
}

export!(
    node,
    "vk:sdk/node-export",
    "package vk:sdk@0.1.0; world node-export { export vk:provider/node@0.1.0; }",
    "::vk_provider_sdk::bindings::node",
    ["vk:provider/node@0.1.0/description": [#[derive(Default)]],],
    {}
);
export!(
    pods,
    "vk:sdk/pods-export",
    "package vk:sdk@0.1.0; world pods-export { export vk:provider/pods@0.1.0; }",
    "::vk_provider_sdk::bindings::pods",
    [],
    {
        "vk:provider/types@0.1.0": crate::bindings::vk::provider::types,
        "vk:host/blobs@0.1.0": crate::bindings::vk::host::blobs,
    }
);
export!(
    containers,
    "vk:sdk/containers-export",
    "package vk:sdk@0.1.0; world containers-export { export vk:provider/containers@0.1.0; }",
    "::vk_provider_sdk::bindings::containers",
    ["vk:provider/containers@0.1.0/image": [#[derive(PartialEq, Eq, Default)]],],
    {
        "vk:provider/types@0.1.0": crate::bindings::vk::provider::types,
        "vk:host/blobs@0.1.0": crate::bindings::vk::host::blobs,
    }
);
export!(
    watch,
    "vk:sdk/watch-export",
    "package vk:sdk@0.1.0; world watch-export { export vk:provider/watch@0.1.0; }",
    "::vk_provider_sdk::bindings::watch",
    [],
    {
        "vk:provider/types@0.1.0": crate::bindings::vk::provider::types,
        "vk:host/blobs@0.1.0": crate::bindings::vk::host::blobs,
    }
);
export!(
    logs,
    "vk:sdk/logs-export",
    "package vk:sdk@0.1.0; world logs-export { export vk:provider/logs@0.1.0; }",
    "::vk_provider_sdk::bindings::logs",
    ["vk:provider/logs@0.1.0/options": [#[derive(Default)]],],
    {
        "vk:provider/types@0.1.0": crate::bindings::vk::provider::types,
        "vk:host/blobs@0.1.0": crate::bindings::vk::host::blobs,
    }
);
export!(
    exec,
    "vk:sdk/exec-export",
    "package vk:sdk@0.1.0; world exec-export { export vk:provider/exec@0.1.0; }",
    "::vk_provider_sdk::bindings::exec",
    [],
    {
        "vk:provider/types@0.1.0": crate::bindings::vk::provider::types,
        "vk:provider/sessions@0.1.0": crate::bindings::vk::provider::sessions,
        "vk:host/blobs@0.1.0": crate::bindings::vk::host::blobs,
        "vk:host/dial@0.1.0": crate::bindings::vk::host::dial,
    }
);
export!(
    attach,
    "vk:sdk/attach-export",
    "package vk:sdk@0.1.0; world attach-export { export vk:provider/attach@0.1.0; }",
    "::vk_provider_sdk::bindings::attach",
    [],
    {
        "vk:provider/types@0.1.0": crate::bindings::vk::provider::types,
        "vk:provider/sessions@0.1.0": crate::bindings::vk::provider::sessions,
        "vk:host/blobs@0.1.0": crate::bindings::vk::host::blobs,
        "vk:host/dial@0.1.0": crate::bindings::vk::host::dial,
    }
);
export!(
    port_forward,
    "vk:sdk/port-forward-export",
    "package vk:sdk@0.1.0; world port-forward-export { export vk:provider/port-forward@0.1.0; }",
    "::vk_provider_sdk::bindings::port_forward",
    [],
    {
        "vk:provider/types@0.1.0": crate::bindings::vk::provider::types,
        "vk:host/blobs@0.1.0": crate::bindings::vk::host::blobs,
    }
);
export!(
    stats,
    "vk:sdk/stats-export",
    "package vk:sdk@0.1.0; world stats-export { export vk:provider/stats@0.1.0; }",
    "::vk_provider_sdk::bindings::stats",
    [
        "vk:provider/stats@0.1.0/usage": [#[derive(PartialEq, Eq, Default)]],
        "vk:provider/stats@0.1.0/network": [#[derive(PartialEq, Eq, Default)]],
    ],
    {
        "vk:provider/types@0.1.0": crate::bindings::vk::provider::types,
        "vk:host/blobs@0.1.0": crate::bindings::vk::host::blobs,
    }
);
export!(
    files,
    "vk:sdk/files-export",
    "package vk:sdk@0.1.0; world files-export { export vk:provider/files@0.1.0; }",
    "::vk_provider_sdk::bindings::files",
    [],
    {
        "vk:provider/types@0.1.0": crate::bindings::vk::provider::types,
        "vk:host/blobs@0.1.0": crate::bindings::vk::host::blobs,
    }
);
export!(
    probes,
    "vk:sdk/probes-export",
    "package vk:sdk@0.1.0; world probes-export { export vk:provider/probes@0.1.0; }",
    "::vk_provider_sdk::bindings::probes",
    [],
    {}
);
export!(
    restart,
    "vk:sdk/restart-export",
    "package vk:sdk@0.1.0; world restart-export { export vk:provider/restart@0.1.0; }",
    "::vk_provider_sdk::bindings::restart",
    [],
    {
        "vk:provider/types@0.1.0": crate::bindings::vk::provider::types,
        "vk:host/blobs@0.1.0": crate::bindings::vk::host::blobs,
    }
);
export!(
    background,
    "vk:sdk/background-export",
    "package vk:sdk@0.1.0; world background-export { export vk:provider/background@0.1.0; }",
    "::vk_provider_sdk::bindings::background",
    [],
    {}
);
