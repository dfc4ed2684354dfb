//! One connection to one server.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;

use bytes::{Buf, BytesMut};
use redis::{Cmd, Value};
use tidegate_core::time::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, timeout_at};

use super::connector::Identity;
use super::reply::{Decoded, MAX_REPLY, decode};
use super::stream::Stream;
use super::{Batch, ClockEstimate, ConnectError, LinkError, Refusal, Role, ServerFacts};
use crate::settings::{Address, CLIENT_NAME};

/// One reply for each command of a batch, in its order.
pub type Replies = Vec<Result<Value, Refusal>>;

/// The least room for the next read, in bytes.
const READ: usize = 8 << 10;
/// A read buffer that grew beyond this is given back when it is empty, in bytes.
const KEPT: usize = 256 << 10;

/// One connection to one server, owned by one task.
///
/// Batches are answered in the order in which they were sent; [`call`](Self::call) sends one and waits for it, with
/// [`send`](Self::send) and [`receive`](Self::receive) several can be under way.
///
/// After any [`LinkError`] the connection is closed for good, and so are the batches that are still under way: each of
/// them is lost. The same holds if a future of this type is dropped before it is done, except for
/// [`receive`](Self::receive) and [`closed`](Self::closed), which can be dropped and called again.
#[derive(Debug)]
pub struct Link {
    /// `None` once the connection is closed.
    stream: Option<Stream>,
    address: Address,
    facts: ServerFacts,
    clock: ClockEstimate,
    /// What was read and not yet decoded.
    input: BytesMut,
    /// The commands of each batch under way that have no reply yet.
    under_way: VecDeque<usize>,
    /// The replies of the oldest batch so far.
    replies: Replies,
}

impl Link {
    /// Connects and logs in.
    ///
    /// # Errors
    ///
    /// There is no connection, or none before the deadline, or the server refused the login.
    pub(super) async fn open(
        address: &Address,
        who: &Identity,
        deadline: Instant,
    ) -> Result<Self, ConnectError> {
        let connecting = Stream::connect(address, who.tls.as_ref());
        let stream = timeout_at(deadline, connecting)
            .await
            .map_err(|_| ConnectError::TimedOut(address.to_string()))??;
        let mut link = Self {
            stream: Some(stream),
            address: address.clone(),
            facts: ServerFacts::default(),
            clock: ClockEstimate::new(),
            input: BytesMut::new(),
            under_way: VecDeque::new(),
            replies: Vec::new(),
        };
        link.log_in(who, deadline).await?;
        Ok(link)
    }

