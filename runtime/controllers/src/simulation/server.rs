//! An API server: objects with versions, lists in pages, watches, a status that is patched, deletions with a grace period.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use futures::StreamExt;
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use jiff::Timestamp;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::faults::{Fate, Faults, Life, Notes};
use crate::api::{Api, merge};
use crate::clock::simulated as clock;

type Lines = UnsyncBoxBody<Bytes, tower::BoxError>;
type Refusal = (u16, &'static str, String);

/// Items of a page: few, so that lists have several.
const PAGE: usize = 2;

/// The API server. Clones are the same one.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    changed: Notify,
    notes: Notes,
}

pub struct State {
    pub faults: Faults,
    /// Nobody gets through.
    pub is_away: bool,
    /// Requests so far.
    pub requests: u64,
    rng: Rng,
    version: u64,
    /// By resource and name; there is one namespace.
    objects: BTreeMap<(String, String), Value>,
    /// What happened to what resource, by version.
    events: Vec<(u64, String, Value)>,
    /// What was before this is not kept.
    compacted: u64,
    /// Lists that are gone on with, each with its version.
    lists: BTreeMap<u64, (u64, Vec<Value>)>,
    lists_made: u64,
    /// Counts how often watches were cut.
    cuts: u64,
}

/// What is asked for.
struct Asked<'a> {
    resource: &'a str,
    name: Option<&'a str>,
    part: Option<&'a str>,
    query: &'a str,
}

impl<'a> Asked<'a> {
    fn read(path: &'a str) -> Self {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let rest = path.trim_start_matches("/api/v1/");
        let rest =
            rest.strip_prefix("namespaces/").and_then(|rest| rest.split_once('/')).map_or(rest, |(_, rest)| rest);
        let mut parts = rest.split('/');
        Self { resource: parts.next().unwrap_or_default(), name: parts.next(), part: parts.next(), query }
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.query.split('&').find_map(|own| own.strip_prefix(name)?.strip_prefix('='))
    }

    /// Objects of all names unless the field selector has one.
    fn fits(&self, resource: &str, object: &Value) -> bool {
        let named = self.query.split("metadata.name%3D").nth(1).map(|rest| rest.split('&').next().unwrap_or_default());
        resource == self.resource && named.is_none_or(|name| object["metadata"]["name"] == *name)
    }
}

impl Server {
    pub fn new(rng: Rng, notes: Notes) -> Self {
        let state = State {
            faults: Faults::NONE,
            is_away: false,
            requests: 0,
            rng,
            version: 10,
            objects: BTreeMap::new(),
            events: Vec::new(),
            compacted: 0,
            lists: BTreeMap::new(),
            lists_made: 0,
            cuts: 0,
        };
        Self(Arc::new(Inner { state: Mutex::new(state), changed: Notify::new(), notes }))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    fn changed(&self) {
        self.0.changed.notify_waiters();
    }

    /// An object.
    pub fn get(&self, resource: &str, name: &str) -> Option<Value> {
        self.state().objects.get(&(resource.to_owned(), name.to_owned())).cloned()
    }

    /// All pods.
    pub fn pods(&self) -> Vec<Value> {
        self.state().objects.iter().filter(|((of, _), _)| of == "pods").map(|(_, pod)| pod.clone()).collect()
    }

    /// Makes or replaces an object.
    pub fn put(&self, resource: &str, object: Value) {
        self.state().put(resource, object);
        self.changed();
    }

    /// Cuts all watches; what was before is forgotten if it is said so.
    pub fn cut(&self, forgets: bool) {
        let mut state = self.state();
        state.cuts += 1;
        if forgets {
            state.events.clear();
            state.lists.clear();
            state.version += 1;
            state.compacted = state.version;
        }
        drop(state);
        self.changed();
    }

    /// Somebody asks for a pod's deletion.
    pub fn delete(&self, name: &str, grace: u64) {
        let Some(mut pod) = self.get("pods", name) else { return };
        let is_over = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        if grace == 0 || is_over {
            self.state().remove("pods", name);
            return self.changed();
        }
        let before = pod["metadata"]["deletionGracePeriodSeconds"].as_u64();
        if before.is_some_and(|before| before <= grace) {
            return;
        }
        // A shorter one counts from the first request, too.
        let known = pod["metadata"]["deletionTimestamp"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
        let asked = known.zip(before).map_or_else(clock::steady, |(by, before)| by - Duration::from_secs(before));
        pod["metadata"]["deletionTimestamp"] = (asked + Duration::from_secs(grace)).to_string().into();
        pod["metadata"]["deletionGracePeriodSeconds"] = grace.into();
        self.put("pods", pod);
    }

    /// Requests of a process.
    pub fn api(&self, life: &Life) -> Api {
        let (own, life) = (self.clone(), life.clone());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (own, life) = (own.clone(), life.clone());
            async move { own.serve(request, &life).await }
        });
        Api::new(kube::Client::new(service, "default"))
    }

