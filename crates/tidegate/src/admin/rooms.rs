//! Waiting rooms of this node, for operators.

use http::HeaderValue;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_catalog::model::DEFAULT_TENANT;
use tidegate_catalog::repository::Deed;
use tidegate_config::parse_room_checked;
use tidegate_core::room::{Answer as Told, Command, Flush, QueueNumber, RoomName, RoomState};
use tidegate_store::rooms::RoomError;
use tidegate_wire::problem::{Problem, ProblemType};

use super::Admin;
use super::answer::{Answer, Answered, Refusal};
use super::call::Call;
use crate::rooms::{Rooms, RoomsError, RowFormat, Wanted};

/// What a room is to do.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RoomStateWanted")]
pub(super) struct WantedState {
    state: StateWord,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum StateWord {
    /// As its settings say.
    Open,
    /// Nobody is called.
    Paused,
    /// Nobody new may join.
    Draining,
    /// Nobody is let in.
    Closed,
}

/// Who is to go.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RoomFlush")]
pub(super) struct WantedFlush {
    /// Whether sessions end, too, and their passes with them.
    #[serde(default)]
    sessions: bool,
}

/// One visitor.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RoomVisitor")]
pub(super) struct WantedVisitor {
    /// Its number, which its page shows.
    #[schemars(range(min = 1))]
    queue_number: u64,
}

/// One visitor, or the next in line.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RoomAdmission")]
pub(super) struct WantedAdmission {
    /// Its number; the next in line, if left out.
    #[serde(default)]
    #[schemars(range(min = 1))]
    queue_number: Option<u64>,
}

/// What a draw is mixed with.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RoomBeacon")]
pub(super) struct WantedBeacon {
    /// 32 bytes that nobody who runs the room chooses, such as a round of a public randomness service that was named beforehand: 64
    /// hexadecimal digits.
    #[schemars(regex(pattern = "^[0-9a-fA-F]{64}$"))]
    beacon: String,
}

pub(super) async fn list(admin: &Admin, call: &Call) -> Answered {
    let (rooms, limit) = (rooms(admin)?, call.limit()?);
    let after = call.parameter("after")?;
    let names = rooms.names().into_iter();
    let later = names.filter(|name| after.as_deref().is_none_or(|after| name.as_str() > after));
    let page: Vec<_> = later.take(limit as usize).collect();
    let next = (page.len() == limit as usize).then(|| page.last().map(|last| Value::from(last.as_str())));
    let mut items = Vec::new();
    for name in &page {
        items.extend(rooms.overview(name.as_str()).await.map_err(failed)?);
    }
    Ok(Answer::page(items, next.flatten()))
}

pub(super) async fn get(admin: &Admin, call: &Call) -> Answered {
    overview(rooms(admin)?, &call.name("room")?).await
}

pub(super) async fn put(admin: &Admin, call: &Call) -> Answered {
    let (rooms, name) = (rooms(admin)?, call.name("room")?);
    let text = call.text()?;
    let room = parse_room_checked(text.as_ref(), "body", &|room| rooms.check(room)).map_err(|errors| {
        let said: Vec<String> = errors.errors.iter().map(ToString::to_string).collect();
        Problem::invalid_field("body", said.join("; "))
    })?;
    if room.name.as_str() != name {
        return Err(Problem::invalid_field("name", "it is another name than that of the path").into());
    }
    note(admin, call, "room.put", &name, &tidegate_config::room_json(&room)).await?;
    let put = rooms.put(&room).await;
    let not_done = put.as_ref().err().map(ToString::to_string);
    note_outcome(admin, call, "room.put", &name, not_done).await;
    put.map_err(|error| match error {
        RoomsError::Store(_, error) => failed(error),
        RoomsError::Refused(_, refusal) => Problem::new(ProblemType::Conflicting, refusal.to_string()).into(),
        error @ RoomsError::NoSecret => Problem::new(ProblemType::Conflicting, error.to_string()).into(),
        error => Problem::invalid_field("body", error.to_string()).into(),
    })?;
    overview(rooms, &name).await
}

pub(super) async fn delete(admin: &Admin, call: &Call) -> Answered {
    let (rooms, name) = (rooms(admin)?, room_name(call)?);
    if rooms.overview(name.as_str()).await.map_err(failed)?.is_none() {
        return Err(Refusal::not_found("room"));
    }
    note(admin, call, "room.delete", name.as_str(), &Value::Null).await?;
    let removed = rooms.remove(&name).await;
    let not_done = match &removed {
        Ok(true) => None,
        Ok(false) => Some("there is none".to_owned()),
        Err(error) => Some(error.to_string()),
    };
    note_outcome(admin, call, "room.delete", name.as_str(), not_done).await;
    if removed.map_err(failed)? {
        Ok(Answer::json(&json!({ "name": name.as_str(), "removed": true })))
    } else {
        Err(Refusal::not_found("room"))
    }
}

/// The most rows that `limit` can name: without it there is no such maximum, since nothing keeps them all.
pub(super) const MAX_ROWS: usize = 100_000;

pub(super) async fn export(admin: &Admin, call: &Call) -> Answered {
    let (rooms, name) = (rooms(admin)?, room_name(call)?);
    let format = match call.parameter("format")?.as_deref() {
        None | Some("ndjson") => RowFormat::Ndjson,
        Some("csv") => RowFormat::Csv,
        Some(_) => return Err(Problem::invalid_field("format", "write ndjson or csv").into()),
    };
    let number = |name: &'static str, most: u64| {
        let text = call.parameter(name)?;
        let number = text.map(|text| text.parse::<u64>().ok().filter(|number| *number <= most));
        number.map_or(Ok(None), |number| {
            let what = format!("write a whole number, at most {most}");
            number.map(Some).ok_or_else(|| Refusal::from(Problem::invalid_field(name, what)))
        })
    };
    let after = number("after", QueueNumber::MAX.get())?.unwrap_or(0);
    let most = number("limit", MAX_ROWS as u64)?.and_then(|most| usize::try_from(most).ok());
    if most == Some(0) {
        return Err(Problem::invalid_field("limit", "write at least 1").into());
    }
    if rooms.overview(name.as_str()).await.map_err(failed)?.is_none() {
        return Err(Refusal::not_found("room"));
    }
    let content_type = match format {
        RowFormat::Ndjson => HeaderValue::from_static("application/x-ndjson"),
        RowFormat::Csv => HeaderValue::from_static("text/csv; charset=utf-8"),
    };
    let rows = rooms.export(&name, Wanted { format, after, most }).await.map_err(failed)?;
    Ok(Answer::rows(content_type, rows))
}

