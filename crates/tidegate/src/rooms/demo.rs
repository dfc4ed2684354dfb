//! A page of a shop, to try a room with: six browsers, five of them in.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderValue, Response};
use http_body_util::Full;

use super::Rooms;
use crate::door::DoorResponse;

/// The room of the demo.
const ROOM: &str = "demo";
const PAGE: &str = include_str!("demo.html");
/// As strict as a shop's can be: the snippet needs scripts and questions of this server, and nothing else; the style sheet is that
/// of the waiting page.
const POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

impl Rooms {
    /// Whether there is a demo.
    #[must_use]
    pub fn has_demo(&self) -> bool {
        self.0.room(ROOM).is_some()
    }

    /// The page of the shop; `None` without its room.
    pub(crate) fn demo(&self) -> Option<DoorResponse> {
        if !self.has_demo() {
            return None;
        }
        let mut response = Response::new(Full::new(Bytes::from_static(PAGE.as_bytes())));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        Some(response)
    }
}
