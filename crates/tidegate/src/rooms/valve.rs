//! Rules that send to a room: who is over the limit of one is given a place in line, and who has been let in is not limited by it.
//!
//! Who a visitor is, is decided here, in this order:
//! - **of a browser or program behind a proxy** (forward-auth): its ticket, from the field `X-Tidegate-Ticket` or its cookie; else who
//!   the room's `one_seat_per` says it is. Where that is a device and none is known, it is the address: somebody who keeps no
//!   cookies would have a new seat with every request.
//! - **of somebody a caller asks about** (the check API): the ticket that is sent along; else the value of the entry by which the
//!   domain knows its subjects; else the address in the entry `client_ip`. Nobody, where there is none of these: they are told how
//!   the room is, and are given no place, since it could not be told whose it is.
//!
//! The request itself is the sign of life: it keeps the place, claims when it is the visitor's turn, and keeps the session. So whoever
//! comes again when `Retry-After` says needs to know nothing of rooms.

use http::header::COOKIE;
use http::{HeaderName, HeaderValue};
use tidegate_core::room::{Answer, Command, Prefix, RoomName, Visitor};
use tidegate_core::time::{Micros, Timestamp};
use tidegate_store::rooms::{RoomError, Told};
use tidegate_wire::check::CLIENT_IP;
use tidegate_wire::identity::{ClientIp, Ipv6Prefix, client_of_text, single_header};
use tidegate_wire::room::call::Call;
use tidegate_wire::room::seat::{Seat, Standing};
use tidegate_wire::room::token::TokenCheck;
use tidegate_wire::room::visitor::VisitorId;

use super::answer::{Facts, Shown};
use super::authz::{X_TIDEGATE_PASS, send_to_page, stranger, wants_page};
use super::calls::{Asked, is_due, number_of, seat_json};
use super::definition::{OneSeatPer, Room};
use super::session::Session;
use super::tokens::core_ticket;
use super::visit::{Visit, identity_of, prefix_of};
use super::{Rooms, Shared};
use crate::door::DoorResponse;

/// A ticket of a client that keeps no cookies.
const X_TIDEGATE_TICKET: HeaderName = HeaderName::from_static("x-tidegate-ticket");

/// Who is over the limit of a rule.
pub(crate) enum Comer<'a> {
    /// Whose request of this method a proxy describes.
    Visitor(Visit<'a>, &'a str),
    /// Whom a caller of the check API asks about.
    Named(Named<'a>),
}

/// Somebody a caller asks about, as far as it says.
pub(crate) struct Named<'a> {
    /// The domain whose rules apply.
    pub(crate) domain: &'a str,
    /// What is known of the request.
    pub(crate) entries: &'a [(&'a str, &'a str)],
    /// The bits of an IPv6 address that name a client.
    pub(crate) ipv6_prefix: Ipv6Prefix,
    /// A ticket, not verified.
    pub(crate) ticket: Option<&'a str>,
    /// A pass, not verified.
    pub(crate) pass: Option<&'a str>,
    /// What is wanted.
    pub(crate) purpose: Purpose,
}

/// Whether a request only asks what would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It wants to pass.
    Pass,
    /// It changes nothing.
    Look,
}

/// Whose place it would be.
#[derive(Clone, Copy)]
struct Comes {
    visitor: Option<VisitorId>,
    /// By whom its seats are counted.
    prefix: Option<Prefix>,
    /// By whom its joins are, where the address is known.
    client: Option<ClientIp>,
}

/// What a room says to a comer.
pub(crate) struct Stands {
    /// How it stands.
    pub(crate) seat: Seat,
    /// What its browser is to keep.
    pub(crate) cookies: Vec<HeaderValue>,
}

/// What the passes of a comer are good for.
#[derive(Default)]
pub(crate) struct Shows {
    /// The rooms it has been let into.
    pub(crate) inside: Vec<RoomName>,
    /// What its browser is to keep.
    pub(crate) cookies: Vec<HeaderValue>,
    /// Its seat with a pass that lasts longer, where it was time for one.
    pub(crate) seat: Option<Seat>,
}