    async fn log_in(&mut self, who: &Identity, deadline: Instant) -> Result<(), ConnectError> {
        let mut steps: Vec<(&'static str, Cmd)> = Vec::new();
        if let Some(login) = &who.login {
            let mut auth = redis::cmd("AUTH");
            if let Some(user) = &login.user {
                auth.arg(&**user);
            }
            auth.arg(&*login.password);
            steps.push(("AUTH", auth));
        }
        if who.database > 0 {
            let mut select = redis::cmd("SELECT");
            select.arg(who.database);
            steps.push(("SELECT", select));
        }
        let mut name = redis::cmd("CLIENT");
        name.arg("SETNAME").arg(CLIENT_NAME);
        steps.push(("CLIENT SETNAME", name));

        let replies = self.ask(&steps.iter().map(|(_, command)| command).collect(), deadline).await?;
        for ((what, _), reply) in steps.into_iter().zip(replies) {
            let Err(refusal) = reply else { continue };
            // A name is a courtesy; an ACL or a proxy that does not allow it is no reason to stay away.
            let courtesy =
                what == "CLIENT SETNAME" && matches!(refusal, Refusal::NoPerm(_) | Refusal::Other(_));
            if !courtesy {
                return Err(ConnectError::Refused { address: self.address.to_string(), what, refusal });
            }
        }
        Ok(())
    }

    /// Asks the server who it is and what time it has. Where it will not say, nothing is noted.
    pub(super) async fn survey(&mut self, deadline: Instant) -> Result<(), ConnectError> {
        let (mut server, mut memory) = (redis::cmd("INFO"), redis::cmd("INFO"));
        let commands = [server.arg("server"), memory.arg("memory"), &redis::cmd("ROLE"), &redis::cmd("TIME")];
        let sent = Instant::now();
        let replies = self.ask(&commands.into_iter().collect(), deadline).await?;
        let received = Instant::now();
        let mut replies = replies.into_iter().map(Result::ok);
        let mut next = || replies.next().flatten();
        for info in [next(), next()].into_iter().flatten() {
            self.facts.note_info(&info);
        }
        if let Some(role) = next() {
            self.facts.note_role(&role);
        }
        if let Some(time) = next().as_ref().and_then(server_time) {
            self.clock.note(sent, received, time);
        }
        Ok(())
    }

    /// A call while connecting.
    pub(super) async fn ask(&mut self, batch: &Batch, deadline: Instant) -> Result<Replies, ConnectError> {
        self.call(batch, deadline).await.map_err(|error| match error {
            LinkError::TimedOut => ConnectError::TimedOut(self.address.to_string()),
            LinkError::NotSent(why) | LinkError::Lost(why) => {
                ConnectError::Unreachable(format!("{}: {why}", self.address))
            }
        })
    }

    /// Sends the batch and waits for its replies until the deadline.
    ///
    /// # Errors
    ///
    /// There are no replies; the connection is closed then. Not sent, and nothing closed, if another batch is under way.
    pub async fn call(&mut self, batch: &Batch, deadline: Instant) -> Result<Replies, LinkError> {
        if !self.under_way.is_empty() {
            return Err(LinkError::NotSent(Cow::Borrowed("another batch is under way")));
        }
        self.send(batch, deadline).await?;
        self.receive(deadline).await
    }

    /// Sends the batch. Its replies are for [`receive`](Self::receive) to fetch.
    ///
    /// # Errors
    ///
    /// The batch did not go out as a whole before the deadline; the connection is closed then. If the deadline has passed
    /// already, nothing is sent and nothing closed.
    pub async fn send(&mut self, batch: &Batch, deadline: Instant) -> Result<(), LinkError> {
        if Instant::now() >= deadline {
            return Err(LinkError::NotSent(Cow::Borrowed("the deadline has passed")));
        }
        // Taken out for the time of writing: whoever drops this future half-way drops the connection with it.
        let Some(mut stream) = self.stream.take() else {
            return Err(LinkError::NotSent(Cow::Borrowed("the connection is closed")));
        };
        let mut written = 0;
        let outcome = match self.idle_fault(&mut stream).await {
            Some(why) => Ok(Err(why)),
            None => timeout_at(deadline, write(&mut stream, batch.bytes(), &mut written))
                .await
                .map(|outcome| outcome.map_err(|error| Cow::Owned(error.to_string()))),
        };
        let error = match outcome {
            Ok(Ok(())) => {
                self.stream = Some(stream);
                self.under_way.push_back(batch.len());
                return Ok(());
            }
            Ok(Err(why)) if written == 0 => LinkError::NotSent(why),
            Ok(Err(why)) => LinkError::Lost(why),
            Err(_) if written == 0 => {
                LinkError::NotSent(Cow::Borrowed("the server takes nothing before the deadline"))
            }
            Err(_) => LinkError::TimedOut,
        };
        self.close();
        Err(error)
    }

    /// What is wrong with a connection on which nothing is under way.
    async fn idle_fault(&self, stream: &mut Stream) -> Option<Cow<'static, str>> {
        if !self.under_way.is_empty() {
            return None;
        }
        if !self.input.is_empty() {
            return Some(Cow::Borrowed(UNASKED));
        }
        hung_up(stream).await
    }

    /// The replies of the oldest batch that is under way; an empty row if there is none.
    ///
    /// The future can be dropped and called again.
    ///
    /// # Errors
    ///
    /// They did not come before the deadline, or the connection broke; it is closed then.
    pub async fn receive(&mut self, deadline: Instant) -> Result<Replies, LinkError> {
        let outcome = timeout_at(deadline, self.read_replies()).await.unwrap_or(Err(LinkError::TimedOut));
        if outcome.is_err() {
            self.close();
        }
        outcome
    }

    async fn read_replies(&mut self) -> Result<Replies, LinkError> {
        let Some(expected) = self.under_way.front().copied() else { return Ok(Vec::new()) };
        if self.replies.capacity() < expected {
            self.replies.reserve_exact(expected);
        }
        while self.replies.len() < expected {
            let reply = self.next_reply().await?;
            self.replies.push(reply);
        }
        self.under_way.pop_front();
        Ok(std::mem::take(&mut self.replies))
    }

    /// The next reply, whatever it answers. The future can be dropped and called again; after an error the connection is of no use
    /// any more.
    pub(super) async fn next_reply(&mut self) -> Result<Result<Value, Refusal>, LinkError> {
        let mut needed = 1;
        loop {
            if self.input.len() >= needed {
                match decode(&self.input, &self.address) {
                    Ok(Decoded::Reply(reply, used)) => {
                        self.input.advance(used);
                        if self.input.is_empty() && self.input.capacity() > KEPT {
                            self.input = BytesMut::new();
                        }
                        return Ok(reply);
                    }
                    Ok(Decoded::Incomplete(least)) => needed = least,
                    Err(error) => return Err(LinkError::Lost(Cow::Owned(error.to_string()))),
                }
            }
            self.read_more(needed).await?;
        }
    }

