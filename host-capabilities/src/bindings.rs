//! Rust's view of `wit/host`, generated.

#![allow(missing_docs, unsafe_code, unused_qualifications, clippy::all, clippy::pedantic)]

wasmtime::component::bindgen!({
    path: "../wit/host",
    world: "vk:host/capabilities",
    imports: {
        "vk:host/http.send": async | store | trappable,
        "vk:host/dial.[method]connection.send": store | trappable,
        "vk:host/dial.[method]connection.receive": store | trappable,
        "vk:host/blobs.[method]blob.chunks": store | trappable,
        "vk:host/blobs.spool": store | trappable,
        default: trappable,
    },
    with: {
        "vk:host/dial.connection": crate::dial::Connection,
        "vk:host/secrets.secret": crate::secrets::Secret,
        "vk:host/blobs.blob": crate::blobs::Blob,
    },
});