impl Stands {
    /// Whether the comer has been let in.
    pub(crate) fn is_inside(&self) -> bool {
        matches!(self.seat.standing, Standing::Admitted { .. })
    }
}

impl Comer<'_> {
    /// Whether there is anything that could be a pass.
    pub(crate) fn may_show_pass(&self) -> bool {
        match self {
            Self::Visitor(visit, _) => {
                visit.headers().contains_key(COOKIE) || visit.headers().contains_key(&X_TIDEGATE_PASS)
            }
            Self::Named(named) => named.pass.is_some(),
        }
    }
}

impl Rooms {
    /// Of which of these rooms a comer shows a pass that is good. A session that is soon idle is told that somebody is there.
    pub(crate) async fn passes(&self, rooms: &[RoomName], comer: &Comer<'_>) -> Shows {
        let (shared, mut shows) = (&*self.0, Shows::default());
        for name in rooms {
            let Some(room) = shared.room(name.as_str()) else { continue };
            let is_inside = match comer {
                Comer::Visitor(visit, _) => shared.visitor_shows(&room, *visit, &mut shows).await,
                Comer::Named(named) => shared.named_shows(&room, named, &mut shows).await,
            };
            if is_inside {
                shows.inside.push(name.clone());
            }
        }
        shows
    }

    /// A place in a room for a comer who is over the limit of a rule; `subject` is the entry by which the rule's domain knows its
    /// subjects. `None` where there is no such room, or it cannot be asked: the
    /// rule refuses then as one that sends nobody anywhere.
    pub(crate) async fn stand(
        &self,
        room: &RoomName,
        comer: &Comer<'_>,
        subject: Option<&str>,
    ) -> Option<Stands> {
        let shared = &*self.0;
        let Some(room) = shared.room(room.as_str()) else {
            tracing::debug!(%room, "a rule sends to a room that is not there: it refuses");
            return None;
        };
        match comer {
            Comer::Visitor(visit, method) => shared.visitor_stands(&room, *visit, method).await,
            Comer::Named(named) => shared.named_stands(&room, named, subject).await,
        }
    }

    /// Sends a person who looks at a refusal to the waiting page, and from there back to `uri`; programs get the refusal.
    pub(crate) fn send_people(
        response: &mut DoorResponse,
        room: &RoomName,
        visit: Visit<'_>,
        (method, uri): (&str, &str),
    ) {
        if wants_page(visit, method) {
            send_to_page(response, room, uri);
        }
    }

    /// A seat as JSON.
    pub(crate) fn seat_text(seat: &Seat) -> String {
        String::from_utf8(seat_json(seat)).unwrap_or_default()
    }
}

// === impl Shared: passes ===

impl Shared {
    async fn visitor_shows(&self, room: &Room, visit: Visit<'_>, shows: &mut Shows) -> bool {
        let Some(asked) = self.asked(room, visit) else { return false };
        let Some(kept) = self.inside(&asked).await else { return false };
        shows.cookies.extend(kept);
        true
    }

    async fn named_shows(&self, room: &Room, named: &Named<'_>, shows: &mut Shows) -> bool {
        let now = Timestamp::EPOCH;
        let check = TokenCheck { room: &room.name, epochs: 0..=u64::MAX, visitor: None, now };
        // It may have expired: that is decided with its session.
        let shown = named.pass.and_then(|pass| self.keys.tokens.verify_pass_at_room(pass, &check).ok());
        let Some(pass) = shown else { return false };
        match self.session(room, &pass, self.clock.now(), named.purpose == Purpose::Pass).await {
            Session::Over => return false,
            Session::Inside => {}
            Session::Renewed(_, told) => {
                let seat = self.named_seat(room, &told, Some(&self.ticket_of_pass(&pass))).await.ok();
                shows.seat = seat.or(shows.seat.take());
            }
        }
        true
    }
}

// === impl Shared: places ===

