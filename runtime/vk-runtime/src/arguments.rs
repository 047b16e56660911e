//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use components::Limits;
use components::source::Address;
use host_capabilities::egress::{AddressRange, Rule};
use host_capabilities::secrets::SecretGrant;
use host_capabilities::tls::TlsProfile;
use host_capabilities::{dial, http};

use crate::config::ConfigArguments;
use crate::configuration::{AuditedUses, LogFormat, LogLevel, OperatingSystem, PodSecretsUse, Shutdown, plan};
use crate::diff::DiffArguments;
use crate::fetching::FetchArguments;
use crate::gc::GcCommand;
use crate::new::NewArguments;
use crate::pull::PullArguments;
use crate::push::PushArguments;
use crate::sources::{self, SourceArguments};
use crate::status::StatusArguments;
use crate::taints;
use crate::traces::TraceArguments;

/// A virtual kubelet: joins a Kubernetes cluster as a node and hands the pods bound to it to a provider, a WebAssembly
/// component that can touch nothing but what it is granted.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub run: RunArguments,
}

impl Arguments {
    /// Reads the command line.
    pub fn read(words: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        let matches = command.try_get_matches_from_mut(words)?;
        match matches.subcommand() {
            Some(("run" | "gc", own)) => check_run(&mut command, own)?,
            Some(_) => {}
            None => check_run(&mut command, &matches)?,
        }
        Self::from_arg_matches(&matches)
    }
}

/// Either a file says it all, or flags do, and then one of them is `--component`.
fn check_run(command: &mut clap::Command, matches: &ArgMatches) -> Result<(), clap::Error> {
    let given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let from_file = matches.try_contains_id("file").is_ok_and(|known| known);
    if !from_file {
        let text = "a component is wanted: `--component ADDRESS`, or `run FILE` with a configuration file";
        return if given("component") { Ok(()) } else { Err(command.error(ErrorKind::MissingRequiredArgument, text)) };
    }
    let other = matches.ids().map(clap::Id::as_str).find(|id| !BESIDE_A_FILE.contains(id) && given(id));
    match other {
        Some(id) => {
            let text = format!("`--{}` can't stand beside a configuration file, which says it", id.replace('_', "-"));
            Err(command.error(ErrorKind::ArgumentConflict, text))
        }
        None => Ok(()),
    }
}

/// What may be said beside a configuration file; the two groups are clap's own names for all flags.
const BESIDE_A_FILE: &[&str] = &[
    "file",
    "RunArguments",
    "RunCommand",
    "SourceArguments",
    "GcCommand",
    "TraceArguments",
    "otlp_endpoint",
    "propagate_traces",
    "dry_run",
    "grace_period",
    "node",
    "output",
];

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run providers and nodes, as a configuration file says, or as these flags do; flags alone may stand without `run`
    Run(Box<RunCommand>),
    /// Show what a process on this machine runs: providers, versions, limits, nodes
    Status(StatusArguments),
    /// Show what nodes have at their backends, and remove what belongs to no pod any more
    Gc(Box<GcCommand>),
    /// Look at a configuration file without a cluster
    Config(ConfigArguments),
    /// Show what a component exports and imports, without running it
    Inspect(InspectArguments),
    /// Show what a new version of a component would ask for that the old one didn't; exit status 1: it asks for more
    Diff(DiffArguments),
    /// Make a provider's project, in a folder of this name
    New(NewArguments),
    /// Write a component into a registry, or into ConfigMaps
    Push(PushArguments),
    /// Fetch a component into a file
    Pull(PullArguments),
}

#[derive(Debug, Args)]
pub struct RunCommand {
    /// The configuration file (docs/configuration.md)
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub flags: RunArguments,
}

