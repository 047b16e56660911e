//! Logs: one line a second since the start of a run, every tenth on standard error, in the format of the Container Runtime
//! Interface. The same question has the same answer, so `follow` works by asking again from the last line on.

use std::fmt::Write;

use vk_provider_sdk::time::{self, SECOND};

/// Lines that an answer has at most: the last ones.
const MAX: u64 = 10_000;

/// The lines of a run that began at `started` and went on until `until`, from `since` on, at most the last `tail`.
pub fn lines(container: &str, started: u64, until: u64, since: Option<u64>, tail: Option<u64>) -> String {
    let end = until.saturating_sub(started) / SECOND + 1;
    let from = since.map_or(0, |since| since.saturating_sub(started).div_ceil(SECOND));
    let kept = tail.unwrap_or(MAX).min(MAX);
    let from = from.max(end.saturating_sub(kept));
    let mut text = String::new();
    for number in from..end {
        let stream = if number % 10 == 9 { "stderr" } else { "stdout" };
        let at = time::to_rfc3339(started + number * SECOND);
        // Writing to a string does not fail.
        let _ = writeln!(text, "{at} {stream} F {container}: line {number}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_795_253_717 * SECOND;

    #[test]
    fn there_is_a_line_for_each_second() {
        let text = lines("app", START, START + 9 * SECOND, None, None);
        assert_eq!(text.lines().count(), 10);
        assert_eq!(text.lines().next(), Some("2026-11-21T09:35:17.000000000Z stdout F app: line 0"));
        assert_eq!(text.lines().last(), Some("2026-11-21T09:35:26.000000000Z stderr F app: line 9"));
    }

    #[test]
    fn since_and_tail_choose_from_the_same_lines() {
        let all = lines("app", START, START + 9 * SECOND, None, None);
        let since = lines("app", START, START + 9 * SECOND, Some(START + 7 * SECOND), None);
        assert_eq!(since.lines().collect::<Vec<_>>(), all.lines().skip(7).collect::<Vec<_>>());
        assert_eq!(lines("app", START, START + 9 * SECOND, Some(START + 7 * SECOND), Some(1)).lines().count(), 1);
        assert_eq!(lines("app", START, START + 9 * SECOND, Some(START + 60 * SECOND), None), "");
        assert_eq!(lines("app", START, START, None, Some(0)), "");
    }

    #[test]
    fn a_long_run_is_cut_to_its_last_lines() {
        assert_eq!(lines("app", 0, 20_000 * SECOND, None, None).lines().count(), 10_000);
    }
}
