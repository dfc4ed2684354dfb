//! What nodes of shared rooms tell each other.
//!
//! A message is the version (a byte), its kind (a byte), and what belongs to it. Whatever a node gets from the network is read as if
//! anybody could have sent it: it has a maximum, and what does not fit is left out.

use bytes::Bytes;
use tidegate_core::room::{Command, RoomName, Ticket};

use super::entry::{Mark, Step, VERSION, get_step, get_version};
use super::log::NodeId;
use crate::rooms::codec::{
    Malformed, Read, Reader, get_answer, get_command, get_ticket_of, put_answer, put_at, put_command,
    put_flag, put_integer, put_name, put_ticket_of,
};
use crate::rooms::port::Told;

/// The longest reason that is told to another node, in bytes.
const MAX_REASON_BYTES: usize = 300;

const TOLD: u8 = 1;
const MAIL: u8 = 2;
const MADE: u8 = 3;
const REMOVED: u8 = 4;
const RELEASED: u8 = 5;
const SEEK: u8 = 6;

const ASK: u8 = 1;
const OUTCOME: u8 = 2;
const HAS: u8 = 3;
const TAKE: u8 = 4;

const COMMAND: u8 = 1;
const LOOK: u8 = 2;
const REMOVE: u8 = 3;

const ANSWERED: u8 = 1;
const GONE: u8 = 2;
const MOVED: u8 = 3;
const UNKNOWN_ROOM: u8 = 4;
const OVERLOADED: u8 = 5;
const UNAVAILABLE: u8 = 6;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// What has happened in a room, from its keeper.
    Happened(Happened),
    /// Asks and answers, from one node to another.
    Mail { from: NodeId, items: Vec<Item> },
    /// There is a new room.
    Made(RoomName),
    /// A room is gone. One of this name that is made later begins in that epoch or a later one.
    Removed { room: RoomName, term: u64, least_epoch: u32 },
    /// The keeper of this term has given the room up.
    Released { room: RoomName, term: u64 },
    /// Who has taken the room in this term wants to know what others have of it, since the log may have lost something.
    Seek { room: RoomName, from: NodeId, term: u64 },
}

/// What has happened in a room since the keeper told last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Happened {
    pub(super) room: RoomName,
    pub(super) from: NodeId,
    /// The keeper's.
    pub(super) term: u64,
    /// How many times it has told in its term, this one included.
    pub(super) count: u64,
    /// The state before.
    pub(super) after: Mark,
    /// The last entry afterwards.
    pub(super) last: u64,
    /// Empty where it would be too much to tell: the log has it.
    pub(super) steps: Vec<ToldStep>,
}

/// A step, with what the log leaves out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ToldStep {
    /// The entry that it is in, or where nothing of it is in any, the last one before.
    pub(super) entry: u64,
    /// Whether something of it is in an entry.
    pub(super) is_kept: bool,
    pub(super) step: Step,
}

/// An ask, an answer, or what else one node tells another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Ask {
        id: u64,
        room: RoomName,
        what: What,
    },
    Outcome {
        id: u64,
        outcome: Outcome,
    },
    /// The answer to who seeks in this term.
    Has {
        room: RoomName,
        term: u64,
        has: Has,
    },
    /// This node has more of the room than who has just given it up, and is to take it.
    Take {
        room: RoomName,
        term: u64,
    },
}

/// What a node has of a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Has {
    /// The last entry that is kept, as far as it knows.
    pub(super) mark: Mark,
    /// The last term in which it kept the room; 0 where it never did.
    pub(super) kept_in: u64,
}

/// What is asked of a room's keeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Command(Command),
    Look(Ticket),
    Remove,
}

impl What {
    /// Whether it does no harm if it is done twice, and its answer is right then, too.
    pub(super) const fn is_repeatable(&self) -> bool {
        match self {
            What::Look(_) => true,
            What::Command(command) => match command {
                Command::Join(visitor) => visitor.identity.is_some(),
                Command::Poll(_)
                | Command::Heartbeat(_)
                | Command::Claim(_)
                | Command::Return(_)
                | Command::SetState(_)
                | Command::Change(_)
                | Command::Beacon(_)
                | Command::Turn => true,
                _ => false,
            },
            What::Remove => false,
        }
    }
}

