//! A progress bar on standard error, where somebody is looking.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::stream::LogStream;

/// Lines between two updates: often enough to look alive, rare enough to cost nothing.
const LINES_PER_UPDATE: u64 = 4_096;

const DRAWS_PER_SECOND: u8 = 10;

/// The progress of reading the logs.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    shown_lines: u64,
}

impl Progress {
    /// A bar on standard error if that is a terminal; otherwise nothing is ever written. `total_bytes` is
    /// [`LogStream::total_bytes`].
    #[must_use]
    pub fn on_stderr(total_bytes: Option<u64>) -> Self {
        let target = ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND);
        Self::on(ProgressBar::with_draw_target(total_bytes, target), total_bytes)
    }

    /// No bar at all, for quiet runs.
    #[must_use]
    pub fn hidden() -> Self {
        Self::on(ProgressBar::hidden(), None)
    }

    fn on(bar: ProgressBar, total_bytes: Option<u64>) -> Self {
        let template = match total_bytes {
            Some(_) => "{bar:30} {percent:>3} %  {bytes} of {total_bytes}  {msg}  {eta} left",
            None => "{spinner} {bytes}  {msg}",
        };
        // The templates are constants; should one be wrong, the default bar serves as well.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { bar, shown_lines: 0 }
    }

    /// Shows how far the stream is; cheap enough to be called for every record.
    pub fn update(&mut self, stream: &LogStream) {
        let lines = stream.stats().lines;
        if lines - self.shown_lines < LINES_PER_UPDATE {
            return;
        }
        self.shown_lines = lines;
        self.bar.set_position(stream.bytes_read());
        self.bar.set_message(format!("{lines} lines"));
    }

    /// Removes the bar, so that the report stands alone.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