    async fn serve(&self, request: Request<Body>, life: &Life) -> Result<Response<Lines>, tower::BoxError> {
        life.goes_on().await;
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
        let ((fate, takes), way) = {
            let mut state = self.state();
            state.requests += 1;
            let faults = state.faults;
            (faults.fate(&mut state.rng), state.rng.f64())
        };
        tokio::time::sleep(takes.mul_f64(way)).await;
        if life.is_over() && self.state().rng.bool() {
            life.goes_on().await;
        }
        if self.state().is_away {
            return Err("connection refused".into());
        }
        let asked = Asked::read(&path);
        if fate == Fate::Hangs {
            return std::future::pending().await;
        }
        let watches = asked.query.contains("watch=true");
        let answer = match fate {
            Fate::Fails => Err(self.state().error(&head.method)),
            _ if watches => {
                let opened = self.watch(&asked);
                life.goes_on().await;
                return opened.map_or_else(|refusal| Ok(refused(&refusal)), Ok);
            }
            _ => self.answer(&head.method, &asked, &body),
        };
        self.0.notes.say(|| {
            let told = answer.as_ref().map_or_else(|(code, ..)| code.to_string(), |_| "ok".to_owned());
            let told = if fate == Fate::Lost { format!("{told}, but the answer is lost") } else { told };
            let body = if head.method == Method::GET { String::new() } else { format!(" {body}") };
            format!("  {} {path}{body}: {told}", head.method)
        });
        self.changed();
        tokio::time::sleep(takes.mul_f64(1.0 - way)).await;
        life.goes_on().await;
        if fate == Fate::Lost {
            return Err("connection reset".into());
        }
        Ok(answer.map_or_else(|refusal| refused(&refusal), |object| response(200, whole(&object))))
    }

    fn answer(&self, method: &Method, asked: &Asked<'_>, body: &Value) -> Result<Value, Refusal> {
        let mut state = self.state();
        let Some(name) = asked.name else {
            return match *method {
                Method::GET => state.list(asked),
                Method::POST => Ok(json!({ "metadata": { "name": "made", "resourceVersion": "1" } })),
                _ => Err((405, "MethodNotAllowed", asked.resource.to_owned())),
            };
        };
        if asked.resource == "events" {
            return Ok(json!({ "metadata": { "name": name, "resourceVersion": "1" } }));
        }
        let place = (asked.resource.to_owned(), name.to_owned());
        let Some(object) = state.objects.get(&place).cloned() else {
            return Err((404, "NotFound", format!("{} {name:?} not found", asked.resource)));
        };
        let uids = [&body["metadata"]["uid"], &body["preconditions"]["uid"]];
        if uids.into_iter().any(|uid| !uid.is_null() && *uid != object["metadata"]["uid"]) {
            return Err((409, "Conflict", "Precondition failed: UID in precondition".to_owned()));
        }
        match (method, asked.part) {
            (&Method::GET, None) => Ok(object),
            (&Method::PATCH, Some("status")) => {
                let mut changed = object.clone();
                merge::apply(&mut changed, body);
                if changed == object {
                    return Ok(object);
                }
                for wrong in super::world::wrong_transitions(&object["status"], &changed["status"]) {
                    self.0.notes.wrong(format!("{name}: {wrong}"));
                }
                state.put("pods", changed);
                Ok(state.objects[&place].clone())
            }
            (&Method::DELETE, None) => {
                if object["metadata"]["deletionTimestamp"].is_null() {
                    self.0.notes.wrong(format!("{name} is deleted by the node, and nobody asked for that"));
                }
                state.remove(asked.resource, name);
                Ok(object)
            }
            _ => Err((405, "MethodNotAllowed", name.to_owned())),
        }
    }

