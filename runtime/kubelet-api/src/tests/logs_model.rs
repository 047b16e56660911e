//! Every option alone and with others, against a model in memory, over logs and cuts made up at random.
//!
//! The model knows lines and pieces of lines, and does what the documentation of `PodLogOptions` says in the simplest
//! way. The provider's double is made of the same lines, does any of the options itself or does not, frames and cuts its
//! bytes in any way. `LOG_SEED` repeats a failed case; `LOG_CASES` says how many are tried.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use fastrand::Rng;
use futures::stream::{self, StreamExt};
use jiff::{SignedDuration, Timestamp};
use provider::{Code, Framing, Log, LogOption, LogOptions, LogStreams, Target};

use super::doubles::{Backend, Pods, log, reference};
use crate::logs::line::Origin;
use crate::logs::options::Wanted;
use crate::logs::reader::{LogError, Reader};
use crate::logs::source::Source;

/// A line, with its newline if it has ended.
#[derive(Clone, Debug)]
pub struct Line {
    pub origin: Origin,
    pub time: Timestamp,
    pub text: String,
}

/// A piece of a line, as it was written.
#[derive(Clone, Debug)]
pub struct Piece {
    pub line: usize,
    pub text: String,
    pub time: Timestamp,
}

/// A log.
#[derive(Clone, Debug, Default)]
pub struct Script {
    pub lines: Vec<Line>,
    pub pieces: Vec<Piece>,
}

impl Script {
    /// Lines of both streams, some in pieces between which the other stream writes, with times that don't fall.
    pub fn random(random: &mut Rng, origins: &[Origin], max_pieces: usize) -> Self {
        let mut script = Self::default();
        let mut time: Timestamp = "2026-01-02T03:04:05.999999990Z".parse().unwrap();
        let mut open: [Option<usize>; 2] = [None; 2];
        for _ in 0..random.usize(..=max_pieces) {
            time += SignedDuration::from_nanos(*random.choice([0, 0, 1, 9, 500_000_000].iter()).unwrap());
            let origin = *random.choice(origins).unwrap();
            let line = *open[origin as usize].get_or_insert_with(|| {
                script.lines.push(Line { origin, time, text: String::new() });
                script.lines.len() - 1
            });
            let length = *random.choice([0, 1, 3, 8, 30, 100].iter()).unwrap();
            let mut text: String =
                (0..length).map(|_| *random.choice(b"abc 019:-TZ".iter()).unwrap() as char).collect();
            // A piece of nothing would be no piece.
            if text.is_empty() || random.u8(..4) > 0 {
                text.push('\n');
                open[origin as usize] = None;
            }
            script.lines[line].text.push_str(&text);
            script.pieces.push(Piece { line, text, time });
        }
        script
    }

    fn of_streams(&self, streams: LogStreams) -> Vec<usize> {
        let wanted = |line: &usize| match streams {
            LogStreams::All => true,
            LogStreams::Stdout => self.lines[*line].origin == Origin::Stdout,
            LogStreams::Stderr => self.lines[*line].origin == Origin::Stderr,
        };
        (0..self.lines.len()).filter(wanted).collect()
    }

    /// Lines that are chosen when the first `written` pieces are there, and those that begin later.
    fn chosen(&self, written: usize, streams: LogStreams, since: Option<Timestamp>, tail: Option<u64>) -> Vec<usize> {
        let lines_written = self.pieces[..written].iter().map(|piece| piece.line + 1).max().unwrap_or_default();
        let mut lines = self.of_streams(streams);
        let mut later = lines.split_off(lines.partition_point(|&line| line < lines_written));
        keep_last(&mut lines, tail);
        lines.append(&mut later);
        lines.retain(|&line| since.is_none_or(|since| self.lines[line].time >= since));
        lines
    }

    /// What a client must get that asks when the first `written` pieces are there; the lines up to then one after the
    /// other (`whole`) or piece by piece.
    pub fn expected(&self, wanted: &Wanted, written: usize, whole: bool) -> Vec<u8> {
        let lines = self.chosen(written, wanted.streams, wanted.since, wanted.tail);
        let mut pieces: Vec<_> =
            self.pieces.iter().enumerate().filter(|(_, piece)| lines.contains(&piece.line)).collect();
        if whole {
            pieces.sort_by_key(|&(index, piece)| if index < written { (0, piece.line, index) } else { (1, 0, index) });
        }
        let mut out = String::new();
        let mut begun = vec![false; self.lines.len()];
        for (_, piece) in pieces {
            if !std::mem::replace(&mut begun[piece.line], true) && wanted.timestamps {
                out.push_str(&format!("{:.9} ", self.lines[piece.line].time));
            }
            out.push_str(&piece.text);
        }
        let mut out = out.into_bytes();
        out.truncate(wanted.limit.map_or(usize::MAX, |limit| limit as usize));
        out
    }
}

