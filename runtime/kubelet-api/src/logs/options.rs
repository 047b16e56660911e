//! The query of a log: Kubernetes' `PodLogOptions`, read and refused as the kubelet does.

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use provider::LogStreams;

use crate::respond::{self, Response};

/// What the client wants of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) follow: bool,
    pub(crate) previous: bool,
    pub(crate) timestamps: bool,
    pub(crate) since: Option<Timestamp>,
    pub(crate) tail: Option<u64>,
    pub(crate) limit: Option<u64>,
    pub(crate) streams: LogStreams,
}

/// Why a query is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A value is of the wrong kind.
    Undecodable(String),
    /// The values are not allowed.
    Invalid(Vec<String>),
}

impl Refusal {
    pub(crate) fn response(&self) -> Response {
        let (status, message) = match self {
            Self::Undecodable(what) => (StatusCode::BAD_REQUEST, format!("Unable to decode query. {what}")),
            Self::Invalid(what) => (StatusCode::UNPROCESSABLE_ENTITY, format!("Invalid request. {}", what.join("; "))),
        };
        respond::text(status, serde_json::json!({ "message": message }).to_string())
    }
}

impl Wanted {
    /// Reads a query. The first value of a name counts; unknown names and `insecureSkipTLSVerifyBackend` mean nothing.
    pub(crate) fn parse(query: &str, now: Timestamp) -> Result<Self, Refusal> {
        let value = |name: &str| {
            form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
        };
        // Only "0" and "false" are false; a name without a value is true.
        let flag = |name: &str| value(name).is_some_and(|text| text != "0" && !text.eq_ignore_ascii_case("false"));
        let number = |name: &'static str| value(name).map(|text| whole_number(name, &text)).transpose();

        // The name that clients older than PodLogOptions use.
        let tail = match value("tail").filter(|text| !text.is_empty()) {
            Some(text) if text == "all" => None,
            Some(text) => Some(whole_number("tail", &text)?),
            None => number("tailLines")?,
        };
        let limit = number("limitBytes")?;
        let since_seconds = number("sinceSeconds")?;
        let since_time = value("sinceTime").map(|text| time(&text)).transpose()?;
        let stream = value("stream").filter(|text| !text.is_empty());

        let mut wrong = Vec::new();
        if let Some(tail) = tail.filter(|&tail| tail < 0) {
            wrong.push(format!("tailLines: Invalid value: {tail}: must be greater than or equal to 0"));
        }
        if let Some(limit) = limit.filter(|&limit| limit < 1) {
            wrong.push(format!("limitBytes: Invalid value: {limit}: must be greater than 0"));
        }
        match (since_seconds, since_time) {
            (Some(_), Some(_)) => {
                wrong.push("at most one of `sinceTime` or `sinceSeconds` may be specified".to_owned());
            }
            (Some(seconds), None) if seconds < 1 => {
                wrong.push(format!("sinceSeconds: Invalid value: {seconds}: must be greater than 0"));
            }
            _ => {}
        }
        let streams = match stream.as_deref() {
            None | Some("All") => LogStreams::All,
            Some("Stdout") => LogStreams::Stdout,
            Some("Stderr") => LogStreams::Stderr,
            Some(other) => {
                wrong.push(format!(
                    r#"stream: Unsupported value: {other:?}: supported values: "All", "Stderr", "Stdout""#
                ));
                LogStreams::All
            }
        };
        if tail.is_some() && stream.is_some_and(|stream| stream != "All") {
            wrong.push("`tailLines` and specific `stream` are mutually exclusive for now".to_owned());
        }
        if !wrong.is_empty() {
            return Err(Refusal::Invalid(wrong));
        }

        let ago = |seconds| now.checked_sub(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MIN);
        Ok(Self {
            follow: flag("follow"),
            previous: flag("previous"),
            timestamps: flag("timestamps"),
            since: since_seconds.map(ago).or(since_time).filter(|&since| since != Timestamp::MIN),
            tail: tail.and_then(|tail| u64::try_from(tail).ok()),
            limit: limit.and_then(|limit| u64::try_from(limit).ok()),
            streams,
        })
    }
}

