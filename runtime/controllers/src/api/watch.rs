//! Lists and watches objects, for ever.
//!
//! The list is read in pages, the watch goes on from it and, when it breaks, from the last version seen; only a version
//! that the server no longer keeps (410) takes a new list. Each object is handed over as the text that came, so that who
//! needs little of it parses little. Default: pages of [`PAGE`]; a watch lasts 5 to 10 minutes; attempts back off from
//! 100 ms to [`LONGEST_PAUSE`], with jitter.

use std::time::Duration;

use futures::{Stream, TryStreamExt};
use http::Request;
use http_body_util::BodyExt;
use kube::client::Body;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::compat::FuturesAsyncReadCompatExt;

use super::client::Apart;
use super::{Api, ApiError};

const PAGE: u32 = 500;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Longest line: etcd keeps no object of a tenth of that.
const MAX_LINE: usize = 64 << 20;
/// A watch that is not opened by then is not.
const OPENED: Duration = Duration::from_secs(30);
/// A watch on which nothing came for this long, not even a bookmark, is taken for dead.
const SILENCE: Duration = Duration::from_secs(150);

/// Something that is made of an object's text.
pub(crate) trait FromWatch: Sized {
    /// Reads an object.
    fn read(object: &RawValue) -> Result<Self, serde_json::Error>;
}

impl<T: for<'de> Deserialize<'de>> FromWatch for Box<T> {
    fn read(object: &RawValue) -> Result<Self, serde_json::Error> {
        serde_json::from_str(object.get()).map(Box::new)
    }
}

/// What happened.
pub(crate) enum Event<T> {
    /// A list begins: what does not come before [`Event::Listed`] is not there.
    Listing,
    /// An object is there, or changed.
    Applied(T),
    /// An object is gone; as it was last.
    Deleted(T),
    /// The list is complete.
    Listed,
    /// Nothing can be read now.
    Failed(ApiError),
}

/// What to watch.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    /// `/api/v1/pods`.
    pub path: String,
    /// `spec.nodeName=web`; may be empty.
    pub field_selector: String,
    /// Much may come at once: it has a connection of its own.
    pub is_busy: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMeta {
    #[serde(default)]
    resource_version: String,
    #[serde(default, rename = "continue")]
    go_on: String,
}

#[derive(Deserialize)]
struct Page {
    metadata: ListMeta,
    #[serde(default)]
    items: Option<Vec<Box<RawValue>>>,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Versioned<'a> {
    #[serde(borrow)]
    metadata: Version<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version<'a> {
    #[serde(borrow, default)]
    resource_version: std::borrow::Cow<'a, str>,
}

/// Where the watch is.
enum Place {
    List { go_on: String },
    Watch { version: String },
}

