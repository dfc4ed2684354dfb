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

/// The signals the server listens to, from the moment this is made.
pub(super) struct Signals {
    terminate: Option<Signal>,
    interrupt: Option<Signal>,
}

impl Signals {
    pub(super) fn new() -> Self {
        Self { terminate: listen(SignalKind::terminate()), interrupt: listen(SignalKind::interrupt()) }
    }

    /// Resolves when the server is told to stop; again at the next time it is told.
    pub(super) async fn stop(&mut self) -> Stop {
        tokio::select! {
            () = received(&mut self.terminate) => Stop::Terminate,
            () = received(&mut self.interrupt) => Stop::Interrupt,
        }
    }
}

/// SIGHUP: the rules are to be read again.
pub(super) struct Reload(Option<Signal>);

impl Reload {
    pub(super) fn new() -> Self {
        Self(listen(SignalKind::hangup()))
    }

    pub(super) async fn wanted(&mut self) {
        received(&mut self.0).await;
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
    std::future::pending::<()>().await;
}
