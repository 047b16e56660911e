//! From the start of the process to a Ready node, with code compiled before, and the memory of one that idles.

#![expect(clippy::print_stdout, reason = "a bench says what it measured")]

use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::{Cluster, Engine, NodeBuilder};
use k8s_openapi::api::core::v1::Node as ApiNode;
use kube::Api;
use kube::api::DeleteParams;

const ROUNDS: usize = 5;
/// How long it idles before its memory is read.
const IDLE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<()> {
    let cluster = Cluster::start()?;
    let client = cluster.client().await?;
    let engine = Engine::start(&cluster)?;
    let builder = NodeBuilder::hyper(&cluster, "start", &engine)?;
    println!("{:<28} {:>12}", "hyper", "node Ready");
    for round in 0..=ROUNDS {
        let began = Instant::now();
        let mut node = builder.start(&client).await?;
        let what = if round == 0 { "cold: compiles".to_owned() } else { format!("warm, round {round}") };
        println!("{what:<28} {:>9} ms", began.elapsed().as_millis());
        if round == ROUNDS {
            tokio::time::sleep(IDLE).await;
            println!("{:<28} {:>9} MiB", "memory after 10 s idle", node.memory()? >> 20);
        }
        node.stop()?;
        // So that the next one has to make it, and is not taken for Ready before it is.
        Api::<ApiNode>::all(client.clone()).delete("start", &DeleteParams::default()).await?;
    }
    engine.down()?;
    cluster.down()
}