    fn watch(&self, asked: &Asked<'_>) -> Result<Response<Lines>, Refusal> {
        let from: u64 = asked.parameter("resourceVersion").and_then(|text| text.parse().ok()).unwrap_or(0);
        let lasts: u64 = asked.parameter("timeoutSeconds").and_then(|text| text.parse().ok()).unwrap_or(60);
        let ends = Instant::now() + Duration::from_secs(lasts);
        let mut state = self.state();
        let cuts = state.cuts;
        if from < state.compacted {
            let expired = (410, "Expired", format!("too old resource version: {from} ({})", state.compacted));
            if state.rng.bool() {
                return Err(expired);
            }
            // As a server that notices it only then.
            let line = json!({ "type": "ERROR", "object": status(&expired) });
            return Ok(response(
                200,
                Full::new(Bytes::from(format!("{line}\n"))).map_err(|never| match never {}).boxed_unsync(),
            ));
        }
        drop(state);
        let (resource, query) = (asked.resource.to_owned(), asked.query.to_owned());
        let lines = futures::stream::unfold((self.clone(), from), move |(own, from)| {
            let (resource, query) = (resource.clone(), query.clone());
            async move {
                let shared = own.0.clone();
                loop {
                    let mut changed = std::pin::pin!(shared.changed.notified());
                    changed.as_mut().enable();
                    {
                        let mut state = own.state();
                        if state.cuts != cuts || state.is_away {
                            let breaks = state.rng.bool();
                            drop(state);
                            // The end of the body, or none.
                            let gone = (own, u64::MAX);
                            return (breaks && from != u64::MAX).then(|| (Err("connection reset".into()), gone));
                        }
                        let asked = Asked { resource: &resource, name: None, part: None, query: &query };
                        let first = state.events.partition_point(|(version, ..)| *version <= from);
                        let next = state.events[first..].iter().find(|(_, of, line)| asked.fits(of, &line["object"]));
                        if let Some((version, _, line)) = next {
                            let (version, line) = (*version, line.to_string());
                            drop(state);
                            let frame = Frame::data(Bytes::from(format!("{line}\n")));
                            return Some((Ok::<_, tower::BoxError>(frame), (own, version)));
                        }
                    }
                    tokio::select! {
                        biased;
                        () = changed => {}
                        () = tokio::time::sleep_until(ends) => return None,
                    }
                }
            }
        });
        Ok(response(200, StreamBody::new(lines.boxed()).boxed_unsync()))
    }
}

impl State {
    fn happened(&mut self, kind: &str, resource: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.events.push((self.version, resource.to_owned(), json!({ "type": kind, "object": object })));
        object
    }

    fn put(&mut self, resource: &str, object: Value) {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let place = (resource.to_owned(), name);
        let kind = if self.objects.contains_key(&place) { "MODIFIED" } else { "ADDED" };
        let object = self.happened(kind, resource, object);
        self.objects.insert(place, object);
    }

    fn remove(&mut self, resource: &str, name: &str) {
        if let Some(object) = self.objects.remove(&(resource.to_owned(), name.to_owned())) {
            self.happened("DELETED", resource, object);
        }
    }

    fn list(&mut self, asked: &Asked<'_>) -> Result<Value, Refusal> {
        let (list, from) = match asked.parameter("continue").and_then(|token| token.split_once('-')) {
            Some((list, from)) => (list.parse().unwrap_or(0), from.parse().unwrap_or(0)),
            None => {
                let own = self.objects.iter().filter(|((of, _), object)| asked.fits(of, object));
                let items = own.map(|(_, object)| object.clone()).collect();
                self.lists_made += 1;
                self.lists.insert(self.lists_made, (self.version, items));
                (self.lists_made, 0)
            }
        };
        let Some((version, items)) = self.lists.get(&list) else {
            return Err((410, "Expired", "The provided continue parameter is too old".to_owned()));
        };
        let to = items.len().min(from + PAGE);
        let go_on = if to < items.len() { format!("{list}-{to}") } else { String::new() };
        Ok(json!({
            "metadata": { "resourceVersion": version.to_string(), "continue": go_on }, "items": items[from..to],
        }))
    }

    fn error(&mut self, method: &Method) -> Refusal {
        match self.rng.u8(..4) {
            0 => (429, "TooManyRequests", "the server has received too many requests".to_owned()),
            1 if *method != Method::GET => (409, "Conflict", "the object has been modified".to_owned()),
            2 => (503, "ServiceUnavailable", "etcdserver: leader changed".to_owned()),
            _ => (500, "InternalError", "an error on the server has prevented the request".to_owned()),
        }
    }
}

fn status((code, reason, message): &Refusal) -> Value {
    let details = if *code == 429 { json!({ "retryAfterSeconds": 1 }) } else { Value::Null };
    json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "metadata": {},
        "code": code, "reason": reason, "message": message, "details": details,
    })
}

fn whole(object: &Value) -> Lines {
    Full::new(Bytes::from(object.to_string())).map_err(|never| match never {}).boxed_unsync()
}

fn response(code: u16, body: Lines) -> Response<Lines> {
    Response::builder().status(code).header("content-type", "application/json").body(body).unwrap()
}

fn refused(refusal: &Refusal) -> Response<Lines> {
    response(refusal.0, whole(&status(refusal)))
}
