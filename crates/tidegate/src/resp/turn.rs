//! The commands of one read, answered in their order.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use tidegate_engine::Clock;
use tidegate_store::BucketStore;
use tidegate_wire::check::CheckRequest;
use tidegate_wire::resp::command::{self, Command};
use tidegate_wire::resp::frame::{self, Arguments, Progress};
use tidegate_wire::resp::reply;

use super::client::{After, Client};
use super::seat::{Seat, priority_of};
use super::{Pipelines, Shared, decide, to_wire};
use crate::door::overload::{Guard, Priority};
use crate::gate::Caller;

/// Most commands of one turn; the others of a pipeline are another turn's.
const MAX_COMMANDS: usize = 1_024;
/// Most commands that are decided at the same time for one client.
const MAX_TOGETHER: usize = 256;
/// Replies beyond this are written before the next turn, in bytes.
const MAX_OUTPUT_BYTES: usize = 64 * 1024;

/// What came of a turn.
pub(super) struct Turn {
    /// Bytes that are done with.
    pub(super) taken: usize,
    /// The fewest bytes, with those that are left, that are worth another look; nothing where there may be whole commands
    /// among them.
    pub(super) wanted: Option<usize>,
    pub(super) after: After,
}

/// Answers what is whole in `input`.
pub(super) async fn answer<S: BucketStore, C: Clock>(
    shared: &Shared<S, C>,
    client: &mut Client,
    input: &[u8],
    out: &mut Vec<u8>,
) -> Turn {
    client.refresh(shared);
    match shared.options.pipelines {
        Pipelines::InOrder => in_order(shared, client, input, out).await,
        Pipelines::Together => together(shared, client, input, out).await,
    }
}

async fn in_order<S: BucketStore, C: Clock>(
    shared: &Shared<S, C>,
    client: &mut Client,
    input: &[u8],
    out: &mut Vec<u8>,
) -> Turn {
    let (mut reader, mut seat) = (Reader::new(input), Seat::default());
    let overload = &shared.options.overload;
    while reader.commands < MAX_COMMANDS && out.len() < MAX_OUTPUT_BYTES {
        let Some(command) = reader.next(shared, out) else { break };
        match &command {
            Command::Throttle(throttle) => match client.caller().cloned() {
                Ok(_) if !seat.is_there(overload, Priority::Normal) => to_wire::shed(out),
                Ok(caller) => match client.ad_hoc(shared, &caller, throttle.quota) {
                    Ok(ad_hoc) => decide::throttle(shared, &caller, ad_hoc, throttle, out).await,
                    Err(error) => to_wire::undecided(out, &error),
                },
                Err(refused) => to_wire::refused(out, refused),
            },
            Command::Check(check) => match client.caller() {
                Ok(_) if !seat.is_there(overload, priority_of(check)) => to_wire::shed(out),
                Ok(caller) => decide::check(shared, caller, check, client.version, out).await,
                Err(refused) => to_wire::refused(out, refused),
            },
            other => {
                if client.obey(shared, other, out) == After::Close {
                    reader.after = After::Close;
                    break;
                }
            }
        }
    }
    reader.turn()
}

/// A reply that is there, or comes.
enum Piece<'a> {
    Written(Vec<u8>),
    Deciding(Pin<Box<dyn Future<Output = Vec<u8>> + Send + 'a>>),
}

