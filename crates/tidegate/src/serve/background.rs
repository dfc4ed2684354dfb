//! Threads for what no request waits for.
//!
//! The admin API, following the catalog and writing usage take the processor for milliseconds at a time. On threads of
//! their own, which yield to those that answer requests, a storm of rule changes is hardly felt by the checks beside it.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// One change is made after the other; what computes for long has threads beside it.
const THREADS: usize = 1;
/// How far it goes back behind the others: where they leave nothing free, it still gets a quarter of a processor.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 5;

/// Starts a runtime beside the one that answers requests.
///
/// # Errors
/// The system gives no threads.
pub fn background() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("background")
        .on_thread_start(yielding())
        .enable_all()
        .build()
}

/// What makes a thread let those of this thread's priority go first when the processors are busy, and still get a share.
#[cfg(target_os = "linux")]
fn yielding() -> impl Fn() + Send + Sync + 'static {
    // A thread begins with the priority of the one that starts it, which may be one of these: what is set is the same for all.
    let behind = rustix::process::getpriority_process(None).map_or(NICENESS, |usual| usual + NICENESS);
    move || {
        if let Err(error) = rustix::process::setpriority_process(None, behind) {
            tracing::debug!(%error, "background threads keep the usual priority");
        }
    }
}

/// Elsewhere a priority is the whole process's.
#[cfg(not(target_os = "linux"))]
const fn yielding() -> impl Fn() + Send + Sync + 'static {
    || ()
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn niceness() -> i32 {
        rustix::process::getpriority_process(None).unwrap()
    }

    #[test]
    fn its_threads_go_behind_those_of_requests_and_no_others_do() {
        let usual = niceness();
        let runtime = background().unwrap();
        let on_its_thread = async {
            let beside = tokio::task::spawn_blocking(niceness).await.unwrap();
            (niceness(), beside)
        };
        let seen = runtime.block_on(runtime.spawn(on_its_thread)).unwrap();
        let behind = (usual + NICENESS).min(19);
        assert_eq!(seen, (behind, behind));
        assert_eq!(niceness(), usual);
    }
}
