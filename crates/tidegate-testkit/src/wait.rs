//! Waiting for other processes: ask again and again until a deadline.

use std::time::{Duration, Instant};

/// How long to rest between two questions.
const REST: Duration = Duration::from_millis(10);

/// Real time since a moment: other processes know no other clock.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[allow(clippy::disallowed_methods, reason = "real processes have no fake clock")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Waits until `condition` holds.
///
/// # Panics
///
/// Panics naming `what` where it does not hold `within` this time.
pub fn wait_until(what: &str, within: Duration, mut condition: impl FnMut() -> bool) {
    wait_for(what, within, || condition().then_some(()));
}

/// Waits until `question` has an answer.
///
/// # Panics
///
/// Panics naming `what` where there is none `within` this time.
pub fn wait_for<T>(what: &str, within: Duration, mut question: impl FnMut() -> Option<T>) -> T {
    let watch = Stopwatch::start();
    loop {
        if let Some(answer) = question() {
            return answer;
        }
        assert!(watch.elapsed() < within, "not within {within:?}: {what}");
        rest();
    }
}

#[allow(clippy::disallowed_methods, reason = "real processes have no fake clock")]
fn rest() {
    std::thread::sleep(REST);
}
