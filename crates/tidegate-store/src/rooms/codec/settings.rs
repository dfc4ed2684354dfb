//! Settings of a room.

use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::room::draw::Seed;
use tidegate_core::room::{
    ClaimTerms, EarlyEnd, Method, Opening, OpeningOrder, SessionTerms, Settings, Spec,
};

use super::{Malformed, Read, Reader, coded, put_at, put_coded, put_integer, put_option, put_span};

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
    put_option(out, *seed, |out, seed| out.extend(seed.reveal()));
}

pub(in crate::rooms) fn get_settings(reader: &mut Reader<'_>) -> Read<Settings> {
    let capacity = reader.small()?;
    let (limit, window, burst) = (reader.integer()?, reader.span()?, reader.integer()?);
    let release = Quota::new(Algorithm::TokenBucket, limit, window, Some(burst))
        .map_err(|_| Malformed("a release rate that cannot be"))?;
    let spec = Spec {
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
        seed: reader.option(|reader| Ok(Seed::new(reader.array()?)))?,
    };
    Settings::new(spec).map_err(|_| Malformed("settings that cannot be"))
}
