//! Whether a request is traced, known before anything is written down of it.

use super::traceparent::{TraceId, TraceParent};

/// Trace ids are compared by the upper 63 bits of their lower half, as `TraceIdRatioBased` of OpenTelemetry does: services that
/// sample by the same share choose the same traces.
const COMPARED_BITS: u32 = 63;

/// Whether the caller's word counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParentSays {
    /// A request of a trace is traced where its caller's part is; the share is for requests without one.
    Counts,
    /// The share alone decides.
    Nothing,
}

/// Chooses the requests that are traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampler {
    /// Traces are chosen whose [`COMPARED_BITS`] are below this.
    below: u64,
    parent: ParentSays,
}

impl Sampler {
    /// Traces this share of requests, 0.0 to 1.0.
    #[must_use]
    pub fn new(share: f64, parent: ParentSays) -> Self {
        let all = 1_u64 << COMPARED_BITS;
        // Saturates: below nothing and above everything are nothing and everything, and so is no number.
        let below = if share >= 1.0 { all } else { (share * all as f64) as u64 };
        Self { below, parent }
    }

    pub(super) fn samples(self, parent: Option<&TraceParent>, trace_id: TraceId) -> bool {
        match (parent, self.parent) {
            (Some(parent), ParentSays::Counts) => parent.sampled,
            _ => trace_id.low() >> (u64::BITS - COMPARED_BITS) < self.below,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU128;

    use super::*;

    fn parent(sampled: bool) -> TraceParent {
        let flag = u8::from(sampled);
        let text = format!("00-ffffffffffffffffffffffffffffffff-00f067aa0ba902b7-0{flag}");
        TraceParent::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_caller_is_obeyed_where_its_word_counts() {
        for share in [0.0, 0.5, 1.0] {
            let sampler = Sampler::new(share, ParentSays::Counts);
            for sampled in [false, true] {
                let parent = parent(sampled);
                assert_eq!(sampler.samples(Some(&parent), parent.trace_id), sampled, "{share}");
            }
        }
        for sampled in [false, true] {
            let parent = parent(sampled);
            let samples =
                |share| Sampler::new(share, ParentSays::Nothing).samples(Some(&parent), parent.trace_id);
            assert_eq!([samples(0.0), samples(1.0)], [false, true]);
        }
    }

    #[test]
    fn the_upper_bits_of_the_lower_half_decide() {
        let sampler = Sampler::new(0.5, ParentSays::Counts);
        for (id, expected) in [
            (0x7fff_ffff_ffff_ffff, true),
            (0x8000_0000_0000_0000, false),
            (0xffff_ffff_ffff_ffff_0000_0000_0000_0001, true),
            (0x0000_0000_0000_0001_ffff_ffff_ffff_ffff, false),
        ] {
            let id = TraceId::from(NonZeroU128::new(id).unwrap());
            assert_eq!(sampler.samples(None, id), expected, "{id}");
        }
    }

    #[test]
    fn the_share_of_traces_is_what_is_asked_for() {
        fastrand::seed(7);
        const TRACES: usize = 100_000;
        for share in [0.0, 0.001, 0.1, 0.5, 0.9, 1.0] {
            let sampler = Sampler::new(share, ParentSays::Counts);
            let sampled = (0..TRACES).filter(|_| sampler.samples(None, TraceId::random())).count();
            let off = (sampled as f64 / TRACES as f64 - share).abs();
            // Five standard deviations.
            let most = 5.0 * (share * (1.0 - share) / TRACES as f64).sqrt();
            assert!(off <= most, "{share}: {sampled} of {TRACES}");
        }
        for (share, expected) in [(-1.0, false), (f64::NAN, false), (f64::INFINITY, true)] {
            assert_eq!(Sampler::new(share, ParentSays::Counts).samples(None, TraceId::random()), expected);
        }
    }
}
