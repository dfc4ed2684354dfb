//! A seat as it stands in JSON: the fields in a row.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{
    Claim, EndedWhy, EstimatedWait, Progress, RefusedWhy, RoomState, Seat, Session, Standing, UnixTime,
};
use crate::room::name::RoomName;

#[derive(Serialize, Deserialize)]
pub(super) struct FlatSeat<'s> {
    #[serde(with = "crate::room::name")]
    room: RoomName,
    state: State,
    why: Option<Why>,
    room_state: RoomState,
    ticket: Option<Cow<'s, str>>,
    queue_number: Option<u64>,
    position: Option<u64>,
    waiting: u64,
    serving_number: u64,
    estimated_wait: Option<EstimatedWait>,
    progress: Progress,
    opens_at: Option<UnixTime>,
    message: Option<Cow<'s, str>>,
    poll_after_ms: u64,
    claim: Option<Claim>,
    session: Option<Session>,
    pass: Option<Cow<'s, str>>,
    // Of servers that make them only: those that do not answer as if there were no such field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pass_jwt: Option<Cow<'s, str>>,
    return_to: Option<Cow<'s, str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Waiting,
    Ready,
    Admitted,
    Ended,
    Refused,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
enum Why {
    Ended(EndedWhy),
    Refused(RefusedWhy),
}

/// The fields do not belong together.
#[derive(Debug, thiserror::Error)]
#[error("`why`, `claim`, `session`, `pass` and `pass_jwt` do not fit the state of the seat")]
pub(super) struct MixedSeatError;

impl<'s> From<&'s Seat> for FlatSeat<'s> {
    fn from(seat: &'s Seat) -> Self {
        let (mut why, mut claim, mut session, mut pass, mut pass_jwt) = (None, None, None, None, None);
        let state = match &seat.standing {
            Standing::Waiting => State::Waiting,
            Standing::Ready(window) => {
                claim = Some(*window);
                State::Ready
            }
            Standing::Admitted { pass: token, pass_jwt: jwt, session: current } => {
                session = Some(*current);
                (pass, pass_jwt) = (token.as_deref().map(Cow::Borrowed), jwt.as_deref().map(Cow::Borrowed));
                State::Admitted
            }
            Standing::Ended(reason) => {
                why = Some(Why::Ended(*reason));
                State::Ended
            }
            Standing::Refused(reason) => {
                why = Some(Why::Refused(*reason));
                State::Refused
            }
        };
        Self {
            room: seat.room.clone(),
            state,
            why,
            room_state: seat.room_state,
            ticket: seat.ticket.as_deref().map(Cow::Borrowed),
            queue_number: seat.queue_number,
            position: seat.position,
            waiting: seat.waiting,
            serving_number: seat.serving_number,
            estimated_wait: seat.estimated_wait,
            progress: seat.progress,
            opens_at: seat.opens_at,
            message: seat.message.as_deref().map(Cow::Borrowed),
            poll_after_ms: seat.poll_after_ms,
            claim,
            session,
            pass,
            pass_jwt,
            return_to: seat.return_to.as_deref().map(Cow::Borrowed),
        }
    }
}

impl TryFrom<FlatSeat<'_>> for Seat {
    type Error = MixedSeatError;

    fn try_from(flat: FlatSeat<'_>) -> Result<Self, Self::Error> {
        let passes = [flat.pass, flat.pass_jwt];
        let standing = match (flat.state, flat.why, flat.claim, flat.session, passes) {
            (State::Waiting, None, None, None, [None, None]) => Standing::Waiting,
            (State::Ready, None, Some(claim), None, [None, None]) => Standing::Ready(claim),
            (State::Admitted, None, None, Some(session), passes) => {
                let [pass, pass_jwt] = passes.map(|pass| pass.map(Cow::into_owned));
                Standing::Admitted { pass, pass_jwt, session }
            }
            (State::Ended, Some(Why::Ended(why)), None, None, [None, None]) => Standing::Ended(why),
            (State::Refused, Some(Why::Refused(why)), None, None, [None, None]) => Standing::Refused(why),
            _ => return Err(MixedSeatError),
        };
        Ok(Self {
            room: flat.room,
            standing,
            room_state: flat.room_state,
            ticket: flat.ticket.map(Cow::into_owned),
            queue_number: flat.queue_number,
            position: flat.position,
            waiting: flat.waiting,
            serving_number: flat.serving_number,
            estimated_wait: flat.estimated_wait,
            progress: flat.progress,
            opens_at: flat.opens_at,
            message: flat.message.map(Cow::into_owned),
            poll_after_ms: flat.poll_after_ms,
            return_to: flat.return_to.map(Cow::into_owned),
        })
    }
}
