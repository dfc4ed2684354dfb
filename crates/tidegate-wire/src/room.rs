//! The waiting room on the wire: names, tokens, cookies, return URLs and the JSON of a seat.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`name`] | names of rooms |
//! | [`visitor`] | who a visitor is to a room: keyed hashes of a device, an address or a header |
//! | [`token`] | signed devices, tickets and passes, their keys, passes as JWT |
//! | [`cookies`] | the cookies that carry tokens |
//! | [`site`] | the hosts a room stands in front of |
//! | [`return_to`] | where a visitor goes afterwards, never to anybody else's host |
//! | [`seat`] | what a room answers |
//! | [`call`] | what a visitor sends |

pub mod call;
pub mod cookies;
pub mod name;
pub mod return_to;
pub mod seat;
pub mod site;
pub mod token;
pub mod visitor;
