//! Connections as a guest sees them.
//!
//! Each half is behind a lock of its own, so that reading and writing go on at once. A half that was handed to the host
//! is taken out from behind it and lives on when the call and its handle are gone.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use provider::{ByteStream, Code};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use wasmtime::bail;
use wasmtime::component::{Access, Accessor, Resource, StreamReader};

use super::policy::{Address, check, parse};
use crate::audit::Used;
use crate::bindings::vk::host::dial::{self, Options, Sending};
use crate::bindings::vk::host::types::Source;
use crate::call::task;
use crate::egress::Egress;
use crate::error::{Error, error};
use crate::http::connect_error;
use crate::stream::{self, HostStream};
use crate::tls::Profiles;
use crate::{Call, CallData};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_READ: u32 = 1 << 20;
const CHUNK: usize = 64 * 1024;

type Reader = Box<dyn AsyncRead + Send + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// An open connection.
pub struct Connection {
    reading: Arc<Mutex<Option<Reading>>>,
    writing: Arc<Mutex<Option<Writing>>>,
    io: Handle,
}

struct Reading {
    reader: Reader,
    /// What was put back.
    front: Bytes,
}

struct Writing {
    writer: Writer,
}

fn closed(failure: &std::io::Error) -> Error {
    error(Code::Closed, format!("dial: {failure}"))
}

fn handed_over(half: &str) -> Error {
    error(Code::Closed, format!("dial: the {half} half of this connection was handed to the host, or is closed"))
}

impl Connection {
    fn new(socket: impl AsyncRead + AsyncWrite + Send + 'static, io: Handle) -> Self {
        let (reader, writer) = tokio::io::split(socket);
        let (reader, writer) = (Box::new(reader), Box::new(writer));
        Self {
            reading: Arc::new(Mutex::new(Some(Reading { reader, front: Bytes::new() }))),
            writing: Arc::new(Mutex::new(Some(Writing { writer }))),
            io,
        }
    }

    async fn open(egress: &Egress, profiles: &Profiles, address: &Address, options: &Options) -> Result<Self, Error> {
        let io = egress.io().clone();
        match address {
            Address::Unix(path) => {
                let socket = egress.connect_unix(path).await.map_err(|failure| connect_error(&failure))?;
                Ok(Self::new(socket, io))
            }
            Address::Tcp { host, port, tls } => {
                let chosen = profiles.choose(if *tls { &options.tls } else { "" }).await?;
                let socket = egress.connect(host, *port).await.map_err(|failure| connect_error(&failure))?;
                if !tls {
                    return Ok(Self::new(socket, io));
                }
                let name = if options.server_name.is_empty() { host } else { &options.server_name };
                let invalid = |_| error(Code::Invalid, format!("dial: `{name}` is no TLS server name"));
                let name = match chosen.server_name {
                    Some(name) => name,
                    None => ServerName::try_from(name.clone()).map_err(invalid)?,
                };
                let socket = tokio_rustls::TlsConnector::from(chosen.config)
                    .connect(name, socket)
                    .await
                    .map_err(|failure| error(Code::Unavailable, format!("dial: TLS with {host}:{port}: {failure}")))?;
                Ok(Self::new(socket, io))
            }
        }
    }
}

impl Reading {
    async fn read(&mut self, max: usize) -> Result<Vec<u8>, Error> {
        if !self.front.is_empty() {
            return Ok(self.front.split_to(max.min(self.front.len())).to_vec());
        }
        let mut bytes = vec![0; max.min(CHUNK)];
        let count = self.reader.read(&mut bytes).await.map_err(|failure| closed(&failure))?;
        bytes.truncate(count);
        Ok(bytes)
    }

    /// All that comes, until the end.
    fn into_stream(self, writing: Arc<Mutex<Option<Writing>>>) -> ByteStream {
        let front = (!self.front.is_empty()).then_some(Ok(self.front));
        // A writing half that nobody took stays open as long as the other side may still speak.
        let rest = futures::stream::unfold(Some((self.reader, writing)), |state| async {
            let (mut reader, writing) = state?;
            let mut chunk = BytesMut::with_capacity(CHUNK);
            match reader.read_buf(&mut chunk).await {
                Ok(0) => None,
                Ok(_) => Some((Ok(chunk.freeze()), Some((reader, writing)))),
                Err(failure) => Some((Err(provider::Error::new(Code::Closed, format!("dial: {failure}"))), None)),
            }
        });
        Box::pin(futures::stream::iter(front).chain(rest))
    }
}

/// Sends all of the input, then ends the half, or puts it back to stay open as long as the reading half.
async fn copy(mut input: ByteStream, mut writing: Writing, keep: Option<Arc<Mutex<Option<Writing>>>>) {
    while let Some(Ok(chunk)) = input.next().await {
        // That the connection is gone is told by its reading half.
        if writing.writer.write_all(&chunk).await.is_err() || writing.writer.flush().await.is_err() {
            return;
        }
    }
    match keep {
        Some(place) => *place.lock().await = Some(writing),
        None => drop(writing.writer.shutdown().await),
    }
}

impl Call {
    fn connection(&self, connection: &Resource<Connection>) -> wasmtime::Result<&Connection> {
        Ok(self.table.get(connection)?)
    }

    fn reading_half(&self, connection: &Resource<Connection>) -> wasmtime::Result<Arc<Mutex<Option<Reading>>>> {
        Ok(self.connection(connection)?.reading.clone())
    }