/// What became of an ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was done, and what it has changed is kept.
    Answered {
        told: Told,
        mark: Mark,
        count: u64,
    },
    /// The room was removed.
    Gone,
    /// The node that was asked does not keep the room, or not any more.
    Moved {
        may_be_done: bool,
    },
    UnknownRoom,
    Overloaded,
    Unavailable(String),
}

// === impl writing ===

fn begin(kind: u8) -> Vec<u8> {
    vec![VERSION, kind]
}

impl Happened {
    /// Writes everything but the steps.
    pub(super) fn put_head(&self) -> Vec<u8> {
        let mut out = begin(TOLD);
        put_name(&mut out, &self.room);
        put_node(&mut out, self.from);
        put_integer(&mut out, self.term);
        put_integer(&mut out, self.count);
        put_mark(&mut out, self.after);
        put_integer(&mut out, self.last);
        out
    }
}

/// Writes what comes before a step.
pub(super) fn put_step_head(out: &mut Vec<u8>, entry: u64, is_kept: bool) {
    put_integer(out, entry);
    put_flag(out, is_kept);
}

pub(super) fn begin_mail(from: NodeId) -> Vec<u8> {
    let mut out = begin(MAIL);
    put_node(&mut out, from);
    out
}

pub(super) fn put_ask(out: &mut Vec<u8>, id: u64, room: &RoomName, what: &What) {
    out.push(ASK);
    put_integer(out, id);
    put_name(out, room);
    match what {
        What::Command(command) => {
            out.push(COMMAND);
            put_command(out, command);
        }
        What::Look(ticket) => {
            out.push(LOOK);
            put_ticket_of(out, ticket);
        }
        What::Remove => out.push(REMOVE),
    }
}

pub(super) fn put_outcome(out: &mut Vec<u8>, id: u64, outcome: &Outcome) {
    out.push(OUTCOME);
    put_integer(out, id);
    match outcome {
        Outcome::Answered { told: Told { answer, at, epoch }, mark, count } => {
            out.push(ANSWERED);
            put_answer(out, answer);
            put_at(out, *at);
            put_integer(out, u64::from(*epoch));
            put_mark(out, *mark);
            put_integer(out, *count);
        }
        Outcome::Gone => out.push(GONE),
        Outcome::Moved { may_be_done } => {
            out.push(MOVED);
            put_flag(out, *may_be_done);
        }
        Outcome::UnknownRoom => out.push(UNKNOWN_ROOM),
        Outcome::Overloaded => out.push(OVERLOADED),
        Outcome::Unavailable(why) => {
            out.push(UNAVAILABLE);
            let end = why.floor_char_boundary(MAX_REASON_BYTES);
            put_integer(out, end as u64);
            out.extend(&why.as_bytes()[..end]);
        }
    }
}

pub(super) fn made(room: &RoomName) -> Bytes {
    let mut out = begin(MADE);
    put_name(&mut out, room);
    out.into()
}

pub(super) fn removed(room: &RoomName, term: u64, least_epoch: u32) -> Bytes {
    let mut out = begin(REMOVED);
    put_name(&mut out, room);
    put_integer(&mut out, term);
    put_integer(&mut out, u64::from(least_epoch));
    out.into()
}

pub(super) fn released(room: &RoomName, term: u64) -> Bytes {
    let mut out = begin(RELEASED);
    put_name(&mut out, room);
    put_integer(&mut out, term);
    out.into()
}

pub(super) fn seek(room: &RoomName, from: NodeId, term: u64) -> Bytes {
    let mut out = begin(SEEK);
    put_name(&mut out, room);
    put_node(&mut out, from);
    put_integer(&mut out, term);
    out.into()
}

pub(super) fn put_has(out: &mut Vec<u8>, room: &RoomName, term: u64, has: Has) {
    out.push(HAS);
    put_name(out, room);
    put_integer(out, term);
    put_mark(out, has.mark);
    put_integer(out, has.kept_in);
}