impl Shared {
    /// A request of a visitor, as if it asked the room; `None` where nobody new can be told apart now.
    fn asked<'a>(&self, room: &'a Room, visit: Visit<'a>) -> Option<Asked<'a>> {
        let now = self.clock.now();
        let known = visit.device(&self.keys, now).ok()?;
        let visitor = if !known.is_known && room.one_seat_per == OneSeatPer::Device {
            Ok(self.keys.visitors.of_address(&room.name, visit.client()))
        } else {
            visit.visitor(room, &self.keys, &known)
        };
        let ticket = single_header(visit.headers(), &X_TIDEGATE_TICKET).ok().flatten();
        let ticket = ticket.filter(|ticket| !ticket.is_empty());
        let fields = Call { ticket: ticket.map(Into::into), ..Call::default() };
        Some(Asked { visit, room, fields, known, visitor, now })
    }

    async fn visitor_stands(&self, room: &Room, visit: Visit<'_>, method: &str) -> Option<Stands> {
        let asked = self.asked(room, visit)?;
        if !asked.known.is_known && room.one_seat_per == OneSeatPer::Device && wants_page(visit, method) {
            // A person, whom the page will know by a cookie: the seat of an address would be everybody's behind it.
            let status = self.store.status(&room.name).await.ok()?;
            return Some(Stands { seat: stranger(room, &status), cookies: Vec::new() });
        }
        let shown = self.ticket(&asked).ok();
        let visitor = asked.visitor.as_ref().ok().copied();
        let prefix = Some(visit.prefix(room, &self.keys));
        let comes = Comes { visitor, prefix, client: Some(visit.client()) };
        let come = self.come(room, shown, comes).await.ok()?;
        let Some((told, ticket)) = come else {
            let status = self.store.status(&room.name).await.ok()?;
            return Some(Stands { seat: stranger(room, &status), cookies: Vec::new() });
        };
        let answered = self.seated(&asked, told, ticket, None).await.ok()?;
        // The seat of an address is no browser's.
        let is_kept = asked.known.is_known || room.one_seat_per != OneSeatPer::Device;
        let cookies = if is_kept { answered.cookies } else { Vec::new() };
        Some(Stands { seat: answered.seat?, cookies })
    }

    async fn named_stands(&self, room: &Room, named: &Named<'_>, subject: Option<&str>) -> Option<Stands> {
        let now = self.clock.now();
        let check = TokenCheck { room: &room.name, epochs: 0..=u64::MAX, visitor: None, now };
        let shown = named.ticket.and_then(|token| {
            let claims = self.keys.tokens.verify_ticket(token, &check).ok()?;
            Some(Shown { claims, token: token.to_owned() })
        });
        let comes = self.named(room, named, subject);
        let place = match (named.purpose, shown) {
            (Purpose::Pass, shown) => self.come(room, shown, comes).await.ok()?,
            (Purpose::Look, Some(shown)) => {
                let told = self.store.look(&room.name, &core_ticket(&shown.claims)).await.ok()?;
                Some((told, Some(shown)))
            }
            (Purpose::Look, None) => None,
        };
        let seat = match place {
            Some((told, ticket)) => self.named_seat(room, &told, ticket.as_ref()).await.ok()?,
            None => stranger(room, &self.store.status(&room.name).await.ok()?),
        };
        Some(Stands { seat, cookies: Vec::new() })
    }

    /// Who somebody is that a caller asks about, and at which address.
    fn named(&self, room: &Room, named: &Named<'_>, subject: Option<&str>) -> Comes {
        let value =
            |name: &str| named.entries.iter().find(|(entry, _)| *entry == name).map(|(_, value)| *value);
        let keys = &self.keys.visitors;
        let subject = subject.and_then(|subject| Some((subject, value(subject)?)));
        let subject = subject.map(|subject| keys.of_entries(&room.name, named.domain, [subject]));
        let client = value(CLIENT_IP).and_then(|text| client_of_text(text, named.ipv6_prefix));
        let visitor = subject.or_else(|| Some(keys.of_address(&room.name, client?)));
        Comes { visitor, prefix: client.map(|client| prefix_of(&self.keys, room, client)), client }
    }

