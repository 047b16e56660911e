//! The node's own address, where it is not given.

use std::net::{IpAddr, ToSocketAddrs, UdpSocket};

use anyhow::{Context, Result, bail};

/// The address of this machine that packets to the API server come from. Sends none.
pub fn towards(server: &http::Uri) -> Result<IpAddr> {
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = server.port_u16().unwrap_or(443);
    let targets =
        (host, port).to_socket_addrs().with_context(|| format!("the API server's name {host} can't be resolved"))?;
    for target in targets {
        let local = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let found = UdpSocket::bind(local).and_then(|socket| {
            socket.connect(target)?;
            socket.local_addr()
        });
        if let Ok(address) = found {
            return Ok(address.ip());
        }
    }
    bail!("no address of this machine reaches the API server at {host}: --node-ip gives one")
}
