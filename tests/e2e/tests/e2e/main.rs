//! End to end: the runtime as a process, on a real control plane and a real container engine.
//!
//! One control plane and one engine serve all tests; each test has a namespace and a node of its own. Those that stop an
//! engine or an API server have their own.

mod api_server_down;
mod churn;
mod collector;
mod command_line;
mod config_map_source;
mod configuration;
mod deletion;
mod deployment;
mod engine_down;
mod environment;
mod failing_pods;
mod faults;
mod files;
mod gc;
mod hyper_cloud;
mod idle;
mod joining;
mod least_privilege;
mod log_lines;
mod misbehaving_guests;
mod node;
mod operator_secrets;
mod restart;
mod secrets;
mod shared;
mod swaps_under_load;
mod templates;
mod traces;
mod virtual_kubelet;
mod virtual_kubelet_quirks;
