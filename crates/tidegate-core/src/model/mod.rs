//! The reference model: every algorithm once more, written to be obviously right and not to be fast.
//!
//! It is what the real meters, and every store, are compared with, answer by answer. It shares no arithmetic with
//! them: only plain data (declared rules, verdicts, gauges) is common to both. Where the real code solves an equation, the
//! model searches; where the real code carries old state over when it next meets it, the model converts every
//! bucket at once.
//!
//! Why each part is obviously right:
//!
//! - token and leaky bucket: the theoretical arrival time is one whole number of 1/L µs, so the formula of
//!   ITU-T I.371 can be written down as it stands, without a rounding anywhere;
//! - fixed window: a map from the number of a window to its count is the definition;
//! - sliding window: the same map, and the weighted sum compared as it is written in the documentation;
//! - sliding window log: a list of (time, units), and a sum over those younger than the window;
//! - concurrency: a list of permits, and a sum over those that are not over;
//! - waits and retry times: whatever conforms at one instant conforms at every later one if nobody calls, so the
//!   earliest instant is found by bisection over time, and what is left by bisection over costs;
//! - a change of rule: every bucket of the rule is converted in a loop, at the instant of the change.

mod meter;
mod search;
mod state;
mod store;

pub use meter::ModelMeter;
pub use state::{ModelPermit, ModelState};
pub use store::{ModelBucket, ModelOutcome, ModelStore, Take};
