//! The published bound over all pairs of instants.

/// Every admission of one key, with its units; rules changed at instants, with L, W and B.
pub struct Admissions {
    pub taken: Vec<(u64, u64)>,
    pub changes: Vec<(u64, u64, u64, u64)>,
}

impl Admissions {
    /// ⌊max B + ∫ r dt⌋ over `[from, to]`, exactly: r changes only at changes of the rule. The largest B of all rules that
    /// were in force until then, because what an earlier one granted may still fade.
    fn bound(&self, from: u64, to: u64) -> u128 {
        let mut micro_units = 0;
        let mut burst = 0;
        for (index, (start, limit, window, own_burst)) in self.changes.iter().enumerate() {
            let end = self.changes.get(index + 1).map_or(u64::MAX, |next| next.0);
            burst = if *start <= to { burst.max(*own_burst) } else { burst };
            let (start, end) = (from.max(*start), to.min(end));
            if start < end {
                // One more for each piece: it is rounded up.
                micro_units += (u128::from(end - start) * u128::from(*limit)).div_ceil(u128::from(*window));
            }
        }
        u128::from(burst) + micro_units
    }

    pub fn check(&self) {
        for first in 0..self.taken.len() {
            let mut sum = 0;
            for (time, units) in &self.taken[first..] {
                sum += u128::from(*units);
                let bound = self.bound(self.taken[first].0, *time);
                assert!(sum <= bound, "{sum} > {bound} from {} to {time}", self.taken[first].0);
            }
        }
    }
}