    /// Writes a batch whose replies are not counted: those to come are for [`next_reply`](Self::next_reply).
    ///
    /// # Errors
    ///
    /// It did not go out as a whole before the deadline; the connection is closed then, as it is where the future is dropped.
    pub(super) async fn put(&mut self, batch: &Batch, deadline: Instant) -> Result<(), LinkError> {
        let Some(mut stream) = self.stream.take() else {
            return Err(LinkError::NotSent(Cow::Borrowed("the connection is closed")));
        };
        match timeout_at(deadline, write(&mut stream, batch.bytes(), &mut 0)).await {
            Ok(Ok(())) => {
                self.stream = Some(stream);
                Ok(())
            }
            Ok(Err(error)) => Err(LinkError::Lost(Cow::Owned(error.to_string()))),
            Err(_) => Err(LinkError::TimedOut),
        }
    }

    async fn read_more(&mut self, needed: usize) -> Result<(), LinkError> {
        let Some(stream) = &mut self.stream else {
            return Err(LinkError::Lost(Cow::Borrowed("the connection is closed")));
        };
        // As much again as there is, so that a long reply is read in few steps, but no memory for a mere claim.
        let missing = needed.min(MAX_REPLY).saturating_sub(self.input.len());
        self.input.reserve(missing.min(self.input.len()).max(READ));
        match stream.read_buf(&mut self.input).await {
            Ok(0) => Err(LinkError::Lost(Cow::Borrowed(CLOSED))),
            Ok(_) => Ok(()),
            Err(error) => Err(LinkError::Lost(Cow::Owned(error.to_string()))),
        }
    }

    /// Waits until the server closes the connection, and closes it then; at once if it is closed, never while a batch
    /// is under way. For the time between calls; the future can be dropped and called again.
    pub async fn closed(&mut self) {
        match &mut self.stream {
            None => {}
            Some(_) if !self.under_way.is_empty() => std::future::pending().await,
            Some(stream) => {
                let mut byte = [0; 1];
                // Anything but silence is the end: nothing was asked, so nothing can be answered.
                let _ = stream.read(&mut byte).await;
                self.close();
            }
        }
    }

    /// Closes the connection, at once. Batches under way are lost.
    pub fn close(&mut self) {
        self.stream = None;
        self.under_way.clear();
        self.replies.clear();
        self.input.clear();
    }

    /// Whether the connection can still be used, as far as is known.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.stream.is_some()
    }

    /// The batches that were sent and have no replies yet.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// The server.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// What the server said about itself when the connection was made.
    #[must_use]
    pub const fn facts(&self) -> &ServerFacts {
        &self.facts
    }

    /// Whether the server takes writes; `true` if it would not say.
    pub(super) fn may_be_primary(&self) -> bool {
        matches!(self.facts.role, None | Some(Role::Primary))
    }

    /// What the server's clock shows: known from the time of connecting.
    #[must_use]
    pub const fn clock(&self) -> &ClockEstimate {
        &self.clock
    }

    /// The same, to note the times that replies carry.
    pub const fn clock_mut(&mut self) -> &mut ClockEstimate {
        &mut self.clock
    }
}

const CLOSED: &str = "the server closed the connection";

const UNASKED: &str = "the server spoke without being asked";

/// Looks, without waiting, whether the server has hung up while the connection was idle: a batch that would go into
/// the void is then surely not executed. Costs no system call as long as nothing has come.
async fn hung_up(stream: &mut Stream) -> Option<Cow<'static, str>> {
    poll_fn(|context| {
        let mut byte = [0; 1];
        let mut read = ReadBuf::new(&mut byte);
        Poll::Ready(match Pin::new(&mut *stream).poll_read(context, &mut read) {
            Poll::Pending => None,
            Poll::Ready(Err(error)) => Some(Cow::Owned(error.to_string())),
            Poll::Ready(Ok(())) if read.filled().is_empty() => Some(Cow::Borrowed(CLOSED)),
            Poll::Ready(Ok(())) => Some(Cow::Borrowed(UNASKED)),
        })
    })
    .await
}

/// Writes all of it and counts what the socket took.
async fn write(stream: &mut Stream, bytes: &[u8], written: &mut usize) -> io::Result<()> {
    while let Some(rest) = bytes.get(*written..).filter(|rest| !rest.is_empty()) {
        match stream.write(rest).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => *written += count,
        }
    }
    stream.flush().await
}

/// The reply to `TIME`: seconds and microseconds.
pub(crate) fn server_time(reply: &Value) -> Option<Timestamp> {
    let Value::Array(parts) = reply else { return None };
    let [seconds, micros] = parts.as_slice() else { return None };
    let number = |value| super::facts::text(value)?.parse::<u64>().ok();
    Some(Timestamp::from_micros(number(seconds)?.checked_mul(1_000_000)?.checked_add(number(micros)?)?))
}
