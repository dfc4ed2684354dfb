//! Goal: the checker of bounds is itself right.
//! Method: histories worked out by hand, and random ones against a comparison of all pairs; seeds are printed.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and prints its seed")]

use fastrand::Rng;
use tidegate_testkit::excess::{
    Admission, TokenBound, any_window_excess, certain_token_excess, fixed_window_excess, token_excess,
};

const SECOND: i64 = 1_000_000;

/// Ten at once, one a second.
const TEN: TokenBound = TokenBound { burst: 10, tokens: 1, per_micros: 1_000_000 };

fn at_once(count: usize, micros: i64) -> Vec<Admission> {
    vec![Admission::at(micros, 1); count]
}

#[test]
fn the_burst_is_allowed_and_one_more_is_not() {
    assert!(token_excess(&at_once(10, 5), TEN).unwrap().is_within());
    let excess = token_excess(&at_once(11, 5), TEN).unwrap();
    assert_eq!((excess.tokens(), excess.from, excess.to), (1, 5, 5));
    assert!(!excess.is_within());
}

#[test]
fn what_refills_is_allowed_to_the_microsecond() {
    let history = |last| [at_once(10, 0), at_once(1, last)].concat();
    assert_eq!(token_excess(&history(SECOND), TEN).unwrap().scaled, 0);
    let early = token_excess(&history(SECOND - 1), TEN).unwrap();
    assert_eq!((early.scaled, early.tokens(), early.from, early.to), (1, 1, 0, SECOND - 1));
}

#[test]
fn idling_does_not_save_up_beyond_the_burst() {
    let history = [at_once(1, 0), at_once(11, 3_600 * SECOND)].concat();
    let excess = token_excess(&history, TEN).unwrap();
    assert_eq!((excess.tokens(), excess.from), (1, 3_600 * SECOND));
}

#[test]
fn certain_excess_needs_times_that_leave_no_doubt() {
    let doubtful = vec![Admission::between(0, 2 * SECOND, 1); 12];
    assert!(certain_token_excess(&doubtful, TEN).unwrap().is_within(), "two may have been refilled");
    let certain = vec![Admission::between(0, 2 * SECOND - 1, 1); 12];
    let excess = certain_token_excess(&certain, TEN).unwrap();
    assert_eq!((excess.scaled, excess.from, excess.to), (1, 0, 2 * SECOND - 1));
}

#[test]
fn windows_count_from_their_own_starts() {
    let history = [at_once(3, 9), at_once(3, 10)].concat();
    assert_eq!(fixed_window_excess(&history, 3, 10), Some((0, 0)));
    assert_eq!(any_window_excess(&history, 3, 10), Some((3, 10)));
    let apart = [at_once(3, 0), at_once(3, 10)].concat();
    assert_eq!(any_window_excess(&apart, 3, 10), Some((0, 0)), "what is a window old has left");
}

#[test]
fn an_empty_history_has_no_worst_interval() {
    assert_eq!(token_excess(&[], TEN), None);
    assert_eq!(certain_token_excess(&[], TEN), None);
    assert_eq!(fixed_window_excess(&[], 1, 1), None);
    assert_eq!(any_window_excess(&[], 1, 1), None);
}

#[test]
fn numbers_as_large_as_real_ones_do_not_overflow() {
    let now = 1_800_000_000 * SECOND;
    let bound = TokenBound { burst: u64::from(u32::MAX), tokens: 1 << 40, per_micros: 86_400_000_000 };
    let history = [Admission::at(now, 1 << 33), Admission::at(now + 1, 1 << 33)];
    let excess = token_excess(&history, bound).unwrap();
    let allowed = (i128::from(bound.burst) * 86_400_000_000) + (1 << 40);
    assert_eq!(excess.scaled, (1 << 34) * 86_400_000_000 - allowed);
    assert_eq!(certain_token_excess(&history, bound).unwrap().scaled, excess.scaled);
}

#[test]
fn random_histories_agree_with_all_pairs() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    for _ in 0..3_000 {
        let span = random.i64(1..60);
        let exact: Vec<Admission> = (0..random.usize(1..14))
            .map(|_| Admission::at(random.i64(-span..span), random.u64(0..4)))
            .collect();
        let vague: Vec<Admission> = exact
            .iter()
            .map(|admission| {
                let (sent, received) =
                    (admission.earliest - random.i64(0..9), admission.latest + random.i64(0..9));
                Admission::between(sent, received, admission.tokens)
            })
            .collect();
        let bound =
            TokenBound { burst: random.u64(0..8), tokens: random.u64(0..5), per_micros: random.u64(1..7) };

        let worst = token_excess(&exact, bound).unwrap();
        assert_eq!(worst.scaled, worst_of_pairs(&exact, bound), "{exact:?} {bound:?}");
        assert_eq!(worst.scaled, scaled(&exact, bound, worst.from, worst.to), "the interval named");

        let certain = certain_token_excess(&vague, bound).unwrap();
        assert_eq!(certain.scaled, worst_of_pairs(&vague, bound), "{vague:?} {bound:?}");
        assert_eq!(certain.scaled, scaled(&vague, bound, certain.from, certain.to), "the interval named");
        assert!(certain.scaled <= worst.scaled, "doubt accuses nobody");
        assert_eq!(
            certain_token_excess(&exact, bound).unwrap().scaled,
            worst.scaled,
            "no doubt, no difference"
        );

        let (limit, window) = (random.u64(0..8), random.i64(1..20));
        let count = |inside: &dyn Fn(i64) -> bool| {
            let inside = exact.iter().filter(|admission| inside(admission.earliest));
            inside.map(|admission| i128::from(admission.tokens)).sum::<i128>() - i128::from(limit)
        };
        let times = || exact.iter().map(|admission| admission.earliest);
        let fixed = times().map(|of| count(&|time| time.div_euclid(window) == of.div_euclid(window))).max();
        let any = times().map(|end| count(&|time| time > end - window && time <= end)).max();
        let window = u64::try_from(window).unwrap();
        assert_eq!(fixed_window_excess(&exact, limit, window).map(|(excess, _)| excess), fixed);
        assert_eq!(any_window_excess(&exact, limit, window).map(|(excess, _)| excess), any);
    }
}

/// The definition, over every start and every end with something between them.
fn worst_of_pairs(history: &[Admission], bound: TokenBound) -> i128 {
    let starts = history.iter().map(|admission| admission.earliest);
    let intervals = starts.flat_map(|from| history.iter().map(move |admission| (from, admission.latest)));
    intervals
        .filter(|&(from, to)| {
            history.iter().any(|admission| from <= admission.earliest && admission.latest <= to)
        })
        .map(|(from, to)| scaled(history, bound, from, to))
        .max()
        .unwrap()
}

fn scaled(history: &[Admission], bound: TokenBound, from: i64, to: i64) -> i128 {
    let inside = history.iter().filter(|admission| from <= admission.earliest && admission.latest <= to);
    let admitted: i128 = inside.map(|admission| i128::from(admission.tokens)).sum();
    (admitted - i128::from(bound.burst)) * i128::from(bound.per_micros)
        - i128::from(bound.tokens) * i128::from(to - from)
}