pub(super) async fn beacon(admin: &Admin, call: &Call) -> Answered {
    let wanted = call.json::<WantedBeacon>()?;
    let beacon = bytes_of_hex(&wanted.beacon).ok_or_else(|| {
        Problem::invalid_field("beacon", "write 64 hexadecimal digits: 32 bytes that you do not choose")
    })?;
    command(admin, call, "room.beacon", &json!({ "beacon": wanted.beacon }), &Command::Beacon(beacon)).await
}

fn bytes_of_hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        let digits = text.get(at..at + 2).filter(|digits| !digits.starts_with('+'))?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(bytes)
}

fn room_name(call: &Call) -> Result<RoomName, Refusal> {
    RoomName::new(&call.name("room")?).map_err(|_| Refusal::not_found("room"))
}

pub(super) async fn set_state(admin: &Admin, call: &Call) -> Answered {
    let wanted = call.json::<WantedState>()?;
    let state = match wanted.state {
        StateWord::Open => RoomState::Open,
        StateWord::Paused => RoomState::Paused,
        StateWord::Draining => RoomState::Draining,
        StateWord::Closed => RoomState::Closed,
    };
    command(admin, call, "room.state", &json!({ "state": state.name() }), &Command::SetState(state)).await
}

pub(super) async fn flush(admin: &Admin, call: &Call) -> Answered {
    let wanted = call.json::<WantedFlush>()?;
    let flush = if wanted.sessions { Flush::Everybody } else { Flush::Line };
    command(admin, call, "room.flush", &json!({ "sessions": wanted.sessions }), &Command::Flush(flush)).await
}

