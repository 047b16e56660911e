//! What an engine says when it refuses. Podman answers most failures with 500, so the words decide, and the status only
//! where they say nothing.

use serde::Deserialize;
use vk_provider_sdk::http::{self, Answer};
use vk_provider_sdk::{Error, Result, code};

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// Cause and message, in lower case, to be matched.
    words: String,
    /// The engine's message, to be shown.
    pub message: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    cause: String,
    message: String,
    /// What `pods/start` says instead.
    #[serde(rename = "Errs")]
    errors: Option<Vec<String>>,
}

impl Refusal {
    /// Reads an answer that is no success.
    pub fn of(answer: &Answer) -> Self {
        let body: Body = serde_json::from_slice(&answer.body).unwrap_or_default();
        let message = match body.errors {
            Some(errors) if !errors.is_empty() => errors.join("; "),
            _ => http::message(answer.status, &answer.body),
        };
        Self::new(answer.status, &body.cause, message)
    }

    /// A failure that came in a stream of status 200.
    pub fn in_stream(message: String) -> Self {
        Self::new(200, "", message)
    }

    fn new(status: u16, cause: &str, message: String) -> Self {
        let words = format!("{cause} {message}").to_lowercase();
        Self { status, words, message }
    }

    /// Whether cause or message holds one of these, which are in lower case.
    pub fn says(&self, any: &[&str]) -> bool {
        any.iter().any(|words| self.words.contains(words))
    }

    /// The object is not there.
    pub fn is_missing(&self) -> bool {
        self.status == 404 || self.says(&["no such container", "no such pod", "no such volume", "no such object"])
    }

    /// The name is taken.
    pub fn is_taken(&self) -> bool {
        self.says(&["already in use by", "that name is already in use", "pod already exists", "volume already exists"])
    }

    /// The image is not there.
    pub fn is_image_missing(&self) -> bool {
        self.says(&["image not known", "no such image"])
    }

    /// The container does not run.
    pub fn is_not_running(&self) -> bool {
        self.says(&["container state improper", "is not running", "can only kill running"])
    }

    /// It is used by something.
    pub fn is_in_use(&self) -> bool {
        self.says(&["in use by a container", "is using its referenced image", "is being used", "image is in use"])
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let code = if refusal.is_image_missing() || refusal.is_missing() {
            code::NOT_FOUND
        } else if refusal.is_taken()
            || refusal.is_in_use()
            || refusal.says(&["address already in use", "port is already allocated"])
        {
            code::CONFLICT
        } else if refusal.says(&[
            "invalid argument",
            "invalid reference format",
            "duplicate mount",
            "cannot unmarshal",
            "not allowed",
        ]) {
            code::INVALID
        } else if refusal.says(&["no space left", "too many open files", "resource temporarily unavailable"]) {
            code::UNAVAILABLE
        } else {
            http::code_of(refusal.status)
        };
        Self::new(code, refusal.message)
    }
}

/// The answer if it is a success or says that nothing had to be done (304).
pub fn check(answer: Answer) -> Result<Answer, Refusal> {
    if http::is_success(answer.status) || answer.status == 304 { Ok(answer) } else { Err(Refusal::of(&answer)) }
}

/// The same for requests whose object may be gone.
pub fn check_gone(answer: Answer) -> Result<(), Refusal> {
    match check(answer) {
        Err(refusal) if !refusal.is_missing() => Err(refusal),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, body: &str) -> Refusal {
        Refusal::of(&Answer { status, headers: Vec::new(), body: body.into() })
    }

    fn code(status: u16, body: &str) -> String {
        Error::from(refusal(status, body)).code
    }

    #[test]
    fn words_decide_where_podman_answers_500() {
        let taken = r#"{"cause":"that name is already in use","message":"creating container storage: the container name \"a\" is already in use by 0294.","response":500}"#;
        assert!(refusal(500, taken).is_taken());
        assert_eq!(code(500, taken), "conflict");
        let image = r#"{"cause":"image not known","message":"x: image not known","response":500}"#;
        assert!(refusal(500, image).is_image_missing());
        let pod = r#"{"cause":"no such pod","message":"no pod with name or ID x found: no such pod","response":500}"#;
        assert_eq!(code(500, pod), "not-found");
        let state =
            r#"{"cause":"container state improper","message":"can only kill running containers.","response":500}"#;
        assert!(refusal(500, state).is_not_running());
    }

    #[test]
    fn dockers_words_mean_the_same() {
        assert!(
            refusal(409, r#"{"message":"Conflict. The container name \"/a\" is already in use by container \"b\"."}"#)
                .is_taken()
        );
        assert!(refusal(409, r#"{"message":"Container ab is not running"}"#).is_not_running());
        assert!(refusal(404, r#"{"message":"No such image: x:1"}"#).is_image_missing());
    }

    #[test]
    fn a_taken_port_is_tried_again_and_a_wrong_field_is_not() {
        let ports = r#"{"Errs":["starting container x: listen tcp4 :18080: bind: address already in use"],"Id":"x"}"#;
        assert_eq!(code(409, ports), "conflict");
        assert!(refusal(409, ports).message.starts_with("starting container"));
        assert_eq!(code(500, r#"{"cause":"invalid argument","message":"name must match"}"#), "invalid");
        assert_eq!(code(500, r#"{"message":"write: no space left on device"}"#), "unavailable");
        assert_eq!(code(500, ""), "internal");
    }
}
