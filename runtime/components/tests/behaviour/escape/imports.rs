//! What a component imports is refused before anything of it runs, where the host does not have it, has it otherwise, or was
//! not told to grant it.

use components::Bytes;

use super::Sandbox;
use crate::lab::Loading;

/// A provider that imports this; what it exports is looked at later.
async fn refused(imports: &str, says: &str) {
    let text = format!(
        "(component {imports} (instance $hollow)
            (export \"vk:provider/node@0.1.0\" (instance $hollow))
            (export \"vk:provider/pods@0.1.0\" (instance $hollow)))"
    );
    let bytes = Bytes { name: "importing.wasm".to_owned(), bytes: wat::parse_str(&text).unwrap() };
    // What others can do is not changed by it.
    let sandbox = Sandbox::new().await;
    let error = Loading::new("importing").load_bytes(&bytes).await.err().expect("a refusal").to_string();
    assert!(error.contains("importing.wasm ") && error.contains(says), "{error}");
    assert!(!error.contains('\n'), "{error}");
    sandbox.own.works().await;
    sandbox.beside.works().await;
}

macro_rules! imports {
    ($($name:ident: $imports:literal => $says:literal;)+) => {
        $(
            #[tokio::test]
            async fn $name() {
                refused($imports, $says).await;
            }
        )+
    };
}

imports! {
    requests_by_wasi: r#"(import "wasi:http/outgoing-handler@0.2.0" (instance (export "handle" (func))))"#
        => "wasi:http/outgoing-handler@0.2.0";
    serving_by_wasi: r#"(import "wasi:http/types@0.2.0" (instance (export "fields" (type (sub resource)))))"#
        => "wasi:http/types@0.2.0";
    a_store_by_wasi: r#"(import "wasi:keyvalue/store@0.2.0-draft" (instance (export "open" (func))))"#
        => "wasi:keyvalue/store@0.2.0-draft";
    sockets_of_another_wasi: r#"(import "wasi:sockets/types@0.3.0" (instance (export "tcp-socket" (type (sub resource)))))"#
        => "wasi:sockets/types@0.3.0";
    threads_by_wasi: r#"(import "wasi:thread/spawn@0.1.0" (instance (export "spawn" (func))))"#
        => "wasi:thread/spawn@0.1.0";
    a_function_that_wasi_does_not_have: r#"(import "wasi:cli/environment@0.2.0" (instance (export "set-environment" (func))))"#
        => "set-environment";
    a_function_of_wasi_with_another_type:
        r#"(import "wasi:random/random@0.2.0" (instance (export "get-random-u64" (func (param "at" u64) (result u64)))))"#
        => "get-random-u64";
    a_function_that_a_capability_does_not_have:
        r#"(import "vk:host/secrets@0.1.0" (instance (export "steal" (func (result (list u8))))))"# => "steal";
    a_function_of_a_capability_with_another_type:
        r#"(import "vk:host/clock@0.1.0" (instance (export "now" (func (result string)))))"# => "now";
    a_resource_that_a_capability_does_not_have:
        r#"(import "vk:host/config@0.1.0" (instance (export "process" (type (sub resource)))))"# => "process";
    a_function_without_an_interface: r#"(import "open-file" (func (param "path" string)))"# => "open-file";
    a_module_of_the_hosts: r#"(import "host-module" (core module))"# => "host-module";
    a_component_of_the_hosts: r#"(import "host-component" (component))"# => "component imports are not supported";
    an_interface_of_the_runtime_itself: r#"(import "wasmtime:runtime/host@1.0.0" (instance))"# => "wasmtime:runtime/host@1.0.0";
}
