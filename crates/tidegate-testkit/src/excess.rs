//! How far a history of admissions went beyond its bound.
//!
//! The bound of a bucket over every interval of length τ is `burst + r·τ`, with a rational rate r of `tokens` per
//! `per_micros`. Everything here is integer arithmetic; an excess is in tokens × `per_micros`, so nothing is rounded.
//!
//! # Which time to give
//!
//! The time of an admission is when the server decided. Where the answer names that (`decided_at`), give it, with
//! [`Admission::at`]: the result is exact. Where only the client's clock is known, the decision was made at some time
//! between sending and receiving: [`certain_token_excess`] then finds what is too much whatever these times were, and
//! nothing else. The time of receiving alone as a point makes answers that were held up together look like a burst.

/// Tokens admitted at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The earliest time of the decision, in microseconds.
    pub earliest: i64,
    /// The latest time of the decision, in microseconds.
    pub latest: i64,
    /// What was admitted: 1 for most requests.
    pub tokens: u64,
}

impl Admission {
    /// Decided at this time exactly.
    pub fn at(micros: i64, tokens: u64) -> Self {
        Self { earliest: micros, latest: micros, tokens }
    }

    /// Decided at some time between sending the request and receiving the answer, both included.
    pub fn between(sent: i64, received: i64, tokens: u64) -> Self {
        assert!(sent <= received, "an answer is not received before its request is sent");
        Self { earliest: sent, latest: received, tokens }
    }
}

/// What a bucket may admit in any interval τ: `burst + τ·tokens/per_micros`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBound {
    /// What may pass at one instant. Add `k·burst` for k losses of the store's state, and what else is allowed besides.
    pub burst: u64,
    /// Refilled tokens …
    pub tokens: u64,
    /// … in this many microseconds, at least 1.
    pub per_micros: u64,
}

/// The interval in which a history came closest to its bound, or went farthest beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    /// Admitted less allowed, in tokens × [`per_micros`](Self::per_micros); above zero, the bound does not hold.
    pub scaled: i128,
    /// The unit of `scaled`: tokens times this.
    pub per_micros: u64,
    /// The first microsecond of the interval.
    pub from: i64,
    /// The last microsecond of the interval.
    pub to: i64,
}

impl Excess {
    /// Whether the bound holds.
    pub fn is_within(&self) -> bool {
        self.scaled <= 0
    }

    /// Tokens too many, rounded up; zero or less where the bound holds.
    pub fn tokens(&self) -> i128 {
        let per = i128::from(self.per_micros);
        self.scaled.div_euclid(per) + i128::from(self.scaled.rem_euclid(per) != 0)
    }
}

/// The worst interval of a history of exact times against a bucket's bound; `None` for an empty history.
///
/// The history may be in any order. Intervals include both ends, so an instant counts whole.
///
/// # Panics
///
/// Panics where a time is not exact.
pub fn token_excess(history: &[Admission], bound: TokenBound) -> Option<Excess> {
    let history = sorted_exact(history);
    // With S the sum up to an admission and t its time: the excess of i..=j is (S_j − r·t_j) − (S_i before i − r·t_i),
    // so the best start for each end is a running minimum.
    let per = i128::from(bound.per_micros);
    let mut admitted = 0;
    let mut start: Option<(i128, i64)> = None;
    let mut worst: Option<Excess> = None;
    for (time, tokens) in history {
        let refilled = i128::from(bound.tokens) * i128::from(time);
        let before = admitted * per - refilled;
        if start.is_none_or(|(least, _)| before < least) {
            start = Some((before, time));
        }
        admitted += i128::from(tokens);
        let (least, from) = start?;
        let scaled = admitted * per - refilled - least - i128::from(bound.burst) * per;
        if worst.is_none_or(|worst| scaled > worst.scaled) {
            worst = Some(Excess { scaled, per_micros: bound.per_micros, from, to: time });
        }
    }
    worst
}

/// The worst interval against a bucket's bound, counting only what was decided in it for certain; `None` for an empty
/// history.
///
/// An excess above zero is a violation at whatever times within `earliest..=latest` the decisions were made. Takes
/// O(n log n).
pub fn certain_token_excess(history: &[Admission], bound: TokenBound) -> Option<Excess> {
    let per = i128::from(bound.per_micros);
    let rate = i128::from(bound.tokens);
    let mut by_end = history.to_vec();
    by_end.sort_by_key(|admission| admission.latest);
    let mut starts: Vec<i64> = history.iter().map(|admission| admission.earliest).collect();
    starts.sort_unstable();
    starts.dedup();
    // Each start a holds what was admitted from it on, plus r·a; the end b takes r·b and the burst away.
    let mut sums = MaxTree::new(starts.len());
    let mut worst: Option<Excess> = None;
    for admission in by_end {
        let position = starts.partition_point(|&start| start < admission.earliest);
        sums.open(position, rate * i128::from(starts[position]));
        sums.add_up_to(position, i128::from(admission.tokens) * per);
        let (sum, from) = sums.max();
        let scaled = sum - rate * i128::from(admission.latest) - i128::from(bound.burst) * per;
        if worst.is_none_or(|worst| scaled > worst.scaled) {
            let (from, to) = (starts[from], admission.latest);
            worst = Some(Excess { scaled, per_micros: bound.per_micros, from, to });
        }
    }
    worst
}

