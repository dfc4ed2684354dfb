//! A door, and a way through the table with it. Another door is one more implementation, and one line in `main.rs`.

use tidegate::gate::{Answered, Ask, Caller};
use tidegate_core::time::Micros;
use tidegate_engine::Decision;
use tidegate_store::BucketStore;

use crate::cases::{CASES, Case, Comes, SPELLINGS, Step, WHO};
use crate::said::Said;
use crate::site::Site;

/// What passes between two requests of a case: no whole number of seconds or milliseconds, so that rounding shows.
const BETWEEN: Micros = Micros::from_micros(1_234_567);

/// A client of one door.
pub(crate) trait Door {
    fn name(&self) -> String;

    /// Asks, and says what came back.
    async fn ask(&mut self, asked: &Asked<'_>) -> Said;

    /// What has to come back where this was decided in process.
    fn expected(&self, asked: &Asked<'_>, decision: &Decision) -> Said;
}

/// A request of somebody.
pub(crate) struct Asked<'a> {
    pub(crate) case: &'a Case,
    pub(crate) step: &'a Step,
    /// What is there in place of [`WHO`].
    pub(crate) who: &'a str,
}

impl Asked<'_> {
    pub(crate) fn entries(&self) -> Vec<(&str, &str)> {
        let of_who = |value| if value == WHO { self.who } else { value };
        self.case.entries.iter().map(|(name, value)| (*name, of_who(*value))).collect()
    }
}

/// Goes through the cases that a door can ask, and says how many those were.
pub(crate) async fn go_through<S: BucketStore>(
    site: &Site<S>,
    door: &mut impl Door,
    can_ask: fn(&Case) -> bool,
) -> usize {
    let mut count = 0;
    for (number, case) in CASES.iter().enumerate().filter(|(_, case)| can_ask(case)) {
        count += 1;
        let through_door = format!("{}-{number}", door.name());
        let in_process = format!("{through_door}-in-process");
        for (index, step) in case.steps.iter().enumerate() {
            let what = format!("{}: {}: request {}", door.name(), case.name, index + 1);
            let decision = decide(site, &Asked { case, step, who: &in_process }).await;
            assert_eq!(came(&decision), step.comes, "{what}");
            if let Some(binding) = decision.binding().filter(|_| index + 1 == case.steps.len()) {
                assert_eq!(binding.rule.name(), case.binds, "{what}");
            }
            let asked = Asked { case, step, who: &through_door };
            let said = door.ask(&asked).await;
            assert_eq!(said, door.expected(&asked, &decision), "{what}: said, and decided in process");
            site.clock.advance(BETWEEN);
        }
    }
    count
}

async fn decide<S: BucketStore>(site: &Site<S>, asked: &Asked<'_>) -> Decision {
    let brought = |value| SPELLINGS.iter().find(|(odd, _)| *odd == value).map_or(value, |&(_, one)| one);
    let entries: Vec<(&str, &str)> =
        asked.entries().into_iter().map(|(name, value)| (name, brought(value))).collect();
    let look = site.gate.look(&Caller::default(), asked.case.domain, &entries).await;
    let ask = Ask {
        entries: &entries,
        cost: asked.step.cost,
        peek: asked.step.peek,
        idempotency_key: None,
        inside: &[],
    };
    match site.gate.ask(&look, &ask).await.unwrap() {
        Answered::Decided(decision) => decision,
        Answered::Banned(ban) => panic!("{ban:?}"),
    }
}

/// A decision as the table has it.
fn came(decision: &Decision) -> Comes {
    assert_eq!(decision.degraded(), None);
    let Some(binding) = decision.binding() else {
        assert!(decision.is_allowed());
        return Comes::Unlimited;
    };
    let remaining = binding.gauge.remaining;
    match (decision.is_allowed(), decision.retry_after()) {
        (true, None) => Comes::Passes(remaining),
        (false, Some(_)) => Comes::Refused(remaining),
        (false, None) => Comes::Never(remaining),
        (true, Some(_)) => panic!("passes, and is to come back later"),
    }
}
