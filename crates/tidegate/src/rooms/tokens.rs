//! Tickets and passes: which one a call shows, whose it is, and new ones.

use http::HeaderValue;
use tidegate_core::room::{Admitted, QueueNumber, Ticket};
use tidegate_store::rooms::Told;
use tidegate_wire::problem::{Problem, ProblemType};
use tidegate_wire::room::cookies::{CookieError, CookieName};
use tidegate_wire::room::name::RoomName;
use tidegate_wire::room::site::Audience;
use tidegate_wire::room::token::{self, TokenCheck, TokenError};
use tidegate_wire::room::visitor::VisitorId;

use super::Shared;
use super::answer::Shown;
use super::calls::{Asked, Refused, gone, plain};
use super::visit::identity_of;

/// A pass, as it was signed.
pub(super) struct SignedPass {
    /// As Tidegate takes it.
    pub(super) token: String,
    /// As a JWT for the site, where there is an issuer.
    pub(super) jwt: Option<String>,
}

impl Shared {
    /// The ticket of a number: the one that was shown, or a new one.
    pub(super) fn ticket_for(
        &self,
        asked: &Asked<'_>,
        visitor: VisitorId,
        number: QueueNumber,
        told: &Told,
    ) -> Shown {
        match self.ticket(asked) {
            Ok(shown) if shown.claims.queue_number == number.get() && shown.claims.visitor == visitor => {
                shown
            }
            _ => self.new_ticket(&asked.room.name, visitor, number, told),
        }
    }

    pub(super) fn new_ticket(
        &self,
        room: &RoomName,
        visitor: VisitorId,
        number: QueueNumber,
        told: &Told,
    ) -> Shown {
        let claims = token::Ticket {
            room: room.clone(),
            epoch: u64::from(told.epoch),
            queue_number: number.get(),
            visitor,
            joined_at: told.at,
        };
        Shown { token: self.keys.tokens.sign_ticket(&claims), claims }
    }

    /// The pass of an admitted visitor, for these hosts.
    pub(super) fn pass(
        &self,
        ticket: &token::Ticket,
        admitted: &Admitted,
        told: &Told,
        audience: Audience,
    ) -> SignedPass {
        let (keys, pass) = (
            &self.keys.tokens,
            token::Pass {
                room: ticket.room.clone(),
                epoch: u64::from(told.epoch),
                queue_number: ticket.queue_number,
                visitor: ticket.visitor,
                started_at: admitted.start,
                expires_at: admitted.deadline,
                audience,
            },
        );
        let jwt = self.issuer.as_ref().map(|issuer| keys.sign_pass_jwt(&pass, issuer));
        SignedPass { token: keys.sign_pass(&pass), jwt }
    }

    /// The pass of an admitted visitor, and the cookies that carry it, that of Tidegate first.
    pub(super) fn pass_cookies(
        &self,
        asked: &Asked<'_>,
        ticket: &token::Ticket,
        admitted: &Admitted,
        told: &Told,
    ) -> (SignedPass, Vec<HeaderValue>) {
        let (visit, room) = (&asked.visit, &asked.room.name);
        let pass = self.pass(ticket, admitted, told, visit.audience(asked.room));
        let left_s = u32::try_from(admitted.deadline.since(told.at).as_secs_ceil()).unwrap_or(u32::MAX);
        let own = visit.keep(CookieName::Pass(room), &pass.token, left_s);
        let jwt = pass.jwt.as_deref().and_then(|jwt| visit.keep(CookieName::PassJwt(room), jwt, left_s));
        let cookies = own.into_iter().chain(jwt).collect();
        (pass, cookies)
    }

    /// Tells a browser to forget a pass in both its forms.
    pub(super) fn forget_pass(&self, asked: &Asked<'_>) -> Vec<HeaderValue> {
        let (visit, room) = (&asked.visit, &asked.room.name);
        let jwt = self.issuer.is_some().then(|| visit.forget(CookieName::PassJwt(room)));
        [visit.forget(CookieName::Pass(room))].into_iter().chain(jwt).collect()
    }

