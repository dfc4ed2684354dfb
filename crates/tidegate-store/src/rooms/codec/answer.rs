//! What a room answers.

use tidegate_core::room::{Admitted, Answer, EstimatedWait, Halt, Ready, Refusal, Waiting};

use super::{
    Malformed, Read, Reader, coded, put_at, put_coded, put_integer, put_number, put_option, put_span,
};

coded!(Refusal {
    0 => Refusal::LineFull,
    1 => Refusal::NoSeat,
    2 => Refusal::PrefixFull,
    3 => Refusal::Draining,
    4 => Refusal::Closed,
    5 => Refusal::NobodyWaiting,
    6 => Refusal::Recovering,
    7 => Refusal::NoExtensionLeft,
    8 => Refusal::NoRenewalLeft,
    9 => Refusal::OpeningFixed,
    10 => Refusal::StaleRoom,
    11 => Refusal::StaleEpoch,
    12 => Refusal::LossTooLarge,
});

const WAITING: u8 = 1;
const READY: u8 = 2;
const ADMITTED: u8 = 3;
const LAPSED: u8 = 4;
const LEFT: u8 = 5;
const DONE: u8 = 6;
const REFUSED: u8 = 7;

const CLOSED: u8 = 0;
const NOT_YET_OPEN: u8 = 1;
const RECOVERING: u8 = 2;
const PAUSED: u8 = 3;

pub(in crate::rooms) fn put_answer(out: &mut Vec<u8>, answer: &Answer) {
    match answer {
        Answer::Waiting(waiting) => {
            out.push(WAITING);
            put_waiting(out, waiting);
        }
        Answer::Ready(Ready { number, claim_until, extensions_left, poll_after }) => {
            out.push(READY);
            put_number(out, *number);
            put_at(out, *claim_until);
            put_integer(out, u64::from(*extensions_left));
            put_span(out, *poll_after);
        }
        Answer::Admitted(Admitted { number, start, deadline, limit_at, renewals_left, heartbeat_after }) => {
            out.push(ADMITTED);
            put_number(out, *number);
            put_at(out, *start);
            put_at(out, *deadline);
            put_option(out, *limit_at, put_at);
            put_integer(out, u64::from(*renewals_left));
            put_span(out, *heartbeat_after);
        }
        Answer::Lapsed => out.push(LAPSED),
        Answer::Left => out.push(LEFT),
        Answer::Done => out.push(DONE),
        Answer::Refused(refusal) => {
            out.push(REFUSED);
            put_coded(out, refusal);
        }
    }
}

fn put_waiting(out: &mut Vec<u8>, waiting: &Waiting) {
    let Waiting { number, position, estimated_wait, poll_after, lease_until, halt } = waiting;
    put_number(out, *number);
    put_option(out, *position, put_integer);
    put_option(out, *estimated_wait, |out, EstimatedWait { low, high, slower }| {
        put_span(out, low);
        put_span(out, high);
        put_option(out, slower.as_ref(), put_coded);
    });
    put_span(out, *poll_after);
    put_at(out, *lease_until);
    put_option(out, *halt, |out, halt| match halt {
        Halt::Closed => out.push(CLOSED),
        Halt::NotYetOpen { opens_at } => {
            out.push(NOT_YET_OPEN);
            put_at(out, opens_at);
        }
        Halt::Recovering { until } => {
            out.push(RECOVERING);
            put_at(out, until);
        }
        Halt::Paused => out.push(PAUSED),
    });
}

pub(in crate::rooms) fn get_answer(reader: &mut Reader<'_>) -> Read<Answer> {
    Ok(match reader.byte()? {
        WAITING => Answer::Waiting(get_waiting(reader)?),
        READY => Answer::Ready(Ready {
            number: reader.number()?,
            claim_until: reader.at()?,
            extensions_left: reader.small()?,
            poll_after: reader.span()?,
        }),
        ADMITTED => Answer::Admitted(Admitted {
            number: reader.number()?,
            start: reader.at()?,
            deadline: reader.at()?,
            limit_at: reader.option(Reader::at)?,
            renewals_left: reader.small()?,
            heartbeat_after: reader.span()?,
        }),
        LAPSED => Answer::Lapsed,
        LEFT => Answer::Left,
        DONE => Answer::Done,
        REFUSED => Answer::Refused(reader.coded()?),
        _ => return Err(Malformed("an unknown answer")),
    })
}

fn get_waiting(reader: &mut Reader<'_>) -> Read<Waiting> {
    Ok(Waiting {
        number: reader.number()?,
        position: reader.option(Reader::integer)?,
        estimated_wait: reader.option(|reader| {
            let (low, high) = (reader.span()?, reader.span()?);
            Ok(EstimatedWait { low, high, slower: reader.option(Reader::coded)? })
        })?,
        poll_after: reader.span()?,
        lease_until: reader.at()?,
        halt: reader.option(|reader| {
            Ok(match reader.byte()? {
                CLOSED => Halt::Closed,
                NOT_YET_OPEN => Halt::NotYetOpen { opens_at: reader.at()? },
                RECOVERING => Halt::Recovering { until: reader.at()? },
                PAUSED => Halt::Paused,
                _ => return Err(Malformed("an unknown halt")),
            })
        })?,
    })
}
