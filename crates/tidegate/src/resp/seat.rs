//! What the commands of a turn hold of the door's capacity.
//!
//! The measure is decisions in progress, so a permit covers what really is in progress at one time. In order, that is one
//! command of the turn, however long the pipeline is: one permit, taken for the first command that is let in and kept to
//! the end of the turn. Together, all of them wait for the store at the same time and hold memory: a permit for each, given
//! back when its reply is there. A permit for a whole pipeline would let 256 times as many in as the bound says.
//!
//! What is shed is a single command, whose reply says so in its place; the others of the pipeline are decided.

use tidegate_wire::check::CheckRequest;

use crate::door::overload::{Guard, Overload, Priority};

/// The permit of a turn whose commands are decided one after the other: like a batch at the HTTP door, it is as important as
/// the most important of its commands so far.
#[derive(Debug, Default)]
pub(super) struct Seat<'a>(Option<Guard<'a>>);

impl<'a> Seat<'a> {
    /// Whether the next command may be decided.
    pub(super) fn is_there(&mut self, overload: &'a Overload, priority: Priority) -> bool {
        if self.0.is_none() {
            self.0 = overload.enter(priority);
        }
        self.0.is_some()
    }
}

/// How important a check is: what its entry `priority` says. A quota that comes along has no entries, and is like a check
/// without one.
pub(super) fn priority_of(check: &CheckRequest<'_>) -> Priority {
    Priority::of_entries(check.entries.iter().map(|(name, value)| (&**name, &**value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_in_order_has_one_permit_until_it_is_over() {
        let overload = Overload::new("test", 2);
        let other = overload.enter(Priority::Critical);
        let mut seat = Seat::default();
        assert!(!seat.is_there(&overload, Priority::Low), "half of two is taken");
        assert!(
            seat.is_there(&overload, Priority::Critical),
            "what is shed leaves the others of the turn alone"
        );
        assert!(seat.is_there(&overload, Priority::Low), "the turn is as important as its critical command");
        assert_eq!(overload.in_progress(), 2);
        drop((seat, other));
        assert_eq!(overload.in_progress(), 0);
        assert_eq!(Priority::ALL.map(|priority| overload.shed(priority)), [1, 0, 0, 0]);
    }
}
