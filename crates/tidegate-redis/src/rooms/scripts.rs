//! The scripts of rooms. Each is short, checks the term, and answers in a few words.

use std::time::Duration;

use bytes::Bytes;
use redis::Value;
use tidegate_store::rooms::shared::LogError;
use tokio::time::Instant;

use super::Shared;
use crate::link::Refusal;
use crate::order::Failure;
use crate::script::Script;

/// All scripts.
#[derive(Debug)]
pub(super) struct RoomScripts {
    pub(super) take: Script,
    pub(super) append: Script,
    pub(super) page: Script,
    pub(super) piece: Script,
    pub(super) commit: Script,
    pub(super) release: Script,
    pub(super) remove: Script,
}

impl RoomScripts {
    pub(super) fn new() -> Self {
        let script = |text: &str| Script::new(text.to_owned());
        Self {
            take: script(include_str!("scripts/take.lua")),
            append: script(include_str!("scripts/append.lua")),
            page: script(include_str!("scripts/page.lua")),
            piece: script(include_str!("scripts/piece.lua")),
            commit: script(include_str!("scripts/commit.lua")),
            release: script(include_str!("scripts/release.lua")),
            remove: script(include_str!("scripts/remove.lua")),
        }
    }
}

/// A call of a script; the run id of the server goes before its arguments.
pub(super) struct Call {
    pub(super) script: fn(&RoomScripts) -> &Script,
    /// What stands for the slot and the connection.
    pub(super) route: Vec<u8>,
    pub(super) keys: Vec<Vec<u8>>,
    pub(super) arguments: Vec<Bytes>,
    pub(super) within: Duration,
}

/// What stands for the run id of a server that does not tell it.
const NO_RUN_ID: &str = "?";

impl Shared {
    /// Calls a script.
    pub(super) async fn run(&self, call: Call) -> Result<Value, LogError> {
        let Call { script, route, keys, arguments, within } = call;
        let scripts = std::sync::Arc::clone(&self.scripts);
        let replies = self.router.command(&route, Instant::now() + within, move |sending| {
            let run_id = sending.run_id.unwrap_or(NO_RUN_ID).as_bytes();
            let arguments: Vec<&[u8]> =
                std::iter::once(run_id).chain(arguments.iter().map(|argument| &**argument)).collect();
            let keys = keys.iter().map(Vec::as_slice);
            vec![script(&scripts).command(sending.by_name, keys, &arguments)]
        });
        one(replies.await.map_err(|failure| log_error(&failure))?)
    }

    /// Calls a script that answers in words.
    pub(super) async fn words(&self, call: Call) -> Result<Words, LogError> {
        match self.run(call).await? {
            Value::BulkString(bytes) => String::from_utf8(bytes).map(Words).map_err(|_| garbled()),
            _ => Err(garbled()),
        }
    }
}

/// An answer in words.
pub(super) struct Words(String);

impl Words {
    /// The first word, and the numbers after it.
    pub(super) fn read<const N: usize>(&self) -> Result<(&str, [u64; N]), LogError> {
        let mut words = self.0.split(' ');
        let first = words.next().unwrap_or_default();
        let mut numbers = [0; N];
        for (number, word) in numbers.iter_mut().zip(words) {
            *number = word.parse().map_err(|_| garbled())?;
        }
        Ok((first, numbers))
    }
}

/// The one reply to one command.
pub(super) fn one(replies: Vec<Result<Value, Refusal>>) -> Result<Value, LogError> {
    match replies.into_iter().next() {
        Some(Ok(value)) => Ok(value),
        Some(Err(refusal)) => Err(refused(&refusal)),
        None => Err(garbled()),
    }
}

/// What a refusal means: a script may have done a part before it failed.
pub(super) fn refused(refusal: &Refusal) -> LogError {
    let why = refusal.to_string();
    match refusal {
        Refusal::WrongType | Refusal::Script(_) => LogError::Corrupt(why),
        refusal if refusal.proves_not_executed() => LogError::NotDone(why),
        _ => LogError::Unknown(why),
    }
}

pub(super) fn log_error(failure: &Failure) -> LogError {
    match failure {
        Failure::NotDone(why) | Failure::Misconfigured(why) => LogError::NotDone(why.clone()),
        Failure::Unknown => LogError::Unknown("the server did not answer in time".to_owned()),
        Failure::Garbled(why) => LogError::Corrupt(why.clone()),
        // The router has followed it as far as it led.
        Failure::Elsewhere(back) => LogError::NotDone(back.1.to_string()),
    }
}

pub(super) fn garbled() -> LogError {
    LogError::Corrupt("the reply to a script of rooms makes no sense".to_owned())
}
