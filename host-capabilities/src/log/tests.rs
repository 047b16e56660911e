//! What stands in the host's log of what a provider writes.

use super::*;
use crate::Grants;
use crate::bindings::vk::host::log::Host as _;
use crate::testing::guest::Guest;
use crate::testing::lines::Lines;

fn write(guest: &mut Guest, message: &str, fields: &[(&str, &str)]) {
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    guest.store.data_mut().write(Level::Info, message.to_owned(), fields).unwrap();
}

#[tokio::test]
async fn a_line_tells_who_wrote_it_and_in_which_call() {
    let lines = Lines::capture();
    let mut guest = Guest::new(Grants::default());
    write(&mut guest, "pulled", &[("image", "nginx"), ("size", "12")]);
    let line = lines.of_provider().remove(0);
    for part in [
        "pulled image=nginx size=12",
        "node=\"node-1\"",
        "provider=\"mock\"",
        "version=sha256:abc",
        "export=\"pods.create\"",
        "call=7",
        "pod=default/web",
        "uid=\"",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[tokio::test]
async fn levels_are_the_hosts() {
    let lines = Lines::capture();
    let mut guest = Guest::new(Grants::default());
    let call = guest.store.data_mut();
    for level in [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error] {
        assert!(call.enabled(level).unwrap());
        call.write(level, "said".to_owned(), Vec::new()).unwrap();
    }
    let levels: Vec<String> =
        lines.of_provider().iter().filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect();
    assert_eq!(levels, ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"]);
}

#[tokio::test]
async fn a_line_stays_one_line() {
    let lines = Lines::capture();
    let mut guest = Guest::new(Grants::default());
    write(&mut guest, "one\n INFO vk_runtime: forged\r\n\u{1b}[31mred\ttab \u{9b}", &[("a\nb", "c\0d")]);
    let text = lines.text();
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    assert!(text.contains("one\\n INFO vk_runtime: forged\\r\\n\\u{1b}[31mred\ttab \\u{9b} a\\nb=c\\u{0}d"), "{text}");
}

#[tokio::test]
async fn a_long_line_is_cut_at_a_characters_border() {
    let lines = Lines::capture();
    let mut guest = Guest::new(Grants::default());
    write(&mut guest, &"\u{e9}".repeat(MAX_LINE), &[("never", "seen")]);
    let line = lines.of_provider().remove(0);
    assert!(line.contains('…') && !line.contains("never"), "{}", line.len());
    assert!(line.len() < MAX_LINE + 512, "{}", line.len());
    for max in 0..12 {
        let mut text = "a\u{e9}\u{20ac}\u{1f980}".to_owned();
        cut(&mut text, max);
        assert!(text.len() <= max.max('…'.len_utf8()), "{max}: {text}");
    }
}

/// Bytes of lines that pass at once by default.
const BURST: usize = 256 << 10;

#[tokio::test]
async fn a_flood_is_cut_off_and_counted() {
    let lines = Lines::capture();
    let mut guest = Guest::new(Grants::default());
    for size in [0, 1, 1_000] {
        let fits = BURST / (size + LINE_OVERHEAD);
        let guest = &mut Guest::new(Grants::default());
        let before = lines.of_provider().len();
        for _ in 0..fits + 500 {
            write(guest, &"x".repeat(size), &[]);
        }
        let written = lines.of_provider().len() - before;
        // While it writes, some of the burst comes back.
        assert!((fits..fits + 250).contains(&written), "{size}: {written} lines of {fits}");
    }
    for _ in 0..100 {
        write(&mut guest, &"x".repeat(MAX_LINE), &[]);
    }
    let before = lines.of_provider().len();
    std::thread::sleep(std::time::Duration::from_millis(20));
    write(&mut guest, "after", &[]);
    let line = lines.of_provider().remove(before);
    assert!(line.contains("after") && line.contains("dropped="), "{line}");
}

#[tokio::test]
async fn a_pods_secret_values_are_masked_in_messages_names_and_fields() {
    let lines = Lines::capture();
    let mut mask = Mask::default();
    mask.add("hunter2-canary");
    let mut guest = Guest::with_mask(Grants::default(), mask);
    write(&mut guest, "password hunter2-canary", &[("hunter2-canary", "x"), ("env", "P=hunter2-canary")]);
    let padding = "x".repeat(MAX_LINE - 20);
    write(&mut guest, &format!("{padding} is hunter2-canary, cut in the middle"), &[]);
    let text = lines.text();
    assert!(!text.contains("hunter2") && text.contains("password *** ***=x env=P=***"), "{text}");
}

#[tokio::test]
async fn the_last_error_or_a_whole_panic_are_the_last_words() {
    let mut guest = Guest::new(Grants::default());
    let call = guest.store.data_mut();
    let mut after = |level, line: &str| {
        call.write(level, line.to_owned(), Vec::new()).unwrap();
        call.logger().last_words()
    };
    assert_eq!(after(Level::Warn, "careful"), "");
    assert_eq!(after(Level::Error, "first"), "first");
    assert_eq!(after(Level::Error, "second"), "second");
    assert_eq!(after(Level::Info, "third"), "second");
    let place = "thread '<unnamed>' panicked at src/lib.rs:1:2:";
    after(Level::Error, place);
    after(Level::Error, "no more");
    assert_eq!(after(Level::Error, "note: run with a flag"), format!("{place} no more"));
    assert_eq!(after(Level::Error, "panicked at src/lib.rs:1:2: enough"), "panicked at src/lib.rs:1:2: enough");
    assert!(after(Level::Error, &"x".repeat(10_000)).len() <= MAX_SAID);
}
