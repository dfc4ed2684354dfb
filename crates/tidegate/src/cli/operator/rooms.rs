//! `tidegate rooms`.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::client::{Client, part};
use super::table::table;
use super::{AdminArguments, text};
use crate::cli::SUCCESS;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct RoomsArguments {
    #[command(flatten)]
    admin: AdminArguments,

    #[command(subcommand)]
    action: Action,
}

const EXAMPLES: &str = "\
Examples:
  tidegate rooms set demo --capacity 500 --release-rate 20/s     what is not given stays
  tidegate rooms pause demo                                      nobody is called until resume
  tidegate rooms message demo 'We are back in five minutes.'";

#[derive(Debug, Subcommand)]
enum Action {
    /// List rooms, and who waits and is inside
    List,
    /// Show one room
    Show {
        /// The room
        room: String,
    },
    /// Make a room, or change one while visitors wait; what is not given stays
    Set {
        /// 1 to 63 of a-z, 0-9 and -
        room: String,
        #[command(flatten)]
        settings: RoomSettings,
    },
    /// Call nobody until it is resumed; sessions go on
    Pause {
        /// The room
        room: String,
    },
    /// Open a room that was paused, drained or closed
    Resume {
        /// The room
        room: String,
    },
    /// Take nobody new, and serve the line to its end
    Drain {
        /// The room
        room: String,
    },
    /// Let nobody in; sessions go on
    Close {
        /// The room
        room: String,
    },
    /// Send everybody away who waits
    Flush {
        /// The room
        room: String,
        /// Those who are inside, too
        #[arg(long)]
        sessions: bool,
    },
    /// Tell those who wait something; nothing any more without a text
    Message {
        /// The room
        room: String,
        /// The message, up to 1,000 characters
        text: Option<String>,
    },
    /// Call one visitor before its turn, or the next in line
    Admit {
        /// The room
        room: String,
        /// The visitor's number
        queue_number: Option<u64>,
    },
    /// End a visitor's session, or take it out of the line
    End {
        /// The room
        room: String,
        /// The visitor's number
        queue_number: u64,
    },
}

/// What a room may be changed in by a flag; everything else is in the rule file.
#[derive(Debug, Args)]
struct RoomSettings {
    /// The most visitors inside at one time
    #[arg(long, value_name = "N")]
    capacity: Option<u32>,
    /// How fast visitors are let in at most, such as 10/s or 600/m
    #[arg(long, value_name = "RATE")]
    release_rate: Option<String>,
    /// The longest session, such as 10m, or none
    #[arg(long, value_name = "TIME")]
    session_limit: Option<String>,
    /// The longest time without a sign of life, such as 15s, or none
    #[arg(long, value_name = "TIME")]
    session_idle: Option<String>,
    /// What visitors read as its name
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
}

pub(in crate::cli) fn run(arguments: &RoomsArguments) -> anyhow::Result<u8> {
    let (admin, client) = (&arguments.admin, arguments.admin.client()?);
    let post = |room: &str, action: &str, body: &Value| {
        client.send_json(Method::POST, &format!("/rooms/{}/{action}", part(room)), body)
    };
    let state = |room: &str, state: &str| post(room, "state", &json!({ "state": state }));
    let answer = match &arguments.action {
        Action::List => {
            let items = Value::Array(client.all("/rooms")?);
            admin.print(&items, |items| listed(items.as_array().map_or(&[][..], Vec::as_slice)))?;
            return Ok(SUCCESS);
        }
        Action::Show { room } => client.get(&format!("/rooms/{}", part(room)))?.json()?,
        Action::Set { room, settings } => change(&client, room, |document| settings.write(document))?,
        Action::Message { room, text } => change(&client, room, |document| match text {
            Some(text) => document["message"] = json!(text),
            None => {
                document.as_object_mut().map(|fields| fields.remove("message"));
            }
        })?,
        Action::Pause { room } => state(room, "paused")?,
        Action::Resume { room } => state(room, "open")?,
        Action::Drain { room } => state(room, "draining")?,
        Action::Close { room } => state(room, "closed")?,
        Action::Flush { room, sessions } => post(room, "flush", &json!({ "sessions": sessions }))?,
        Action::Admit { room, queue_number } => {
            let body = queue_number.map_or_else(|| json!({}), |number| json!({ "queue_number": number }));
            post(room, "admit", &body)?
        }
        Action::End { room, queue_number } => post(room, "end", &json!({ "queue_number": queue_number }))?,
    };
    admin.print(&answer, |room| listed(std::slice::from_ref(room)))?;
    Ok(SUCCESS)
}

/// Changes what a room is, as it was read; makes it where it is not there.
fn change(client: &Client, room: &str, write: impl FnOnce(&mut Value)) -> anyhow::Result<Value> {
    let known = client.all("/rooms")?.into_iter().find(|one| text(one, "name") == room);
    let mut document = known.map_or(Value::Null, |known| known["definition"].clone());
    if document.is_null() {
        document = json!({ "name": room });
    }
    write(&mut document);
    client.send_json(Method::PUT, &format!("/rooms/{}", part(room)), &document)
}

impl RoomSettings {
    fn write(&self, document: &mut Value) {
        if let Some(capacity) = self.capacity {
            document["capacity"] = json!(capacity);
        }
        for (field, value) in [("release_rate", &self.release_rate), ("title", &self.title)] {
            if let Some(value) = value {
                document[field] = json!(value);
            }
        }
        for (field, value) in [("limit", &self.session_limit), ("idle", &self.session_idle)] {
            if let Some(value) = value {
                document["session"][field] = json!(value);
            }
        }
    }
}

fn listed(rooms: &[Value]) -> String {
    let row = |room: &Value| {
        let number =
            |value: &Value| value.as_u64().map_or_else(|| "-".to_owned(), |number| number.to_string());
        vec![
            text(room, "name").to_owned(),
            text(room, "state").to_owned(),
            number(&room["waiting"]),
            number(&room["ready"]),
            number(&room["active"]),
            number(&room["definition"]["capacity"]),
            text(&room["definition"], "release_rate").to_owned(),
            number(&room["counted"]["admitted"]),
            text(&room["definition"], "message").to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = rooms.iter().map(row).collect();
    table(&["ROOM", "STATE", "WAITING", "READY", "ACTIVE", "CAPACITY", "RATE", "ADMITTED", "MESSAGE"], &rows)
}
