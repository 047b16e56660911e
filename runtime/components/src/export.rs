//! The contract's exports, by the names that log lines, spans and errors show, with the lane and the time of each.

use std::time::Duration;

use crate::lanes::Lane;

/// A function of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Export {
    /// `INTERFACE.FUNCTION`.
    pub(crate) name: &'static str,
    pub(crate) lane: Lane,
    /// How long a call may take, if the operator does not say.
    pub(crate) wall: Duration,
}

const fn export(name: &'static str, lane: Lane, seconds: u64) -> Export {
    Export { name, lane, wall: Duration::from_secs(seconds) }
}

/// No export: what a component does when it is loaded.
pub(crate) const LOAD: Export = export("load", Lane::State, 10);

pub(crate) const DESCRIBE: Export = export("node.describe", Lane::State, 10);

pub(crate) const POD_CREATE: Export = export("pods.create", Lane::Change, 60);
pub(crate) const POD_UPDATE: Export = export("pods.update", Lane::Change, 60);
pub(crate) const POD_DELETE: Export = export("pods.delete", Lane::Removal, 60);
pub(crate) const POD_FORGET: Export = export("pods.forget", Lane::Removal, 60);
pub(crate) const POD_LIST: Export = export("pods.list", Lane::State, 60);
pub(crate) const POD_REFRESH: Export = export("pods.refresh", Lane::State, 60);

pub(crate) const RUN_SANDBOX: Export = export("containers.run-sandbox", Lane::Change, 120);
pub(crate) const STOP_SANDBOX: Export = export("containers.stop-sandbox", Lane::Removal, 60);
pub(crate) const REMOVE_SANDBOX: Export = export("containers.remove-sandbox", Lane::Removal, 120);
pub(crate) const IMAGE_STATUS: Export = export("containers.image-status", Lane::Change, 30);
pub(crate) const PULL_IMAGE: Export = export("containers.pull-image", Lane::Pull, 1_800);
pub(crate) const LIST_IMAGES: Export = export("containers.list-images", Lane::State, 60);
pub(crate) const REMOVE_IMAGE: Export = export("containers.remove-image", Lane::Removal, 120);
pub(crate) const CREATE_CONTAINER: Export = export("containers.create-container", Lane::Change, 120);
pub(crate) const START_CONTAINER: Export = export("containers.start-container", Lane::Change, 120);
pub(crate) const STOP_CONTAINER: Export = export("containers.stop-container", Lane::Removal, 60);
pub(crate) const REMOVE_CONTAINER: Export = export("containers.remove-container", Lane::Removal, 120);
pub(crate) const UPDATE_CONTAINER: Export = export("containers.update-container", Lane::Change, 60);
pub(crate) const TERMINATION_MESSAGE: Export = export("containers.termination-message", Lane::State, 30);
pub(crate) const CONTAINER_LIST: Export = export("containers.list", Lane::State, 60);
pub(crate) const CONTAINER_REFRESH: Export = export("containers.refresh", Lane::State, 60);

pub(crate) const WATCH_OPEN: Export = export("watch.open", Lane::Session, 30);
pub(crate) const WATCH_DECODE: Export = export("watch.decode", Lane::State, 30);
pub(crate) const LOGS_OPEN: Export = export("logs.open", Lane::Session, 30);
pub(crate) const STATS_READ: Export = export("stats.read", Lane::State, 60);
pub(crate) const FILES_UPDATE: Export = export("files.update", Lane::Change, 60);
pub(crate) const PROBES_SUPPORTED: Export = export("probes.supported", Lane::State, 30);
pub(crate) const RESTART_CONTAINER: Export = export("restart.restart-container", Lane::Change, 120);
pub(crate) const BACKGROUND_RUN: Export = export("background.run", Lane::Change, 300);
