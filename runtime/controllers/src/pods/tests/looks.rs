//! When the backend is asked what it has.

use std::time::Duration;

use provider::Description;

use super::backend::{Backend, description, object};
use super::cluster::{Cluster, pod, running};
use super::{a_while, until};
use crate::testing::run_pods;

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn a_pod_that_starts_slowly_is_looked_at_until_it_runs_and_others_are_not() {
    let (cluster, backend) = (Cluster::new(), Backend::new());
    for uid in ["u1", "u2", "u3", "u4", "u5"] {
        let mut known = pod(uid, uid);
        known["status"] = running();
        cluster.put(known);
        backend.has(object(uid, uid, &["c"]));
    }
    let (api, _log) = cluster.api();
    let rarely = Description { list_interval: Some(HOUR), ..description() };
    let _pods = run_pods(&api, backend.clone(), &rarely);
    until("the lists at the start", || backend.is_watched() && backend.state().lists > 1).await;
    a_while().await;
    let lists = backend.state().lists;
    assert_eq!(backend.state().looks, Vec::<String>::new(), "nothing changes");

    backend.state().is_slow = true;
    cluster.put(pod("late", "u6"));
    until("some looks", || backend.state().looks.len() > 3).await;
    assert_eq!(cluster.status("late")["phase"], "Pending");
    // Nobody tells that it runs.
    backend.has(object("late", "u6", &["c"]));
    until("its start", || cluster.status("late")["phase"] == "Running").await;
    assert!(backend.state().looks.iter().all(|uid| uid == "u6"), "{:?}", backend.state().looks);
    assert_eq!(backend.state().lists, lists);
}
