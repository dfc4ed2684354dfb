//! Bisection: the model finds by trying what the real code solves for.

use crate::time::Micros;

/// The least time after `now` at which `holds`, which once true stays true; [`Micros::MAX`] where that is later.
pub(super) fn earliest(now: u64, holds: impl Fn(u64) -> bool) -> Micros {
    if holds(now) {
        return Micros::ZERO;
    }
    let mut reach = 1;
    while !holds(now + reach) {
        reach *= 2;
        if reach > Micros::MAX.as_micros() {
            return Micros::MAX;
        }
    }
    let (mut too_early, mut enough) = (reach / 2, reach);
    while enough - too_early > 1 {
        let middle = too_early + (enough - too_early) / 2;
        if holds(now + middle) {
            enough = middle;
        } else {
            too_early = middle;
        }
    }
    Micros::from_micros(enough)
}

/// The most of `0..=most` that `fits`, where less than what fits always fits; 0 where nothing does.
pub(super) fn largest(most: u64, fits: impl Fn(u64) -> bool) -> u64 {
    if fits(most) {
        return most;
    }
    let (mut fitting, mut too_many) = (0, most);
    while too_many - fitting > 1 {
        let middle = fitting + (too_many - fitting) / 2;
        if fits(middle) {
            fitting = middle;
        } else {
            too_many = middle;
        }
    }
    fitting
}
