//! Waiting rooms, as the server shows them.
//!
//! ```text
//! web  the waiting page, its files, and the snippet for other pages
//! ```

pub mod web;
