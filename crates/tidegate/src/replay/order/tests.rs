//! The reorder buffer against a sort.

use super::*;

/// Everything out, item and time, in the order of coming out.
fn through(buffer: &mut ReorderBuffer<usize>, times: &[u64]) -> Vec<(u64, usize)> {
    let mut out = Vec::new();
    for (item, at_us) in times.iter().enumerate() {
        buffer.push(*at_us, item);
        while let Some(next) = buffer.pop_ready() {
            out.push(next);
        }
    }
    while let Some(next) = buffer.pop() {
        out.push(next);
    }
    out
}

#[test]
fn within_the_horizon_it_is_a_stable_sort() {
    let seed = 0x7ea5_e11e_u64;
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..200 {
        let horizon = random.u64(1..50);
        let mut now = 1_000;
        let times: Vec<u64> = (0..500)
            .map(|_| {
                now += random.u64(0..4);
                now - random.u64(0..=horizon)
            })
            .collect();
        let mut buffer = ReorderBuffer::new(horizon, usize::MAX);
        let out = through(&mut buffer, &times);
        let mut sorted: Vec<(u64, usize)> = times.iter().copied().zip(0..).collect();
        sorted.sort();
        assert_eq!(out, sorted, "seed {seed} round {round}");
        assert_eq!((buffer.late(), buffer.held()), (0, 0));
    }
}

#[test]
fn beyond_the_horizon_a_line_happens_now() {
    let mut buffer = ReorderBuffer::new(10, 100);
    let out = through(&mut buffer, &[100, 120, 50, 105, 131]);
    // 100 goes out when 120 comes: 50 is late and happens at 100; 105 still finds its place.
    assert_eq!(out, [(100, 0), (100, 2), (105, 3), (120, 1), (131, 4)]);
    assert_eq!(buffer.late(), 1);
}

#[test]
fn a_line_exactly_at_the_horizon_is_in_time() {
    let mut buffer = ReorderBuffer::new(10, 100);
    let out = through(&mut buffer, &[109, 100, 119]);
    assert_eq!(out, [(100, 1), (109, 0), (119, 2)]);
    assert_eq!(buffer.late(), 0);
}

#[test]
fn the_count_bounds_what_is_held() {
    let mut buffer = ReorderBuffer::new(u64::MAX, 3);
    for at in 0..1_000 {
        buffer.push(at, ());
        while buffer.pop_ready().is_some() {}
        assert!(buffer.held() <= 3);
    }
    assert_eq!(buffer.slots.len(), 4, "slots are used again");
    buffer.push(5, ());
    assert_eq!(buffer.late(), 1);
}

/// One line from the far future must not make all that follow late.
#[test]
fn a_line_from_the_future_waits_for_its_time() {
    let mut buffer = ReorderBuffer::new(10, 100);
    let out = through(&mut buffer, &[100, 1_000_000, 101, 102, 103]);
    assert_eq!(out, [(100, 0), (101, 2), (102, 3), (103, 4), (1_000_000, 1)]);
    assert_eq!(buffer.late(), 0);
}

/// Nothing is held longer than the horizon asks.
#[test]
fn a_line_is_due_when_the_newest_is_a_horizon_ahead() {
    let mut buffer = ReorderBuffer::new(10, 100);
    buffer.push(100, 'a');
    buffer.push(109, 'b');
    assert_eq!(buffer.pop_ready(), None);
    buffer.push(110, 'c');
    assert_eq!(buffer.pop_ready(), Some((100, 'a')));
    assert_eq!(buffer.pop_ready(), None);
}