    /// The ticket that was sent, or that the cookie carries.
    pub(super) fn ticket(&self, asked: &Asked<'_>) -> Result<Shown, Refused> {
        let (room, visit) = (asked.room, &asked.visit);
        let name = CookieName::Ticket(&room.name);
        let refused = |error: TokenError, is_cookie: bool| {
            let cookies = if is_cookie { vec![visit.forget(name)] } else { Vec::new() };
            (Box::new(refused(error)), cookies)
        };
        let check = |visitor| TokenCheck { room: &room.name, epochs: 0..=u64::MAX, visitor, now: asked.now };
        if let Some(token) = asked.fields.ticket.as_deref() {
            let claims = self.keys.tokens.verify_ticket(token, &check(None));
            let claims = claims.map_err(|error| refused(error, false))?;
            return Ok(Shown { claims, token: token.to_owned() });
        }
        let mut why_not = plain(gone("there is no ticket: join first"));
        for token in visit.cookies(name).map_err(|error| bad_cookie(&error))? {
            // A cookie is its visitor's: alone, or beside the signs of somebody else, it was copied.
            let owner = *asked.visitor.as_ref().map_err(|_| refused(TokenError::WrongVisitor, false))?;
            match self.keys.tokens.verify_ticket(token, &check(Some(owner))) {
                Ok(claims) => return Ok(Shown { claims, token: token.to_owned() }),
                Err(error) => why_not = refused(error, true),
            }
        }
        Err(why_not)
    }

    /// The ticket, or the pass, which stands for it.
    pub(super) fn ticket_or_pass(&self, asked: &Asked<'_>) -> Result<(Shown, Option<token::Pass>), Refused> {
        let room = asked.room;
        let name = CookieName::Pass(&room.name);
        let sent = asked.fields.pass.as_deref();
        let cookies = asked.visit.cookies(name).map_err(|error| bad_cookie(&error))?;
        let pass = |token: &str, visitor| {
            let check = TokenCheck { room: &room.name, epochs: 0..=u64::MAX, visitor, now: asked.now };
            // Whoever shows it to the room itself shows it to no host.
            self.keys.tokens.verify_pass_at_room(token, &check)
        };
        if let Some(token) = sent {
            return match pass(token, None) {
                Ok(claims) => Ok((self.ticket_of_pass(&claims), Some(claims))),
                // The session is over, and its ticket tells why.
                Err(TokenError::Expired) => self
                    .ticket(asked)
                    .map(|shown| (shown, None))
                    .map_err(|_| plain(refused(TokenError::Expired))),
                Err(error) => Err(plain(refused(error))),
            };
        }
        let owner = asked.visitor.as_ref().ok().copied();
        let of_cookie =
            owner.and_then(|owner| cookies.into_iter().find_map(|token| pass(token, Some(owner)).ok()));
        match self.ticket(asked) {
            Ok(shown) => Ok((shown, of_cookie)),
            Err(refused) if refused.0.kind != ProblemType::Gone => Err(refused),
            Err(refused) => {
                let claims = of_cookie.ok_or(refused)?;
                Ok((self.ticket_of_pass(&claims), Some(claims)))
            }
        }
    }

    pub(super) fn ticket_of_pass(&self, pass: &token::Pass) -> Shown {
        let claims = claims_of(pass);
        Shown { token: self.keys.tokens.sign_ticket(&claims), claims }
    }
}

/// What the ticket of a pass says.
pub(super) fn claims_of(pass: &token::Pass) -> token::Ticket {
    token::Ticket {
        room: pass.room.clone(),
        epoch: pass.epoch,
        queue_number: pass.queue_number,
        visitor: pass.visitor,
        joined_at: pass.started_at,
    }
}

/// The ticket of a pass as the core has it.
pub(super) fn ticket_of(pass: &token::Pass) -> Ticket {
    ticket_in_core(pass.epoch, pass.queue_number, pass.visitor)
}

/// The ticket as the core has it.
pub(super) fn core_ticket(claims: &token::Ticket) -> Ticket {
    ticket_in_core(claims.epoch, claims.queue_number, claims.visitor)
}

fn ticket_in_core(epoch: u64, number: u64, visitor: VisitorId) -> Ticket {
    let epoch = u32::try_from(epoch).unwrap_or(u32::MAX);
    Ticket::new(epoch, QueueNumber::new(number)).of(Some(identity_of(visitor)), None)
}

/// Why a token is not taken: one that is over is gone, anything else is somebody's doing.
fn refused(error: TokenError) -> Problem {
    match error {
        TokenError::Expired | TokenError::WrongEpoch | TokenError::UnknownKey => gone(&error.to_string()),
        _ => Problem::new(ProblemType::Forbidden, error.to_string()),
    }
}

fn bad_cookie(error: &CookieError) -> Refused {
    plain(Problem::new(ProblemType::Malformed, error.to_string()))
}
