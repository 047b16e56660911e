//! Sockets of this machine that were not granted.

use std::path::Path;

use tokio::net::UnixListener;

use super::{attempts, connect, fetch, get};
use crate::testing::guest::{Guest, grants};

/// An address that stands for no granted socket; `FOLDER` is where one is granted, `engine.sock`, beside `other.sock`.
async fn socket(address: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("engine.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    let other = UnixListener::bind(folder.path().join("other.sock")).unwrap();
    std::os::unix::fs::symlink(&path, folder.path().join("link.sock")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("other.sock"), folder.path().join("link-to-other.sock")).unwrap();
    let name = folder.path().file_name().and_then(|name| name.to_str()).unwrap();
    let address = address.replace("FOLDER", folder.path().to_str().unwrap()).replace("NAME", name);
    let granted = || grants(&["http://*:*"], &[&format!("unix://{}", path.display()), "*:*"], &[]);
    let error = connect(&mut Guest::new(granted()), &address).await.unwrap_err();
    assert!(matches!(error.code.as_str(), "denied" | "invalid"), "{address}: {error:?}");
    let mut request = get("http://engine/");
    request.endpoint = address.clone();
    let error = fetch(&mut Guest::new(granted()), request).await.unwrap_err();
    assert!(matches!(error.code.as_str(), "denied" | "invalid"), "{address}: {error:?}");
    nobody_came(&other);
}

fn nobody_came(listener: &UnixListener) {
    use futures::FutureExt;
    assert!(listener.accept().now_or_never().is_none(), "somebody connected");
}

attempts! { socket;
    the_socket_of_docker: "unix:///run/docker.sock";
    the_socket_of_containerd: "unix:///run/containerd/containerd.sock";
    the_socket_of_the_system_bus: "unix:///run/dbus/system_bus_socket";
    a_neighbour: "unix://FOLDER/other.sock";
    a_link_to_the_granted_one: "unix://FOLDER/link.sock";
    a_link_to_a_neighbour: "unix://FOLDER/link-to-other.sock";
    a_neighbour_by_dots: "unix://FOLDER/engine.sock/../other.sock";
    the_granted_one_by_dots: "unix://FOLDER/../NAME/engine.sock";
    the_granted_one_by_a_dot: "unix://FOLDER/./engine.sock";
    the_granted_one_by_two_slashes: "unix://FOLDER//engine.sock";
    the_granted_one_with_a_slash: "unix://FOLDER/engine.sock/";
    the_granted_one_with_a_nul: "unix://FOLDER/engine.sock\0";
    a_neighbour_behind_a_nul: "unix://FOLDER/engine.sock\0/../other.sock";
    an_encoded_path: "unix://FOLDER%2fengine.sock";
    an_abstract_socket: "unix://\0abstract";
    an_abstract_socket_by_an_at_sign: "unix://@abstract";
    a_relative_path: "unix://engine.sock";
    a_path_of_the_process: "unix:///proc/self/root/run/docker.sock";
    no_path: "unix://";
    another_scheme_for_it: "unix:FOLDER/engine.sock";
    a_host_in_front: "unix://localhost/run/docker.sock";
    a_file: "file://FOLDER/engine.sock";
    a_virtual_machines_socket: "vsock://2:1024";
}

#[tokio::test]
async fn a_granted_socket_that_was_replaced_by_a_link_is_what_the_operator_put_there() {
    // The path is the operator's word: what is there now is reached, and nothing else is.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("engine.sock");
    let granted = grants(&[], &[&format!("unix://{}", path.display())], &[]);
    let mut guest = Guest::new(granted);
    let error = connect(&mut guest, &format!("unix://{}", path.display())).await.unwrap_err();
    assert_eq!(error.code, "unavailable");
    assert!(!Path::new("/run/no-such-socket").exists());
}
