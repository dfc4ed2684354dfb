//! Files of the page, and the snippet: in the program, sent as they are.
//!
//! Scripts and styles are kept readable, with comments. What is sent has no comments and no indentation, and the snippet no
//! spaces either, so that it stays below 2,048 bytes without a tool that somebody has to run.

use std::sync::LazyLock;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use sha2::{Digest as _, Sha256};

use super::hex;
use crate::door::DoorResponse;

/// Page and files are of one version of the program; with the next come other bytes under the same names.
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");
/// The snippet is on every page of a site, so it is not asked for on each.
const FIVE_MINUTES: HeaderValue = HeaderValue::from_static("public, max-age=300");
/// The snippet is for other sites' pages, which may name its hash (`integrity`), and that needs this.
const CROSS_ORIGIN: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Bytes and their strong tag.
struct File {
    content_type: HeaderValue,
    bytes: Bytes,
    tag: HeaderValue,
}

const SCRIPT: HeaderValue = HeaderValue::from_static("text/javascript; charset=utf-8");
const STYLE: HeaderValue = HeaderValue::from_static("text/css; charset=utf-8");

/// A file of the page by its name below `/rooms/assets/`; `None` where there is none of that name.
pub fn asset(name: &str, headers: &HeaderMap) -> Option<DoorResponse> {
    static FILES: LazyLock<[(&str, File); 2]> = LazyLock::new(|| {
        [
            ("room.css", File::new(STYLE, without_comments(include_str!("room.css")))),
            ("room.js", File::new(SCRIPT, without_comments(include_str!("room.js")))),
        ]
    });
    let (_, file) = FILES.iter().find(|(known, _)| *known == name)?;
    Some(file.response(headers, REVALIDATE))
}

/// The snippet, `/tidegate.js`.
pub fn snippet(headers: &HeaderMap) -> DoorResponse {
    static SNIPPET: LazyLock<File> =
        LazyLock::new(|| File::new(SCRIPT, without_spaces(&without_comments(include_str!("tidegate.js")))));
    let mut response = SNIPPET.response(headers, FIVE_MINUTES);
    response.headers_mut().insert(CROSS_ORIGIN, HeaderValue::from_static("cross-origin"));
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

// === impl File ===

impl File {
    fn new(content_type: HeaderValue, text: String) -> Self {
        let bytes = Bytes::from(text);
        let tag = format!("\"{}\"", hex(&Sha256::digest(&bytes)[..16]));
        // Digits between quotes are always a value.
        let tag = HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""));
        Self { content_type, bytes, tag }
    }

    fn response(&self, headers: &HeaderMap, cache: HeaderValue) -> DoorResponse {
        let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let is_known = known.flat_map(|field| field.split(',')).any(|known| {
            let known = known.trim();
            known == "*" || known.strip_prefix("W/").unwrap_or(known).as_bytes() == self.tag.as_bytes()
        });
        let body = if is_known { Bytes::new() } else { self.bytes.clone() };
        let mut response = Response::new(Full::new(body));
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else {
            response.headers_mut().insert(CONTENT_TYPE, self.content_type.clone());
        }
        response.headers_mut().insert(ETAG, self.tag.clone());
        response.headers_mut().insert(CACHE_CONTROL, cache);
        response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }
}

/// A script or style sheet without the lines that are comments, indentation and empty lines. Comments stand on lines of their
/// own in these files, `//` before each line or `/* … */` within one, and no text in them goes over a line's end.
fn without_comments(source: &str) -> String {
    let lines = source.lines().map(str::trim);
    let kept = lines.filter(|line| {
        let is_comment = line.starts_with("//") || (line.starts_with("/*") && line.ends_with("*/"));
        !line.is_empty() && !is_comment
    });
    kept.collect::<Vec<_>>().join("\n")
}

/// A script without the spaces that stand between anything but two words, and without ends of lines that end nothing. Text in quotes stays as it is; the snippet has no
/// other text with spaces in it, and no sign whose meaning changes when it comes next to its like.
fn without_spaces(script: &str) -> String {
    let is_word = |character: char| character.is_alphanumeric() || matches!(character, '_' | '$');
    let mut kept = String::with_capacity(script.len());
    let mut quote = None;
    let mut characters = script.chars().peekable();
    while let Some(character) = characters.next() {
        match quote {
            Some(open) if open == character => quote = None,
            None if matches!(character, '\'' | '"' | '`') => quote = Some(character),
            // Nothing is ended by a line after these.
            None if character == '\n' && kept.ends_with(['{', ';', ',']) => continue,
            None if character == ' ' => {
                let parts_words = kept.ends_with(is_word) && characters.peek().copied().is_some_and(is_word);
                if !parts_words {
                    continue;
                }
            }
            _ => {}
        }
        kept.push(character);
    }
    kept
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn text(response: DoorResponse) -> String {
        let waker = std::task::Waker::noop();
        let mut body = std::pin::pin!(response.into_body().collect());
        let std::task::Poll::Ready(Ok(whole)) =
            std::future::Future::poll(body.as_mut(), &mut std::task::Context::from_waker(waker))
        else {
            panic!("a whole body is ready at once")
        };
        String::from_utf8(whole.to_bytes().to_vec()).unwrap()
    }

    #[test]
    fn the_snippet_is_smaller_than_two_kibibytes_as_it_is_sent() {
        let sent = text(snippet(&HeaderMap::new()));
        assert!(sent.len() < 2_048, "{} bytes", sent.len());
        assert!(sent.contains("sendBeacon") && sent.is_ascii());
    }

    #[test]
    fn files_are_sent_once_and_then_only_asked_for() {
        for name in ["room.css", "room.js"] {
            let whole = asset(name, &HeaderMap::new()).unwrap();
            let tag = whole.headers()[ETAG].clone();
            let again = asset(name, &HeaderMap::from_iter([(IF_NONE_MATCH, tag)])).unwrap();
            assert_eq!((whole.status(), again.status()), (StatusCode::OK, StatusCode::NOT_MODIFIED));
            let sent = text(whole);
            assert!(sent.len() > 1_000 && !sent.contains("\n//") && !sent.contains("\n  "), "{name}");
            assert_eq!(text(again), "");
        }
        assert!(asset("../mod.rs", &HeaderMap::new()).is_none());
    }

    /// What [`without_comments`] takes for granted of the files.
    #[test]
    fn comments_stand_on_their_own_lines() {
        for source in [include_str!("room.css"), include_str!("room.js"), include_str!("tidegate.js")] {
            for line in source.lines().map(str::trim) {
                let is_comment = line.starts_with("//") || (line.starts_with("/*") && line.ends_with("*/"));
                let has_one = line.contains("/*") || line.contains(" // ") || line.contains("*/");
                assert!(is_comment || !has_one, "{line}");
                assert!(!line.ends_with('\\'), "{line}");
            }
        }
    }
}
