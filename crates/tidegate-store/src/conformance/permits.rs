//! Permits, and places in a queue.

use tidegate_core::decision::Verdict;
use tidegate_core::quota::Algorithm;
use tidegate_core::rule::model::{Queue, Rule};
use tidegate_core::time::{Micros, Timestamp};

use super::site::{MINUTE, Request, SECOND, START, Site, quota, remaining, rule};
use crate::port::BucketStore;

async fn release<S: BucketStore>(
    store: &S,
    site: &Site,
    request: Request<'_>,
    permit: u64,
    now: Timestamp,
) -> bool {
    let plan = site.plan(request);
    let [bucket] = plan.buckets() else { panic!("a site of one rule") };
    let address = store.address(&plan, bucket);
    store.release(&address, permit, now).await.expect("the store answers")
}

pub(super) async fn a_permit_is_given_back_once<S: BucketStore>(store: &S) {
    let site = Site::new("permits", vec![rule("r", Algorithm::Concurrency, 2, MINUTE)]);
    let ann = |permit| Request { permit, ..Request::of("ann") };
    assert!(!release(store, &site, ann(0), 1, START).await, "nobody has one yet");
    for (permit, passes) in [(1, true), (2, true), (3, false)] {
        assert_eq!(site.apply(store, ann(permit), START).await.charged, passes, "permit {permit}");
    }
    assert!(!release(store, &site, ann(0), 3, START).await, "it was not granted");
    assert!(!release(store, &site, Request::of("bob"), 1, START).await, "it is not his");
    assert!(release(store, &site, ann(0), 1, START).await);
    assert!(!release(store, &site, ann(0), 1, START).await, "once is enough");
    assert!(site.apply(store, ann(4), START).await.charged);
    assert!(!site.apply(store, ann(5), START).await.charged);
    site.refund(store, ann(0), START).await;
    assert!(!site.apply(store, ann(5), START).await.charged, "a refund is not a release");
    assert!(release(store, &site, ann(0), 2, START).await && release(store, &site, ann(0), 4, START).await);
    assert_eq!(remaining(&site.peek(store, ann(0), START).await), [2]);
}

pub(super) async fn a_permit_ends_by_itself<S: BucketStore>(store: &S) {
    let site = Site::new("permits-expire", vec![rule("r", Algorithm::Concurrency, 1, SECOND)]);
    let ann = |permit| Request { permit, ..Request::of("ann") };
    assert!(site.apply(store, ann(1), START).await.charged);
    let end = START.saturating_add(SECOND);
    let before = end.saturating_sub(Micros::from_micros(1));
    assert!(!site.apply(store, ann(2), before).await.charged);
    assert!(site.apply(store, ann(2), end).await.charged);
    assert!(!release(store, &site, ann(0), 1, end).await, "it was over");
    assert!(release(store, &site, ann(0), 2, end).await);
}

fn valve() -> Rule {
    let mut valve = Rule::new("valve", Algorithm::LeakyBucket, quota(Algorithm::LeakyBucket, 10, SECOND))
        .with_key(["user"]);
    valve.queue = Some(Queue { max_wait: Micros::from_millis(300), max_depth: 100 });
    valve
}

pub(super) async fn a_place_is_given_back_only_by_the_last_in_line<S: BucketStore>(store: &S) {
    let site = Site::new("queue", vec![valve()]);
    let ann = Request::of("ann");
    let mut line = Vec::new();
    for wait in [0, 100, 200, 300] {
        let outcome = site.apply(store, ann, START).await;
        let wait = Micros::from_millis(wait);
        assert_eq!(outcome.results[0].verdict, Verdict::Allow { wait });
        assert_eq!(outcome.results[0].place.is_some(), wait > Micros::ZERO, "who waits has a place");
        line.push(outcome);
    }
    assert!(!site.apply(store, ann, START).await.charged, "the queue is full");
    let withdraw = async |outcome| {
        store.withdraw(&site.plan(ann), outcome, START).await.expect("the store answers");
        match site.peek(store, ann, START).await.results[0].verdict {
            Verdict::Allow { wait } => wait,
            Verdict::Deny { .. } => Micros::MAX,
        }
    };
    assert_eq!(withdraw(&line[1]).await, Micros::MAX, "two stand behind");
    assert_eq!(withdraw(&line[3]).await, Micros::from_millis(300), "the last one may");
    assert_eq!(withdraw(&line[2]).await, Micros::from_millis(200), "and then the one before");
    assert_eq!(withdraw(&line[3]).await, Micros::from_millis(200), "nobody gives back twice");
}

pub(super) async fn a_withdrawal_gives_back_what_was_charged<S: BucketStore>(store: &S) {
    let rules = vec![
        valve(),
        rule("window", Algorithm::FixedWindow, 10, MINUTE),
        rule("permits", Algorithm::Concurrency, 10, MINUTE),
    ];
    let site = Site::new("withdraw", rules);
    let request = |permit| Request { permit, ..Request::of("ann") };
    assert!(site.apply(store, request(1), START).await.charged);
    let waiting = site.apply(store, request(2), START).await;
    let behind = site.apply(store, request(3), START).await;
    assert_eq!(remaining(&behind)[1..], [7, 7]);
    store.withdraw(&site.plan(request(2)), &waiting, START).await.expect("the store answers");
    let after = site.peek(store, request(0), START).await;
    assert_eq!(remaining(&after)[1..], [8, 8], "units and permit come back");
    assert_eq!(after.results[0].gauge, behind.results[0].gauge, "the place does not: one stands behind");
    let denied = site.apply(store, request(4).costing(11), START).await;
    store.withdraw(&site.plan(request(4)), &denied, START).await.expect("the store answers");
    assert_eq!(site.peek(store, request(0), START).await, after, "a denial has nothing to give back");
}
