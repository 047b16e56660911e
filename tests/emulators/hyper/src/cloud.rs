//! One region of Hyper.sh with one account: checks each request, then does what it asks for.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http::request::Parts;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;

use crate::account::{Account, Fault};
use crate::answer::{Answer, Refusal, json as answer_json};
use crate::engine::Engine;
use crate::forward::Forwards;
use crate::query::Query;
use crate::routes::{self, Found};
use crate::signature::Authority;

/// Bytes of the largest body.
const LARGEST: usize = 64 << 20;

/// A region, and its only account.
pub struct Cloud {
    /// Who may sign.
    pub authority: Authority,
    /// What there is.
    pub account: Account,
    /// What runs the containers.
    pub engine: Arc<Engine>,
    /// What leads floating IPs to them.
    pub forwards: Forwards,
    /// The floating IPs that can be had.
    pub pool: Vec<Ipv4Addr>,
}

impl Cloud {
    /// Answers a request.
    pub async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (parts, body) = request.into_parts();
        let body = match Limited::new(body, LARGEST).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return Refusal::bad(format!("the body can't be read: {error}")).answer(),
        };
        match self.handle(&parts, &body).await {
            Ok(answer) => answer,
            Err(refusal) => {
                if matches!(refusal.status, 400 | 401 | 501) {
                    let violation = format!("{} {}: {}", parts.method, parts.uri, refusal.text);
                    self.account.state().violations.push(violation);
                }
                refusal.answer()
            }
        }
    }

    async fn handle(&self, parts: &Parts, body: &[u8]) -> Result<Answer, Refusal> {
        let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
        if let Some(path) = path.strip_prefix("/upload/") {
            let kind = parts.headers.get("content-type").and_then(|kind| kind.to_str().ok());
            if parts.method != "POST" || kind != Some("application/x-tar") {
                return Err(Refusal::bad("Bad parameter: an upload is a POST of application/x-tar"));
            }
            return self.upload(path, query, body.to_vec()).await;
        }
        self.authority.check(parts, body, jiff::Timestamp::now().as_second())?;
        let Some(below) = path.strip_prefix("/v1.23").filter(|below| below.starts_with('/')) else {
            return Err(Refusal::bad(format!("client and server don't have same version: {path} is not below /v1.23")));
        };
        let Some(found) = routes::find(parts.method.as_str(), below) else {
            let text = format!("the emulator has no {} {below}", parts.method);
            return Err(Refusal::new(if routes::is_other(below) { 501 } else { 404 }, text));
        };
        let query = Query::parse(query, found.takes)?;
        check_content(parts, body, &found)?;
        let fault = {
            let mut state = self.account.state();
            *state.calls.entry(found.call.clone()).or_default() += 1;
            state.fault(&found.call)
        };
        match fault {
            None => self.call(&found, (below, &query), parts, body).await,
            Some(fault) => self.go_wrong(fault, &found, (below, &query), parts, body).await,
        }
    }

    async fn go_wrong(
        &self,
        fault: Fault,
        found: &Found<'_>,
        target: (&str, &Query),
        parts: &Parts,
        body: &[u8],
    ) -> Result<Answer, Refusal> {
        let done = if fault.done || fault.status.is_none() {
            let done = self.call(found, target, parts, body).await;
            tokio::time::sleep(Duration::from_millis(fault.delay_ms)).await;
            done
        } else {
            tokio::time::sleep(Duration::from_millis(fault.delay_ms)).await;
            Err(Refusal::broken("no answer"))
        };
        match fault.status {
            None => done,
            Some(status) => Err(Refusal { retry_after: fault.retry_after, ..Refusal::new(status, fault.text) }),
        }
    }

    async fn call(
        &self,
        found: &Found<'_>,
        target: (&str, &Query),
        parts: &Parts,
        body: &[u8],
    ) -> Result<Answer, Refusal> {
        let ((path, query), part) = (target, found.part);
        match found.call.as_str() {
            "GET /info" => Ok(answer_json(
                200,
                &json!({
                    "ID": "emulator", "Containers": self.account.state().containers.len(), "OperatingSystem": "HyperStart",
                    "OSType": "linux", "Architecture": "x86_64", "KernelVersion": "4.4", "ServerVersion": "1.5.0",
                    "NCPU": 0, "MemTotal": 0,
                }),
            )),
            "GET /version" => Ok(answer_json(200, &json!({"Version": "1.5.0", "ApiVersion": "1.23", "Os": "linux"}))),
            "POST /containers/create" => self.create_container(query, body).await,
            "GET /containers/json" => self.list_containers(query).await,
            "GET /containers/{}/json" => self.inspect_container(part).await,
            "POST /containers/{}/start" => self.act(part, "start", query).await,
            "POST /containers/{}/stop" => self.act(part, "stop", query).await,
            "POST /containers/{}/kill" => self.act(part, "kill", query).await,
            "DELETE /containers/{}" => self.remove_container(part, query).await,
            "GET /containers/{}/logs" => self.stream(part, "logs", query).await,
            "GET /containers/{}/stats" => self.stream(part, "stats", query).await,
            "GET /fips" => self.list_addresses(query),
            "POST /fips/allocate" => self.allocate_addresses(query).await,
            "POST /fips/attach" => self.attach_address(query).await,
            "POST /fips/detach" => self.detach_address(query),
            "POST /fips/release" => self.release_address(query).await,
            "POST /fips/name" => self.name_address(query),
            "GET /volumes" => self.list_volumes(),
            "POST /volumes/create" => self.create_volume(body).await,
            "POST /volumes/initialize" => self.initialize_volumes(body),
            "PUT /volumes/uploadfinish" => self.finish_upload(query),
            "GET /volumes/{}" => self.inspect_volume(part),
            "DELETE /volumes/{}" => self.remove_volume(part).await,
            call if call.contains(" /images/") => {
                let auth = parts.headers.get("x-registry-auth").and_then(|auth| auth.to_str().ok());
                self.image(parts.method.as_str(), path, query, auth.unwrap_or_default()).await
            }
            call => Err(Refusal::new(501, format!("the emulator has no {call}"))),
        }
    }

    /// A container is gone, and what it had is free.
    pub(crate) fn forget(&self, container: &str) {
        let mut state = self.account.state();
        for (ip, _) in state.addresses.iter().filter(|(_, address)| address.container == container) {
            self.forwards.end(*ip);
        }
        state.forget(container);
    }

    /// What nobody guesses.
    pub(crate) fn random(&self) -> String {
        let mut bytes = [0; 16];
        // A system without random numbers gave out no certificate either.
        let _ = SystemRandom::new().fill(&mut bytes);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The type of the body is what Hyper.sh's clients send.
fn check_content(parts: &Parts, body: &[u8], found: &Found<'_>) -> Result<(), Refusal> {
    let kind = parts.headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let bad = |text: &str| Err(Refusal::bad(format!("Bad parameter: {}: {text}", found.call)));
    match (found.has_body(), body.is_empty(), kind) {
        (true, true, _) => bad("the body is missing"),
        (false, false, _) => bad("it takes no body"),
        (true, false, "application/json") | (false, true, "application/json") => Ok(()),
        (false, true, "text/plain") if matches!(parts.method.as_str(), "POST" | "PUT") => Ok(()),
        (_, _, other) => bad(&format!("its Content-Type is `{other}`")),
    }
}
