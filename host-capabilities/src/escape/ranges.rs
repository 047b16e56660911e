//! Every special range: a granted name that leads there is refused by the address.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;

use super::{all_names, attempts, connect, fetch, get};
use crate::egress::Resolve;
use crate::testing::guest::Guest;

/// Every name leads to this address.
struct LeadsTo(IpAddr);

#[async_trait]
impl Resolve for LeadsTo {
    async fn resolve(&self, _: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(vec![SocketAddr::new(self.0, port)])
    }
}

/// The first and the last address of a range are refused.
async fn special(first: &str, last: &str) {
    for address in [first, last] {
        let resolver = Arc::new(LeadsTo(address.parse().unwrap()));
        let mut guest = Guest::resolving(all_names(), resolver);
        let error = fetch(&mut guest, get("http://api.example.com/")).await.unwrap_err();
        assert_eq!(error.code, "denied", "{address}: {}", error.message);
        assert!(error.message.contains("not a public address"), "{}", error.message);
        let error = connect(&mut guest, "tcp://api.example.com:443").await.unwrap_err();
        assert_eq!(error.code, "denied", "{address}: {}", error.message);
    }
}

attempts! { special;
    this_network: "0.0.0.0", "0.255.255.255";
    private_10: "10.0.0.0", "10.255.255.255";
    carriers_shared: "100.64.0.0", "100.127.255.255";
    loopback: "127.0.0.0", "127.255.255.255";
    link_local: "169.254.0.0", "169.254.255.255";
    private_172: "172.16.0.0", "172.31.255.255";
    protocol_assignments: "192.0.0.0", "192.0.0.255";
    documentation_1: "192.0.2.0", "192.0.2.255";
    relays_of_6to4: "192.88.99.0", "192.88.99.255";
    private_192: "192.168.0.0", "192.168.255.255";
    benchmarks: "198.18.0.0", "198.19.255.255";
    documentation_2: "198.51.100.0", "198.51.100.255";
    documentation_3: "203.0.113.0", "203.0.113.255";
    multicast: "224.0.0.0", "239.255.255.255";
    reserved: "240.0.0.0", "255.255.255.255";
    v6_unspecified_and_loopback: "::", "::1";
    v6_mapped: "::ffff:0.0.0.0", "::ffff:10.255.255.255";
    v6_translation: "64:ff9b::", "64:ff9b::ac1f:ffff";
    v6_local_translation: "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff";
    v6_discard: "100::", "100::ffff:ffff:ffff:ffff";
    v6_dummy: "100:0:0:1::", "100:0:0:1:ffff:ffff:ffff:ffff";
    v6_teredo: "2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff";
    v6_benchmarks: "2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff";
    v6_orchid: "2001:10::", "2001:2f:ffff:ffff:ffff:ffff:ffff:ffff";
    v6_documentation: "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff";
    v6_documentation_2: "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff";
    v6_6to4_of_private: "2002:a00::", "2002:c0a8:ffff:ffff:ffff:ffff:ffff:ffff";
    v6_segment_routing: "5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    v6_unique_local: "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    v6_link_local: "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    v6_site_local: "fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    v6_multicast: "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
}
