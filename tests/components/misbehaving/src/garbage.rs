//! What bindings never send: the same imports and returns as theirs, called by hand.
//!
//! Built for another target than WebAssembly these only end the process.

/// A string that is no UTF-8.
pub fn text() -> String {
    // SAFETY: nobody in this component looks at it.
    unsafe { String::from_utf8_unchecked(vec![b'a', 0xff, 0xfe]) }
}

/// A thousand strings of a mebibyte, all of them the same mebibyte: little here, much for whoever copies them.
pub fn aliases() -> Vec<String> {
    let one = "x".repeat(1 << 20).leak();
    // SAFETY: the host refuses them all before they would be freed; if it did not, the memory is freed twice, and the test fails.
    (0..1_000).map(|_| unsafe { String::from_raw_parts(one.as_mut_ptr(), one.len(), one.len()) }).collect()
}

/// A level that there is none of.
pub fn level() {
    raw::log(77, 0, 0);
}

/// A message that lies outside the memory.
pub fn log_pointer() {
    raw::log(2, OUTSIDE, 1_000);
}

/// A result that lies outside the memory.
pub fn pointer() {
    raw::return_from_create(OUTSIDE);
}

/// A result that is neither success nor error.
pub fn discriminant() {
    let result = [77_u64; 64];
    raw::return_from_create(result.as_ptr() as usize);
}

/// Ends without a word.
pub fn trap() {
    #[cfg(target_family = "wasm")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_family = "wasm"))]
    std::process::abort();
}

const OUTSIDE: usize = 0xffff_ff00;

#[cfg(target_family = "wasm")]
mod raw {
    #[link(wasm_import_module = "vk:host/log@0.1.0")]
    unsafe extern "C" {
        #[link_name = "write"]
        fn write(level: i32, message: usize, length: usize, fields: usize, count: usize);
    }

    #[link(wasm_import_module = "[export]vk:provider/pods@0.1.0")]
    unsafe extern "C" {
        #[link_name = "[task-return]create"]
        fn task_return_create(result: usize);
    }

    pub fn log(level: i32, message: usize, length: usize) {
        // SAFETY: the host looks at all of it before it takes any.
        unsafe { write(level, message, length, 0, 0) }
    }

    pub fn return_from_create(result: usize) {
        // SAFETY: as above.
        unsafe { task_return_create(result) }
    }
}

#[cfg(not(target_family = "wasm"))]
mod raw {
    pub fn log(_level: i32, _message: usize, _length: usize) {
        std::process::abort();
    }

    pub fn return_from_create(_result: usize) {
        std::process::abort();
    }
}
