//! Decisions and refusals as replies. The code that an error begins with says what to do:
//!
//! | code | meaning |
//! | --- | --- |
//! | `NOAUTH` | a key is needed: AUTH |
//! | `WRONGPASS` | this key is not good |
//! | `NOPERM` | this key may not ask for decisions |
//! | `BUSY` | the ceiling of the tenant is reached, or the node has too much in progress: later |
//! | `DENIED` | the subject is banned |
//! | `UNAVAILABLE` | the store does not answer, and the rules say that nothing passes then: later |
//! | `ERR` | the command is wrong |

use tidegate_catalog::model::Ban;
use tidegate_core::time::Micros;
use tidegate_engine::{Decision, EngineError};
use tidegate_wire::resp::reply::{self, Version};
use tidegate_wire::resp::throttle::{Throttle, Throttled};

use crate::door::overload::RETRY_AFTER_SECONDS;
use crate::gate::Refused;

/// The decision of a quota that came along.
pub(super) fn throttled(out: &mut Vec<u8>, throttle: &Throttle<'_>, decision: &Decision) {
    if decision.is_refused_for_want_of_store() {
        return without_store(out, decision.retry_after());
    }
    let limit = throttle.quota.burst();
    // Let through without the store, nothing is known of the bucket: as if it were full.
    let gauge = decision.binding().map(|binding| binding.gauge);
    let said = Throttled {
        is_allowed: decision.is_allowed(),
        limit,
        remaining: gauge.map_or(limit, |gauge| gauge.remaining),
        retry_after: decision.retry_after(),
        reset_after: gauge.map_or(Micros::ZERO, |gauge| gauge.reset_after),
    };
    said.write(throttle.dialect, out);
}

/// The decision of the rules: allowed, limit, remaining, retry_after_ms, reset_after_ms, rule; as a map in version 3, with
/// how it was decided if not by the store.
pub(super) fn checked(out: &mut Vec<u8>, version: Version, decision: &Decision) {
    if decision.is_refused_for_want_of_store() {
        return without_store(out, decision.retry_after());
    }
    let binding = decision.binding();
    let retry_after = decision.retry_after().map_or(-1, |span| signed(span.as_millis_ceil()));
    let number = |out: &mut Vec<u8>, number: Option<u64>| match number {
        Some(number) => reply::integer(out, signed(number)),
        None => reply::null(out, version),
    };
    let is_map = version == Version::Resp3;
    let name = |out: &mut Vec<u8>, name: &str| {
        if is_map {
            reply::bulk(out, name.as_bytes());
        }
    };
    if is_map {
        reply::map(out, 7, version);
    } else {
        reply::array(out, 6);
    }
    name(out, "allowed");
    reply::boolean(out, decision.is_allowed(), version);
    name(out, "limit");
    number(out, binding.map(|binding| binding.quota.limit()));
    name(out, "remaining");
    number(out, binding.map(|binding| binding.gauge.remaining));
    name(out, "retry_after_ms");
    reply::integer(out, retry_after);
    name(out, "reset_after_ms");
    number(out, binding.map(|binding| binding.gauge.reset_after.as_millis_ceil()));
    name(out, "rule");
    match binding {
        Some(binding) => reply::bulk(out, binding.rule.name().as_bytes()),
        None => reply::null(out, version),
    }
    if is_map {
        name(out, "degraded");
        match decision.degraded() {
            Some(degraded) => reply::bulk(out, degraded.policy.name().as_bytes()),
            None => reply::null(out, version),
        }
    }
}

pub(super) fn banned(out: &mut Vec<u8>, ban: &Ban) {
    let until = if ban.until_us.is_some() { "for a time" } else { "until somebody lifts the ban" };
    reply::error(out, &format!("DENIED the subject is banned {until}"));
}

pub(super) fn over_ceiling(out: &mut Vec<u8>, decision: &Decision) {
    let retry_after = decision.retry_after().unwrap_or(Micros::ZERO).as_millis_ceil();
    let text = format!("BUSY the tenant's ceiling of requests is reached: try again in {retry_after} ms");
    reply::error(out, &text);
}

/// There is no room for a command.
pub(super) fn shed(out: &mut Vec<u8>) {
    let retry_after = RETRY_AFTER_SECONDS * 1_000;
    let text = format!(
        "BUSY this node decides as many requests as it can at one time: try again in {retry_after} ms"
    );
    reply::error(out, &text);
}

/// Why a client's commands are not carried out.
pub(super) fn refused(out: &mut Vec<u8>, refused: Refused) {
    reply::error(
        out,
        match refused {
            Refused::NoKey => "NOAUTH an API key is needed: AUTH tg_…",
            Refused::BadKey(_) => "NOAUTH the API key is not good any more: AUTH with another",
            Refused::NotForChecks => {
                "NOPERM this API key may not ask for decisions: use one with the scope check"
            }
        },
    );
}

/// Why a key is not taken.
pub(super) fn wrong_key(out: &mut Vec<u8>, refused: Refused) {
    match refused {
        Refused::NotForChecks => self::refused(out, refused),
        Refused::NoKey | Refused::BadKey(_) => {
            reply::error(out, "WRONGPASS there is no such API key, or it was revoked or has expired");
        }
    }
}

pub(super) fn no_keys_here(out: &mut Vec<u8>) {
    reply::error(
        out,
        "ERR AUTH called, but this server has no API keys: leave it out, or start with --database-url",
    );
}

/// The engine's own words go to the log only.
pub(super) fn undecided(out: &mut Vec<u8>, error: &EngineError) {
    match error {
        EngineError::Store(source) => {
            tracing::warn!(error = %source, "no decision");
            without_store(out, None);
        }
        EngineError::RulesUnsettled => {
            tracing::warn!("rules changed faster than a request could be decided");
            reply::error(out, "UNAVAILABLE the rules are changing: try again at once");
        }
        EngineError::AdHoc(source) => {
            tracing::warn!(error = %source, "a quota that a request brought makes no rule");
            reply::error(out, "ERR these numbers cannot be kept");
        }
    }
}

fn without_store(out: &mut Vec<u8>, retry_after: Option<Micros>) {
    let retry_after = retry_after.unwrap_or(Micros::from_secs(1)).as_millis_ceil();
    reply::error(out, &format!("UNAVAILABLE the store does not answer: try again in {retry_after} ms"));
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
