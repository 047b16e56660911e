//! `vk-runtime`: a virtual kubelet whose provider is a WebAssembly component.
//!
//! Command line, configuration and wiring, nothing else.

mod addresses;
mod arguments;
mod cluster;
mod inspect;
mod logging;
mod metrics;
mod node_pods;
mod provider_config;
mod provider_events;
mod reviews;
mod run;
mod state;
mod taints;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};

/// What was asked for can't be done as it was written.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    // Not for people, so not among the commands that are shown to them.
    if std::env::args_os().nth(1).is_some_and(|command| command == components::compile::COMMAND) {
        return components::compile::worker();
    }
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Some(Command::Inspect(inspect)) => inspect::inspect(&inspect),
        None => run::run(arguments.run),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the last word of a program that ends")]
            {
                eprintln!("vk-runtime: {error:#}");
            }
            ExitCode::from(USAGE)
        }
    }
}
