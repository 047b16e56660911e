//! Bytes in both directions, and halves that are handed to the host.

use std::time::Duration;

use tokio::net::TcpListener;

use super::{borrow, dialled, echo, heard, plain, read, write};
use crate::CallData;
use crate::bindings::vk::host::dial::{HostConnection, HostConnectionWithStore, Sending};
use crate::testing::guest::{Guest, collect, grants, spooled, take};

fn guest() -> Guest {
    Guest::new(grants(&[], &["127.0.0.1:*"], &[]))
}

fn sending(at_end: &str) -> Sending {
    Sending { message: String::new(), max_message: None, at_end: at_end.to_owned() }
}

#[tokio::test]
async fn bytes_go_there_and_back_until_both_halves_end() {
    let address = format!("tcp://127.0.0.1:{}", echo().await);
    guest()
        .run(async |accessor| {
            let connection = dialled(accessor, &address, plain()).await.unwrap();
            write(accessor, &connection, b"hello").await.unwrap();
            assert_eq!(read(accessor, &connection).await.unwrap(), b"hello");
            let closed = <CallData as HostConnectionWithStore<_>>::close_write(accessor, borrow(&connection)).await;
            closed.unwrap().unwrap();
            assert_eq!(read(accessor, &connection).await.unwrap(), b"!");
            assert_eq!(read(accessor, &connection).await.unwrap(), b"");
            assert_eq!(write(accessor, &connection, b"more").await.unwrap_err().code, "closed");
        })
        .await;
}

#[tokio::test]
async fn what_was_put_back_is_read_first_and_is_bounded() {
    let address = format!("tcp://127.0.0.1:{}", echo().await);
    guest()
        .run(async |accessor| {
            let connection = dialled(accessor, &address, plain()).await.unwrap();
            write(accessor, &connection, b"tail").await.unwrap();
            let unread = |bytes: &[u8]| {
                accessor.with(|mut access| HostConnection::unread(access.get(), borrow(&connection), bytes.to_vec()))
            };
            unread(b"second ").unwrap();
            unread(b"first ").unwrap();
            assert_eq!(read(accessor, &connection).await.unwrap(), b"first second ");
            assert_eq!(read(accessor, &connection).await.unwrap(), b"tail");
            unread(&vec![0; 1 << 20]).unwrap();
            let trap = unread(b"x").unwrap_err().to_string();
            assert!(trap.contains("connection.unread"), "{trap}");
        })
        .await;
}

#[tokio::test]
async fn a_reading_half_is_handed_out_once_and_outlives_the_call() {
    let address = format!("tcp://127.0.0.1:{}", echo().await);
    let mut guest = guest();
    let mut stream = guest
        .run(async |accessor| {
            let connection = dialled(accessor, &address, plain()).await.unwrap();
            write(accessor, &connection, b"spliced").await.unwrap();
            let receive = || {
                accessor.with(|access| {
                    <CallData as HostConnectionWithStore<_>>::receive(access, borrow(&connection)).unwrap()
                })
            };
            let source = receive().unwrap();
            assert_eq!(receive().err().unwrap().code, "closed");
            assert_eq!(read(accessor, &connection).await.unwrap_err().code, "closed");
            let input = spooled(accessor, b" input");
            let sent = accessor.with(|access| {
                <CallData as HostConnectionWithStore<_>>::send(access, borrow(&connection), input, sending("")).unwrap()
            });
            sent.unwrap();
            assert_eq!(write(accessor, &connection, b"x").await.unwrap_err().code, "closed");
            take(accessor, source.content)
        })
        .await;
    let capabilities = guest.capabilities.clone();
    drop(guest);
    assert_eq!(collect(&mut stream).await.unwrap(), b"spliced input!");
    drop(stream);
    assert_eq!(capabilities.quotas.connections.used(), 0);
}

#[tokio::test]
async fn the_end_of_the_input_ends_our_half_unless_it_is_kept() {
    for (at_end, then) in [("close", None), ("keep", Some(b" and more"))] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("tcp://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(heard(listener));
        let mut guest = guest();
        guest
            .run(async |accessor| {
                let connection = dialled(accessor, &address, plain()).await.unwrap();
                let input = spooled(accessor, b"all");
                accessor
                    .with(|access| {
                        let own = borrow(&connection);
                        <CallData as HostConnectionWithStore<_>>::send(access, own, input, sending(at_end)).unwrap()
                    })
                    .unwrap();
                let Some(more) = then else { return };
                // The half comes back once the input was sent.
                while write(accessor, &connection, more).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
            .await;
        drop(guest);
        let expected = [b"all".as_slice(), then.map_or(&[][..], |more| more.as_slice())].concat();
        assert_eq!(server.await.unwrap(), expected, "{at_end}");
    }
}

#[tokio::test]
async fn a_dropped_connection_is_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(heard(listener));
    guest()
        .run(async |accessor| {
            let connection = dialled(accessor, &address, plain()).await.unwrap();
            write(accessor, &connection, b"bye").await.unwrap();
            accessor.with(|mut access| HostConnection::drop(access.get(), connection)).unwrap();
            assert_eq!(server.await.unwrap(), b"bye");
        })
        .await;
}
