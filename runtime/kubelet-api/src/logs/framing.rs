//! What the bytes of a provider's log mean: as they are, Docker's frames, or lines of the Container Runtime Interface.
//!
//! Bytes may be cut anywhere, in the middle of a frame's head too. What can't be is an error where nothing can be made
//! of the rest (Docker's frames), and a line left out, with a word in the log, where it can (CRI).

use jiff::Timestamp;
use memchr::memchr;
use provider::Framing;

use super::line::{Lines, Origin, Piece, Shape, Sink};
use super::time;

/// The longest head of a CRI line that is read: a time, a stream and tags.
const MAX_CRI_HEAD: usize = 128;
const DOCKER_HEAD: usize = 8;

/// Why nothing can be made of a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FramingError {
    #[error("the provider's log is framed as {0:?}, which is no framing for logs")]
    Unknown(Framing),
    #[error("the provider's log has a frame with an impossible head: {0:02x?}")]
    DockerHead([u8; DOCKER_HEAD]),
}

/// Reads one log.
#[derive(Debug)]
pub(crate) enum Decoder {
    Raw(Lines),
    Docker(Docker),
    Cri(Cri),
}

impl Decoder {
    pub(crate) fn new(framing: &Framing, shape: Shape) -> Result<Self, FramingError> {
        match framing {
            Framing::Raw | Framing::Lines => Ok(Self::Raw(Lines::new(Origin::Stdout, shape))),
            Framing::Docker => Ok(Self::Docker(Docker::new(shape))),
            Framing::Cri => Ok(Self::Cri(Cri::default())),
            Framing::Zip | Framing::Other(_) => Err(FramingError::Unknown(framing.clone())),
        }
    }

    /// The bytes are the log as it is.
    pub(crate) const fn is_raw(&self) -> bool {
        matches!(self, Self::Raw(_))
    }

    pub(crate) fn push(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Result<(), FramingError> {
        match self {
            Self::Raw(lines) => lines.push(bytes, sink),
            Self::Docker(docker) => return docker.push(bytes, sink),
            Self::Cri(cri) => cri.push(bytes, sink),
        }
        Ok(())
    }

    /// The log has ended.
    pub(crate) fn finish(&mut self, sink: &mut impl Sink) {
        match self {
            Self::Raw(lines) => lines.flush(sink),
            Self::Docker(docker) => docker.finish(sink),
            Self::Cri(cri) => cri.finish(),
        }
    }
}

/// Frames of Docker's API: stream number, three zeros, length (u32 big endian), payload. A frame is a message of the
/// engine's log, and may hold less or more than a line.
#[derive(Debug)]
pub(crate) struct Docker {
    head: [u8; DOCKER_HEAD],
    filled: usize,
    left: usize,
    origin: Origin,
    stdout: Lines,
    stderr: Lines,
}

impl Docker {
    const fn new(shape: Shape) -> Self {
        Self {
            head: [0; DOCKER_HEAD],
            filled: 0,
            left: 0,
            origin: Origin::Stdout,
            stdout: Lines::new(Origin::Stdout, shape),
            stderr: Lines::new(Origin::Stderr, shape),
        }
    }

    const fn lines(&mut self) -> &mut Lines {
        match self.origin {
            Origin::Stdout => &mut self.stdout,
            Origin::Stderr => &mut self.stderr,
        }
    }

    fn push(&mut self, mut bytes: &[u8], sink: &mut impl Sink) -> Result<(), FramingError> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let (payload, rest) = bytes.split_at(self.left.min(bytes.len()));
                self.left -= payload.len();
                bytes = rest;
                let ends = self.left == 0;
                let lines = self.lines();
                lines.push(payload, sink);
                if ends {
                    lines.flush(sink);
                }
                continue;
            }
            let (part, rest) = bytes.split_at((DOCKER_HEAD - self.filled).min(bytes.len()));
            for (slot, byte) in self.head.iter_mut().skip(self.filled).zip(part) {
                *slot = *byte;
            }
            self.filled += part.len();
            bytes = rest;
            if self.filled == DOCKER_HEAD {
                self.filled = 0;
                self.begin()?;
            }
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), FramingError> {
        let [stream, 0, 0, 0, length @ ..] = self.head else { return Err(FramingError::DockerHead(self.head)) };
        self.origin = match stream {
            // 0 is standard input, echoed.
            0 | 1 => Origin::Stdout,
            2 => Origin::Stderr,
            _ => return Err(FramingError::DockerHead(self.head)),
        };
        self.left = u32::from_be_bytes(length) as usize;
        self.lines().message();
        Ok(())
    }

    fn finish(&mut self, sink: &mut impl Sink) {
        if self.filled > 0 || self.left > 0 {
            tracing::error!(missing = self.left, "a container's log ended within a frame");
        }
        self.stdout.flush(sink);
        self.stderr.flush(sink);
    }
}