pub(super) fn put_take(out: &mut Vec<u8>, room: &RoomName, term: u64) {
    out.push(TAKE);
    put_name(out, room);
    put_integer(out, term);
}

fn put_mark(out: &mut Vec<u8>, mark: Mark) {
    put_integer(out, mark.term);
    put_integer(out, mark.entry);
}

fn put_node(out: &mut Vec<u8>, node: NodeId) {
    out.extend(node.0.to_le_bytes());
}

// === impl reading ===

pub(super) fn get_message(bytes: &[u8]) -> Read<Message> {
    let mut reader = Reader::new(bytes);
    get_version(&mut reader)?;
    let reader = &mut reader;
    Ok(match reader.byte()? {
        TOLD => Message::Happened(get_told(reader)?),
        MAIL => {
            let from = get_node(reader)?;
            let mut items = Vec::new();
            while !reader.is_empty() {
                items.push(get_item(reader)?);
            }
            Message::Mail { from, items }
        }
        MADE => Message::Made(reader.name()?),
        REMOVED => {
            Message::Removed { room: reader.name()?, term: reader.integer()?, least_epoch: reader.small()? }
        }
        RELEASED => Message::Released { room: reader.name()?, term: reader.integer()? },
        SEEK => Message::Seek { room: reader.name()?, from: get_node(reader)?, term: reader.integer()? },
        _ => return Err(Malformed("an unknown message")),
    })
}

fn get_told(reader: &mut Reader<'_>) -> Read<Happened> {
    let mut told = Happened {
        room: reader.name()?,
        from: get_node(reader)?,
        term: reader.integer()?,
        count: reader.integer()?,
        after: get_mark(reader)?,
        last: reader.integer()?,
        steps: Vec::new(),
    };
    while !reader.is_empty() {
        let (entry, is_kept) = (reader.integer()?, reader.flag()?);
        told.steps.push(ToldStep { entry, is_kept, step: get_step(reader)? });
    }
    Ok(told)
}

fn get_item(reader: &mut Reader<'_>) -> Read<Item> {
    Ok(match reader.byte()? {
        ASK => {
            let id = reader.integer()?;
            let room = reader.name()?;
            let what = match reader.byte()? {
                COMMAND => What::Command(get_command(reader)?),
                LOOK => What::Look(get_ticket_of(reader)?),
                REMOVE => What::Remove,
                _ => return Err(Malformed("an unknown ask")),
            };
            Item::Ask { id, room, what }
        }
        OUTCOME => Item::Outcome { id: reader.integer()?, outcome: get_outcome(reader)? },
        HAS => Item::Has {
            room: reader.name()?,
            term: reader.integer()?,
            has: Has { mark: get_mark(reader)?, kept_in: reader.integer()? },
        },
        TAKE => Item::Take { room: reader.name()?, term: reader.integer()? },
        _ => return Err(Malformed("an unknown item")),
    })
}

fn get_outcome(reader: &mut Reader<'_>) -> Read<Outcome> {
    Ok(match reader.byte()? {
        ANSWERED => {
            let told = Told { answer: get_answer(reader)?, at: reader.at()?, epoch: reader.small()? };
            Outcome::Answered { told, mark: get_mark(reader)?, count: reader.integer()? }
        }
        GONE => Outcome::Gone,
        MOVED => Outcome::Moved { may_be_done: reader.flag()? },
        UNKNOWN_ROOM => Outcome::UnknownRoom,
        OVERLOADED => Outcome::Overloaded,
        UNAVAILABLE => {
            let length: usize = reader.small()?;
            if length > MAX_REASON_BYTES {
                return Err(Malformed("a reason that is too long"));
            }
            Outcome::Unavailable(String::from_utf8_lossy(reader.bytes(length)?).into_owned())
        }
        _ => return Err(Malformed("an unknown outcome")),
    })
}

fn get_mark(reader: &mut Reader<'_>) -> Read<Mark> {
    Ok(Mark { term: reader.integer()?, entry: reader.integer()? })
}

fn get_node(reader: &mut Reader<'_>) -> Read<NodeId> {
    Ok(NodeId(u64::from_le_bytes(reader.array()?)))
}
