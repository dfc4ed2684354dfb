//! Who is primary: Sentinels know.

use std::sync::Arc;

use parking_lot::Mutex;
use redis::Value;
use tokio::time::Instant;

use super::connector::Identity;
use super::facts::text;
use super::{Batch, ConnectError, Link};
use crate::settings::Address;

/// The Sentinels of one primary. They are asked anew for every connection, one after the other, beginning with the one
/// that answered last.
#[derive(Debug)]
pub struct Sentinels {
    /// The best one first.
    order: Mutex<Vec<Address>>,
    name: Arc<str>,
    identity: Identity,
}

impl Sentinels {
    pub(super) fn new(sentinels: Vec<Address>, name: Arc<str>, identity: Identity) -> Self {
        Self { order: Mutex::new(sentinels), name, identity }
    }

    /// The address of the primary. Each Sentinel has an equal share of the time that is left, so that one that is silent
    /// does not keep the others from being asked.
    ///
    /// # Errors
    ///
    /// None of them named a primary before the deadline; the reason is that of the last one.
    pub async fn primary(&self, deadline: Instant) -> Result<Address, ConnectError> {
        let order = self.order.lock().clone();
        let mut last = None;
        for (asked, sentinel) in order.iter().enumerate() {
            let now = Instant::now();
            let left = u32::try_from(order.len().saturating_sub(asked)).unwrap_or(u32::MAX).max(1);
            let share = now + deadline.saturating_duration_since(now) / left;
            match self.ask(sentinel, share).await {
                Ok(primary) => {
                    self.prefer(sentinel);
                    return Ok(primary);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(match last {
            Some(error @ (ConnectError::Refused { .. } | ConnectError::Tls(_))) => error,
            Some(error) => {
                ConnectError::NoPrimary(format!("no Sentinel named the primary {}: {error}", self.name))
            }
            None => ConnectError::NoPrimary("there are no Sentinels".to_owned()),
        })
    }

    /// What the first Sentinel said was not true: the next one is asked first.
    pub(super) fn distrust(&self) {
        let mut order = self.order.lock();
        if !order.is_empty() {
            order.rotate_left(1);
        }
    }

    fn prefer(&self, sentinel: &Address) {
        let mut order = self.order.lock();
        if let Some(place) = order.iter().position(|other| other == sentinel)
            && let Some(until) = order.get_mut(..=place)
        {
            until.rotate_right(1);
        }
    }

    async fn ask(&self, sentinel: &Address, deadline: Instant) -> Result<Address, ConnectError> {
        let mut link = Link::open(sentinel, &self.identity, deadline).await?;
        let mut question = redis::cmd("SENTINEL");
        question.arg("get-master-addr-by-name").arg(&*self.name);
        let reply = link.ask(&Batch::of(&question), deadline).await?.pop();
        match reply {
            Some(Ok(Value::Array(parts))) => address_of(&parts).ok_or_else(|| {
                ConnectError::NoPrimary(format!("{sentinel} gave no address for {}", self.name))
            }),
            Some(Err(refusal)) => {
                let what = "SENTINEL get-master-addr-by-name";
                Err(ConnectError::Refused { address: sentinel.to_string(), what, refusal })
            }
            _ => Err(ConnectError::NoPrimary(format!("{sentinel} knows no primary {}", self.name))),
        }
    }
}

fn address_of(parts: &[Value]) -> Option<Address> {
    let [host, port] = parts else { return None };
    let port = text(port)?.parse().ok().filter(|port| *port > 0)?;
    Some(Address::tcp(text(host)?, port))
}
