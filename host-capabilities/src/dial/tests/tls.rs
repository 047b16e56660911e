//! Raw connections behind TLS.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{borrow, dialled, echo, plain, read, refused, write};
use crate::CallData;
use crate::bindings::vk::host::dial::HostConnectionWithStore;
use crate::testing::authority::Authority;
use crate::testing::guest::{Guest, grants};

/// As [`echo`], behind TLS. `polite`: it says that it ends before it does.
async fn tls_echo(config: Arc<rustls::ServerConfig>, polite: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(config);
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            // A client that doesn't trust us goes away.
            let Ok(socket) = acceptor.accept(socket).await else { continue };
            let (mut reader, mut writer) = tokio::io::split(socket);
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
            if polite {
                let _ = writer.shutdown().await;
            }
        }
    });
    port
}

#[tokio::test]
async fn bytes_go_there_and_back_behind_tls() {
    let port = tls_echo(Authority::trusted().server(&["localhost"], &[]), true).await;
    let mut guest = Guest::new(grants(&[], &["tls://localhost:*"], &[]));
    guest
        .run(async |accessor| {
            let connection = dialled(accessor, &format!("tls://localhost:{port}"), plain()).await.unwrap();
            write(accessor, &connection, b"hello").await.unwrap();
            assert_eq!(read(accessor, &connection).await.unwrap(), b"hello");
            let closed = <CallData as HostConnectionWithStore<_>>::close_write(accessor, borrow(&connection)).await;
            closed.unwrap().unwrap();
            assert_eq!(read(accessor, &connection).await.unwrap(), b"");
        })
        .await;
}

#[tokio::test]
async fn an_end_that_was_cut_off_is_an_error() {
    let port = tls_echo(Authority::trusted().server(&["localhost"], &[]), false).await;
    let mut guest = Guest::new(grants(&[], &["tls://localhost:*"], &[]));
    guest
        .run(async |accessor| {
            let connection = dialled(accessor, &format!("tls://localhost:{port}"), plain()).await.unwrap();
            let closed = <CallData as HostConnectionWithStore<_>>::close_write(accessor, borrow(&connection)).await;
            closed.unwrap().unwrap();
            assert_eq!(read(accessor, &connection).await.unwrap_err().code, "closed");
        })
        .await;
}

#[tokio::test]
async fn a_server_is_verified_by_authority_and_name() {
    let unknown = tls_echo(Authority::new().server(&["localhost"], &[]), true).await;
    let other = tls_echo(Authority::trusted().server(&["cell-7.agents.test"], &[]), true).await;
    let granted = || grants(&[], &["tls://localhost:*"], &[]);
    for port in [unknown, other, echo().await] {
        let error = refused(granted(), &format!("tls://localhost:{port}"), plain()).await;
        assert_eq!(error.code, "unavailable");
        assert!(error.message.contains(&format!("localhost:{port}")), "{}", error.message);
    }
    let mut options = plain();
    options.server_name = "cell-7.agents.test".to_owned();
    let mut guest = Guest::new(granted());
    let address = format!("tls://localhost:{other}");
    guest.run(async |accessor| dialled(accessor, &address, options).await).await.unwrap();
    let mut options = plain();
    options.server_name = "no name".to_owned();
    assert_eq!(refused(granted(), &address, options).await.code, "invalid");
}

#[tokio::test]
async fn an_address_is_verified_as_such() {
    let port = tls_echo(Authority::trusted().server(&["127.0.0.1"], &[]), true).await;
    let mut guest = Guest::new(grants(&[], &["tls://127.0.0.1:*"], &[]));
    guest.run(async |accessor| dialled(accessor, &format!("tls://127.0.0.1:{port}"), plain()).await).await.unwrap();
}
