//! A container whose command can't be run. For Kubernetes that was a run: one that ended at once, with the reason
//! `StartError` and the exit code 128. A backend has it as one that was made and never started, so the host remembers
//! the end and puts it into what is observed.

use std::borrow::Cow;

use crate::host::TerminationMessage;
use crate::observation::{Observation, Phase};

/// The reason of a start that can't be, as providers tell it and as it is shown.
pub(crate) const START_ERROR: &str = "StartError";
/// The exit code that stands for it.
pub(crate) const EXIT_CODE: i32 = 128;

/// The observation with the ends of the starts that could not be.
pub(crate) fn with_ends<'a, 'b>(
    observation: &'a Observation,
    told: impl IntoIterator<Item = &'b TerminationMessage>,
) -> Cow<'a, Observation> {
    let mut seen = Cow::Borrowed(observation);
    for told in told {
        let Some(at) = told.not_started else { continue };
        let place = seen.starts.iter().position(|start| {
            *start.name == *told.container
                && start.attempt == told.attempt
                && matches!(start.phase, Phase::Created | Phase::Exited | Phase::Unknown)
        });
        if let Some(start) = place.and_then(|place| seen.to_mut().starts.get_mut(place)) {
            let finished_at = *start.finished_at.get_or_insert(at);
            start.started_at.get_or_insert(finished_at);
            start.phase = Phase::Exited;
            start.reason = START_ERROR.into();
            start.message = told.message.clone();
            start.exit_code = Some(EXIT_CODE);
            start.signal = 0;
        }
    }
    seen
}
