//! What the machine and the status do, one behaviour a test.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on fails; outside of test functions the lints don't know that they are in one"
)]

mod lab;
mod merge;

mod machine_grace;
mod machine_images;
mod machine_order;
mod machine_recovery;
mod machine_removal;
mod machine_restart;
mod machine_sandbox;
mod machine_start_error;
mod machine_stop;
mod status_conditions;
mod status_containers;
mod status_patch;
mod status_phase;
mod status_whole_pods;
