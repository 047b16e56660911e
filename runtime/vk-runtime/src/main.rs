//! `vk-runtime`: a virtual kubelet whose provider is a WebAssembly component.
//!
//! Command line, configuration and wiring, nothing else.

mod addresses;
mod allocator;
mod arguments;
mod cluster;
mod config;
mod config_maps;
mod configuration;
mod diff;
mod fetching;
mod gc;
mod hyper_config;
mod inspect;
mod kube_secrets;
mod logging;
mod metrics;
mod new;
mod node_pods;
mod process;
mod provider_config;
mod provider_events;
mod pull;
mod push;
mod reviews;
mod run;
mod sources;
mod state;
mod status;
mod taints;
mod traces;

use std::process::ExitCode;

use arguments::{Arguments, Command};

/// What was asked for can't be done as it was written.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    // Not for people, so not among the commands that are shown to them.
    if std::env::args_os().nth(1).is_some_and(|command| command == components::compile::COMMAND) {
        return components::compile::worker();
    }
    allocator::tell();
    let arguments = Arguments::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let result = match arguments.command {
        Some(Command::Inspect(inspect)) => inspect::inspect(&inspect),
        Some(Command::Diff(diff)) => match diff::diff(&diff) {
            Ok(false) => Ok(()),
            Ok(true) => return ExitCode::from(diff::WIDER),
            Err(error) => Err(error),
        },
        Some(Command::New(new)) => new::new(&new),
        Some(Command::Gc(gc)) => gc::gc(&gc),
        Some(Command::Push(push)) => push::push(&push),
        Some(Command::Pull(pull)) => pull::pull(&pull),
        Some(Command::Status(status)) => status::status(&status),
        Some(Command::Config(config)) => config::config(&config),
        Some(Command::Run(run)) => run::run(&run.flags, run.file.as_deref()),
        None => run::run(&arguments.run, None),
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
