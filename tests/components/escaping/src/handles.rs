//! Handles: `OPERATION WHOSE`.

use vk_provider_sdk::host::secrets;
use vk_provider_sdk::types::PodConfig;
use vk_provider_sdk::{Error, Result};

use crate::{raw, unknown};

/// Where results go.
static mut RESULT: [u64; 64] = [0; 64];

pub async fn attempt(words: &[&str], pod: &PodConfig) -> Result<String> {
    let [operation, whose] = words else { return Err(unknown(words)) };
    if *operation == "hoard" {
        return hoard(whose);
    }
    let handle = find(whose, pod).await?;
    let result = &raw const RESULT as usize;
    let (text, length) = ("hmac-sha256".as_ptr() as usize, "hmac-sha256".len());
    // SAFETY: see `raw`.
    unsafe {
        match *operation {
            "tell" => return Ok(handle.to_string()),
            "reveal" => raw::reveal(handle, result),
            "sign" => raw::sign(handle, text, length, text, length, result),
            "version" => drop(raw::version(handle)),
            "placeholder" => raw::placeholder(handle, text, length, result),
            "refused" => drop(raw::refused(handle)),
            "drop-secret" => raw::drop_secret(handle),
            "size" => raw::size(handle, result),
            "read" => drop(raw::read(handle, 0, 100, result)),
            "chunks" => raw::chunks(handle, result),
            "drop-blob" => raw::drop_blob(handle),
            "protocol" => raw::protocol(handle, result),
            "unread" => raw::unread(handle, text, length),
            "drop-connection" => raw::drop_connection(handle),
            "read-stream" => drop(raw::read_stream(handle, result, 1)),
            "write-stream" => drop(raw::write_stream(handle, result, 1)),
            "drop-stream" => raw::drop_stream(handle),
            "drop-writer" => raw::drop_writer(handle),
            "read-future" => drop(raw::read_future(handle, result)),
            "drop-future" => raw::drop_future(handle),
            "poll-set" => drop(raw::poll_set(handle, result)),
            "drop-set" => raw::drop_set(handle),
            "join" => raw::join(handle, raw::new_set()),
            "join-into" => raw::join(stream(0), handle),
            "drop-subtask" => raw::drop_subtask(handle),
            "cancel-subtask" => drop(raw::cancel_subtask(handle)),
            "drop-pollable" => drop(wasip2::io::poll::Pollable::from_handle(handle)),
            "print" => {
                let stream = wasip2::io::streams::OutputStream::from_handle(handle);
                let _ = stream.check_write();
                std::mem::forget(stream);
            }
            _ => return Err(unknown(words)),
        }
    }
    Ok(format!("{operation} {whose}: not refused"))
}

/// The number of this handle.
async fn find(whose: &str, pod: &PodConfig) -> Result<u32> {
    Ok(match whose {
        "secret" => secret().await?,
        "dropped-secret" => {
            let handle = secret().await?;
            // SAFETY: its own.
            unsafe { raw::drop_secret(handle) };
            handle
        }
        "blob" => blob(pod)?,
        "dropped-blob" => {
            let handle = blob(pod)?;
            // SAFETY: its own.
            unsafe { raw::drop_blob(handle) };
            handle
        }
        "stream" => stream(0),
        "future" => stream(1),
        "dropped-stream" => {
            let handle = stream(0);
            // SAFETY: its own.
            unsafe { raw::drop_stream(handle) };
            handle
        }
        // SAFETY: as above.
        "writer" => (unsafe { raw::new_stream() } >> 32) as u32,
        // SAFETY: as above.
        "set" => unsafe { raw::new_set() },
        "dropped-set" => {
            // SAFETY: as above.
            unsafe {
                let handle = raw::new_set();
                raw::drop_set(handle);
                handle
            }
        }
        "pollable" => wasip2::clocks::monotonic_clock::subscribe_duration(1).take_handle(),
        "stdout" => wasip2::cli::stdout::get_stdout().take_handle(),
        number => number.parse().map_err(|_| unknown(&[number]))?,
    })
}

async fn secret() -> Result<u32> {
    let mut opened = secrets::open(vec!["key".into()]).await?;
    Ok(opened.pop().ok_or_else(|| Error::internal("no secret"))?.take_handle())
}

fn blob(pod: &PodConfig) -> Result<u32> {
    let file = pod.sandbox.volumes.iter().flat_map(|volume| &volume.files).next();
    Ok(file.ok_or_else(|| Error::internal("the pod has no file"))?.content.take_handle())
}

/// A stream of the host's (0), or how it ends (1).
fn stream(part: usize) -> u32 {
    let mut source = [0_u64; 8];
    // SAFETY: its own bytes, and a result that has room.
    unsafe { raw::spool(c"bytes".as_ptr() as usize, 5, &raw mut source as usize) };
    // Behind the discriminant, where an error would be aligned.
    (source[1] >> (32 * part)) as u32
}

/// As many handles as it gets.
fn hoard(what: &str) -> Result<String> {
    for count in 0_u32.. {
        match what {
            "streams" => drop(stream(0)),
            "pollables" => drop(wasip2::clocks::monotonic_clock::subscribe_duration(u64::MAX).take_handle()),
            "outputs" => drop(wasip2::cli::stdout::get_stdout().take_handle()),
            "networks" => drop(wasip2::sockets::instance_network::instance_network().take_handle()),
            // SAFETY: see `raw`.
            "sets" => drop(unsafe { raw::new_set() }),
            // SAFETY: see `raw`.
            "writers" => drop(unsafe { raw::new_stream() }),
            _ => return Err(unknown(&[what])),
        }
        if count == 5_000_000 {
            break;
        }
    }
    Ok(format!("hoard {what}: not refused"))
}