    /// Asks for a visitor: its place is kept, or it is given one; who is called comes in; who is inside is there. `None` of somebody
    /// who has no place and could not be told from others.
    async fn come(
        &self,
        room: &Room,
        shown: Option<Shown>,
        comes: Comes,
    ) -> Result<Option<(Told, Option<Shown>)>, RoomError> {
        let mut visitor = comes.visitor;
        let mut place = None;
        if let Some(shown) = shown {
            let told = self.kept_place(room, &shown).await?;
            if !matches!(told.answer, Answer::Lapsed | Answer::Left | Answer::Done) {
                place = Some((told, Some(shown)));
            } else if visitor.is_none() {
                visitor = Some(shown.claims.visitor);
            }
        }
        let (told, ticket) = match (place, visitor) {
            (Some(place), _) => place,
            (None, Some(visitor)) => self.new_place(room, visitor, comes).await?,
            (None, None) => return Ok(None),
        };
        let told = match &ticket {
            Some(ticket) => self.let_in(room, told, ticket).await?,
            None => told,
        };
        Ok(Some((told, ticket)))
    }

    async fn kept_place(&self, room: &Room, shown: &Shown) -> Result<Told, RoomError> {
        let core = core_ticket(&shown.claims);
        let told = self.store.look(&room.name, &core).await?;
        if !is_due(&told, &core, room) {
            return Ok(told);
        }
        self.store.ask(&room.name, &Command::Poll(core)).await
    }

    async fn new_place(
        &self,
        room: &Room,
        visitor: VisitorId,
        Comes { prefix, client, .. }: Comes,
    ) -> Result<(Told, Option<Shown>), RoomError> {
        // Who is known by the address alone has one place, however often it asks.
        let client = client.filter(|client| self.keys.visitors.of_address(&room.name, *client) != visitor);
        if let Some(client) = client
            && self.joins.refuse(client).await.is_some()
        {
            return Err(RoomError::Overloaded);
        }
        let joins = Command::Join(Visitor { identity: Some(identity_of(visitor)), prefix });
        let told = self.store.ask(&room.name, &joins).await?;
        let ticket =
            number_of(&told.answer).map(|number| self.new_ticket(&room.name, visitor, number, &told));
        if matches!(told.answer, Answer::Admitted(admitted) if admitted.start == told.at) {
            room.counts.waits.observe(Micros::ZERO);
        }
        Ok((told, ticket))
    }

    /// Who is called comes in by asking, and who is inside is heard of.
    async fn let_in(&self, room: &Room, told: Told, ticket: &Shown) -> Result<Told, RoomError> {
        let core = core_ticket(&ticket.claims);
        let command = match told.answer {
            Answer::Ready(_) => Command::Claim(core),
            Answer::Admitted(admitted) if admitted.start < told.at => Command::Heartbeat(core),
            _ => return Ok(told),
        };
        let after = self.store.ask(&room.name, &command).await?;
        match after.answer {
            // A room that is closed lets nobody in: the call stands.
            Answer::Refused(_) => return Ok(told),
            Answer::Admitted(admitted) if admitted.start == after.at => {
                room.counts.waits.observe(after.at.since(ticket.claims.joined_at));
            }
            _ => {}
        }
        Ok(after)
    }

    /// The seat of somebody a caller asks about, with its tokens: there is no browser that would keep them.
    async fn named_seat(&self, room: &Room, told: &Told, ticket: Option<&Shown>) -> Result<Seat, RoomError> {
        let pass = match (&told.answer, ticket) {
            (Answer::Admitted(admitted), Some(ticket)) => {
                Some(self.pass(&ticket.claims, admitted, told, room.audience.clone()))
            }
            _ => None,
        };
        let status = self.store.status(&room.name).await?;
        Ok(self.seat(Facts { room, told, status: &status, ticket, pass, return_to: None }))
    }
}
