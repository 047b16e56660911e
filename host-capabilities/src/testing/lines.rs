//! The host's log, as an operator would read it.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, Once};

use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

/// What this thread logs while it lives, down to `trace`.
pub(crate) struct Lines {
    text: Text,
    _guard: DefaultGuard,
}

#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Text {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Lines {
    pub(crate) fn capture() -> Self {
        // Else a line that a thread without a subscriber logs first may be taken for one that nobody wants.
        static ALL_THREADS: Once = Once::new();
        ALL_THREADS.call_once(|| {
            let nowhere =
                tracing_subscriber::fmt().with_writer(io::sink).with_max_level(tracing::Level::TRACE).finish();
            // Only here is one set.
            let _ = tracing::subscriber::set_global_default(nowhere);
        });
        let text = Text::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(text.clone())
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .without_time()
            .finish();
        Self { text, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// All of it so far.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.text.0.lock().unwrap().clone()).unwrap()
    }

    /// The provider's own lines.
    pub(crate) fn of_provider(&self) -> Vec<String> {
        self.text().lines().filter(|line| line.contains(" provider: ")).map(str::to_owned).collect()
    }
}
