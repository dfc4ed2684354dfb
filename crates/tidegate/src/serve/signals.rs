//! Signals: stop, and read the rules again.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What told the server to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// SIGTERM: a load balancer may still be sending requests for a moment.
    Terminate,
    /// SIGINT: a person at a terminal wants it to end.
    Interrupt,
}

impl Stop {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Stop::Terminate => "SIGTERM",
            Stop::Interrupt => "SIGINT",
        }
    }
}

/// Resolves when the server is told to stop.
pub(super) async fn stop() -> Stop {
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate()), listen(SignalKind::interrupt()));
    tokio::select! {
        () = received(&mut terminate) => Stop::Terminate,
        () = received(&mut interrupt) => Stop::Interrupt,
    }
}

/// Calls `reload` at every SIGHUP.
pub(super) async fn on_reload(reload: impl Fn()) {
    let mut hangup = listen(SignalKind::hangup());
    loop {
        received(&mut hangup).await;
        reload();
    }
}

fn listen(kind: SignalKind) -> Option<Signal> {
    signal(kind).inspect_err(|error| tracing::error!(%error, ?kind, "this signal cannot be listened to")).ok()
}

/// Never resolves where the signal cannot be listened to.
async fn received(signal: &mut Option<Signal>) {
    if let Some(signal) = signal
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending().await
}