#[derive(Debug, Args)]
pub struct InspectArguments {
    /// The component: PATH, configmap://NAMESPACE/NAME[/KEY] or oci://REGISTRY/REPOSITORY[:TAG][@DIGEST]
    #[arg(value_name = "ADDRESS")]
    pub component: Address,
    /// How to show it
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    #[command(flatten)]
    pub fetch: FetchArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub struct RunArguments {
    /// The provider, a WebAssembly component: PATH, configmap://NAMESPACE/NAME[/KEY] or oci://REGISTRY/REPOSITORY[:TAG][@DIGEST]
    #[arg(long, value_name = "ADDRESS", value_parser = address, help_heading = "Provider")]
    pub component: Option<String>,
    /// For who writes a provider: each new build of its file runs within a second, and is not taken back when it does badly
    #[arg(long, help_heading = "Provider")]
    pub watch: bool,
    #[command(flatten)]
    pub source: SourceArguments,
    /// Tell the provider something
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value, help_heading = "Provider")]
    pub config: Vec<(String, String)>,
    /// Tell it what a file says, JSON or YAML: for each key what --config says, or for each node's name that. A folder is
    /// Hyper.sh's own
    #[arg(long, value_name = "FILE", help_heading = "Provider")]
    pub provider_config: Option<PathBuf>,
    /// Raise or lower a limit, as memory=128Mi, wall.pods.create=30s or requests=100; an unknown NAME is answered with all
    /// that there are
    #[arg(long, value_name = "NAME=VALUE", value_parser = limit, help_heading = "Provider")]
    pub limit: Vec<String>,

    /// Let it send requests: SCHEME://HOST[:PORT][/PREFIX], HOST also *.SUFFIX or [RANGE], methods before it ("GET,HEAD URL")
    #[arg(long, value_name = "URL", value_parser = http_rule, help_heading = "What the provider may do (nothing unless granted)")]
    pub allow_http: Vec<String>,
    /// Let it open connections: HOST:PORT, *.SUFFIX:PORT, [RANGE]:PORT or unix:///PATH
    #[arg(long, value_name = "ADDRESS", value_parser = dial_rule, help_heading = "What the provider may do (nothing unless granted)")]
    pub allow_dial: Vec<String>,
    /// Let granted names resolve to these addresses, though they are private, loopback or link-local
    #[arg(long, value_name = "RANGE", value_parser = range, help_heading = "What the provider may do (nothing unless granted)")]
    pub allow_address: Vec<String>,
    /// Ranges in which its pods' addresses may lie, for what the host itself connects to (probes, port-forward: not in
    /// this version, so without effect)
    #[arg(long, value_name = "RANGE", value_parser = range, help_heading = "What the provider may do (nothing unless granted)")]
    pub allow_pod_cidr: Vec<String>,
    /// Give it a secret: SOURCE is env:VARIABLE, file:/PATH, json:/PATH#/POINTER, kube:NAMESPACE/NAME/KEY, token:AUDIENCE or
    /// exec:PROGRAM; MODE is sign, reveal or inject,HOST[,HOST…]
    #[arg(long, value_name = "NAME=SOURCE:MODE", value_parser = secret, help_heading = "What the provider may do (nothing unless granted)")]
    pub secret: Vec<String>,
    /// Let it name a TLS profile: NAME=ca:SOURCE,cert:SOURCE,key:SOURCE,server-name:NAME; a SOURCE as for --secret, or a path
    #[arg(long, value_name = "NAME=PARTS", value_parser = tls, help_heading = "What the provider may do (nothing unless granted)")]
    pub tls: Vec<String>,
    /// How the values of pods' own Secrets and tokens reach it: reveal or deny
    #[arg(
        long,
        value_name = "HOW",
        value_enum,
        default_value_t = PodSecretsUse::Reveal,
        hide_possible_values = true,
        help_heading = "What the provider may do (nothing unless granted)"
    )]
    pub pod_secrets: PodSecretsUse,

    /// Name of the Node
    #[arg(long, value_name = "NAME", env = "DEFAULT_NODE_NAME", default_value = "virtual-kubelet", value_parser = node_name, help_heading = "Node")]
    pub nodename: String,
    /// Operating system of its pods, where the provider can have either: linux or windows
    #[arg(long, value_name = "NAME", value_enum, ignore_case = true, default_value_t = OperatingSystem::Linux, hide_possible_values = true, help_heading = "Node")]
    pub os: OperatingSystem,
    /// Has no meaning: a node takes the pods of every namespace
    #[arg(long, value_name = "NAME", hide = true)]
    pub namespace: Option<String>,
    /// Address of the Node, where the API server reaches the kubelet API [default: the one that reaches the API server]
    #[arg(long, value_name = "IP", env = "VKUBELET_POD_IP", help_heading = "Node")]
    pub node_ip: Vec<IpAddr>,
    /// Port of the kubelet API
    #[arg(long, value_name = "PORT", env = "KUBELET_PORT", default_value_t = 10_250, help_heading = "Node")]
    pub kubelet_port: u16,
    /// Taint the node: KEY[=VALUE]:EFFECT [default: virtual-kubelet.io/provider=PROVIDER:NoSchedule, or what
    /// $VKUBELET_TAINT_KEY, $VKUBELET_TAINT_VALUE and $VKUBELET_TAINT_EFFECT say instead]
    #[arg(long, value_name = "TAINT", value_parser = taints::parse, help_heading = "Node")]
    pub taint: Vec<taints::Given>,
    /// Do not taint the node
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = ArgAction::Set, conflicts_with = "taint", help_heading = "Node")]
    pub disable_taint: bool,
    /// Label the node
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value, help_heading = "Node")]
    pub label: Vec<(String, String)>,

    /// How to reach the cluster [default: $KUBECONFIG, ~/.kube/config, or the pod's service account]
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    pub kubeconfig: Option<PathBuf>,
    /// Join with the credentials of this kubeconfig: the node asks for a client certificate of its own, and renews it. A
    /// --kubeconfig that is not there is written then
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    pub bootstrap_kubeconfig: Option<PathBuf>,
    /// Ask for the kubelet API's certificate too, and renew it; it is self-signed until somebody approves it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = ArgAction::Set, help_heading = "Cluster")]
    pub rotate_server_certificates: bool,
    /// What becomes of the node when this ends: it is left with its pods, cordoned, or drained
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Shutdown::Leave, help_heading = "Node")]
    pub shutdown: Shutdown,
    /// How long draining may take; the pods that are left then stay [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = sources::time, help_heading = "Node")]
    pub drain_timeout: Option<Duration>,
    /// A Node that somebody deletes stays away until the next start, and is not registered again
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = ArgAction::Set, help_heading = "Node")]
    pub stays_deleted: bool,
    /// Tells this cluster from others at the backend [default: made of the cluster's CA certificate]
    #[arg(long, value_name = "NAME", value_parser = cluster_id, help_heading = "Cluster")]
    pub cluster_id: Option<String>,
    /// Address of the cluster's DNS, for pods that use it; without it they use the backend's
    #[arg(long, value_name = "IP", help_heading = "Cluster")]
    pub cluster_dns: Vec<IpAddr>,
    /// Domain of the cluster
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local", help_heading = "Cluster")]
    pub cluster_domain: String,
    /// CA of the client certificates that the kubelet API takes [default: the cluster's CA]
    #[arg(long, value_name = "FILE", env = "APISERVER_CA_CERT_LOCATION", help_heading = "Cluster")]
    pub kubelet_client_ca: Option<PathBuf>,
    /// Certificate of the kubelet API [default: self-signed]
    #[arg(
        long,
        value_name = "FILE",
        env = "APISERVER_CERT_LOCATION",
        requires = "kubelet_key",
        help_heading = "Cluster"
    )]
    pub kubelet_cert: Option<PathBuf>,
    /// Key of that certificate
    #[arg(
        long,
        value_name = "FILE",
        env = "APISERVER_KEY_LOCATION",
        requires = "kubelet_cert",
        help_heading = "Cluster"
    )]
    pub kubelet_key: Option<PathBuf>,
    /// Let requests without credentials get as far as the authorizer, as `system:anonymous`
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = ArgAction::Set, help_heading = "Cluster")]
    pub anonymous_auth: bool,

    /// What providers remember, and compiled code [default: /var/lib/vk-runtime/NODENAME, or below ~/.local/state]
    #[arg(long, value_name = "FOLDER", help_heading = "Process")]
    pub state_dir: Option<PathBuf>,
    /// Write down what providers use of their capabilities: off, refusals or all
    #[arg(long, value_name = "USES", value_enum, default_value_t = AuditedUses::Off, hide_possible_values = true, help_heading = "Process")]
    pub audit: AuditedUses,
    /// Where: JSON, a line for each use [default: the log]
    #[arg(long, value_name = "FILE", help_heading = "Process")]
    pub audit_file: Option<PathBuf>,
    /// How log lines look
    #[arg(long, value_enum, default_value_t = LogFormat::Text, help_heading = "Process")]
    pub log_format: LogFormat,
    /// How much is logged
    #[arg(long, value_enum, default_value_t = LogLevel::Info, help_heading = "Process")]
    pub log_level: LogLevel,
    #[command(flatten)]
    pub traces: TraceArguments,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it is written KEY=VALUE".to_owned()),
    }
}