pub(super) async fn admit(admin: &Admin, call: &Call) -> Answered {
    let wanted = call.json::<WantedAdmission>()?;
    let number = wanted.queue_number.map(QueueNumber::new);
    let noted = json!({ "queue_number": wanted.queue_number });
    command(admin, call, "room.admit", &noted, &Command::AdmitOne(number)).await
}

pub(super) async fn end(admin: &Admin, call: &Call) -> Answered {
    let wanted = call.json::<WantedVisitor>()?;
    let noted = json!({ "queue_number": wanted.queue_number });
    command(admin, call, "room.end", &noted, &Command::End(QueueNumber::new(wanted.queue_number))).await
}

const NOBODY: &str = "no visitor with this number waits or is inside";

/// Does a command, after it has been written into the audit log.
async fn command(
    admin: &Admin,
    call: &Call,
    action: &'static str,
    noted: &Value,
    command: &Command,
) -> Answered {
    let (rooms, name) = (rooms(admin)?, call.name("room")?);
    if rooms.overview(&name).await.map_err(failed)?.is_none() {
        return Err(Refusal::not_found("room"));
    }
    note(admin, call, action, &name, noted).await?;
    let told = rooms.command(&name, command).await;
    let not_done = match &told {
        Ok(None) => Some("there is none".to_owned()),
        Ok(Some(Told::Refused(refusal))) => Some(refusal.to_string()),
        Ok(Some(Told::Lapsed)) => Some(NOBODY.to_owned()),
        Ok(Some(_)) => None,
        Err(error) => Some(error.to_string()),
    };
    note_outcome(admin, call, action, &name, not_done).await;
    match told.map_err(failed)? {
        None => Err(Refusal::not_found("room")),
        Some(Told::Refused(refusal)) => {
            Err(Problem::new(ProblemType::Conflicting, refusal.to_string()).into())
        }
        Some(Told::Lapsed) => Err(Problem::new(ProblemType::Conflicting, NOBODY).into()),
        Some(_) => overview(rooms, &name).await,
    }
}

async fn overview(rooms: &Rooms, name: &str) -> Answered {
    match rooms.overview(name).await.map_err(failed)? {
        Some(overview) => Ok(Answer::json(&overview)),
        None => Err(Refusal::not_found("room")),
    }
}

fn rooms(admin: &Admin) -> Result<&Rooms, Refusal> {
    admin.rooms.as_ref().ok_or_else(|| Refusal::not_found("room"))
}

async fn note(
    admin: &Admin,
    call: &Call,
    action: &'static str,
    room: &str,
    wanted: &Value,
) -> Result<(), Refusal> {
    let deed = Deed {
        tenant: DEFAULT_TENANT.to_owned(),
        action,
        target: room.to_owned(),
        after: Some(wanted.to_string()),
    };
    Ok(admin.repository.note(&call.actor(), call.now_us, deed).await?)
}

/// Notes that what was noted was not done after all. It is noted before it is done, so that nothing is done that nobody can find.
async fn note_outcome(
    admin: &Admin,
    call: &Call,
    action: &'static str,
    room: &str,
    not_done: Option<String>,
) {
    let Some(why) = not_done else { return };
    if note(admin, call, action, room, &json!({ "not_done": why })).await.is_err() {
        tracing::warn!(action, room, why, "the audit log says that this was done, and it was not");
    }
}

fn failed(error: RoomError) -> Refusal {
    match error {
        RoomError::UnknownRoom => Refusal::not_found("room"),
        RoomError::TooManyRooms => Problem::new(ProblemType::CeilingReached, error.to_string()).into(),
        RoomError::Unsupported => Problem::new(ProblemType::Conflicting, error.to_string()).into(),
        RoomError::Overloaded => Problem::new(ProblemType::Overloaded, error.to_string()).into(),
        error => {
            tracing::warn!(%error, "a waiting room could not be asked");
            Problem::new(ProblemType::StoreUnavailable, "the room cannot be asked now; try again").into()
        }
    }
}
