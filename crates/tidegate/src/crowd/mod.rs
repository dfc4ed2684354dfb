//! `tidegate crowd`: visitors of a waiting room, made up, who come over HTTP as browsers do, and a book of what they were told.
//!
//! ```text
//! plan      how many come, how fast, where to, and what they are like
//! agenda    who does something next
//! visitor   one of them: what it does when, and what it makes of an answer
//! jar       its cookies
//! asking    requests and answers
//! drive     the loop: whoever is due asks, while connections are free
//! books/    what all were told, and whether it was fair
//! report    the end of it, for programs
//! text      and for people
//! progress  a bar meanwhile
//! ```
//!
//! The books believe nobody: they are made from what the visitors were told and from their own clock. A server that lets somebody
//! overtake, loses a place, or has more sessions than seats is found out by them.

mod agenda;
mod asking;
mod books;
mod drive;
mod jar;
mod plan;
mod progress;
mod report;
mod text;
mod visitor;

pub use books::Overtaken;
pub use drive::{CrowdError, run};
pub use plan::{
    FirstCall, Habits, MAX_AGE, MAX_ARRIVALS_PER_S, MAX_CONNECTIONS, MAX_NODES, MAX_TIME, MAX_TIMEOUT,
    MAX_VISITORS, MIN_TIMEOUT, Node, NodeError, Plan, Share, ShareError,
};
pub use progress::Progress;
pub use report::{Latency, Report, Violations};
pub use text::text;
