//! What may not be connected to.

use tokio::net::{TcpListener, UnixListener};

use super::{dialled, echo, plain, refused};
use crate::Grants;
use crate::testing::guest::{Guest, grants};

#[tokio::test]
async fn nothing_is_granted_by_default() {
    let port = echo().await;
    let error = refused(Grants::default(), &format!("tcp://127.0.0.1:{port}"), plain()).await;
    assert_eq!(error.code, "denied");
    assert!(error.message.contains(&format!("--allow-dial=127.0.0.1:{port}")), "{}", error.message);
    // What is granted to requests is not granted to raw connections.
    let for_requests = grants(&["http://127.0.0.1:*"], &[], &[]);
    assert_eq!(refused(for_requests, &format!("tcp://127.0.0.1:{port}"), plain()).await.code, "denied");
}

#[tokio::test]
async fn another_scheme_host_or_port_is_denied() {
    let granted = || grants(&[], &["tcp://db.example.com:5432", "tls://*.cells.example.com:6421"], &[]);
    for address in [
        "tls://db.example.com:5432",
        "tcp://db.example.com:22",
        "tcp://example.com:5432",
        "tcp://db.example.com.evil.test:5432",
        "tcp://a.cells.example.com:6421",
        "tls://cells.example.com:6421",
        "tls://acells.example.com:6421",
        "tls://a.cells.example.com:443",
    ] {
        assert_eq!(refused(granted(), address, plain()).await.code, "denied", "{address}");
    }
}

#[tokio::test]
async fn special_addresses_are_denied_to_rules_for_names_in_every_form() {
    let port = echo().await;
    for host in [
        "127.0.0.1",
        "127.1",
        "127.0.0.1.",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0",
        "localhost",
        "LOCALHOST.",
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "10.0.0.1",
        "167772161",
        "192.168.1",
        "[::1]",
        "::1",
        "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[::127.0.0.1]",
        "[64:ff9b::169.254.169.254]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fe80::1%1]",
        "[fd00:ec2::254]",
        "[ff02::1]",
    ] {
        for rules in [&["*:*"][..], &["*:*", "localhost:1", "[203.0.113.0/24]:*"][..]] {
            let error = refused(grants(&[], rules, &[]), &format!("tcp://{host}:{port}"), plain()).await;
            // A form that the resolver doesn't know is no address at all.
            assert!(matches!(error.code.as_str(), "denied" | "unavailable"), "{host}: {}", error.message);
            assert!(error.code == "denied" || error.message.contains("can't be resolved"), "{}", error.message);
        }
    }
}

#[tokio::test]
async fn a_range_says_where_names_may_lead_and_no_further() {
    let port = echo().await;
    let granted = || grants(&[], &["localhost.example.com:*", "localhost:*"], &["127.0.0.0/8", "::1"]);
    let mut guest = Guest::new(granted());
    guest.run(async |accessor| dialled(accessor, &format!("tcp://localhost:{port}"), plain()).await).await.unwrap();
    // The range grants no address by itself.
    assert_eq!(refused(granted(), &format!("tcp://127.0.0.1:{port}"), plain()).await.code, "denied");
    let elsewhere = grants(&[], &["*:*"], &["10.0.0.0/8"]);
    assert_eq!(refused(elsewhere, &format!("tcp://localhost:{port}"), plain()).await.code, "denied");
}

#[tokio::test]
async fn a_socket_needs_a_grant_of_its_exact_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("engine.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::os::unix::fs::symlink(&path, folder.path().join("alias.sock")).unwrap();
    let shown = folder.path().display();
    let granted = || grants(&[], &[&format!("unix://{}", path.display()), "*:*"], &[]);
    let name = folder.path().file_name().unwrap().to_str().unwrap();
    for address in [
        "unix:///run/docker.sock".to_owned(),
        format!("unix://{shown}/alias.sock"),
        format!("unix://{shown}/../{name}/engine.sock"),
        format!("unix://{shown}/./engine.sock"),
        format!("unix://{shown}//engine.sock"),
        format!("unix://{shown}/engine.sock/"),
        format!("unix://{shown}/engine.sock\0x"),
        "unix://engine.sock".to_owned(),
        "unix://\0abstract".to_owned(),
        "unix://".to_owned(),
    ] {
        assert_eq!(refused(granted(), &address, plain()).await.code, "denied", "{address:?}");
    }
    let mut guest = Guest::new(granted());
    let address = format!("unix://{}", path.display());
    guest.run(async |accessor| dialled(accessor, &address, plain()).await).await.unwrap();
    listener.accept().await.unwrap();
    drop(listener);
    let error = refused(granted(), &address, plain()).await;
    assert_eq!(error.code, "unavailable");
    assert!(error.message.contains(path.to_str().unwrap()), "{}", error.message);
}

#[tokio::test]
async fn what_is_no_address_is_invalid() {
    for address in [
        "",
        "127.0.0.1:80",
        "tcp://127.0.0.1",
        "tcp://:80",
        "tcp://host:0",
        "tcp://host:70000",
        "tcp://host:80/path",
        "http://host:80",
        "TCP://host:80",
    ] {
        let error = refused(grants(&[], &["*:*"], &[]), address, plain()).await;
        assert_eq!(error.code, "invalid", "{address}");
        assert!(error.message.contains(&format!("`{address}`")), "{}", error.message);
    }
    let error = refused(grants(&[], &["*:*"], &[]), "wss://host/exec", plain()).await;
    assert_eq!(error.code, "unsupported");
    let mut options = plain();
    options.tls = "cells".to_owned();
    let error = refused(grants(&[], &["tls://host:1"], &[]), "tls://host:1", options).await;
    assert_eq!(error.code, "denied");
    assert!(error.message.contains("`cells`"), "{}", error.message);
}

#[tokio::test]
async fn who_does_not_answer_is_unavailable_or_a_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let granted = || grants(&[], &["127.0.0.1:*"], &[]);
    // It accepts, and never begins its part of the handshake.
    let mut options = plain();
    options.timeout = Some(20_000_000);
    let error = refused(granted(), &format!("tls://{address}"), options).await;
    assert_eq!(error.code, "timeout");
    assert!(error.message.contains(&address.to_string()), "{}", error.message);
    drop(listener);
    let error = refused(granted(), &format!("tcp://{address}"), plain()).await;
    assert_eq!(error.code, "unavailable");
    assert!(error.message.contains(&address.to_string()), "{}", error.message);
}

#[tokio::test]
async fn the_number_of_open_connections_is_bounded() {
    let port = echo().await;
    let address = format!("tcp://127.0.0.1:{port}");
    let mut guest = Guest::limited(grants(&[], &["127.0.0.1:*"], &[]), &[("connections", "8")]);
    guest
        .run(async |accessor| {
            let mut open = Vec::new();
            for _ in 0..8 {
                open.push(dialled(accessor, &address, plain()).await.unwrap());
            }
            let error = dialled(accessor, &address, plain()).await.unwrap_err();
            assert_eq!(error.code, "limit");
            assert!(error.message.contains("the limit connections=8"), "{}", error.message);
            let one = open.pop().unwrap();
            accessor
                .with(|mut access| crate::bindings::vk::host::dial::HostConnection::drop(access.get(), one))
                .unwrap();
            dialled(accessor, &address, plain()).await.unwrap();
        })
        .await;
    // What the call had open is closed with it.
    drop(guest.store);
    assert_eq!(guest.capabilities.quotas.connections.used(), 0);
}