fn address(text: &str) -> Result<String, String> {
    text.parse::<Address>().map(|_| text.to_owned()).map_err(|error| error.reason)
}

fn limit(text: &str) -> Result<String, String> {
    Limits::from_str(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn http_rule(text: &str) -> Result<String, String> {
    Rule::parse(text, http::SCHEMES, false).map(|_| text.to_owned()).map_err(|error| error.reason)
}

fn dial_rule(text: &str) -> Result<String, String> {
    Rule::parse(text, dial::SCHEMES, true).map(|_| text.to_owned()).map_err(|error| error.reason)
}

fn range(text: &str) -> Result<String, String> {
    text.parse::<AddressRange>().map(|_| text.to_owned())
}

fn secret(text: &str) -> Result<String, String> {
    text.parse::<SecretGrant>().map(|_| text.to_owned()).map_err(|error| error.reason)
}

fn tls(text: &str) -> Result<String, String> {
    text.parse::<TlsProfile>().map(|_| text.to_owned()).map_err(|error| error.reason)
}

fn node_name(text: &str) -> Result<String, String> {
    plan::node_name(text).map(|()| text.to_owned()).map_err(str::to_owned)
}

fn cluster_id(text: &str) -> Result<String, String> {
    plan::cluster_id(text).map(|()| text.to_owned()).map_err(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    fn parse(words: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::read(words.iter().map(Into::into))
    }

    fn run(arguments: &[&str]) -> RunArguments {
        parse(&[&["vk-runtime", "--component", "x"], arguments].concat()).unwrap().run
    }

    #[test]
    fn switches_take_a_value_as_other_kubelets_do() {
        for (arguments, on) in [
            (&[][..], false),
            (&["--anonymous-auth", "--disable-taint"], true),
            (&["--anonymous-auth=true", "--disable-taint=true"], true),
            (&["--anonymous-auth=false", "--disable-taint=false"], false),
        ] {
            let own = run(arguments);
            assert_eq!((own.anonymous_auth, own.disable_taint), (on, on), "{arguments:?}");
        }
    }

    #[test]
    fn a_file_or_flags_say_what_runs() {
        let Some(Command::Run(own)) = parse(&["vk-runtime", "run", "x.yaml"]).unwrap().command else { panic!("run") };
        assert_eq!(own.file, Some("x.yaml".into()));
        let same = parse(&["vk-runtime", "run", "--component", "x", "--nodename", "a"]).unwrap();
        let Some(Command::Run(own)) = same.command else { panic!("run") };
        assert_eq!((own.file, own.flags.component.as_deref(), own.flags.nodename.as_str()), (None, Some("x"), "a"));
    }

    #[test]
    fn operating_systems_are_linux_and_windows() {
        for (arguments, own) in [
            (&[][..], OperatingSystem::Linux),
            (&["--os", "linux"], OperatingSystem::Linux),
            (&["--os", "windows"], OperatingSystem::Windows),
            (&["--os", "Windows"], OperatingSystem::Windows),
        ] {
            assert_eq!(run(arguments).os, own, "{arguments:?}");
        }
    }

    #[test]
    fn virtual_kubelets_environment_is_read() {
        let command = Arguments::command();
        for (flag, variable) in [
            ("nodename", "DEFAULT_NODE_NAME"),
            ("node_ip", "VKUBELET_POD_IP"),
            ("kubelet_port", "KUBELET_PORT"),
            ("kubelet_cert", "APISERVER_CERT_LOCATION"),
            ("kubelet_key", "APISERVER_KEY_LOCATION"),
            ("kubelet_client_ca", "APISERVER_CA_CERT_LOCATION"),
        ] {
            let own = command.get_arguments().find(|own| own.get_id() == flag).unwrap();
            assert_eq!(own.get_env().unwrap(), variable);
        }
    }

    #[test]
    fn wrong_values_are_refused_by_name() {
        for (arguments, says) in [
            (&["--component", "x", "--allow-http", "example.com"][..], "--allow-http"),
            (&["--component", "x", "--limit", "memory=1"], "--limit"),
            (&["--component", "x", "--secret", "a"], "--secret"),
            (&["--component", "x", "--nodename", "A_b"], "--nodename"),
            (&["--component", "x", "--taint", "a:Never"], "--taint"),
            (&["--component", "x", "--disable-taint", "--taint", "a:NoSchedule"], "--disable-taint"),
            (&["--component", "x", "--os", "plan9"], "--os"),
            (&["--nodename", "a"], "--component"),
            (&["--component", "x", "--no-such-flag"], "--no-such-flag"),
            (&["run"], "--component"),
            (&["run", "x.yaml", "--limit", "calls=9"], "--limit"),
            (&["run", "x.yaml", "--component", "x"], "--component"),
        ] {
            let error = parse(&[&["vk-runtime"], arguments].concat()).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
    }
}
