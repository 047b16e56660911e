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
    /// Its place in [`ALL`].
    pub(crate) index: usize,
}

macro_rules! exports {
    ($($constant:ident = $name:literal, $lane:ident, $seconds:literal;)*) => {
        #[expect(non_camel_case_types, clippy::upper_case_acronyms, reason = "counts the constants, by their names")]
        enum Index { $($constant),* }

        $(pub(crate) const $constant: Export = Export {
            name: $name,
            lane: Lane::$lane,
            wall: Duration::from_secs($seconds),
            index: Index::$constant as usize,
        };)*

        /// All of them.
        pub(crate) const ALL: &[Export] = &[$($constant),*];
    };
}

exports! {
    // No export: what a component does when it is loaded.
    LOAD = "load", State, 10;

    DESCRIBE = "node.describe", State, 10;

    POD_CREATE = "pods.create", Change, 60;
    POD_UPDATE = "pods.update", Change, 60;
    POD_DELETE = "pods.delete", Removal, 60;
    POD_FORGET = "pods.forget", Removal, 60;
    POD_LIST = "pods.list", State, 60;
    POD_REFRESH = "pods.refresh", State, 60;

    RUN_SANDBOX = "containers.run-sandbox", Change, 120;
    STOP_SANDBOX = "containers.stop-sandbox", Removal, 60;
    REMOVE_SANDBOX = "containers.remove-sandbox", Removal, 120;
    IMAGE_STATUS = "containers.image-status", Change, 30;
    PULL_IMAGE = "containers.pull-image", Pull, 1_800;
    LIST_IMAGES = "containers.list-images", State, 60;
    REMOVE_IMAGE = "containers.remove-image", Removal, 120;
    CREATE_CONTAINER = "containers.create-container", Change, 120;
    START_CONTAINER = "containers.start-container", Change, 120;
    STOP_CONTAINER = "containers.stop-container", Removal, 60;
    REMOVE_CONTAINER = "containers.remove-container", Removal, 120;
    UPDATE_CONTAINER = "containers.update-container", Change, 60;
    TERMINATION_MESSAGE = "containers.termination-message", State, 30;
    CONTAINER_LIST = "containers.list", State, 60;
    CONTAINER_REFRESH = "containers.refresh", State, 60;

    WATCH_OPEN = "watch.open", Session, 30;
    WATCH_DECODE = "watch.decode", State, 30;
    LOGS_OPEN = "logs.open", Session, 30;
    STATS_READ = "stats.read", State, 60;
    FILES_UPDATE = "files.update", Change, 60;
    PROBES_SUPPORTED = "probes.supported", State, 30;
    RESTART_CONTAINER = "restart.restart-container", Change, 120;
    BACKGROUND_RUN = "background.run", Change, 300;
}
