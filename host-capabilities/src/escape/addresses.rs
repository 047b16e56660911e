//! Metadata services and this machine, written in every form, by a provider that may reach every name.

use super::{all_names, attempts, connect, get, is_refused, request_is_refused};
use crate::testing::guest::Guest;

/// Neither requests nor raw connections reach this host.
async fn unreachable_host(host: &str) {
    request_is_refused(all_names(), get(&format!("http://{host}/latest/meta-data/"))).await;
    request_is_refused(all_names(), get(&format!("https://{host}:8443/"))).await;
    for address in [format!("tcp://{host}:80"), format!("tls://{host}:443")] {
        let error = connect(&mut Guest::new(all_names()), &address).await.expect_err(&address);
        is_refused(&address, &error);
    }
}

attempts! { unreachable_host;
    the_metadata_service_by_its_address: "169.254.169.254";
    by_a_decimal_number: "2852039166";
    by_an_octal_number: "025177524776";
    by_octal_parts: "0251.0376.0251.0376";
    by_octal_parts_with_many_zeros: "00000251.00000376.00000251.00000376";
    by_a_hexadecimal_number: "0xa9fea9fe";
    by_hexadecimal_parts: "0xa9.0xfe.0xa9.0xfe";
    by_mixed_parts: "0xa9.254.0251.254";
    by_three_parts: "169.254.43518";
    by_two_parts: "169.16689662";
    by_a_trailing_dot: "169.254.169.254.";
    by_an_upper_case_hexadecimal_number: "0XA9FEA9FE";
    by_full_width_digits: "１６９.２５４.１６９.２５４";
    by_circled_digits: "①⑥⑨.②⑤④.①⑥⑨.②⑤④";
    by_an_ideographic_full_stop: "169。254。169。254";
    by_a_mapped_v6_address: "[::ffff:169.254.169.254]";
    by_a_mapped_v6_address_in_hexadecimal: "[::ffff:a9fe:a9fe]";
    by_a_mapped_v6_address_written_out: "[0:0:0:0:0:ffff:a9fe:a9fe]";
    by_a_compatible_v6_address: "[::a9fe:a9fe]";
    by_nat64: "[64:ff9b::a9fe:a9fe]";
    by_local_nat64: "[64:ff9b:1::a9fe:a9fe]";
    by_6to4: "[2002:a9fe:a9fe::1]";
    by_teredo: "[2001:0:4136:e378:8000:63bf:5601:5601]";
    by_isatap: "[fe80::5efe:a9fe:a9fe]";
    by_a_translated_v6_address: "[::ffff:0:a9fe:a9fe]";
    the_metadata_service_of_ec2_by_v6: "[fd00:ec2::254]";
    the_metadata_service_of_google_by_v6: "[fd20:ce::254]";
    the_host_agent_of_azure: "168.63.129.16";
    the_metadata_service_of_alibaba: "100.100.100.200";
    the_metadata_service_of_oracle: "192.0.0.192";
    loopback_by_its_address: "127.0.0.1";
    loopback_by_another_of_its_addresses: "127.255.255.254";
    loopback_by_a_short_form: "127.1";
    loopback_by_a_number: "2130706433";
    loopback_by_nothing: "0";
    loopback_by_the_unspecified_address: "0.0.0.0";
    loopback_by_name: "localhost";
    loopback_by_name_in_upper_case: "LOCALHOST";
    loopback_by_name_with_a_dot: "localhost.";
    loopback_by_v6: "[::1]";
    loopback_by_the_unspecified_v6_address: "[::]";
    loopback_by_a_mapped_v6_address: "[::ffff:127.0.0.1]";
    loopback_by_6to4: "[2002:7f00:1::]";
    a_link_local_address_with_a_zone: "[fe80::1%25lo]";
    a_loopback_address_with_a_zone: "[::1%25lo]";
    a_link_local_address_with_a_zones_number: "[fe80::1%1]";
    the_network_of_the_nodes: "10.96.0.1";
    the_broadcast_address: "255.255.255.255";
    a_multicast_group: "224.0.0.251";
    a_v6_multicast_group: "[ff02::1]";
}

/// A URL that says one host and means another.
async fn unreadable_url(url: &str) {
    request_is_refused(all_names(), get(url)).await;
}

attempts! { unreadable_url;
    user_information_that_looks_like_the_host: "http://example.com@169.254.169.254/";
    user_information_with_a_password: "http://example.com:80@169.254.169.254/";
    user_information_that_is_empty: "http://@169.254.169.254/";
    a_backslash_before_the_host: "http://example.com\\@169.254.169.254/";
    a_backslash_instead_of_slashes: "http:\\\\169.254.169.254\\";
    a_fragment_before_the_host: "http://169.254.169.254#@example.com/";
    a_query_before_the_host: "http://169.254.169.254?@example.com/";
    slashes_that_are_missing: "http:169.254.169.254/latest";
    slashes_that_are_too_many: "http:////169.254.169.254/";
    a_tab_in_the_host: "http://169.254\t.169.254/";
    a_line_end_in_the_host: "http://169.254.\n169.254/";
    a_percent_encoded_host: "http://%31%36%39.254.169.254/";
    a_percent_encoded_dot: "http://169%2e254%2e169%2e254/";
    a_soft_hyphen_in_the_host: "http://loc\u{ad}alhost/";
    white_space_before_the_url: " http://169.254.169.254/";
    the_scheme_of_files: "file:///etc/shadow";
    the_scheme_of_gopher: "gopher://169.254.169.254:80/_GET%20/";
    the_scheme_of_data: "data:text/plain,hello";
    the_scheme_of_sockets: "unix:///run/docker.sock";
    the_scheme_in_another_case_with_an_address: "HTTP://169.254.169.254/";
}