/// Lines `TIME STREAM TAGS CONTENT`, where the first tag is `P` for a part of a line and anything else for its end.
#[derive(Debug, Default)]
pub(crate) struct Cri {
    at: CriAt,
    /// The head, as far as it has come.
    head: Vec<u8>,
    /// Whether a line of standard output, of standard error has begun.
    open: [bool; 2],
    /// Lines left out.
    invalid: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum CriAt {
    #[default]
    Head,
    Content {
        origin: Origin,
        partial: bool,
    },
    Skipped,
}

struct CriHead {
    time: Timestamp,
    origin: Origin,
    partial: bool,
}

impl Cri {
    fn push(&mut self, mut bytes: &[u8], sink: &mut impl Sink) {
        while !bytes.is_empty() {
            bytes = match self.at {
                CriAt::Head => self.read_head(bytes, sink),
                CriAt::Content { origin, partial } => {
                    let newline = memchr(b'\n', bytes);
                    let (content, rest) = bytes.split_at(newline.unwrap_or(bytes.len()));
                    let (end, rest) = rest.split_at(usize::from(newline.is_some()));
                    let mut piece = |bytes: &[u8]| sink.piece(Piece { origin, starts: false, time: None, bytes });
                    if !content.is_empty() {
                        piece(content);
                    }
                    if newline.is_some() {
                        if !partial {
                            piece(end);
                        }
                        self.open[origin as usize] = partial;
                        self.at = CriAt::Head;
                    }
                    rest
                }
                CriAt::Skipped => {
                    let newline = memchr(b'\n', bytes);
                    if newline.is_some() {
                        self.at = CriAt::Head;
                    }
                    newline.and_then(|newline| bytes.get(newline + 1..)).unwrap_or_default()
                }
            };
        }
    }

    /// Reads the head as far as there is one; returns the rest.
    fn read_head<'a>(&mut self, bytes: &'a [u8], sink: &mut impl Sink) -> &'a [u8] {
        let mut blanks = self.head.iter().filter(|&&byte| byte == b' ').count();
        for (index, &byte) in bytes.iter().enumerate() {
            blanks += usize::from(byte == b' ');
            let ended = byte == b'\n';
            if !ended && blanks < 3 && self.head.len() < MAX_CRI_HEAD {
                self.head.push(byte);
                continue;
            }
            let head = if blanks == 3 { parse_head(&self.head) } else { None };
            self.head.clear();
            match head {
                Some(CriHead { time, origin, partial }) => {
                    let starts = !self.open[origin as usize];
                    sink.piece(Piece { origin, starts, time: starts.then_some(time), bytes: b"" });
                    self.open[origin as usize] = true;
                    self.at = CriAt::Content { origin, partial };
                }
                None => {
                    if self.invalid == 0 {
                        tracing::error!("a container's log has a line that is no CRI log line; it is left out");
                    }
                    self.invalid += 1;
                    self.at = if ended { CriAt::Head } else { CriAt::Skipped };
                }
            }
            return bytes.get(index + 1..).unwrap_or_default();
        }
        b""
    }

    fn finish(&mut self) {
        if !self.head.is_empty() {
            self.invalid += 1;
        }
        if self.invalid > 0 {
            tracing::error!(
                lines = self.invalid,
                "lines of a container's log were left out: they are no CRI log lines"
            );
        }
    }
}

