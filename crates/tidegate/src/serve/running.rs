//! A door that answers beside the first one.

use std::future::Future;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Dropped, a door finishes what it has accepted, and ends.
pub(super) type DoorStop = oneshot::Sender<()>;

/// A door, answering. Whoever drops it without waiting cuts off what is open.
pub(super) struct DoorRunning(JoinHandle<()>);

impl DoorRunning {
    /// Starts a door on a runtime; `serve` is given what resolves when it is to end.
    pub(super) fn start<F>(
        runtime: &Handle,
        serve: impl FnOnce(oneshot::Receiver<()>) -> F,
    ) -> (DoorStop, Self)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, stopped) = oneshot::channel();
        (stop, Self(runtime.spawn(serve(stopped))))
    }

    /// Waits until what was accepted is finished.
    pub(super) async fn ended(mut self) {
        let _ = (&mut self.0).await;
    }
}

impl Drop for DoorRunning {
    fn drop(&mut self) {
        self.0.abort();
    }
}
