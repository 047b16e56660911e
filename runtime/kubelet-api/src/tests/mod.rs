//! The server as its clients see it: real TLS over loopback, doubles behind it.

mod authentication;
mod certificates;
mod client;
mod connections;
mod doubles;
mod logs_followed;
mod logs_model;
mod logs_served;
mod routes;
mod stats;
mod traces;
