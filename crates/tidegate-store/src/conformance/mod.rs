//! The suite that every store runs from its tests: scenarios that each name one promise of the port, and random
//! traces compared with the reference model, answer by answer.
//!
//! A store must decide by the `now` it is given while it is tested. Every scenario gets a store of its own from
//! `make_store`, which may be the same database with another prefix. A broken promise panics and says which; random
//! traces say the seed they can be repeated with.

mod permits;
mod promises;
pub mod room_log;
pub mod rooms;
mod rules;
mod site;
mod trace;

use core::future::Future;

use crate::port::BucketStore;

pub use trace::{Trace, run_trace};

/// Traces that [`run_all`] runs for each algorithm, besides as many over all of them.
const TRACES: u64 = 3;
/// Operations of each of these traces.
const OPERATIONS: usize = 600;

macro_rules! run {
    ($make_store:ident: $($scenario:path),+ $(,)?) => {
        $( $scenario(&$make_store().await).await; )+
    };
}

/// Runs everything: the scenarios, and some traces per algorithm. Longer traces: [`run_trace`].
pub async fn run_all<S, F>(make_store: impl Fn() -> F)
where
    S: BucketStore,
    F: Future<Output = S>,
{
    run!(make_store:
        promises::all_buckets_or_none_are_charged,
        promises::a_peek_changes_nothing,
        promises::a_denial_is_lifted_at_its_instant_and_not_before,
        promises::more_than_the_burst_can_never_pass,
        promises::a_refund_gives_back_at_most_what_was_used,
        promises::a_debit_takes_without_asking,
        promises::a_reset_puts_to_rest,
        promises::a_shadow_rule_does_not_hinder,
        promises::what_is_reserved_is_left_to_higher_priorities,
        promises::a_repeated_call_is_charged_once,
        promises::racing_calls_with_one_idempotency_key_are_charged_once,
        promises::many_at_once_get_exactly_the_burst,
        promises::a_wrong_clock_locks_nobody_out,
        promises::buckets_are_told_apart,
        promises::a_plan_without_buckets_passes,
        permits::a_permit_is_given_back_once,
        permits::a_permit_ends_by_itself,
        permits::a_place_is_given_back_only_by_the_last_in_line,
        permits::a_withdrawal_gives_back_what_was_charged,
        rules::a_changed_rule_keeps_what_was_used,
        rules::changing_there_and_back_gives_nothing_away,
        rules::a_changed_tier_keeps_what_was_used,
        rules::an_algorithm_changed_keeps_what_was_used,
        rules::rules_too_old_for_a_bucket_are_refused,
        rules::a_foreign_revision_can_be_adopted,
    );
    for algorithm in Trace::ALGORITHMS {
        for seed in 0..TRACES {
            run_trace(&make_store().await, Trace { algorithm, seed, operations: OPERATIONS }).await;
        }
    }
}
