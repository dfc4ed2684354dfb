//! A connection that comes back.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use tokio::time::{Instant, sleep_until};

use super::{Batch, ConnectError, Connector, Link, LinkError, Reconnect, Refusal, Replies};

/// One connection at a time to one server, made again when it is lost, at the pace of [`Reconnect`].
///
/// Calls never wait for a connection: without one they end at once in [`LinkError::NotSent`]. Whoever owns the lane
/// polls [`changed`](Self::changed) while it has nothing to send; only that connects.
pub struct Lane {
    connector: Connector,
    pace: Reconnect,
    state: State,
    /// Why there is no connection.
    reason: Option<ConnectError>,
}

enum State {
    Up(Box<Link>),
    Down,
    Connecting(Pin<Box<dyn Future<Output = Result<Link, ConnectError>> + Send>>),
}

impl Lane {
    /// A lane without a connection.
    #[must_use]
    pub fn new(connector: Connector, rng: fastrand::Rng) -> Self {
        Self { connector, pace: Reconnect::new(Instant::now(), rng), state: State::Down, reason: None }
    }

    /// The connection, if there is one.
    pub fn link(&mut self) -> Option<&mut Link> {
        match &mut self.state {
            State::Up(link) => Some(link),
            State::Down | State::Connecting(_) => None,
        }
    }

    /// Why the last attempt to connect failed; `None` if there was none, or it went well.
    #[must_use]
    pub const fn reason(&self) -> Option<&ConnectError> {
        self.reason.as_ref()
    }

    /// Does what there is to do without a call, and returns when something has come of it: a connection was made, an
    /// attempt failed, or the connection was lost. While a batch is under way it only waits.
    ///
    /// The future can be dropped and called again: an attempt to connect goes on where it was.
    pub async fn changed(&mut self) {
        loop {
            match &mut self.state {
                State::Up(link) => {
                    link.closed().await;
                    self.lost();
                    return;
                }
                State::Down => {
                    sleep_until(self.pace.next_at()).await;
                    if self.pace.begin(Instant::now()) {
                        let connector = self.connector.clone();
                        self.state = State::Connecting(Box::pin(async move { connector.connect().await }));
                    }
                }
                State::Connecting(attempt) => {
                    match attempt.await {
                        Ok(link) => self.connected(link),
                        Err(error) => self.not_connected(error),
                    }
                    return;
                }
            }
        }
    }

    /// [`Link::call`]. A server that says it is a replica is left, so that the primary is looked for anew.
    ///
    /// # Errors
    ///
    /// There are no replies, or there is no connection.
    pub async fn call(&mut self, batch: &Batch, deadline: Instant) -> Result<Replies, LinkError> {
        let outcome = match self.link() {
            Some(link) => link.call(batch, deadline).await,
            None => Err(self.not_sent()),
        };
        self.after(outcome)
    }

    /// [`Link::send`].
    ///
    /// # Errors
    ///
    /// The batch did not go out as a whole, or there is no connection.
    pub async fn send(&mut self, batch: &Batch, deadline: Instant) -> Result<(), LinkError> {
        let outcome = match self.link() {
            Some(link) => link.send(batch, deadline).await,
            None => Err(self.not_sent()),
        };
        self.leave_if_closed();
        outcome
    }

    /// [`Link::receive`]. A server that says it is a replica is left once nothing is under way.
    ///
    /// # Errors
    ///
    /// There are no replies, or there is no connection.
    pub async fn receive(&mut self, deadline: Instant) -> Result<Replies, LinkError> {
        let outcome = match self.link() {
            Some(link) => link.receive(deadline).await,
            None => Err(LinkError::Lost(Cow::Borrowed("the connection is closed"))),
        };
        self.after(outcome)
    }

    /// Leaves the server: for one that answers and yet is of no use.
    pub fn leave(&mut self) {
        if let Some(link) = self.link() {
            link.close();
        }
        self.leave_if_closed();
    }

    fn after(&mut self, outcome: Result<Replies, LinkError>) -> Result<Replies, LinkError> {
        let wrong_server = |reply: &Result<_, Refusal>| reply.as_ref().is_err_and(Refusal::is_wrong_server);
        let leaves = outcome.as_ref().is_ok_and(|replies| replies.iter().any(wrong_server));
        if let Some(link) = self.link()
            && leaves
            && link.under_way() == 0
        {
            link.close();
        }
        self.leave_if_closed();
        outcome
    }

    fn leave_if_closed(&mut self) {
        if self.link().is_some_and(|link| !link.is_open()) {
            self.lost();
        }
    }

    fn not_sent(&self) -> LinkError {
        LinkError::NotSent(match &self.reason {
            Some(reason) => Cow::Owned(reason.to_string()),
            None => Cow::Borrowed("not connected"),
        })
    }

    fn connected(&mut self, link: Link) {
        let facts = link.facts();
        if let Some((product, version)) = facts.version {
            tracing::debug!(server = %link.address(), %product, %version, "connected");
        }
        self.pace.succeeded(Instant::now());
        self.reason = None;
        self.state = State::Up(Box::new(link));
    }

    fn not_connected(&mut self, error: ConnectError) {
        // Once for each new reason, not for each attempt.
        if self.reason.as_ref() != Some(&error) {
            tracing::warn!(reason = %error, "no connection to the store");
        }
        self.pace.failed(Instant::now());
        self.reason = Some(error);
        self.state = State::Down;
    }

    fn lost(&mut self) {
        if let State::Up(link) = &self.state {
            tracing::debug!(server = %link.address(), "the connection is closed");
        }
        self.pace.lost(Instant::now());
        self.state = State::Down;
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Up(_) => "up",
            State::Down => "down",
            State::Connecting(_) => "connecting",
        };
        f.debug_struct("Lane")
            .field("connector", &self.connector)
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
