//! Waiting rooms of this node, for operators.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_catalog::model::DEFAULT_TENANT;
use tidegate_catalog::repository::Deed;
use tidegate_config::parse_room;
use tidegate_core::room::{Answer as Told, Command, Flush, QueueNumber, RoomState};
use tidegate_store::rooms::RoomError;
use tidegate_wire::problem::{Problem, ProblemType};

use super::Admin;
use super::answer::{Answer, Answered, Refusal};
use super::call::Call;
use crate::rooms::{Rooms, RoomsError};

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
    let room = parse_room(text.as_ref(), "body").map_err(|errors| {
        let said: Vec<String> = errors.errors.iter().map(ToString::to_string).collect();
        Problem::invalid_field("body", said.join("; "))
    })?;
    if room.name.as_str() != name {
        return Err(Problem::invalid_field("name", "it is another name than that of the path").into());
    }
    note(admin, call, "room.put", &name, &tidegate_config::room_json(&room)).await?;
    rooms.put(&room).await.map_err(|error| match error {
        RoomsError::Store(_, error) => failed(error),
        RoomsError::Refused(_, refusal) => Problem::new(ProblemType::Conflicting, refusal.to_string()).into(),
        error => Problem::invalid_field("body", error.to_string()).into(),
    })?;
    overview(rooms, &name).await
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
    match rooms.command(&name, command).await.map_err(failed)? {
        None => Err(Refusal::not_found("room")),
        Some(Told::Refused(refusal)) => {
            Err(Problem::new(ProblemType::Conflicting, refusal.to_string()).into())
        }
        Some(Told::Lapsed) => {
            let detail = "no visitor with this number waits or is inside";
            Err(Problem::new(ProblemType::Conflicting, detail).into())
        }
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

fn failed(error: RoomError) -> Refusal {
    match error {
        RoomError::UnknownRoom => Refusal::not_found("room"),
        RoomError::TooManyRooms => Problem::new(ProblemType::CeilingReached, error.to_string()).into(),
        RoomError::Overloaded => Problem::new(ProblemType::Overloaded, error.to_string()).into(),
        error => {
            tracing::warn!(%error, "a waiting room could not be asked");
            Problem::new(ProblemType::StoreUnavailable, "the room cannot be asked now; try again").into()
        }
    }
}
