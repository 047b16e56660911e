//! Components may come compressed: what begins as gzip does is decompressed, up to the limit and not a byte further.

use std::io::Read;

use bytes::Bytes;

use super::{Policy, Problem, Size};

const MAGIC: &[u8] = &[0x1f, 0x8b];

/// The bytes, decompressed if they are gzip.
pub(super) fn plain(bytes: Bytes, policy: &Policy) -> Result<Bytes, Problem> {
    if !bytes.starts_with(MAGIC) {
        policy.check_size(bytes.len() as u64)?;
        return Ok(bytes);
    }
    let mut plain = Vec::new();
    let reader = flate2::read::GzDecoder::new(bytes.as_ref());
    reader
        .take(policy.size.saturating_add(1))
        .read_to_end(&mut plain)
        .map_err(|error| Problem::Gzip(error.to_string()))?;
    if plain.len() as u64 > policy.size {
        return Err(Problem::TooLarge { size: Size::MoreDecompressed, limit: policy.size });
    }
    Ok(plain.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap().into()
    }

    #[test]
    fn what_is_compressed_is_decompressed_and_the_rest_left_as_it_is() {
        let policy = Policy::default();
        assert_eq!(plain(gzip(b"\0asm"), &policy).unwrap().as_ref(), b"\0asm");
        assert_eq!(plain(Bytes::from_static(b"\0asm"), &policy).unwrap().as_ref(), b"\0asm");
    }

    #[test]
    fn a_gzip_bomb_is_refused_at_the_limit() {
        let policy = Policy { size: 1 << 20, ..Policy::default() };
        let bomb = gzip(&vec![0; 64 << 20]);
        assert!(bomb.len() < 128 << 10);
        let error = plain(bomb, &policy).unwrap_err().to_string();
        assert_eq!(
            error,
            "it has more bytes when decompressed, and no more than 1048576 bytes are taken: the limit component-size raises that"
        );
    }

    #[test]
    fn gzip_that_ends_early_is_refused() {
        let whole = gzip(b"\0asm and more");
        let error = plain(whole.slice(..whole.len() - 6), &Policy::default()).unwrap_err();
        assert!(matches!(error, Problem::Gzip(_)), "{error:?}");
    }
}