async fn together<S: BucketStore, C: Clock>(
    shared: &Shared<S, C>,
    client: &mut Client,
    input: &[u8],
    out: &mut Vec<u8>,
) -> Turn {
    let mut reader = Reader::new(input);
    let overload = &shared.options.overload;
    let mut pieces: Vec<Piece<'_>> = Vec::new();
    let mut written = Vec::new();
    let mut bytes = 0;
    while pieces.len() < MAX_TOGETHER && bytes < MAX_OUTPUT_BYTES {
        let command = reader.next(shared, &mut written);
        if !written.is_empty() {
            bytes += written.len();
            pieces.push(Piece::Written(std::mem::take(&mut written)));
        }
        let Some(command) = command else { break };
        match (command, client.caller().cloned()) {
            (Command::Throttle(throttle), Ok(caller)) => {
                let Some(inside) = overload.enter(Priority::Normal) else {
                    to_wire::shed(&mut written);
                    continue;
                };
                match client.ad_hoc(shared, &caller, throttle.quota).cloned() {
                    Ok(ad_hoc) => pieces.push(Piece::Deciding(Box::pin(async move {
                        let (_inside, mut out) = (inside, Vec::new());
                        decide::throttle(shared, &caller, &ad_hoc, &throttle, &mut out).await;
                        out
                    }))),
                    Err(error) => to_wire::undecided(&mut written, &error),
                }
            }
            (Command::Check(check), Ok(caller)) => match overload.enter(priority_of(&check)) {
                Some(inside) => {
                    let version = client.version;
                    let deciding = deciding_check(shared, inside, caller, check, version);
                    pieces.push(Piece::Deciding(deciding));
                }
                None => to_wire::shed(&mut written),
            },
            (Command::Throttle(_) | Command::Check(_), Err(refused)) => {
                to_wire::refused(&mut written, refused);
            }
            (other, _) => {
                if client.obey(shared, &other, &mut written) == After::Close {
                    reader.after = After::Close;
                    break;
                }
            }
        }
    }
    all_of(&mut pieces).await;
    for piece in pieces {
        if let Piece::Written(reply) = piece {
            out.extend_from_slice(&reply);
        }
    }
    out.extend_from_slice(&written);
    reader.turn()
}

fn deciding_check<'a, S: BucketStore, C: Clock>(
    shared: &'a Shared<S, C>,
    inside: Guard<'a>,
    caller: Caller,
    check: Box<CheckRequest<'a>>,
    version: reply::Version,
) -> Pin<Box<dyn Future<Output = Vec<u8>> + Send + 'a>> {
    Box::pin(async move {
        let (_inside, mut out) = (inside, Vec::new());
        decide::check(shared, &caller, &check, version, &mut out).await;
        out
    })
}

/// Waits until every piece is written. They are asked in their order, so the store hears of them in their order.
async fn all_of(pieces: &mut [Piece<'_>]) {
    poll_fn(|cx| {
        let mut is_waiting = false;
        for piece in &mut *pieces {
            if let Piece::Deciding(deciding) = piece {
                match deciding.as_mut().poll(cx) {
                    Poll::Ready(reply) => *piece = Piece::Written(reply),
                    Poll::Pending => is_waiting = true,
                }
            }
        }
        if is_waiting { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
}

/// Reads commands out of what has come.
struct Reader<'a> {
    input: &'a [u8],
    at: usize,
    arguments: Arguments<'a>,
    commands: usize,
    wanted: Option<usize>,
    after: After,
}

impl<'a> Reader<'a> {
    fn new(input: &'a [u8]) -> Self {
        Self { input, at: 0, arguments: Arguments::new(), commands: 0, wanted: None, after: After::GoOn }
    }

    /// The next command that can be carried out; those before it that cannot have got their errors. Nothing where no whole
    /// one is left, or the stream is over.
    fn next<S: BucketStore, C: Clock>(
        &mut self,
        shared: &Shared<S, C>,
        out: &mut Vec<u8>,
    ) -> Option<Command<'a>> {
        while self.commands < MAX_COMMANDS {
            match frame::read(self.input.get(self.at..)?, &mut self.arguments) {
                Err(error) => {
                    reply::error(out, &format!("ERR {error}"));
                    (self.at, self.after) = (self.input.len(), After::Close);
                    return None;
                }
                Ok(Progress::Partial { bytes }) => {
                    self.wanted = Some(bytes);
                    return None;
                }
                Ok(Progress::Whole { bytes }) => self.at += bytes,
            }
            self.commands += 1;
            if self.arguments.is_empty() {
                continue;
            }
            match command::parse(&self.arguments, shared.options.ipv6_prefix) {
                Ok(command) => return Some(command),
                Err(error) => reply::error(out, error.text()),
            }
        }
        None
    }

    fn turn(self) -> Turn {
        Turn { taken: self.at, wanted: self.wanted, after: self.after }
    }
}