/// The fullest window `[k·W, (k+1)·W)` against a limit: tokens too many, zero or less where the limit holds; with the
/// window's start. `None` for an empty history.
///
/// # Panics
///
/// Panics where a time is not exact.
pub fn fixed_window_excess(history: &[Admission], limit: u64, window_micros: u64) -> Option<(i128, i64)> {
    let window = i64::try_from(window_micros).expect("a window of less than 2^63 microseconds");
    let mut worst: Option<(i128, i64)> = None;
    let mut current: Option<(i64, i128)> = None;
    for (time, tokens) in sorted_exact(history) {
        let start = time.div_euclid(window) * window;
        let before = current.filter(|&(of, _)| of == start).map_or(0, |(_, sum)| sum);
        let sum = before + i128::from(tokens);
        current = Some((start, sum));
        let excess = sum - i128::from(limit);
        if worst.is_none_or(|(most, _)| excess > most) {
            worst = Some((excess, start));
        }
    }
    worst
}

/// The fullest window `(t − W, t]` at any place against a limit: tokens too many, zero or less where the limit holds;
/// with the window's last microsecond. `None` for an empty history.
///
/// A sliding log holds to L everywhere; a weighted sliding window to 2·L − 1.
///
/// # Panics
///
/// Panics where a time is not exact.
pub fn any_window_excess(history: &[Admission], limit: u64, window_micros: u64) -> Option<(i128, i64)> {
    let window = i64::try_from(window_micros).expect("a window of less than 2^63 microseconds");
    let history = sorted_exact(history);
    let mut first = 0;
    let mut sum = 0;
    let mut worst: Option<(i128, i64)> = None;
    for &(time, tokens) in &history {
        sum += i128::from(tokens);
        while history[first].0 <= time - window {
            sum -= i128::from(history[first].1);
            first += 1;
        }
        let excess = sum - i128::from(limit);
        if worst.is_none_or(|(most, _)| excess > most) {
            worst = Some((excess, time));
        }
    }
    worst
}

/// Times and tokens in order of time.
fn sorted_exact(history: &[Admission]) -> Vec<(i64, u64)> {
    let exact = history.iter().map(|admission| {
        assert!(admission.earliest == admission.latest, "the time of {admission:?} is not exact");
        (admission.earliest, admission.tokens)
    });
    let mut exact: Vec<_> = exact.collect();
    exact.sort_unstable();
    exact
}

/// Numbers that are added to by prefixes, and the greatest of those that are open.
struct MaxTree {
    leaves: usize,
    /// For each node, the greatest number below it, without what was added to its ancestors; `None`: none is open.
    greatest: Vec<Option<i128>>,
    /// For each node, what was added to all below it.
    added: Vec<i128>,
}

impl MaxTree {
    fn new(count: usize) -> Self {
        let leaves = count.next_power_of_two();
        Self { leaves, greatest: vec![None; 2 * leaves], added: vec![0; 2 * leaves] }
    }

    /// Opens a number with its first value, on top of what was added to its place before; later calls change nothing.
    fn open(&mut self, position: usize, value: i128) {
        let mut node = self.leaves + position;
        if self.greatest[node].is_none() {
            self.greatest[node] = Some(value + self.added[node]);
            while node > 1 {
                node /= 2;
                self.update(node);
            }
        }
    }

    /// Adds to the numbers `0..=last`, also to those not open yet.
    fn add_up_to(&mut self, last: usize, amount: i128) {
        let mut node = self.leaves + last;
        self.add(node, amount);
        while node > 1 {
            if node % 2 == 1 {
                self.add(node - 1, amount);
            }
            node /= 2;
            self.update(node);
        }
    }

    /// The greatest open number and its place.
    fn max(&self) -> (i128, usize) {
        let greatest = self.greatest[1].expect("an open number");
        let mut node = 1;
        while node < self.leaves {
            let wanted = self.greatest[node].map(|value| value - self.added[node]);
            node = if self.greatest[2 * node] == wanted { 2 * node } else { 2 * node + 1 };
        }
        (greatest, node - self.leaves)
    }

    fn add(&mut self, node: usize, amount: i128) {
        self.added[node] += amount;
        self.greatest[node] = self.greatest[node].map(|value| value + amount);
    }

    fn update(&mut self, node: usize) {
        // `None` is less than any number.
        let below = self.greatest[2 * node].max(self.greatest[2 * node + 1]);
        self.greatest[node] = below.map(|value| value + self.added[node]);
    }
}
