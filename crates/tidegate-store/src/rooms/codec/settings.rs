//! Settings of a room. The byte before the seed says what follows: 1 a seed, 2 notes, 3 both.

use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::room::draw::Seed;
use tidegate_core::room::{
    ClaimTerms, EarlyEnd, Method, Notes, Opening, OpeningOrder, SessionTerms, Settings, Spec,
};

use super::{Malformed, Read, Reader, coded, put_at, put_coded, put_integer, put_option, put_span};

const SEED: u8 = 1;
const NOTES: u8 = 2;

coded!(Method { 0 => Method::Fifo, 1 => Method::Random, 2 => Method::Passthrough, 3 => Method::Reject });
coded!(EarlyEnd { 0 => EarlyEnd::HoldsSeat, 1 => EarlyEnd::FreesSeat });
coded!(OpeningOrder { 0 => OpeningOrder::AsTheyCame, 1 => OpeningOrder::Shuffled });

pub(in crate::rooms) fn put_settings(out: &mut Vec<u8>, settings: &Settings) {
    let Spec {
        capacity,
        release,
        method,
        claim,
        session,
        max_waiting,
        seats_per_prefix,
        min_lease,
        opening,
        seed,
    } = settings.spec();
    put_integer(out, u64::from(*capacity));
    put_integer(out, release.limit());
    put_span(out, release.window());
    put_integer(out, release.burst());
    put_coded(out, method);
    put_span(out, claim.window);
    put_integer(out, u64::from(claim.extensions));
    put_option(out, session.limit, put_span);
    put_option(out, session.idle, put_span);
    put_integer(out, u64::from(session.renewals));
    put_coded(out, &session.early_end);
    put_integer(out, u64::from(*max_waiting));
    put_option(out, *seats_per_prefix, |out, seats| put_integer(out, u64::from(seats)));
    put_span(out, *min_lease);
    put_option(out, *opening, |out, opening| {
        put_at(out, opening.at);
        put_coded(out, &opening.order);
    });
    let kinds = [(seed.is_some(), SEED), (settings.notes().is_some(), NOTES)];
    out.push(kinds.iter().filter(|(is_there, _)| *is_there).map(|(_, kind)| kind).sum());
    if let Some(seed) = seed {
        out.extend(seed.reveal());
    }
    if let Some(notes) = settings.notes() {
        put_integer(out, notes.as_str().len() as u64);
        out.extend(notes.as_str().as_bytes());
    }
}

pub(in crate::rooms) fn get_settings(reader: &mut Reader<'_>) -> Read<Settings> {
    let capacity = reader.small()?;
    let (limit, window, burst) = (reader.integer()?, reader.span()?, reader.integer()?);
    let release = Quota::new(Algorithm::TokenBucket, limit, window, Some(burst))
        .map_err(|_| Malformed("a release rate that cannot be"))?;
    let mut spec = Spec {
        capacity,
        release,
        method: reader.coded()?,
        claim: ClaimTerms { window: reader.span()?, extensions: reader.small()? },
        session: SessionTerms {
            limit: reader.option(Reader::span)?,
            idle: reader.option(Reader::span)?,
            renewals: reader.small()?,
            early_end: reader.coded()?,
        },
        max_waiting: reader.small()?,
        seats_per_prefix: reader.option(Reader::small)?,
        min_lease: reader.span()?,
        opening: reader.option(|reader| Ok(Opening { at: reader.at()?, order: reader.coded()? }))?,
        seed: None,
    };
    let follows = reader.byte()?;
    if follows > SEED | NOTES {
        return Err(Malformed("an unknown kind"));
    }
    if follows & SEED != 0 {
        spec.seed = Some(Seed::new(reader.array()?));
    }
    let notes = if follows & NOTES != 0 { Some(get_notes(reader)?) } else { None };
    let settings = Settings::new(spec).map_err(|_| Malformed("settings that cannot be"))?;
    Ok(settings.with_notes(notes))
}

fn get_notes(reader: &mut Reader<'_>) -> Read<Notes> {
    let length = reader.small()?;
    let text = str::from_utf8(reader.bytes(length)?).map_err(|_| Malformed("notes that are no text"))?;
    Notes::new(text).ok_or(Malformed("notes that are too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_back_with_what_is_kept_with_them_and_are_written_as_before_without() {
        let release =
            Quota::new(Algorithm::TokenBucket, 7, tidegate_core::time::Micros::from_secs(3), None).unwrap();
        for seed in [None, Some(Seed::new([7; 32]))] {
            let plain = Settings::new(Spec { seed, ..Spec::new(5, release) }).unwrap();
            let noted = plain.clone().with_notes(Notes::new("as it looks: ö"));
            let [mut short, mut long] = [Vec::new(), Vec::new()];
            put_settings(&mut short, &plain);
            put_settings(&mut long, &noted);
            assert_eq!(get_settings(&mut Reader::new(&short)), Ok(plain));
            assert_eq!(get_settings(&mut Reader::new(&long)), Ok(noted));
            let follows = short.len() - 1 - if seed.is_some() { 32 } else { 0 };
            assert_eq!(
                short[follows],
                u8::from(seed.is_some()),
                "an option, as it was before there were notes"
            );
            for cut in 0..long.len() {
                assert!(get_settings(&mut Reader::new(&long[..cut])).is_err());
            }
            long[follows] = 4;
            assert_eq!(get_settings(&mut Reader::new(&long)), Err(Malformed("an unknown kind")));
        }
    }
}
