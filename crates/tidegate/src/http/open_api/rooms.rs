//! The waiting rooms, for visitors.

#![expect(dead_code, reason = "the types exist for their schemas and are never made")]

use schemars::JsonSchema;
use serde_json::{Value, json};
use tidegate_wire::problem::{PROBLEM_CONTENT_TYPE, ProblemType};
use tidegate_wire::room::call::MAX_CALL_BODY_BYTES;
use tidegate_wire::room::return_to::MAX_RETURN_TO_BYTES;
use tidegate_wire::room::token::MAX_TOKEN_BYTES;

use super::super::route::Endpoint;
use super::{ROOMS, answer, body, fields, html, kept, plain, store_away, text};
use crate::door::open_api::{Document, Nullable, Operation, Parameter, RETRY_AFTER, Reply, Seconds};

/// What a visitor sends; all of it may be left out, and so may the body.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct RoomCall {
    /// The ticket of an earlier answer; browsers have it in a cookie.
    #[schemars(length(max = MAX_TOKEN_BYTES))]
    ticket: Option<String>,
    /// The pass of an earlier answer, for heartbeat, renew and leave; browsers have it in a cookie.
    #[schemars(length(max = MAX_TOKEN_BYTES))]
    pass: Option<String>,
    /// Join: where to go when let in, a path of this host or an address of one of the room's hosts.
    #[schemars(length(max = MAX_RETURN_TO_BYTES))]
    return_to: Option<String>,
    /// Claim: more time to come in, instead of coming in.
    #[schemars(extend("default" = false))]
    extend: Option<bool>,
    /// Leave: the page is gone, and may be there again in a moment.
    #[schemars(extend("default" = false))]
    hint: Option<bool>,
}

