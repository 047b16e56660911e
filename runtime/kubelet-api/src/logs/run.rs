//! Which run of a container a log is of: the kubelet's rules and words.

use crate::pods::{Container, ContainerState};

/// One run of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// The backend's id of the container; may be empty.
    pub(crate) id: String,
    /// More may be written.
    pub(crate) running: bool,
}

impl Run {
    /// The run to show, or why there is none.
    pub(crate) fn choose(container: &Container, pod: &str, previous: bool) -> Result<Self, String> {
        let name = &container.name;
        let Some(status) = &container.status else {
            return Err(format!("container {name:?} in pod {pod:?} is not available"));
        };
        let ended = |id: &str| Self { id: id.to_owned(), running: false };
        let last = status.last_terminated.as_deref().filter(|id| !id.is_empty());
        if previous {
            let missing = || format!("previous terminated container {name:?} in pod {pod:?} not found");
            return last.map(ended).ok_or_else(missing);
        }
        match (&status.state, &status.last_terminated, last) {
            (ContainerState::Running { id }, ..) => Ok(Self { id: id.clone(), running: true }),
            (ContainerState::Terminated { id }, ..) if !id.is_empty() => Ok(ended(id)),
            (_, _, Some(last)) => Ok(ended(last)),
            (ContainerState::Terminated { .. }, ..) | (_, Some(_), None) => {
                Err(format!("container {name:?} in pod {pod:?} is terminated"))
            }
            (ContainerState::Waiting { reason }, None, None) => {
                let why = match reason.as_str() {
                    "" => " - no logs yet",
                    "ErrImagePull" => ": image can't be pulled",
                    "ImagePullBackOff" => ": trying and failing to pull image",
                    other => return Err(format!("container {name:?} in pod {pod:?} is waiting to start: {other}")),
                };
                Err(format!("container {name:?} in pod {pod:?} is waiting to start{why}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::ContainerStatus;

    fn choose(state: ContainerState, last: Option<&str>, previous: bool) -> Result<Run, String> {
        let status = ContainerStatus { state, last_terminated: last.map(str::to_owned) };
        Run::choose(&Container { name: "c".into(), status: Some(status) }, "p", previous)
    }

    fn waiting(reason: &str) -> ContainerState {
        ContainerState::Waiting { reason: reason.into() }
    }

    fn ended(id: &str) -> ContainerState {
        ContainerState::Terminated { id: id.into() }
    }

    fn run(id: &str, running: bool) -> Result<Run, String> {
        Ok(Run { id: id.into(), running })
    }

    #[test]
    fn the_present_run_is_shown_else_the_last_that_ended() {
        assert_eq!(choose(ContainerState::Running { id: "now".into() }, Some("before"), false), run("now", true));
        assert_eq!(choose(ended("now"), Some("before"), false), run("now", false));
        assert_eq!(choose(ended(""), Some("before"), false), run("before", false));
        assert_eq!(choose(waiting("CrashLoopBackOff"), Some("before"), false), run("before", false));
    }

    #[test]
    fn the_previous_run_is_shown_when_it_is_asked_for() {
        assert_eq!(choose(ContainerState::Running { id: "now".into() }, Some("before"), true), run("before", false));
        for (state, last) in [(ContainerState::Running { id: "now".into() }, None), (ended("now"), Some(""))] {
            let error = choose(state, last, true).unwrap_err();
            assert_eq!(error, r#"previous terminated container "c" in pod "p" not found"#);
        }
    }

    #[test]
    fn a_container_without_a_run_says_why() {
        let terminated = r#"container "c" in pod "p" is terminated"#;
        let waits = r#"container "c" in pod "p" is waiting to start"#;
        for (state, last, expected) in [
            (ended(""), None, terminated.to_owned()),
            (ended(""), Some(""), terminated.to_owned()),
            (waiting("CrashLoopBackOff"), Some(""), terminated.to_owned()),
            (waiting("ContainerCreating"), None, format!("{waits}: ContainerCreating")),
            (waiting("ErrImagePull"), None, format!("{waits}: image can't be pulled")),
            (waiting("ImagePullBackOff"), None, format!("{waits}: trying and failing to pull image")),
            (waiting(""), None, format!("{waits} - no logs yet")),
        ] {
            assert_eq!(choose(state, last, false), Err(expected));
        }
    }

    #[test]
    fn a_container_without_a_status_is_not_available() {
        let container = Container { name: "c".into(), status: None };
        let error = Run::choose(&container, "p", false).unwrap_err();
        assert_eq!(error, r#"container "c" in pod "p" is not available"#);
    }
}