/// `TIME STREAM TAGS`.
fn parse_head(head: &[u8]) -> Option<CriHead> {
    let mut parts = head.splitn(3, |&byte| byte == b' ');
    let time = time::parse(parts.next()?)?;
    let origin = match parts.next()? {
        b"stdout" => Origin::Stdout,
        b"stderr" => Origin::Stderr,
        _ => return None,
    };
    let tag = parts.next()?.split(|&byte| byte == b':').next()?;
    Some(CriHead { time, origin, partial: tag == b"P" })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Origin, time's seconds if the piece starts a line, text.
    #[derive(Default)]
    struct Collected(Vec<(Origin, Option<i64>, String)>);

    impl Sink for Collected {
        fn piece(&mut self, piece: Piece<'_>) {
            let text = String::from_utf8_lossy(piece.bytes).into_owned();
            match self.0.last_mut() {
                Some((origin, _, last)) if !piece.starts && *origin == piece.origin => last.push_str(&text),
                _ => self.0.push((piece.origin, piece.time.map(Timestamp::as_second), text)),
            }
        }
    }

    fn decode(framing: &Framing, shape: Shape, log: &[u8], cut: usize) -> Result<Collected, FramingError> {
        let mut decoder = Decoder::new(framing, shape)?;
        let mut collected = Collected::default();
        for chunk in log.chunks(cut) {
            decoder.push(chunk, &mut collected)?;
        }
        decoder.finish(&mut collected);
        Ok(collected)
    }

    fn frame(stream: u8, payload: &str) -> Vec<u8> {
        let mut frame = vec![stream, 0, 0, 0];
        frame.extend((payload.len() as u32).to_be_bytes());
        frame.extend(payload.as_bytes());
        frame
    }

    #[test]
    fn docker_frames_are_read_however_they_are_cut() {
        use Origin::{Stderr, Stdout};
        let log = [frame(1, "out "), frame(2, "err\n"), frame(1, ""), frame(1, "goes on\nmore\n"), frame(2, "end")];
        for cut in 1..30 {
            let found = decode(&Framing::Docker, Shape::Lines, &log.concat(), cut).unwrap().0;
            let expected = [
                (Stdout, None, "out ".to_owned()),
                (Stderr, None, "err\n".into()),
                (Stdout, None, "goes on\n".into()),
                (Stdout, None, "more\n".into()),
                (Stderr, None, "end".into()),
            ];
            assert_eq!(found, expected, "cut {cut}");
        }
    }

    #[test]
    fn an_impossible_docker_frame_is_an_error() {
        for head in [[3, 0, 0, 0, 0, 0, 0, 1], [1, 0, 1, 0, 0, 0, 0, 1], *b"GET / HT"] {
            let error = decode(&Framing::Docker, Shape::Lines, &head, 3).err();
            assert_eq!(error, Some(FramingError::DockerHead(head)));
        }
    }

    #[test]
    fn a_docker_frame_cut_off_gives_what_there_is() {
        let mut log = frame(1, "abcdef");
        log.truncate(11);
        let found = decode(&Framing::Docker, Shape::Lines, &log, 4).unwrap().0;
        assert_eq!(found, [(Origin::Stdout, None, "abc".to_owned())]);
    }

    #[test]
    fn cri_lines_are_read_however_they_are_cut() {
        use Origin::{Stderr, Stdout};
        let log = "1970-01-01T00:00:01Z stdout F one\n\
                   1970-01-01T00:00:02Z stdout P par\n\
                   1970-01-01T00:00:03Z stderr F \n\
                   1970-01-01T00:00:04.5+00:00 stdout P:x ti\n\
                   1970-01-01T00:00:05Z stdout F:y al\n\
                   1970-01-01T00:00:06Z stderr F a b  c\n\
                   1970-01-01T00:00:07Z stdout F last";
        for cut in 1..70 {
            let found = decode(&Framing::Cri, Shape::Lines, log.as_bytes(), cut).unwrap().0;
            let expected = [
                (Stdout, Some(1), "one\n".to_owned()),
                (Stdout, Some(2), "par".into()),
                (Stderr, Some(3), "\n".into()),
                (Stdout, None, "tial\n".into()),
                (Stderr, Some(6), "a b  c\n".into()),
                (Stdout, Some(7), "last".into()),
            ];
            assert_eq!(found, expected, "cut {cut}");
        }
    }

    #[test]
    fn what_is_no_cri_line_is_left_out() {
        let junk = "x".repeat(1000);
        let log = format!(
            "\n{junk}\nnot a log line\n1970-01-01T00:00:01Z other F x\n1970-01-01T00:00:01Z stdout F\n\
             1970-01-01T00:00:02Z stdout F good\n{junk} {junk} {junk} {junk}\n1970-01-01T00:00:0"
        );
        for cut in [1, 7, 100, 10_000] {
            let found = decode(&Framing::Cri, Shape::Lines, log.as_bytes(), cut).unwrap().0;
            assert_eq!(found, [(Origin::Stdout, Some(2), "good\n".to_owned())], "cut {cut}");
        }
    }

    #[test]
    fn garbage_never_panics() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..2000 {
            let alphabet = b"\x00\x01\x02 \nPF:stdouterr0123456789-TZ";
            let length = random.usize(..200);
            let log: Vec<u8> = (0..length).map(|_| *random.choice(alphabet.iter()).unwrap()).collect();
            for framing in [Framing::Raw, Framing::Docker, Framing::Cri] {
                // An error is as good as lines here.
                let _ = decode(&framing, Shape::StampedLines, &log, random.usize(1..20));
            }
        }
    }

    #[test]
    fn a_framing_that_is_none_for_logs_is_refused() {
        let error = decode(&Framing::Other("spdy".into()), Shape::Lines, b"", 1).err().unwrap();
        assert_eq!(error.to_string(), r#"the provider's log is framed as Other("spdy"), which is no framing for logs"#);
    }
}
