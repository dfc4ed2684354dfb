//! `tidegate rooms`.

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use serde_json::{Value, json};

use super::client::{Client, Condition, part};
use super::table::table;
use super::{AdminArguments, text};
use crate::cli::{SUCCESS, terminal};

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
  tidegate rooms message demo 'We are back in five minutes.'
  tidegate rooms export demo --format csv > demo.csv             who waits and who is inside, without names";

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
    /// Tell the room what the draw of its opening is mixed with: once, before it opens
    Beacon {
        /// The room
        room: String,
        /// 32 bytes that you do not choose, such as a round of a public randomness service: 64 hexadecimal digits
        digits: String,
    },
    /// Write everybody in the room to standard output: number, state and times, nothing that names anybody
    Export {
        /// The room
        room: String,
        /// How rows are written
        #[arg(long, value_enum, default_value = "ndjson")]
        format: Rows,
    },
    /// Remove the room and everybody in it; one of the rule file comes back at the next start
    Remove {
        /// The room
        room: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
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

/// How rows are written.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Rows {
    /// One JSON object a line
    Ndjson,
    /// Comma-separated values
    Csv,
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
    /// The colour of buttons and bars, such as #0b6e7f
    #[arg(long, value_name = "COLOUR")]
    accent: Option<String>,
    /// A template of the folder that the server has been given with --room-templates
    #[arg(long, value_name = "FILE")]
    template: Option<String>,
    /// The shortest time that a place is kept without a sign of life, such as 75s
    #[arg(long, value_name = "TIME")]
    min_lease: Option<String>,
    /// When it opens, such as 2026-11-27T09:00:00Z
    #[arg(long, value_name = "INSTANT")]
    opens_at: Option<String>,
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
        Action::Beacon { room, digits } => post(room, "beacon", &json!({ "beacon": digits }))?,
        Action::Export { room, format } => {
            export(&client, room, *format)?;
            return Ok(SUCCESS);
        }
        Action::Remove { room, yes } => {
            let known = client.get(&format!("/rooms/{}", part(room)))?.json()?;
            if !yes && !terminal::confirmed(&removal(&known))? {
                anyhow::bail!("nothing was removed; --yes does not ask");
            }
            let condition = Condition::None;
            let answer = client.ask(Method::DELETE, &format!("/rooms/{}", part(room)), &condition, None)?;
            admin.print(&answer.json()?, |_| format!("{room} is removed"))?;
            return Ok(SUCCESS);
        }
        Action::End { room, queue_number } => post(room, "end", &json!({ "queue_number": queue_number }))?,
    };
    admin.print(&answer, |room| listed(std::slice::from_ref(room)))?;
    Ok(SUCCESS)
}

/// What is asked before a room is removed.
fn removal(room: &Value) -> String {
    let number = |name: &str| room.get(name).and_then(Value::as_u64).unwrap_or(0);
    format!(
        "Remove {} with {} waiting and {} inside? They lose their places.",
        text(room, "name"),
        number("waiting"),
        number("ready") + number("active")
    )
}

/// Rows of one request: an answer of so many is far shorter than the longest that is read.
const ROWS: usize = 50_000;

/// Writes everybody in a room, some at a time.
fn export(client: &Client, room: &str, format: Rows) -> anyhow::Result<()> {
    let (format, heads) = match format {
        Rows::Ndjson => ("ndjson", 0),
        Rows::Csv => ("csv", 1),
    };
    let mut after = 0;
    for page in 0_usize.. {
        let path = format!("/rooms/{}/export?format={format}&after={after}&limit={ROWS}", part(room));
        let rows = String::from_utf8(client.get(&path)?.body).context("the rows are not UTF-8")?;
        // The head is written once.
        let skipped = if page > 0 { heads } else { 0 };
        let lines: Vec<&str> = rows.lines().skip(skipped).collect();
        if !lines.is_empty() {
            terminal::print(&lines.join("\n"))?;
        }
        let count = rows.lines().count() - heads.min(rows.lines().count());
        let last = rows.lines().last().filter(|_| count == ROWS);
        let Some(number) = last.and_then(|line| number_of(line, format)) else { return Ok(()) };
        after = number;
    }
    Ok(())
}

/// The number in a row.
fn number_of(row: &str, format: &str) -> Option<u64> {
    match format {
        "csv" => row.split(',').next()?.parse().ok(),
        _ => serde_json::from_str::<Value>(row).ok()?.get("queue_number")?.as_u64(),
    }
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
        let texts = [
            ("release_rate", &self.release_rate),
            ("title", &self.title),
            ("accent", &self.accent),
            ("template", &self.template),
            ("min_lease", &self.min_lease),
            ("opens_at", &self.opens_at),
        ];
        for (field, value) in texts {
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