    fn writing_half(&self, connection: &Resource<Connection>) -> wasmtime::Result<Arc<Mutex<Option<Writing>>>> {
        Ok(self.connection(connection)?.writing.clone())
    }
}

impl dial::Host for Call {}

impl<T: Send + 'static> dial::HostWithStore<T> for CallData {
    async fn connect(
        accessor: &Accessor<T, Self>,
        address: String,
        options: Options,
    ) -> wasmtime::Result<Result<Resource<Connection>, Error>> {
        let _task = task(accessor)?;
        let own = accessor.with(|mut access| access.get().capabilities.clone());
        let connecting = async {
            let parsed = parse(&address)?;
            check(&own.dial, &parsed)?;
            let timeout = options.timeout.map_or(DEFAULT_TIMEOUT, Duration::from_nanos);
            match tokio::time::timeout(timeout, Connection::open(&own.dial, &own.tls, &parsed, &options)).await {
                Ok(opened) => opened,
                Err(_) => Err(error(Code::Timeout, format!("dial: {address} did not answer within {timeout:?}"))),
            }
        };
        let connected = connecting.await;
        let logger = accessor.with(|mut access| access.get().logger.clone());
        logger.used(connected.as_ref().err(), || Used::new("dial", "connect", &address));
        match connected {
            Ok(connection) => accessor.with(|mut access| Ok(Ok(access.get().table.push(connection)?))),
            Err(error) => Ok(Err(error)),
        }
    }
}

impl dial::HostConnection for Call {
    fn unread(&mut self, connection: Resource<Connection>, bytes: Vec<u8>) -> wasmtime::Result<()> {
        let connection = self.connection(&connection)?;
        if let Ok(mut reading) = connection.reading.try_lock()
            && let Some(reading) = reading.as_mut()
        {
            let held = reading.front.len() + bytes.len();
            if held > MAX_READ as usize {
                bail!("connection.unread: {held} bytes put back, at most {MAX_READ} are held");
            }
            let mut front = BytesMut::from(bytes.as_slice());
            front.extend_from_slice(&reading.front);
            reading.front = front.freeze();
        }
        Ok(())
    }

    fn protocol(&mut self, connection: Resource<Connection>) -> wasmtime::Result<String> {
        self.connection(&connection)?;
        Ok(String::new())
    }

    fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

impl<T: Send + 'static> dial::HostConnectionWithStore<T> for CallData {
    async fn read(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        max: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, Error>> {
        let _task = task(accessor)?;
        let reading = accessor.with(|mut access| access.get().reading_half(&connection))?;
        let mut reading = reading.lock().await;
        Ok(match reading.as_mut() {
            Some(reading) => reading.read(max.clamp(1, MAX_READ) as usize).await,
            None => Err(handed_over("reading")),
        })
    }

    async fn write(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        bytes: Vec<u8>,
    ) -> wasmtime::Result<Result<(), Error>> {
        let _task = task(accessor)?;
        let (writing, held) = accessor.with(|mut access| {
            let call = access.get();
            let held = call.capabilities.quotas.held_bytes.take(bytes.len() as u64);
            call.writing_half(&connection).map(|writing| (writing, held))
        })?;
        let _held = match held {
            Ok(held) => held,
            Err(reached) => return Ok(Err(reached.of("dial"))),
        };
        let mut writing = writing.lock().await;
        let Some(Writing { writer }) = writing.as_mut() else { return Ok(Err(handed_over("writing"))) };
        let written = async {
            writer.write_all(&bytes).await?;
            writer.flush().await
        };
        Ok(written.await.map_err(|failure| closed(&failure)))
    }

    async fn write_text(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        text: String,
    ) -> wasmtime::Result<Result<(), Error>> {
        let _task = task(accessor)?;
        <Self as dial::HostConnectionWithStore<T>>::write(accessor, connection, text.into_bytes()).await
    }

    async fn close_write(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
    ) -> wasmtime::Result<Result<(), Error>> {
        let _task = task(accessor)?;
        let writing = accessor.with(|mut access| access.get().writing_half(&connection))?;
        let Some(mut own) = writing.lock().await.take() else { return Ok(Ok(())) };
        Ok(own.writer.shutdown().await.map_err(|failure| closed(&failure)))
    }

    fn send(
        mut host: Access<'_, T, Self>,
        connection: Resource<Connection>,
        input: StreamReader<u8>,
        sending: Sending,
    ) -> wasmtime::Result<Result<(), Error>> {
        let input = match stream::take(input, &mut host) {
            Ok(own) => own.into_stream(),
            Err(input) => stream::receive(input, &mut host)?,
        };
        let connection = host.get().connection(&connection)?;
        let own = connection.writing.try_lock().ok().and_then(|mut writing| writing.take());
        let Some(own) = own else { return Ok(Err(handed_over("writing"))) };
        let keep = (sending.at_end == "keep").then(|| connection.writing.clone());
        connection.io.spawn(copy(input, own, keep));
        Ok(Ok(()))
    }

    fn receive(
        mut host: Access<'_, T, Self>,
        connection: Resource<Connection>,
    ) -> wasmtime::Result<Result<Source, Error>> {
        let connection = host.get().connection(&connection)?;
        let writing = connection.writing.clone();
        let reading = connection.reading.try_lock().ok().and_then(|mut reading| reading.take());
        match reading {
            Some(reading) => HostStream::new(reading.into_stream(writing)).into_source(&mut host).map(Ok),
            None => Ok(Err(handed_over("reading"))),
        }
    }
}
