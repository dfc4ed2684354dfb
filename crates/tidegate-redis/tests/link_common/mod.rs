//! What the tests of the link share.

#![allow(dead_code, reason = "every test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "only tests use it")]

use std::time::Duration;

use redis::{Cmd, Value};
use tidegate_redis::RedisSettings;
use tidegate_redis::link::{Batch, ConnectError, Connector, Lane, Link, LinkError, Refusal, Topology};
use tokio::time::Instant;

/// Longer than anything should take that is not meant to fail; these machines are busy.
pub(crate) const LONG: Duration = Duration::from_secs(5);

/// Settings with a deadline that a busy machine does not miss.
pub(crate) fn settings(url: &str) -> RedisSettings {
    RedisSettings::parse(url).unwrap().with_call_deadline(LONG).unwrap()
}

pub(crate) fn connector(settings: &RedisSettings) -> Connector {
    match Topology::new(settings).unwrap() {
        Topology::Primary(connector) => connector,
        Topology::Cluster(_) => panic!("not for a Cluster"),
    }
}

pub(crate) async fn connect(url: &str) -> Result<Link, ConnectError> {
    connector(&settings(url)).connect().await
}

pub(crate) fn lane(settings: &RedisSettings) -> Lane {
    Lane::new(connector(settings), fastrand::Rng::with_seed(0x1a4e))
}

pub(crate) fn soon() -> Instant {
    Instant::now() + LONG
}

pub(crate) fn command(words: &[&str]) -> Cmd {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command
}

pub(crate) fn batch(commands: &[&[&str]]) -> Batch {
    let mut batch = Batch::new();
    commands.iter().for_each(|words| batch.push(&command(words)));
    batch
}

/// The reply to one command.
pub(crate) async fn ask(link: &mut Link, words: &[&str]) -> Result<Value, Refusal> {
    link.call(&batch(&[words]), soon()).await.unwrap().pop().unwrap()
}

/// The lane's answer to PING.
pub(crate) async fn ping(lane: &mut Lane) -> Result<Value, LinkError> {
    Ok(lane.call(&batch(&[&["PING"]]), soon()).await?.pop().unwrap().unwrap())
}

/// Waits until the lane is connected; panics if that takes longer than a few seconds.
pub(crate) async fn connected(lane: &mut Lane) {
    let up = async {
        while lane.link().is_none() {
            lane.changed().await;
        }
    };
    if tokio::time::timeout(LONG * 3, up).await.is_err() {
        panic!("not connected: {:?}", lane.reason());
    }
}

pub(crate) fn pong() -> Value {
    Value::SimpleString("PONG".into())
}
