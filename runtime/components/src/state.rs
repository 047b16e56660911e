//! What an instance's store holds: one call's part of the capabilities, its memory, and WASI, which does nothing.
//!
//! WASI 0.2 is linked because every language's toolchain imports it: the environment and arguments are empty, there are no
//! folders and no sockets; clocks and random numbers work; what the guest prints becomes lines of its log.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use host_capabilities::Call;
use host_capabilities::log::{Level, Logger};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::memory::Memory;

/// A line that does not end is cut here.
const MAX_LINE: usize = 4_096;
/// Random bytes at once, as in `vk:host/random`: the host makes them outside of the guest's memory.
const MAX_RANDOM: u64 = 64 << 10;

/// Data of a store.
pub(crate) struct State {
    pub(crate) call: Call,
    pub(crate) memory: Memory,
    wasi: WasiCtx,
}

impl State {
    pub(crate) fn new(call: Call, memory: Memory) -> Self {
        let logger = call.logger().clone();
        let stream = |level| Printer { level, logger: logger.clone() };
        let wasi = WasiCtx::builder()
            .allow_blocking_current_thread(true)
            .stdout(stream(Level::Info))
            .stderr(stream(Level::Error))
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .max_random_size(MAX_RANDOM)
            .build();
        Self { call, memory, wasi }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: self.call.table() }
    }
}

#[derive(Clone)]
struct Printer {
    level: Level,
    logger: Logger,
}

impl IsTerminal for Printer {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Printer {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(Lines { printer: self.clone(), line: Vec::new() })
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Lines { printer: self.clone(), line: Vec::new() })
    }
}

/// Cuts what is printed into lines.
struct Lines {
    printer: Printer,
    line: Vec<u8>,
}

impl Lines {
    fn print(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' || self.line.len() == MAX_LINE {
                self.end_line();
            }
            if *byte != b'\n' {
                self.line.push(*byte);
            }
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        if !line.trim().is_empty() {
            self.printer.logger.write(self.printer.level, &line, &[]);
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.end_line();
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}

impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.print(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 * 1024)
    }
}

impl AsyncWrite for Lines {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.print(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
