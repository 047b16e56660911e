//! What a test asks and sets, over a socket in the emulator's folder, without signatures:
//!
//! | | |
//! | --- | --- |
//! | `GET /state` | what the account has, how often each call was made, and what was not as the documents say |
//! | `POST /faults` | what is to go wrong ([`Fault`]), in place of what was set before |
//! | `POST /quotas` | how much there may be |
//! | `POST /violations` | `[]`: what was not as the documents say, and was meant, is forgotten |
//! | `POST /list-without-state` | `true`: lists tell states only in sentences, as some of Hyper.sh's answers do |

use http::Request;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::json;

use crate::account::{Fault, Quotas};
use crate::answer::{Answer, Refusal, empty, json as answer_json};
use crate::bodies::read;
use crate::cloud::Cloud;

/// Answers a test.
pub async fn answer(cloud: &Cloud, request: Request<Incoming>) -> Answer {
    handle(cloud, request).await.unwrap_or_else(|refusal| refusal.answer())
}

async fn handle(cloud: &Cloud, request: Request<Incoming>) -> Result<Answer, Refusal> {
    let call = format!("{} {}", request.method(), request.uri().path());
    let body = request.into_body().collect().await.map_err(Refusal::broken)?.to_bytes();
    let mut state = cloud.account.state();
    match call.as_str() {
        "GET /state" => {
            return Ok(answer_json(
                200,
                &json!({
                    "fips": state.addresses, "volumes": state.volumes, "containers": state.containers,
                    "calls": state.calls, "violations": state.violations,
                }),
            ));
        }
        "POST /faults" => state.faults = read::<Vec<Fault>>(&body)?,
        "POST /quotas" => state.quotas = read::<Quotas>(&body)?,
        "POST /violations" => state.violations = read(&body)?,
        "POST /list-without-state" => state.list_without_state = read(&body)?,
        _ => return Err(Refusal::new(404, format!("there is no {call}"))),
    }
    Ok(empty(204))
}
