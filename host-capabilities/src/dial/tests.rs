//! `dial` as a guest uses it, against sockets on loopback.

mod refusals;
mod streams;
mod tls;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wasmtime::component::{Accessor, Resource};

use crate::bindings::vk::host::dial::{HostConnectionWithStore, HostWithStore, Options};
use crate::dial::Connection;
use crate::error::Error;
use crate::testing::guest::Guest;
use crate::{Call, CallData, Grants};

fn plain() -> Options {
    Options {
        server_name: String::new(),
        tls: String::new(),
        headers: Vec::new(),
        protocols: Vec::new(),
        timeout: None,
    }
}

async fn dialled(
    accessor: &Accessor<Call, CallData>,
    address: &str,
    options: Options,
) -> Result<Resource<Connection>, Error> {
    <CallData as HostWithStore<Call>>::connect(accessor, address.to_owned(), options).await.unwrap()
}

/// A second handle on the same connection, as a guest's borrow is.
fn borrow(connection: &Resource<Connection>) -> Resource<Connection> {
    Resource::new_borrow(connection.rep())
}

async fn read(accessor: &Accessor<Call, CallData>, connection: &Resource<Connection>) -> Result<Vec<u8>, Error> {
    <CallData as HostConnectionWithStore<Call>>::read(accessor, borrow(connection), 1024).await.unwrap()
}

async fn write(
    accessor: &Accessor<Call, CallData>,
    connection: &Resource<Connection>,
    bytes: &[u8],
) -> Result<(), Error> {
    <CallData as HostConnectionWithStore<Call>>::write(accessor, borrow(connection), bytes.to_vec()).await.unwrap()
}

/// The error of a connection that must not be made.
async fn refused(grants: Grants, address: &str, options: Options) -> Error {
    let connected =
        Guest::new(grants).run(async |accessor| dialled(accessor, address, options).await.map(|_| ())).await;
    match connected {
        Ok(()) => unreachable!("{address} was connected to"),
        Err(error) => error,
    }
}

/// A server that sends back what it reads, until its client ends its half. Returns its port.
async fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut reader, mut writer) = socket.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
                let _ = writer.write_all(b"!").await;
                let _ = writer.shutdown().await;
            });
        }
    });
    port
}

/// Accepts one connection, and returns all that came before its client ended its half.
async fn heard(listener: TcpListener) -> Vec<u8> {
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).await.unwrap();
    bytes
}
