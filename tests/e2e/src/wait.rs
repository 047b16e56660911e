//! Waiting for what will be.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const PAUSE: Duration = Duration::from_millis(50);

/// Asks until there is an answer; an error counts as none yet, and is told if the time runs out.
pub async fn eventually<T>(what: &str, seconds: u64, mut ask: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut last = String::new();
    while Instant::now() < until {
        match ask().await {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => last.clear(),
            Err(error) => last = format!(": {error:#}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
    bail!("{what} did not come within {seconds} s{last}")
}

/// Asks for as long as `seconds`, and fails when the answer is no.
pub async fn within(what: &str, seconds: u64, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < until {
        if !holds().await? {
            bail!("{what} did not hold");
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