impl Watch {
    /// Calls `handle` with what happens, for ever.
    pub(crate) async fn run<T: FromWatch>(self, api: Api, mut handle: impl FnMut(Event<T>)) {
        let mut place = Place::List { go_on: String::new() };
        let mut failures = 0_u32;
        loop {
            let (next, result) = match place {
                Place::List { go_on } => self.list(&api, go_on, &mut handle).await,
                Place::Watch { version } => self.watch(&api, version, &mut handle).await,
            };
            place = next;
            match result {
                Ok(()) => failures = 0,
                Err(error) => {
                    if error.is_gone() {
                        place = Place::List { go_on: String::new() };
                    }
                    let pause = error.retry_after().unwrap_or_else(|| pause(failures));
                    failures = failures.saturating_add(1);
                    tracing::debug!(path = self.path, %error, ?pause, "watch failed");
                    handle(Event::Failed(error));
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    fn query(&self, parameters: &str) -> String {
        let selector = self.field_selector.replace('=', "%3D").replace(',', "%2C");
        let separator = if selector.is_empty() { "" } else { "&" };
        let name = if selector.is_empty() { "" } else { "fieldSelector=" };
        format!("{}?{parameters}{separator}{name}{selector}", self.path)
    }

    /// Reads one page.
    async fn list<T: FromWatch>(
        &self,
        api: &Api,
        go_on: String,
        handle: &mut impl FnMut(Event<T>),
    ) -> (Place, Result<(), ApiError>) {
        let mut parameters = format!("limit={PAGE}");
        if go_on.is_empty() {
            handle(Event::Listing);
        } else {
            parameters = format!("{parameters}&continue={go_on}");
        }
        let page: Page = match api.get(&self.query(&parameters)).await {
            Ok(page) => page,
            // A list that takes too long can't be gone on with.
            Err(error) => return (Place::List { go_on: String::new() }, Err(error)),
        };
        for item in page.items.iter().flatten() {
            self.hand_over(item, |object| handle(Event::Applied(object)));
        }
        if page.metadata.go_on.is_empty() {
            handle(Event::Listed);
            (Place::Watch { version: page.metadata.resource_version }, Ok(()))
        } else {
            (Place::List { go_on: page.metadata.go_on }, Ok(()))
        }
    }

    /// Watches until the watch ends.
    async fn watch<T: FromWatch>(
        &self,
        api: &Api,
        mut version: String,
        handle: &mut impl FnMut(Event<T>),
    ) -> (Place, Result<(), ApiError>) {
        let opened = self.open(api, &version).await;
        let mut lines = match opened {
            Ok(lines) => Box::pin(lines),
            Err(error) => return (Place::Watch { version }, Err(error)),
        };
        let result = loop {
            let line = match tokio::time::timeout(SILENCE, lines.try_next()).await {
                Err(_) => break Err(ApiError::Unreachable(format!("nothing came for {} s", SILENCE.as_secs()))),
                Ok(Err(error)) => break Err(error),
                Ok(Ok(None)) => break Ok(()),
                Ok(Ok(Some(line))) => line,
            };
            let Ok(Line { kind, object }) = serde_json::from_str::<Line<'_>>(&line) else {
                break Err(ApiError::Unreachable("a line of a watch can't be read".to_owned()));
            };
            if kind == "ERROR" {
                break Err(serde_json::from_str::<kube::core::Status>(object.get()).map_or_else(
                    |error| ApiError::Unreachable(error.to_string()),
                    |status| kube::Error::Api(Box::new(status)).into(),
                ));
            }
            if let Ok(Versioned { metadata }) = serde_json::from_str(object.get()) {
                version = metadata.resource_version.into_owned();
            }
            match kind {
                "ADDED" | "MODIFIED" => self.hand_over(object, |object| handle(Event::Applied(object))),
                "DELETED" => self.hand_over(object, |object| handle(Event::Deleted(object))),
                _ => {}
            }
        };
        (Place::Watch { version }, result)
    }

    async fn open(
        &self,
        api: &Api,
        version: &str,
    ) -> Result<impl Stream<Item = Result<String, ApiError>> + use<>, ApiError> {
        let lasts = 300 + fastrand::u32(..300);
        let parameters =
            format!("watch=true&allowWatchBookmarks=true&resourceVersion={version}&timeoutSeconds={lasts}");
        let mut request = Request::get(self.query(&parameters))
            .body(Body::empty())
            .map_err(|error| ApiError::Unreachable(error.to_string()))?;
        if self.is_busy {
            request.extensions_mut().insert(Apart);
        }
        let Ok(response) = tokio::time::timeout(OPENED, api.client().send(request)).await else {
            return Err(ApiError::Unreachable(format!("no watch within {} s", OPENED.as_secs())));
        };
        let response = response?;
        if !response.status().is_success() {
            let code = response.status().as_u16();
            let body = response.into_body().collect_bytes().await?;
            let status: Option<kube::core::Status> = serde_json::from_slice(&body).ok();
            return Err(match status {
                Some(status) => kube::Error::Api(Box::new(status)).into(),
                None => ApiError::Status {
                    code,
                    reason: String::new(),
                    message: String::from_utf8_lossy(&body).into_owned(),
                    retry_after: None,
                },
            });
        }
        let body = response.into_body().into_data_stream().map_err(std::io::Error::other).into_async_read();
        let lines = FramedRead::new(body.compat(), LinesCodec::new_with_max_length(MAX_LINE));
        Ok(lines.map_err(|error| ApiError::Unreachable(error.to_string())))
    }

    /// An object that can't be read is left out, loudly: the others must not wait for it.
    fn hand_over<T: FromWatch>(&self, object: &RawValue, handle: impl FnOnce(T)) {
        match T::read(object) {
            Ok(object) => handle(object),
            Err(error) => tracing::error!(path = self.path, %error, "an object of the API server can't be read"),
        }
    }
}

fn pause(failures: u32) -> Duration {
    let longest = (FIRST_PAUSE * 2_u32.saturating_pow(failures.min(10))).min(LONGEST_PAUSE);
    longest.mul_f64(0.5 + fastrand::f64() / 2.0)
}
