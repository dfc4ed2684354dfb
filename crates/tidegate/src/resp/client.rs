//! What is known of a client, and the commands that are about itself.

use tidegate_core::quota::{Algorithm, Quota};
use tidegate_engine::{AdHoc, Clock, EngineError};
use tidegate_store::BucketStore;
use tidegate_wire::resp::command::{Command, Hello};
use tidegate_wire::resp::reply::{self, Version};

use super::{Shared, table, to_wire};
use crate::gate::{Caller, Refused};

/// The family of the buckets of `CL.THROTTLE` and `THROTTLE`: one, so that clients can change from one to the other.
const FAMILY: &str = "throttle";

/// What is known of a client.
pub(super) struct Client {
    id: u64,
    pub(super) version: Version,
    name: Vec<u8>,
    /// The API key that was given last. It is looked at again with every turn: keys can be revoked.
    key: Option<String>,
    caller: Result<Caller, Refused>,
    /// The quota that was asked for last: mostly it is the next one, too.
    last: Option<(Quota, AdHoc)>,
}

/// What becomes of the connection after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    GoOn,
    Close,
}

impl Client {
    pub(super) fn new<S: BucketStore, C: Clock>(shared: &Shared<S, C>, id: u64) -> Self {
        let caller = shared.gate.caller(None);
        Self { id, version: Version::default(), name: Vec::new(), key: None, caller, last: None }
    }

    /// Looks at the key again.
    pub(super) fn refresh<S: BucketStore, C: Clock>(&mut self, shared: &Shared<S, C>) {
        if self.key.is_some() {
            self.caller = shared.gate.caller(self.key.as_deref());
        }
    }

    pub(super) fn caller(&self) -> Result<&Caller, Refused> {
        self.caller.as_ref().map_err(|refused| *refused)
    }

    /// The quota that a command brings, made ready.
    pub(super) fn ad_hoc<S: BucketStore, C: Clock>(
        &mut self,
        shared: &Shared<S, C>,
        caller: &Caller,
        quota: Quota,
    ) -> Result<&AdHoc, EngineError> {
        let last = self.last.take().filter(|(known, _)| *known == quota);
        let (_, ad_hoc) = match last {
            Some(last) => self.last.insert(last),
            None => {
                let made = shared.gate.ad_hoc(caller, FAMILY, Algorithm::TokenBucket, quota)?;
                self.last.insert((quota, made))
            }
        };
        Ok(ad_hoc)
    }

    /// Carries a command out that asks for no decision.
    pub(super) fn obey<S: BucketStore, C: Clock>(
        &mut self,
        shared: &Shared<S, C>,
        command: &Command<'_>,
        out: &mut Vec<u8>,
    ) -> After {
        match command {
            Command::Auth(key) => {
                if self.authenticate(shared, key, out) {
                    reply::status(out, "OK");
                }
                return After::GoOn;
            }
            Command::Hello(hello) => {
                self.hello(shared, hello, out);
                return After::GoOn;
            }
            Command::Quit => {
                reply::status(out, "OK");
                return After::Close;
            }
            _ => {}
        }
        if let Err(refused) = self.caller() {
            to_wire::refused(out, refused);
            return After::GoOn;
        }
        match command {
            Command::Ping(None) => reply::status(out, "PONG"),
            Command::Ping(Some(message)) | Command::Echo(message) => reply::bulk(out, message),
            Command::Select | Command::SetInfo => reply::status(out, "OK"),
            Command::SetName(name) => {
                self.name = name.to_vec();
                reply::status(out, "OK");
            }
            Command::GetName => reply::bulk(out, &self.name),
            Command::Id => reply::integer(out, i64::try_from(self.id).unwrap_or(i64::MAX)),
            Command::Table(wanted) => table::write(wanted, self.version, out),
            Command::Info => table::write_info(out),
            Command::Auth(_)
            | Command::Hello(_)
            | Command::Quit
            | Command::Throttle(_)
            | Command::Check(_) => {}
        }
        After::GoOn
    }

    /// Takes a key. False where it is not good, which is then said; the one before it stays.
    fn authenticate<S: BucketStore, C: Clock>(
        &mut self,
        shared: &Shared<S, C>,
        key: &str,
        out: &mut Vec<u8>,
    ) -> bool {
        if shared.gate.catalog().is_none() {
            to_wire::no_keys_here(out);
            return false;
        }
        match shared.gate.caller(Some(key)) {
            Ok(caller) => {
                (self.key, self.caller, self.last) = (Some(key.to_owned()), Ok(caller), None);
                true
            }
            Err(refused) => {
                to_wire::wrong_key(out, refused);
                false
            }
        }
    }

    fn hello<S: BucketStore, C: Clock>(
        &mut self,
        shared: &Shared<S, C>,
        hello: &Hello<'_>,
        out: &mut Vec<u8>,
    ) {
        if hello.key.is_some_and(|key| !self.authenticate(shared, key, out)) {
            return;
        }
        if let Err(refused) = self.caller() {
            return to_wire::refused(out, refused);
        }
        match hello.version {
            Some(3) => self.version = Version::Resp3,
            Some(_) => self.version = Version::Resp2,
            None => {}
        }
        if let Some(name) = hello.name {
            self.name = name.to_vec();
        }
        table::write_hello(self.version, self.id, out);
    }
}
