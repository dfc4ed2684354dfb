//! The endpoint that proxies ask, in the document.

use serde_json::{Value, json};
use tidegate_wire::check::{MAX_COST, MAX_DOMAIN_BYTES, MAX_NAME_BYTES, MAX_VALUE_BYTES};
use tidegate_wire::problem::{PROBLEM_CONTENT_TYPE, ProblemType};

use super::bodies::{Banned, Denied, PLAIN};
use super::rooms::RoomSeat;
use super::{DECISIONS, RESET_AT, decision_replies, fields, plain, text};
use crate::door::open_api::{Document, Operation, Parameter, ProblemSchema, RETRY_AFTER, Reply};

/// The operation of one of the methods, all of which do the same; in lower case.
pub(super) fn authz(document: &mut Document, method: &str) -> Operation {
    let id = format!("{method}Authz");
    Operation {
        description: text::AUTHZ.to_owned(),
        parameters: parameters(),
        ..plain(&id, DECISIONS, "decide the request that a proxy asks about", replies(document, method))
    }
}

fn parameters() -> Vec<Parameter> {
    let domain = json!({
        "type": "string", "minLength": 1, "maxLength": MAX_DOMAIN_BYTES, "pattern": PLAIN, "default": "default",
    });
    let cost = json!({ "type": "integer", "minimum": 1, "maximum": MAX_COST, "default": 1 });
    let status = json!({ "type": "integer", "enum": [401, 403, 429], "default": 429 });
    let room = json!({ "type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,62}$" });
    let name = format!("[A-Za-z0-9_.:-]{{1,{MAX_NAME_BYTES}}}$");
    let entries = json!({
        "type": "object",
        "maxProperties": 16,
        "patternProperties": {
            format!("^entry\\.{name}"): {
                "type": "string", "minLength": 1, "maxLength": MAX_VALUE_BYTES, "pattern": PLAIN,
            },
            format!("^header\\.{name}"): {
                "type": "string", "maxLength": MAX_VALUE_BYTES, "pattern": "^[A-Za-z0-9!#$%&'*+^`|~-]+$",
            },
        },
        "additionalProperties": false,
    });
    vec![
        Parameter::in_query("domain", "Whose rules apply.", domain),
        Parameter::in_query("cost", "Units to take.", cost),
        Parameter::in_query("status", text::AUTHZ_STATUS, status),
        Parameter::in_query("room", text::AUTHZ_ROOM_NAME, room),
        Parameter::in_query("entries", text::AUTHZ_ENTRIES, entries),
    ]
}

/// Those of a decision, and what `status` makes of all that are not 200; each with the status that was meant.
fn replies(document: &mut Document, method: &str) -> Vec<Reply> {
    let any = json!({ "anyOf": [
        document.schema::<Denied>(),
        document.schema::<Banned>(),
        { "allOf": [document.schema::<ProblemSchema>(), { "not": { "required": ["allowed"] } }] },
    ] });
    let mut replies = decision_replies(document);
    replies.retain(|reply| reply.status != 403);
    replies.push(chosen(
        Reply::of(403, text::AUTHZ_FORBIDDEN, PROBLEM_CONTENT_TYPE, any.clone())
            .with_example(text::denied(RESET_AT)),
        &any,
    ));
    replies.push(chosen(document.problem(text::AUTHZ_UNAUTHORIZED, &[ProblemType::Unauthorized]), &any));
    replies.push(document.problem(text::AUTHZ_MALFORMED, &[ProblemType::Malformed]));
    replies.push(document.problem(text::AUTHZ_HEADERS_TOO_LARGE, &[ProblemType::HeadersTooLarge]));
    let seat = document.schema::<RoomSeat>();
    for reply in replies.iter_mut().filter(|reply| matches!(reply.status, 401 | 403 | 429 | 503)) {
        // Of a room: where the visitor stands who was not let in yet.
        reply.content.push(("application/json", seat.clone()));
    }
    replies.push(Reply::bare(204, text::AUTHZ_ROOM));
    if method == "get" {
        let page = "With `room`, or where a rule sends to a room: a person has not been let in; to the waiting page.";
        let mut reply = Reply::json(302, page, seat).with(&[RETRY_AFTER]).with(&fields::OF_DECISIONS);
        reply.content.push((PROBLEM_CONTENT_TYPE, document.schema::<Denied>()));
        replies.push(reply);
    }
    let with_status = |reply: Reply| {
        let of_rooms = fields::OF_ROOMS.into_iter().filter(|field| field.name != fields::CACHE_CONTROL.name);
        let of_rooms: Vec<_> = of_rooms.collect();
        Reply { name: None, ..reply.with(&[fields::TIDEGATE_STATUS]).with(&of_rooms) }
    };
    replies.into_iter().map(with_status).collect()
}

/// The reply of a status that `status` chooses: it may be any that is not 200.
fn chosen(reply: Reply, any: &Value) -> Reply {
    let content = vec![(PROBLEM_CONTENT_TYPE, any.clone())];
    Reply { content, ..reply }.with(&fields::OF_DECISIONS).with(&[RETRY_AFTER])
}
