//! Contents that the host holds, read whole.

use crate::Result;
use crate::host::blobs::Blob;

const STEP: u32 = 1 << 20;

/// All of a content; its size bounds the guest's memory.
pub async fn read(blob: &Blob) -> Result<Vec<u8>> {
    let mut content = blob.read(0, STEP).await?;
    let mut last = content.len();
    while last == STEP as usize {
        let more = blob.read(content.len() as u64, STEP).await?;
        last = more.len();
        content.extend_from_slice(&more);
    }
    Ok(content)
}
