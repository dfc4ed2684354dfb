//! Rules that send to a waiting room (`on_limit: room`): who is over their limit is given a place, and a request whose visitor has
//! been let in is decided without them.
//!
//! A request is sent to a room only where every rule that refuses it sends somewhere and waiting would help: a place in a line is no
//! use to somebody whom another rule turns away all the same. Where the room lets the visitor in at once, the request is decided
//! again, without the rule; all other rules hold as ever.

use tidegate_core::room::RoomName;
use tidegate_core::rule::CompiledDomain;
use tidegate_engine::{Clock, Decision, EngineError, RuleVerdict};
use tidegate_store::BucketStore;
use tidegate_wire::check::CheckRequest;

use super::Shared;
use crate::door::answer::{Sent, is_over_limit};
use crate::gate::{Answered, Ask, Caller, Look};
use crate::rooms::{Comer, Named, Purpose, Rooms, Shows};

/// The most rooms that one request is sent to, one after the other.
const MAX_ROOMS: usize = 4;

/// What came of a request.
pub(super) struct Outcome<'l> {
    pub(super) answered: Result<Answered<'l>, EngineError>,
    /// What the room says that was asked last, and what a browser is to keep.
    pub(super) sent: Sent,
}

/// Decides a request whose visitor may be sent to a room.
pub(super) async fn ask<'l, S: BucketStore, C: Clock>(
    door: &Shared<S, C>,
    caller: &Caller,
    look: &'l Look<'_>,
    ask: Ask<'_>,
    comer: &Comer<'_>,
) -> Outcome<'l> {
    let shows = shown(door, caller, look, comer).await;
    let ask = Ask { inside: &shows.inside, ..ask };
    let answered = door.gate.ask(look, &ask).await;
    settle(door, caller, look, ask, comer, answered, &shows).await
}

/// What a comer shows passes of. Where nothing could be a pass, no rule is looked at.
pub(super) async fn shown<S: BucketStore, C: Clock>(
    door: &Shared<S, C>,
    caller: &Caller,
    look: &Look<'_>,
    comer: &Comer<'_>,
) -> Shows {
    let Some(rooms) = door.rooms.as_ref().filter(|_| caller.has_rooms() && comer.may_show_pass()) else {
        return Shows::default();
    };
    let rules = door.gate.engine().rules();
    match rules.domain(look.domain()) {
        Some(domain) if !domain.rooms().is_empty() => rooms.passes(domain.rooms(), comer).await,
        _ => Shows::default(),
    }
}

/// Goes on with a request that was decided: asks the rooms to which the rules send.
pub(super) async fn settle<'l, S: BucketStore, C: Clock>(
    door: &Shared<S, C>,
    caller: &Caller,
    look: &'l Look<'_>,
    ask: Ask<'_>,
    comer: &Comer<'_>,
    answered: Result<Answered<'l>, EngineError>,
    shows: &Shows,
) -> Outcome<'l> {
    let seat = shows.seat.as_ref().map(Rooms::seat_text);
    let mut sent = Sent { seat, cookies: shows.cookies.clone(), ..Sent::default() };
    let Some(rooms) = door.rooms.as_ref().filter(|_| caller.has_rooms()) else {
        return Outcome { answered, sent };
    };
    let (mut answered, mut inside) = (answered, shows.inside.clone());
    for _ in 0..MAX_ROOMS {
        let Ok(Answered::Decided(decision)) = &answered else { break };
        let Some(room) = sends_to(decision).filter(|room| !inside.contains(room)) else { break };
        let subject = decision.compiled_domain().and_then(CompiledDomain::subject);
        let Some(stands) = rooms.stand(&room, comer, subject).await else { break };
        sent.seat = Some(Rooms::seat_text(&stands.seat));
        let is_inside = stands.is_inside();
        sent.cookies.extend(stands.cookies);
        if !is_inside {
            sent.to(&room, &stands.seat);
            break;
        }
        inside.push(room);
        answered = door.gate.ask(look, &Ask { inside: &inside, ..ask }).await;
    }
    Outcome { answered, sent }
}

/// The room to which a request is sent; `None` where it may pass, or where waiting in a room does not help it.
fn sends_to(decision: &Decision) -> Option<RoomName> {
    if decision.is_allowed() || !is_over_limit(decision) {
        return None;
    }
    let refuses = |verdict: &RuleVerdict<'_>| verdict.is_enforced() && !verdict.verdict.is_allow();
    if decision.verdicts().filter(refuses).any(|verdict| verdict.rule.model().room().is_none()) {
        return None;
    }
    decision.binding()?.rule.model().room().cloned()
}

/// Whom a check asks about.
pub(super) fn named<'a, S, C>(
    door: &Shared<S, C>,
    look: &'a Look<'_>,
    request: &'a CheckRequest<'_>,
    entries: &'a [(&'a str, &'a str)],
) -> Comer<'a> {
    Comer::Named(Named {
        domain: look.domain(),
        entries,
        ipv6_prefix: door.options.identity.ipv6_prefix,
        ticket: request.ticket.as_deref(),
        pass: request.pass.as_deref(),
        purpose: if request.peek { Purpose::Look } else { Purpose::Pass },
    })
}