fn keep_last(lines: &mut Vec<usize>, tail: Option<u64>) {
    if let Some(tail) = tail {
        lines.drain(..lines.len().saturating_sub(tail as usize));
    }
}

/// What a provider can do.
#[derive(Clone, Debug)]
pub struct Abilities {
    pub framing: Framing,
    pub applied: Vec<LogOption>,
    /// Messages that continue a line have a time too.
    pub stamps_all: bool,
    pub seed: u64,
}

impl Abilities {
    pub fn random(random: &mut Rng) -> Self {
        use LogOption::{Since, Streams, Tail, Timestamps};
        let framing = random.choice([Framing::Raw, Framing::Docker, Framing::Cri]).unwrap();
        let applied = [Tail, Since, Timestamps, Streams].into_iter().filter(|_| random.bool()).collect();
        Self { framing, applied, stamps_all: random.bool(), seed: random.u64(..) }
    }

    pub fn can(&self, option: LogOption) -> bool {
        self.applied.contains(&option)
    }

    /// Which streams there are to write to.
    pub fn origins(&self) -> &'static [Origin] {
        if self.framing == Framing::Raw { &[Origin::Stdout] } else { &[Origin::Stdout, Origin::Stderr] }
    }

    /// The whole log as the provider gives it, cut somehow.
    pub fn open(&self, script: &Script, asked: &LogOptions) -> Log {
        let all = script.pieces.len();
        let chunks = self.chunks(script, asked, all, 0..all);
        log(self.framing.clone(), &self.applied, stream::iter(chunks.into_iter().map(Ok)).boxed())
    }

    /// Some pieces of the log as the provider gives them to who asked when the first `written` pieces were there.
    pub fn chunks(&self, script: &Script, asked: &LogOptions, written: usize, range: Range<usize>) -> Vec<Bytes> {
        let mut random = Rng::with_seed(self.seed);
        let streams = if self.can(LogOption::Streams) { asked.streams } else { LogStreams::All };
        let since = asked.since.filter(|_| self.can(LogOption::Since));
        let tail = asked.tail.filter(|_| self.can(LogOption::Tail));
        let lines = script.chosen(written, streams, since, tail);
        let chosen = |pieces: &'_ [Piece]| -> Vec<Piece> {
            pieces.iter().filter(|piece| lines.contains(&piece.line)).cloned().collect()
        };
        let mut begun = vec![false; script.lines.len()];
        chosen(&script.pieces[..range.start]).iter().for_each(|piece| begun[piece.line] = true);
        let pieces = chosen(&script.pieces[range]);
        let content = match self.framing {
            Framing::Cri => self.cri(script, &pieces, &mut random),
            _ => {
                let stamped = asked.timestamps && self.can(LogOption::Timestamps);
                self.messages(script, &pieces, begun, stamped, &mut random)
            }
        };
        let size = *random.choice([1, 3, 7, 40, 1000].iter()).unwrap();
        let mut rest = &content[..];
        let mut chunks = Vec::new();
        while !rest.is_empty() {
            let (chunk, others) = rest.split_at(random.usize(1..=size).min(rest.len()));
            chunks.push(Bytes::copy_from_slice(chunk));
            rest = others;
        }
        chunks
    }

    fn cri(&self, script: &Script, pieces: &[Piece], random: &mut Rng) -> Vec<u8> {
        let mut content = String::new();
        for piece in pieces {
            let stream = if script.lines[piece.line].origin == Origin::Stdout { "stdout" } else { "stderr" };
            let (tag, text) = match piece.text.strip_suffix('\n') {
                Some(text) => (if random.bool() { "F" } else { "F:x" }, text),
                None => (if random.bool() { "P" } else { "P:x" }, piece.text.as_str()),
            };
            content.push_str(&format!("{} {stream} {tag} {text}\n", stamp(piece.time, random)));
        }
        content.into_bytes()
    }

    /// Docker's messages, with one piece or several of one stream each; or all the text there is.
    fn messages(
        &self,
        script: &Script,
        pieces: &[Piece],
        mut begun: Vec<bool>,
        stamped: bool,
        random: &mut Rng,
    ) -> Vec<u8> {
        let mut messages: Vec<(Origin, String)> = Vec::new();
        for piece in pieces {
            let origin = script.lines[piece.line].origin;
            let begins = !std::mem::replace(&mut begun[piece.line], true);
            let continues_message = messages.last().is_some_and(|(last, _)| *last == origin) && random.bool();
            if !continues_message {
                messages.push((origin, String::new()));
            }
            let (_, text) = messages.last_mut().unwrap();
            let continuation = !continues_message && self.stamps_all && self.framing == Framing::Docker;
            if stamped && (begins || continuation) {
                text.push_str(&stamp(piece.time, random));
                text.push(' ');
            }
            text.push_str(&piece.text);
        }
        let frame = |(origin, text): (Origin, String)| {
            let mut frame = Vec::new();
            if self.framing == Framing::Docker {
                frame.extend([if origin == Origin::Stdout { 1 } else { 2 }, 0, 0, 0]);
                frame.extend((text.len() as u32).to_be_bytes());
            }
            frame.extend(text.into_bytes());
            frame
        };
        messages.into_iter().flat_map(frame).collect()
    }
}