/// How a visitor stands.
#[derive(JsonSchema)]
pub(super) struct RoomSeat {
    room: String,
    state: SeatState,
    /// Why it is over, or the visitor was not let into the line.
    why: Nullable<SeatWhy>,
    room_state: RoomStateWord,
    /// To be shown with the next call; browsers have it in a cookie.
    ticket: Nullable<String>,
    /// The place that was given once.
    queue_number: Nullable<u64>,
    /// Live tickets ahead: 0 is next. Never grows.
    position: Nullable<u64>,
    /// How many wait.
    waiting: u64,
    /// Up to which place everybody has left the line.
    serving_number: u64,
    estimated_wait: Nullable<RoomWait>,
    /// The part of the way since joining that is done.
    #[schemars(range(min = 0, max = 1))]
    progress: f64,
    opens_at: Nullable<Seconds>,
    /// What the operator tells the line: text, never markup.
    message: Nullable<String>,
    /// When to ask again. Who asks sooner is told the same.
    poll_after_ms: u64,
    claim: Nullable<RoomClaim>,
    session: Nullable<RoomSession>,
    /// To be shown to the site; browsers have it in a cookie.
    pass: Nullable<String>,
    /// The same as a JWT, where the server has a `--room-pass-issuer`; browsers have it in a cookie.
    pass_jwt: Option<String>,
    /// Where the visitor wants to go.
    return_to: Nullable<String>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum SeatState {
    Waiting,
    Ready,
    Admitted,
    Ended,
    Refused,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum SeatWhy {
    SessionLimit,
    Idle,
    Left,
    NotClaimed,
    Lapsed,
    ByOperator,
    Revoked,
    RoomClosed,
    RoomFull,
    Draining,
    TooManySeats,
    Rejected,
}

#[derive(JsonSchema)]
#[schemars(rename = "RoomState", rename_all = "snake_case")]
enum RoomStateWord {
    Open,
    Paused,
    Draining,
    Closed,
    Scheduled,
}

/// A hint, never a promise.
#[derive(JsonSchema)]
struct RoomWait {
    from_s: u64,
    to_s: u64,
    /// Why it takes longer than before.
    reason: Nullable<WaitReason>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum WaitReason {
    Paused,
    Slower,
    Capacity,
}

/// The time to come in.
#[derive(JsonSchema)]
struct RoomClaim {
    ends_at: Seconds,
    left_ms: u64,
    extensions_left: u32,
}

/// A session on the site.
#[derive(JsonSchema)]
struct RoomSession {
    started_at: Seconds,
    ends_at: Seconds,
    left_ms: u64,
    /// It ends sooner if so long no heartbeat comes.
    idle_ms: u64,
    /// How often to send one.
    heartbeat_ms: u64,
    renewable: bool,
}

/// A room, as everybody may know it.
#[derive(JsonSchema)]
struct RoomStatus {
    room: String,
    room_state: RoomStateWord,
    opens_at: Nullable<Seconds>,
    waiting: u64,
    active: u64,
    capacity: u64,
    /// Visitors a second, at most.
    release_rate: Nullable<f64>,
    /// Of whoever joined now.
    estimated_wait: Nullable<RoomWait>,
    message: Nullable<String>,
    /// Changes with the line document.
    line_version: u64,
}

/// How many wait, by blocks of places.
#[derive(JsonSchema)]
struct RoomLine {
    room: String,
    epoch: u32,
    version: u64,
    /// Up to which place everybody has left the line.
    serving_number: u64,
    /// The number that the next one to join gets.
    next_number: u64,
    block_size: u32,
    /// The number of the first block of `counts`.
    first_block: u64,
    /// Live tickets in each block from there on.
    counts: Vec<u32>,
}

/// The operation of a room's endpoint.
pub(super) fn operation(document: &mut Document, endpoint: Endpoint<'_>) -> Operation {
    let mut operation = own(document, endpoint);
    let mut more = vec![
        document.problem(text::MALFORMED, &[ProblemType::Malformed]),
        document.problem("The path has no such method.", &[ProblemType::MethodNotAllowed]),
        document.problem(text::HEADERS_TOO_LARGE, &[ProblemType::HeadersTooLarge]),
    ];
    if operation.body.is_some() {
        let slow = "The body did not arrive within `--body-timeout`.";
        more.push(document.problem(slow, &[ProblemType::RequestTimeout]));
        more.push(document.problem("The body is longer than it may be.", &[ProblemType::TooLarge]));
    }
    if endpoint.methods().ends_with("OPTIONS") {
        more.push(Reply::bare(204, "The answer to a preflight."));
    }
    for reply in more {
        if operation.replies.iter().all(|own| own.status != reply.status) {
            operation.replies.push(reply);
        }
    }
    for reply in &mut operation.replies {
        // With these fields it is another one than what others of this name are.
        reply.name = None;
        for field in fields::OF_ROOMS {
            if reply.fields.iter().all(|own| own.name != field.name) {
                reply.fields.push(field);
            }
        }
    }
    operation
}

/// What an endpoint takes and answers, without what all of them answer.
fn own(document: &mut Document, endpoint: Endpoint<'_>) -> Operation {
    match endpoint {
        Endpoint::RoomJoin { .. } => {
            call(document, "joinRoom", "a place in the line, or the one that is had")
        }
        Endpoint::RoomPoll { .. } => {
            call(document, "pollRoom", "how a visitor stands, when it was told to ask")
        }
        Endpoint::RoomHeartbeat { .. } => call(document, "heartbeatRoom", "somebody is still there"),
        Endpoint::RoomClaim { .. } => {
            let mut operation = call(document, "claimRoom", "come in, or ask for more time to");
            let conflict = "It is not this visitor's turn, or there is no more time to be had.";
            operation.replies.push(document.problem(conflict, &[ProblemType::Conflicting]));
            operation
        }
        Endpoint::RoomRenew { .. } => {
            let mut operation = call(document, "renewRoom", "the session's limit anew");
            let conflict = "There is no session yet, or it was renewed as often as it may be.";
            operation.replies.push(document.problem(conflict, &[ProblemType::Conflicting]));
            operation
        }
        Endpoint::RoomLeave { .. } => {
            let mut operation = call(document, "leaveRoom", "give a place or a session up");
            operation.replies.retain(|reply| reply.status != 200);
            operation.replies.push(Reply::bare(204, "It is given up."));
            operation
        }
        Endpoint::RoomEvents { .. } => {
            let text = json!({ "type": "string" });
            let stream = Reply::of(
                200,
                "`event: line` once a second for all who wait, `event: seat` for this visitor only. It ends with the place, the last event of which has the id `over`.",
                "text/event-stream",
                text,
            );
            let busy = document.problem(
                "There are as many streams as there may be: poll instead.",
                &[ProblemType::Overloaded],
            );
            let over = Reply::bare(
                204,
                "The place is over, and `Last-Event-ID: over` says that its client was told so.",
            );
            let mut replies = vec![stream, over, busy];
            replies.extend(refusals(document));
            with_room(plain("roomEvents", ROOMS, "what happens in a room, as it does", replies))
        }
        Endpoint::RoomStatus { .. } => {
            public::<RoomStatus>(document, "roomStatus", "a room, as everybody may know it")
        }
        Endpoint::RoomLine { .. } => {
            public::<RoomLine>(document, "roomLine", "how many wait, by blocks of places")
        }
        Endpoint::RoomPage { .. } => page(),
        Endpoint::RoomFile { .. } => {
            let file = Parameter::in_path("file", "Its name.", "room.css");
            let text = json!({ "type": "string" });
            let mut replies = kept(
                "The file.",
                vec![("text/css; charset=utf-8", text.clone()), ("text/javascript; charset=utf-8", text)],
            );
            replies.push(document.problem("There is no such file.", &[ProblemType::NotFound]));
            Operation {
                parameters: vec![file],
                ..plain("roomFile", ROOMS, "a file of the waiting page", replies)
            }
        }
        Endpoint::Snippet => {
            let script = ("text/javascript; charset=utf-8", json!({ "type": "string" }));
            let mut replies = kept("The script.", vec![script]);
            let of_files = [fields::CROSS_ORIGIN];
            replies = replies.into_iter().map(|reply| reply.with(&of_files)).collect();
            replies.push(no_rooms(document));
            plain("snippet", ROOMS, "a script for pages of the site", replies)
        }
        Endpoint::Jwks => {
            let keys = Reply::json(
                200,
                "A JSON Web Key Set (RFC 7517) of Ed25519 keys.",
                json!({ "type": "object", "required": ["keys"] }),
            );
            let none = no_rooms(document);
            plain("jwks", ROOMS, "the public keys of passes", vec![keys, none])
        }
        // The others are none of a room.
        _ => {
            let page =
                Reply { content: vec![html()], ..Reply::bare(200, "A page of a shop with the snippet.") };
            let none = no_rooms(document);
            plain("demo", ROOMS, "a page to try a room with", vec![page, none])
        }
    }
}

fn call(document: &mut Document, id: &str, summary: &str) -> Operation {
    let mut body = body::<RoomCall>(document, MAX_CALL_BODY_BYTES, Vec::new());
    body.is_required = false;
    let mut replies = vec![
        answer::<RoomSeat>(
            document,
            200,
            "How the visitor stands; also where it was not let in, or is over.",
        ),
        store_away(document),
    ];
    replies.push(Reply::bare(303, "The answer to a form: to the page."));
    replies
        .push(document.problem("The body is neither JSON nor a form.", &[ProblemType::UnsupportedMediaType]));
    replies.push(document.problem("A field is wrong.", &[ProblemType::InvalidField]));
    replies.extend(refusals(document));
    if id == "joinRoom" {
        // Whoever joins needs none, and says who it is where the room knows visitors by a field.
        replies.retain(|reply| reply.status != 410);
        let unnamed = "The room knows visitors by a header field, which is missing or is a stranger's word.";
        replies.push(document.problem(unnamed, &[ProblemType::Unauthorized]));
        let many = "Too many from this address ask for a place at once.";
        replies.push(document.problem(many, &[ProblemType::QuotaExceeded]).with(&[RETRY_AFTER]));
    }
    let description =
        "JSON, also as `text/plain`, or an HTML form, which is answered with a page.".to_owned();
    Operation { body: Some(body), description, ..with_room(plain(id, ROOMS, summary, replies)) }
}

fn refusals(document: &mut Document) -> Vec<Reply> {
    vec![
        document.problem(
            "A token is forged or somebody else's, or a page of another site asks.",
            &[ProblemType::Forbidden],
        ),
        document.problem("There is no such room.", &[ProblemType::NotFound]),
        document.problem("There is no ticket, or it is over: join.", &[ProblemType::Gone]),
    ]
}

fn public<T: JsonSchema>(document: &mut Document, id: &str, summary: &str) -> Operation {
    let replies = vec![
        answer::<T>(document, 200, "To be kept for a second."),
        document.problem("There is no such room.", &[ProblemType::NotFound]),
        store_away(document),
    ];
    with_room(plain(id, ROOMS, summary, replies))
}

fn page() -> Operation {
    let page = |status, description| Reply { content: vec![html()], ..Reply::bare(status, description) };
    let mut not_found = page(404, "There is no such room.");
    not_found.content.push((PROBLEM_CONTENT_TYPE, json!({ "type": "object" })));
    let mut away = page(503, "The room cannot be asked now.").with(&[RETRY_AFTER]);
    away.content.push((PROBLEM_CONTENT_TYPE, json!({ "type": "object" })));
    let replies = vec![
        page(200, "How the visitor stands; whoever has no place is given one."),
        Reply::bare(
            303,
            "To the same page, with cookies set; or to where the visitor wants to go, who is let in.",
        ),
        page(403, "What the browser shows is forged or somebody else's."),
        not_found,
        away,
    ];
    let place: Value = json!({ "type": "string", "maxLength": MAX_RETURN_TO_BYTES });
    let mut operation = with_room(plain("roomPage", ROOMS, "the waiting page", replies));
    operation.parameters.push(Parameter::in_query("return_to", "Where the visitor wants to go.", place));
    operation
}

fn with_room(operation: Operation) -> Operation {
    let room = Parameter::in_path("room", "The room's name.", "demo");
    Operation { parameters: vec![room], ..operation }
}

fn no_rooms(document: &mut Document) -> Reply {
    document.problem("This node has no such rooms.", &[ProblemType::NotFound])
}
