//! A bar on standard error, where somebody is looking.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::report::Run;

const DRAWS_PER_SECOND: u8 = 4;

/// How far a crowd is.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar on standard error if that is a terminal; otherwise nothing is ever written.
    #[must_use]
    pub fn on_stderr(visitors: u32) -> Self {
        let target = ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND);
        let bar = ProgressBar::with_draw_target(Some(visitors.into()), target);
        // The template is a constant; should it be wrong, the default bar serves as well.
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos} of {len} gone  {msg}") {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// No bar at all.
    #[must_use]
    pub fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    pub(super) fn update(&mut self, run: &Run) {
        self.0.set_position(run.gone);
        let per_s = run.requests as f64 / run.seconds.max(1e-3);
        self.0.set_message(format!(
            "{} came  {} requests, {per_s:.0}/s  {} errors  {:.0} s",
            run.numbers, run.requests, run.errors, run.seconds
        ));
    }

    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
