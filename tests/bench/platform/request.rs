//! What a request of a guest costs beside the same request of reqwest, from a server that answers after 5 ms: inside one
//! call, one after the other, over a connection that is kept.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use components::Limits;
use host_capabilities::Grants;
use host_capabilities::egress::Rule;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use provider::{Kind, Provider};
use tokio::net::TcpListener;

use crate::lab::{Lab, median, micros};

const ANSWER: Duration = Duration::from_millis(5);
const REQUESTS: u32 = 100;
const ROUNDS: usize = 5;

pub async fn measure() -> Result<()> {
    let url = format!("http://{}/", serve().await?);
    let mut grants = Grants::default();
    grants.http.push(Rule::parse(&url, &["http"], false).map_err(anyhow::Error::msg)?);
    let limits = Limits { wall: Some(Duration::from_secs(60)), ..Limits::default() };
    let lab = Lab::with("fetching", &e2e::test_component("fetching"), limits, grants).await?;
    let Kind::Pods(pods) = lab.provider.kind() else { bail!("it runs no whole pods") };
    let client = reqwest::Client::new();
    let (mut alone, mut guests) = (Vec::new(), Vec::new());
    // By turns, so that both meet the same machine.
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for _ in 0..REQUESTS {
            client.get(&url).send().await?.bytes().await?;
        }
        alone.push(began.elapsed() / REQUESTS);
        let began = Instant::now();
        pods.list(Some(format!("{REQUESTS} {url}"))).await?;
        guests.push(began.elapsed() / REQUESTS);
    }
    let (alone, guests) = (median(alone), median(guests));
    println!("{:<34} {:>12}", "a request of reqwest", micros(alone));
    let ratio = guests.as_secs_f64() / alone.as_secs_f64();
    println!("{:<34} {:>12} ({ratio:.3} times that)", "a request of a guest", micros(guests));
    Ok(())
}

async fn serve() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Else the answers' own delay would be measured.
            let _ = stream.set_nodelay(true);
            tokio::spawn(async move {
                let answer = service_fn(|_: Request<Incoming>| async {
                    tokio::time::sleep(ANSWER).await;
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"{\"ok\":true}"))))
                });
                // A client that leaves is the end of it.
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
    Ok(address)
}