/// A time as some engine or other writes it.
fn stamp(time: Timestamp, random: &mut Rng) -> String {
    match random.u8(..3) {
        0 => format!("{time:.9}"),
        1 => time.to_string(),
        _ => {
            let offset = jiff::tz::Offset::constant(-3);
            time.display_with_offset(offset).to_string()
        }
    }
}

pub fn wanted(random: &mut Rng, script: &Script) -> Wanted {
    let mut maybe = |chance: u8| random.u8(..chance) == 0;
    let (timestamps, since, tail, limit, streams) = (maybe(2), maybe(2), maybe(2), maybe(3), maybe(3));
    let middle = random.choice(script.lines.iter()).map(|line| line.time);
    let nudge = SignedDuration::from_nanos(random.i64(-1..=1));
    let tail = tail.then(|| *random.choice([0, 1, 2, 5, 1000].iter()).unwrap());
    let one_stream = if random.bool() { LogStreams::Stdout } else { LogStreams::Stderr };
    Wanted {
        timestamps,
        since: middle.filter(|_| since).map(|time| time + nudge),
        tail,
        limit: limit.then(|| random.u64(1..300)),
        streams: if streams && tail.is_none() { one_stream } else { LogStreams::All },
        ..Wanted::default()
    }
}

pub fn source(backend: Backend, pods: Arc<Pods>) -> Source {
    let target = Target { pod: reference(), container: "app".into(), id: "engine://now".into() };
    Source { provider: Arc::new(backend), pods, target }
}

pub async fn read_all(mut reader: Reader) -> Result<Vec<u8>, LogError> {
    let mut all = Vec::new();
    while let Some(piece) = reader.next().await? {
        assert!(!piece.is_empty(), "an empty piece would end an HTTP body");
        all.extend_from_slice(&piece);
    }
    Ok(all)
}

pub fn seeds(default_cases: u64) -> impl Iterator<Item = u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let (first, cases) = match number("LOG_SEED") {
        Some(seed) => (seed, 1),
        None => (1, number("LOG_CASES").unwrap_or(default_cases)),
    };
    first..first + cases
}

#[tokio::test]
async fn a_log_is_what_the_model_says_whatever_the_provider_does_of_it() {
    for seed in seeds(20_000) {
        let mut random = Rng::with_seed(seed);
        let abilities = Abilities::random(&mut random);
        let script = Script::random(&mut random, abilities.origins(), 40);
        let wanted = wanted(&mut random, &script);
        let memory = *random.choice([0, 100, 500, 1 << 20].iter()).unwrap();
        let backend = {
            let (abilities, script) = (abilities.clone(), script.clone());
            Backend::with_logs(move |_, asked| Ok(abilities.open(&script, asked)))
        };
        let describe = || format!("LOG_SEED={seed}: {wanted:?} of {abilities:?} within {memory} bytes");
        let reader = Reader::open(source(backend, Pods::running()), &wanted, false, memory).await;
        let has_times = abilities.framing == Framing::Cri || abilities.can(LogOption::Timestamps);
        let needs_times = wanted.timestamps || wanted.since.is_some() && !abilities.can(LogOption::Since);
        if needs_times && !has_times {
            match reader.err() {
                Some(LogError::Provider(error)) => assert_eq!(error.code, Code::Unsupported, "{}", describe()),
                other => panic!("{}: {other:?}", describe()),
            }
            continue;
        }
        let got = read_all(reader.unwrap()).await.unwrap();
        let tail_is_ours = wanted.tail.is_some() && !abilities.can(LogOption::Tail);
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let expected = |whole| script.expected(&wanted, script.pieces.len(), whole);
        let (whole, pieces) = (expected(true), expected(false));
        // Last lines that did not fit in memory are read again, piece by piece.
        let right = if !tail_is_ours { got == pieces } else { got == whole || memory < 1000 && got == pieces };
        assert!(right, "{}\nexpected {:?}\ngot      {:?}", describe(), shown(&whole), shown(&got));
    }
}
