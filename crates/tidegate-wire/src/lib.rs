//! Codecs without sockets: everything that turns bytes from outside into values that cannot be wrong, and
//! answers into bytes.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`identity`] | who is asking: trusted proxies, `Forwarded`, `X-Forwarded-For`, address keys |
//! | [`path`] | one spelling for each request path |
//! | [`check`] | the JSON bodies of `/v1/check`, `/v1/checks` and `/v1/refund` |
//! | [`rate_limit_fields`] | `RateLimit`, `RateLimit-Policy`, `Retry-After` and the legacy fields |
//! | [`problem`] | RFC 9457 problem details |
//! | [`resp`] | RESP: commands and replies of Redis clients |
//! | [`room`] | the waiting room: tokens, cookies, return URLs, seats |
//! | [`correlation`] | `X-Correlation-ID` |
//!
//! Nothing here opens a socket, reads a clock or draws a random number, and no input makes it panic: whatever
//! comes from outside has a named maximum and a typed error.

pub mod check;
pub mod correlation;
pub mod identity;
pub mod path;
pub mod problem;
pub mod rate_limit_fields;
pub mod resp;
pub mod room;
