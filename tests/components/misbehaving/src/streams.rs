//! Streams of all kinds; what their reader gets is the same everywhere: [`LINES`] lines of [`LINE`].

use vk_provider_sdk::bindings::{wit_future, wit_stream};
use vk_provider_sdk::host::{blobs, clock};
use vk_provider_sdk::types::Output;
use vk_provider_sdk::{Error, Result};
use wit_bindgen::spawn_local;

use crate::misdeeds;

const LINE: &str = "a line of a log\n";
const LINES: usize = 1_000;

/// A stream of this kind.
pub fn open(kind: &str) -> Result<Output> {
    let content = LINE.repeat(LINES).into_bytes();
    let framing = "lines".to_owned();
    // The host's own, which the guest only passes on.
    if kind == "spliced" {
        let source = blobs::spool(&content)?;
        return Ok(Output { content: source.content, framing, end: Some(source.end) });
    }
    let (mut writer, reader) = wit_stream::new::<u8>();
    let mut end = None;
    match kind {
        // Of the guest's making.
        "pumped" => {
            spawn_local(async move { writer.write_all(content).await });
        }
        // Of the guest's making, and it says that it ended well.
        "ended" => {
            let (ended, future) = wit_future::new(|| Ok(()));
            end = Some(future);
            spawn_local(async move {
                writer.write_all(content).await;
                drop(writer);
                ended.write(Ok(())).await
            });
        }
        // It says that there should have been more.
        "cut" => {
            let (ended, future) = wit_future::new(|| Ok(()));
            end = Some(future);
            spawn_local(async move {
                writer.write_all(content).await;
                drop(writer);
                ended.write(Err(Error::unavailable("the backend hung up"))).await
            });
        }
        // Goes on until the reader has gone.
        "endless" => {
            spawn_local(async move { while writer.write_all(content.clone()).await.is_empty() {} });
        }
        // Nothing, for ever.
        "silent" => {
            spawn_local(async move {
                clock::sleep(u64::MAX).await;
                writer.write_all(content).await
            });
        }
        // As much as fits at once.
        "huge" => {
            spawn_local(async move { writer.write_all(vec![b'x'; 32 << 20]).await });
        }
        // A misdeed in the middle.
        misdeed => {
            let misdeed = misdeed.to_owned();
            spawn_local(async move {
                writer.write_all(content).await;
                // What it returns has no reader any more.
                let _ = misdeeds::commit(&misdeed).await;
                drop(writer);
            });
        }
    }
    Ok(Output { content: reader, framing, end })
}
