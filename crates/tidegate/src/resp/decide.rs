//! Commands that ask for a decision.

use smallvec::SmallVec;
use tidegate_engine::{AdHoc, Clock};
use tidegate_store::BucketStore;
use tidegate_wire::check::CheckRequest;
use tidegate_wire::resp::reply::Version;
use tidegate_wire::resp::throttle::Throttle;

use super::{Shared, to_wire};
use crate::gate::{Answered, Ask, Caller};

/// Decides by the quota that comes along.
pub(super) async fn throttle<S: BucketStore, C: Clock>(
    shared: &Shared<S, C>,
    caller: &Caller,
    ad_hoc: &AdHoc,
    throttle: &Throttle<'_>,
    out: &mut Vec<u8>,
) {
    if !within_ceiling(shared, caller, out).await {
        return;
    }
    let quantity = throttle.quantity;
    match shared.gate.throttle(ad_hoc, throttle.key, quantity, quantity == 0).await {
        Ok(decision) => to_wire::throttled(out, throttle, &decision),
        Err(error) => to_wire::undecided(out, &error),
    }
}

/// Decides by the rules.
pub(super) async fn check<S: BucketStore, C: Clock>(
    shared: &Shared<S, C>,
    caller: &Caller,
    check: &CheckRequest<'_>,
    version: Version,
    out: &mut Vec<u8>,
) {
    if !within_ceiling(shared, caller, out).await {
        return;
    }
    let entries: SmallVec<[(&str, &str); 4]> =
        check.entries.iter().map(|(name, value)| (&**name, &**value)).collect();
    let look = shared.gate.look(caller, &check.domain, &entries).await;
    let ask =
        Ask { entries: &entries, cost: check.cost, peek: check.peek, idempotency_key: None, inside: &[] };
    match shared.gate.ask(&look, &ask).await {
        Ok(Answered::Decided(decision)) => to_wire::checked(out, version, &decision),
        Ok(Answered::Banned(ban)) => to_wire::banned(out, ban),
        Err(error) => to_wire::undecided(out, &error),
    }
}

/// Counts a command against the ceiling of the caller's tenant. False where it is reached, which is then said.
async fn within_ceiling<S: BucketStore, C: Clock>(
    shared: &Shared<S, C>,
    caller: &Caller,
    out: &mut Vec<u8>,
) -> bool {
    match shared.gate.over_ceiling(caller, 1).await {
        Ok(None) => return true,
        Ok(Some(refusal)) => to_wire::over_ceiling(out, &refusal),
        Err(error) => to_wire::undecided(out, &error),
    }
    false
}