fn whole_number(name: &str, text: &str) -> Result<i64, Refusal> {
    text.parse().map_err(|_| Refusal::Undecodable(format!("{name}: {text:?} is not a whole number of 64 bits")))
}

/// An RFC 3339 time. Empty and `null`, as old clients send them, are the beginning of time.
fn time(text: &str) -> Result<Timestamp, Refusal> {
    if text.is_empty() || text == "null" {
        return Ok(Timestamp::MIN);
    }
    text.parse().map_err(|_| Refusal::Undecodable(format!("sinceTime: {text:?} is not an RFC 3339 time")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<Wanted, Refusal> {
        Wanted::parse(query, "2026-01-02T03:04:05.000000006Z".parse().unwrap())
    }

    #[test]
    fn nothing_asked_is_the_whole_log() {
        assert_eq!(parse(""), Ok(Wanted::default()));
        assert_eq!(parse("insecureSkipTLSVerifyBackend=true&foo=bar"), Ok(Wanted::default()));
    }

    #[test]
    fn no_lines_is_not_all_lines() {
        assert_eq!(parse("tailLines=0").unwrap().tail, Some(0));
        assert_eq!(parse("tail=0").unwrap().tail, Some(0));
        assert_eq!(parse("tail=all&tailLines=7").unwrap().tail, None);
        assert_eq!(parse("tail=5&tailLines=7").unwrap().tail, Some(5));
        assert_eq!(parse("tail=&tailLines=7").unwrap().tail, Some(7));
    }

    #[test]
    fn flags_are_read_as_kubernetes_reads_them() {
        for (text, expected) in
            [("follow", true), ("follow=", true), ("follow=true", true), ("follow=False", false), ("follow=0", false)]
        {
            assert_eq!(parse(text).unwrap().follow, expected, "{text}");
        }
    }

    #[test]
    fn times_are_exact_to_the_nanosecond() {
        let since = |query| parse(query).unwrap().since.map(|since| since.to_string());
        assert_eq!(since("sinceTime=2026-01-01T00:00:00.000000001Z").unwrap(), "2026-01-01T00:00:00.000000001Z");
        assert_eq!(since("sinceTime=2026-01-01T01:00:00%2B01:00").unwrap(), "2026-01-01T00:00:00Z");
        assert_eq!(since("sinceSeconds=5").unwrap(), "2026-01-02T03:04:00.000000006Z");
        assert_eq!(since("sinceSeconds=9223372036854775807"), None);
        assert_eq!(since("sinceTime="), None);
    }

    #[test]
    fn values_of_the_wrong_kind_can_not_be_decoded() {
        for query in
            ["tailLines=x", "limitBytes=", "sinceSeconds=1.5", "sinceTime=yesterday", "tail=99999999999999999999"]
        {
            assert!(matches!(parse(query), Err(Refusal::Undecodable(_))), "{query}");
        }
        assert_eq!(parse("tailLines=x").unwrap_err().response().status(), StatusCode::BAD_REQUEST);
    }

    #[test]
    fn what_is_not_allowed_is_refused_all_at_once() {
        for (query, faults) in [
            ("tailLines=-1", 1),
            ("limitBytes=0", 1),
            ("sinceSeconds=0", 1),
            ("sinceSeconds=5&sinceTime=2026-01-01T00:00:00Z", 1),
            ("sinceSeconds=5&sinceTime=", 1),
            ("stream=stdout", 1),
            ("stream=Stdout&tailLines=5", 1),
            ("stream=Other&tailLines=-5&limitBytes=-1", 4),
        ] {
            match parse(query) {
                Err(Refusal::Invalid(wrong)) => assert_eq!(wrong.len(), faults, "{query}: {wrong:?}"),
                other => panic!("{query}: {other:?}"),
            }
        }
        assert_eq!(parse("tailLines=-1").unwrap_err().response().status(), StatusCode::UNPROCESSABLE_ENTITY);
    }

    #[test]
    fn all_streams_may_be_tailed() {
        assert_eq!(parse("stream=All&tailLines=5").unwrap().tail, Some(5));
        assert_eq!(parse("stream=Stderr").unwrap().streams, LogStreams::Stderr);
    }
}
