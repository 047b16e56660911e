//! Rust's view of `wit/provider`, generated; the types of `wit/host` are those that the capabilities use.

#![allow(missing_docs, unsafe_code, unused_qualifications, clippy::all, clippy::pedantic)]

wasmtime::component::bindgen!({
    path: ["../../wit/host", "../../wit/provider"],
    inline: "
        package vk:loaded;
        world provider {
            include vk:provider/pods-provider@0.1.0;
            export vk:provider/containers@0.1.0;
        }
    ",
    world: "vk:loaded/provider",
    require_store_data_send: true,
    with: {
        "vk:host/types": host_capabilities::bindings::vk::host::types,
        "vk:host/http": host_capabilities::bindings::vk::host::http,
        "vk:host/dial": host_capabilities::bindings::vk::host::dial,
        "vk:host/secrets": host_capabilities::bindings::vk::host::secrets,
        "vk:host/store": host_capabilities::bindings::vk::host::store,
        "vk:host/cache": host_capabilities::bindings::vk::host::cache,
        "vk:host/process": host_capabilities::bindings::vk::host::process,
        "vk:host/files": host_capabilities::bindings::vk::host::files,
        "vk:host/log": host_capabilities::bindings::vk::host::log,
        "vk:host/events": host_capabilities::bindings::vk::host::events,
        "vk:host/metrics": host_capabilities::bindings::vk::host::metrics,
        "vk:host/config": host_capabilities::bindings::vk::host::config,
        "vk:host/blobs": host_capabilities::bindings::vk::host::blobs,
        "vk:host/clock": host_capabilities::bindings::vk::host::clock,
        "vk:host/random": host_capabilities::bindings::vk::host::random,
        "vk:host/images": host_capabilities::bindings::vk::host::images,
        "vk:host/schedule": host_capabilities::bindings::vk::host::schedule,
        "vk:host/certificates": host_capabilities::bindings::vk::host::certificates,
    },
});
