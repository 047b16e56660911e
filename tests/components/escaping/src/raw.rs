//! The contract's functions as the component model lowers them to numbers: what bindings keep a guest from doing by mistake
//! can be done here on purpose.
//!
//! Safety of all of them: the host looks at every number before it follows it. That is what is tested.

#[link(wasm_import_module = "vk:host/secrets@0.1.0")]
unsafe extern "C" {
    #[link_name = "[method]secret.reveal"]
    pub fn reveal(secret: u32, result: usize);
    #[link_name = "[method]secret.sign"]
    pub fn sign(secret: u32, algorithm: usize, algorithm_length: usize, data: usize, data_length: usize, result: usize);
    #[link_name = "[method]secret.version"]
    pub fn version(secret: u32) -> u64;
    #[link_name = "[method]secret.placeholder"]
    pub fn placeholder(secret: u32, encoding: usize, length: usize, result: usize);
    #[link_name = "[async-lower][method]secret.refused"]
    pub fn refused(secret: u32) -> u32;
    #[link_name = "[resource-drop]secret"]
    pub fn drop_secret(secret: u32);
}

#[link(wasm_import_module = "vk:host/blobs@0.1.0")]
unsafe extern "C" {
    #[link_name = "[method]blob.size"]
    pub fn size(blob: u32, result: usize);
    #[link_name = "[async-lower][method]blob.read"]
    pub fn read(blob: u32, offset: u64, max: u32, result: usize) -> u32;
    #[link_name = "[method]blob.chunks"]
    pub fn chunks(blob: u32, result: usize);
    #[link_name = "[resource-drop]blob"]
    pub fn drop_blob(blob: u32);
    #[link_name = "spool"]
    pub fn spool(bytes: usize, length: usize, result: usize);
    #[link_name = "[async-lower][stream-read-0][method]blob.chunks"]
    pub fn read_stream(stream: u32, to: usize, length: usize) -> u32;
    #[link_name = "[async-lower][stream-write-0][method]blob.chunks"]
    pub fn write_stream(stream: u32, from: usize, length: usize) -> u32;
    #[link_name = "[stream-drop-readable-0][method]blob.chunks"]
    pub fn drop_stream(stream: u32);
    #[link_name = "[stream-drop-writable-0][method]blob.chunks"]
    pub fn drop_writer(stream: u32);
    #[link_name = "[stream-new-0][method]blob.chunks"]
    pub fn new_stream() -> u64;
    #[link_name = "[async-lower][future-read-1][method]blob.chunks"]
    pub fn read_future(future: u32, to: usize) -> u32;
    #[link_name = "[future-drop-readable-1][method]blob.chunks"]
    pub fn drop_future(future: u32);
}

#[link(wasm_import_module = "vk:host/dial@0.1.0")]
unsafe extern "C" {
    #[link_name = "[method]connection.protocol"]
    pub fn protocol(connection: u32, result: usize);
    #[link_name = "[method]connection.unread"]
    pub fn unread(connection: u32, bytes: usize, length: usize);
    #[link_name = "[resource-drop]connection"]
    pub fn drop_connection(connection: u32);
}

#[link(wasm_import_module = "vk:host/log@0.1.0")]
unsafe extern "C" {
    #[link_name = "write"]
    pub fn log(level: u32, message: usize, length: usize, fields: usize, count: usize);
    #[link_name = "enabled"]
    pub fn enabled(level: u32) -> u32;
}

#[link(wasm_import_module = "vk:host/config@0.1.0")]
unsafe extern "C" {
    #[link_name = "node"]
    pub fn node(result: usize);
    #[link_name = "get"]
    pub fn config(key: usize, length: usize, result: usize);
}

#[link(wasm_import_module = "vk:host/random@0.1.0")]
unsafe extern "C" {
    #[link_name = "bytes"]
    pub fn random(length: u32, result: usize);
}

#[link(wasm_import_module = "vk:host/cache@0.1.0")]
unsafe extern "C" {
    #[link_name = "put"]
    pub fn cache(
        key: usize,
        key_length: usize,
        value: usize,
        length: usize,
        condition: u32,
        version: u64,
        time_to_live: u64,
        result: usize,
    );
}

#[link(wasm_import_module = "vk:host/store@0.1.0")]
unsafe extern "C" {
    #[link_name = "[async-lower]put"]
    pub fn store(arguments: usize, result: usize) -> u32;
}

#[link(wasm_import_module = "$root")]
unsafe extern "C" {
    #[link_name = "[waitable-set-new]"]
    pub fn new_set() -> u32;
    #[link_name = "[waitable-set-poll]"]
    pub fn poll_set(set: u32, event: usize) -> u32;
    #[link_name = "[waitable-set-drop]"]
    pub fn drop_set(set: u32);
    #[link_name = "[waitable-join]"]
    pub fn join(waitable: u32, set: u32);
    #[link_name = "[subtask-drop]"]
    pub fn drop_subtask(task: u32);
    #[link_name = "[subtask-cancel]"]
    pub fn cancel_subtask(task: u32) -> u32;
}

#[link(wasm_import_module = "[export]$root")]
unsafe extern "C" {
    #[link_name = "[task-cancel]"]
    pub fn cancel_own();
}

#[link(wasm_import_module = "[export]vk:provider/pods@0.1.0")]
unsafe extern "C" {
    #[link_name = "[task-return]create"]
    pub fn return_from_create(result: usize);
    #[link_name = "[task-return]update"]
    #[allow(clippy::too_many_arguments, reason = "so many numbers is an error flattened to")]
    pub fn return_from_update(
        is_error: u32,
        code: usize,
        code_length: usize,
        scope: usize,
        scope_length: usize,
        reason: usize,
        reason_length: usize,
        message: usize,
        message_length: usize,
        retries: u32,
        after: u64,
    );
}
