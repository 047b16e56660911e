//! The world outside, by WASI. What is seen of it is told.

use vk_provider_sdk::Result;
use wasip2::cli::{environment, exit, stderr, stdin, stdout, terminal_stderr, terminal_stdin, terminal_stdout};
use wasip2::clocks::{monotonic_clock, wall_clock};
use wasip2::filesystem::preopens;
use wasip2::io::poll::poll;
use wasip2::random::{insecure, insecure_seed, random};
use wasip2::sockets::network::{ErrorCode, IpAddressFamily};
use wasip2::sockets::{instance_network, ip_name_lookup, tcp_create_socket, udp_create_socket};

use crate::unknown;

pub fn attempt(words: &[&str]) -> Result<String> {
    Ok(match words {
        ["environment"] => format!("{:?}", environment::get_environment()),
        ["arguments"] => format!("{:?}", environment::get_arguments()),
        ["working-folder"] => format!("{:?}", environment::initial_cwd()),
        ["folders"] => format!("{}", preopens::get_directories().len()),
        ["paths"] => paths(),
        ["standard-input"] => format!("{:?}", stdin::get_stdin().blocking_read(100)),
        ["terminals"] => {
            let input = terminal_stdin::get_terminal_stdin().is_some();
            let outputs = [terminal_stdout::get_terminal_stdout(), terminal_stderr::get_terminal_stderr()];
            format!("{input}, {}", outputs.iter().any(Option::is_some))
        }
        ["tcp", family] => refusal(tcp_create_socket::create_tcp_socket(family_of(family))),
        ["udp", family] => refusal(udp_create_socket::create_udp_socket(family_of(family))),
        ["name", name] => {
            let network = instance_network::instance_network();
            refusal(ip_name_lookup::resolve_addresses(&network, name))
        }
        ["exit", "well"] => exit::exit(Ok(())).into_words(),
        ["exit", "badly"] => exit::exit(Err(())).into_words(),
        ["abort"] => std::process::abort(),
        ["time"] => {
            let (now, began) = (wall_clock::now(), monotonic_clock::now());
            monotonic_clock::subscribe_duration(20_000_000).block();
            format!("{} {}", now.seconds, monotonic_clock::now() - began)
        }
        ["sleep", "for-ever"] => monotonic_clock::subscribe_duration(u64::MAX).block().into_words(),
        ["sleep", "until-the-end-of-time"] => monotonic_clock::subscribe_instant(u64::MAX).block().into_words(),
        ["poll", "nothing"] => format!("{:?}", poll(&[])),
        ["poll", "all"] => {
            let one = monotonic_clock::subscribe_duration(u64::MAX);
            format!("{:?}", poll(&vec![&one; 1 << 20]))
        }
        ["random"] => {
            let (seed, bytes) = (insecure_seed::insecure_seed(), random::get_random_bytes(16));
            format!("{seed:?} {bytes:?} {} {}", random::get_random_u64(), insecure::get_insecure_random_u64())
        }
        ["random", length] => {
            let length = length.parse().map_err(|_| unknown(words))?;
            format!("{}", random::get_random_bytes(length).len())
        }
        ["insecure-random", length] => {
            let length = length.parse().map_err(|_| unknown(words))?;
            format!("{}", insecure::get_insecure_random_bytes(length).len())
        }
        ["print"] => {
            stdout::get_stdout().blocking_write_and_flush(b"on the output\n").into_words();
            stderr::get_stderr().blocking_write_and_flush(b"on the error output\n").into_words();
            String::new()
        }
        ["print", "zeroes"] => format!("{:?}", stdout::get_stdout().write_zeroes(1 << 40)),
        ["print", "without-leave"] => format!("{:?}", stdout::get_stdout().write(&vec![b'x'; 1 << 20])),
        _ => return Err(unknown(words)),
    })
}

fn family_of(name: &str) -> IpAddressFamily {
    if name == "4" { IpAddressFamily::Ipv4 } else { IpAddressFamily::Ipv6 }
}

/// Why not.
fn refusal<T>(asked: std::result::Result<T, ErrorCode>) -> String {
    asked.err().map_or_else(|| "not refused".to_owned(), |code| code.name().to_owned())
}

/// What the language's own library finds.
fn paths() -> String {
    ["/", ".", "/etc/passwd", "/proc/self/environ", "../../../etc/passwd", "/dev/stdin", ""]
        .into_iter()
        .filter(|path| {
            std::fs::read(path).is_ok() || std::fs::read_dir(path).is_ok() || std::fs::write(path, "x").is_ok()
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// Of what should not come to an end, or tells nothing.
trait IntoWords {
    fn into_words(self) -> String;
}

impl<T: std::fmt::Debug> IntoWords for T {
    fn into_words(self) -> String {
        format!("{self:?}")
    }
}
