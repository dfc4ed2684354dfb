//! A connection that listens to channels.

use redis::Value;
use tokio::time::{Instant, timeout_at};

use super::{Batch, ConnectError, Connector, Link, LinkError};

/// What comes over a connection that listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Push {
    /// A message.
    Message {
        /// The channel.
        channel: Vec<u8>,
        /// It.
        payload: Vec<u8>,
    },
    /// The answer to a PING.
    Pong,
}

/// A connection that does nothing but listen. Its replies have the same limits as those of others.
#[derive(Debug)]
pub struct Subscription {
    link: Link,
}

impl Connector {
    /// A new connection to a primary that listens to these channels from when this returns, within the connect timeout of the
    /// settings for each of the two.
    ///
    /// # Errors
    ///
    /// As [`Connector::connect`]; or the server does not let us listen.
    pub async fn subscribe(&self, channels: &[Vec<u8>]) -> Result<Subscription, ConnectError> {
        let mut link = self.connect().await?;
        let deadline = Instant::now() + self.timeout();
        let mut command = redis::cmd("SUBSCRIBE");
        command.arg(channels);
        let address = link.address().to_string();
        let unreachable = |error: LinkError| ConnectError::Unreachable(format!("{address}: {error}"));
        link.put(&Batch::of(&command), deadline).await.map_err(unreachable)?;
        let mut left = channels.len();
        while left > 0 {
            let reply = timeout_at(deadline, link.next_reply()).await;
            match reply.map_err(|_| ConnectError::TimedOut(address.clone()))?.map_err(unreachable)? {
                // A message on a channel that is listened to already: nobody has been told yet that messages are heard.
                Ok(reply) => left -= usize::from(kind_of(&reply) == Some(b"subscribe")),
                Err(refusal) => return Err(ConnectError::Refused { address, what: "SUBSCRIBE", refusal }),
            }
        }
        Ok(Subscription { link })
    }
}

impl Subscription {
    /// What comes next. The future can be dropped and called again.
    ///
    /// # Errors
    ///
    /// The connection broke.
    pub async fn next(&mut self) -> Result<Push, LinkError> {
        loop {
            let reply = self.link.next_reply().await?;
            let reply = reply.map_err(|refusal| LinkError::Lost(refusal.to_string().into()))?;
            if let Some(push) = push_of(reply) {
                return Ok(push);
            }
        }
    }

    /// Asks for a sign of life, which [`next`](Self::next) returns.
    ///
    /// # Errors
    ///
    /// The connection broke, or takes nothing before the deadline.
    pub async fn ping(&mut self, deadline: Instant) -> Result<(), LinkError> {
        self.link.put(&Batch::of(&redis::cmd("PING")), deadline).await
    }
}

fn kind_of(reply: &Value) -> Option<&[u8]> {
    match reply {
        Value::Array(parts) => match parts.first() {
            Some(Value::BulkString(kind)) => Some(kind),
            _ => None,
        },
        _ => None,
    }
}

/// `message, channel, payload`, or `pong, `; others mean nothing here.
fn push_of(reply: Value) -> Option<Push> {
    let Value::Array(parts) = reply else { return None };
    let mut parts = parts.into_iter().map(|part| match part {
        Value::BulkString(bytes) => bytes,
        _ => Vec::new(),
    });
    match parts.next()?.as_slice() {
        b"message" => Some(Push::Message { channel: parts.next()?, payload: parts.next()? }),
        b"pong" => Some(Push::Pong),
        _ => None,
    }
}
