//! Lines in the host's log; the host adds provider, version, call and pod. A line of a level that is not written is not
//! made either.
//!
//! ```no_run
//! let image = "busybox";
//! vk_provider_sdk::info!("pulled {image}");
//! ```
//!
//! The words of a panic come here too: where there is WASI, by standard error; else by a hook, which is set before the
//! provider is called.

pub use crate::host::log::Level;

/// Writes a line if its level is wanted; what the macros call.
pub fn write(level: Level, message: core::fmt::Arguments<'_>) {
    if crate::host::log::enabled(level) {
        crate::host::log::write(level, &message.to_string(), &[]);
    }
}

/// Steps inside a call.
#[macro_export]
macro_rules! trace {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Trace, format_args!($($message)+)) };
}

/// What helps to find a fault.
#[macro_export]
macro_rules! debug {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Debug, format_args!($($message)+)) };
}

/// What an operator wants to see.
#[macro_export]
macro_rules! info {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Info, format_args!($($message)+)) };
}

/// Something is wrong, and it goes on.
#[macro_export]
macro_rules! warn {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Warn, format_args!($($message)+)) };
}

/// Something failed.
#[macro_export]
macro_rules! error {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Error, format_args!($($message)+)) };
}

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
mod last_words {
    use super::Level;

    /// What the component model's tools run in each instance before it is called.
    #[expect(unsafe_code, reason = "they know it by its name")]
    // SAFETY: nothing else has this name; without WASI there is no C library.
    #[unsafe(no_mangle)]
    extern "C" fn _initialize() {
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            let words = panic.payload_as_str().unwrap_or_default();
            crate::host::log::write(Level::Error, &format!("panicked at {place}: {words}"), &[]);
        }));
    }
}
