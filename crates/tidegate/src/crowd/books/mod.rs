//! The books: what visitors were told, and what is wrong with it.
//!
//! ```text
//! record    what one visitor was told
//! order     who was called before somebody who came earlier
//! sessions  how many were inside at one time
//! tally     what is counted while it happens
//! ```

mod order;
mod record;
mod sessions;
mod tally;

pub use order::Overtaken;
pub(super) use order::overtaken;
pub(super) use record::Record;
pub(super) use sessions::most_at_one_time;
pub(super) use tally::{Finding, Tally, Times};
