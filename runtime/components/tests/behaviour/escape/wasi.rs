//! WASI is linked, for every language's toolchain imports it, and there is nothing behind it.

use std::time::{SystemTime, UNIX_EPOCH};

use provider::Code;

use super::{Sandbox, attempts};

/// What an attempt tells.
async fn sees(attempt: &str, seen: &str) {
    let sandbox = Sandbox::new().await;
    assert_eq!(sandbox.tells(&format!("wasi {attempt}")).await, seen, "{attempt}");
    sandbox.beside.works().await;
}

macro_rules! sights {
    ($($name:ident: $attempt:literal => $seen:literal;)+) => {
        $(
            #[tokio::test]
            async fn $name() {
                sees($attempt, $seen).await;
            }
        )+
    };
}

sights! {
    the_environment_is_empty: "environment" => "[]";
    there_are_no_arguments: "arguments" => "[]";
    there_is_no_working_folder: "working-folder" => "None";
    no_folder_is_open: "folders" => "0";
    no_path_can_be_read_or_written: "paths" => "";
    standard_input_is_closed: "standard-input" => "Err(StreamError::Closed)";
    there_is_no_terminal: "terminals" => "false, false";
    no_tcp_socket_over_ipv4: "tcp 4" => "access-denied";
    no_tcp_socket_over_ipv6: "tcp 6" => "access-denied";
    no_udp_socket_over_ipv4: "udp 4" => "access-denied";
    no_udp_socket_over_ipv6: "udp 6" => "access-denied";
    no_name_is_resolved: "name localhost" => "permanent-resolver-failure";
    no_address_is_taken_for_a_name: "name 169.254.169.254" => "permanent-resolver-failure";
}

attempts! { "wasi":
    exit_ends_the_call: "exit well" => "Exited with i32 exit status 0";
    a_failing_exit_ends_the_call: "exit badly" => "Exited with i32 exit status 1";
    abort_ends_the_call: "abort" => "unreachable";
    waiting_for_nothing: "poll nothing" => "empty poll list";
    more_random_bytes_than_there_is_memory: "random 1099511627776" => "exceeds limit";
    more_random_bytes_than_the_host_gives_at_once: "random 65537" => "exceeds limit";
    more_insecure_random_bytes_than_the_host_gives_at_once: "insecure-random 65537" => "exceeds limit";
    more_zeroes_than_may_be_printed: "print zeroes" => "cannot write more zeroes than `check_write` allows";
}

#[tokio::test]
async fn waiting_for_a_million_things_at_once() {
    let error = Sandbox::limited("cpu=20s").await.ends("wasi poll all").await;
    assert_eq!(error.code, Code::Limit, "{error}");
    assert!(error.message.contains("reached the most handles that a call may hold, 32768"), "{error}");
}

#[tokio::test]
async fn a_wait_without_end_ends_with_the_calls_time() {
    let sandbox = Sandbox::limited("wall.pods.create=300ms").await;
    for attempt in ["wasi sleep for-ever", "wasi sleep until-the-end-of-time"] {
        let error = sandbox.ends(attempt).await;
        assert_eq!(error.code, Code::Limit, "{attempt}: {error}");
        assert!(error.message.contains("wall.pods.create=300ms"), "{attempt}: {error}");
    }
}

#[tokio::test]
async fn what_is_printed_without_leave_is_cut_into_lines() {
    let told = Sandbox::new().await.tells("wasi print without-leave").await;
    assert_eq!(told, "Ok(())");
}

#[tokio::test]
async fn clocks_and_random_numbers_work() {
    let sandbox = Sandbox::new().await;
    let told = sandbox.tells("wasi time").await;
    let (now, slept) = told.split_once(' ').unwrap();
    let hosts = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(now.parse::<u64>().unwrap().abs_diff(hosts) <= 2, "{told}");
    assert!(slept.parse::<u64>().unwrap() >= 20_000_000, "{told}");
    let (one, other) = (sandbox.tells("wasi random").await, sandbox.tells("wasi random").await);
    assert_ne!(one, other);
    assert_eq!(sandbox.tells("wasi random 65536").await, "65536");
}
