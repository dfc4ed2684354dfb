//! The waiting page, its files, and the snippet for other pages.
//!
//! ```text
//! seat      what the page knows of a visitor
//! texts     languages
//! accent    the brand's colour, made legible
//! view      a seat in a language: what a template is given
//! template  the page as a template: loaded, tried, rendered within limits
//! assets    files: style sheet, script, snippet
//! ```
//!
//! The page works without JavaScript: it reloads itself when the server says, and its buttons are forms. With it, `room.js`
//! asks the API instead and changes the same page. Nothing here decides anything about a room.

mod accent;
mod assets;
mod seat;
mod template;
mod texts;
mod view;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, RETRY_AFTER,
    VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;

use self::accent::Accent;
use self::template::Template;
use self::view::{Situation, UNAVAILABLE_POLL_MS};
use crate::door::DoorResponse;

pub use assets::{asset, snippet};
pub use seat::{Claim, EstimatedWait, Reason, RoomState, Seat, Session, State, Why};
pub use texts::{Direction, Language, LanguageOptions, Languages};

/// The accent of a room that has none of its own.
const USUAL_ACCENT: &str = "#0b6e7f";
/// The longest title of a room, in characters.
const MAX_TITLE_CHARS: usize = 100;
/// The most origins that a template takes pictures, styles and fonts from.
const MAX_ASSET_ORIGINS: usize = 8;

/// What is wrong with a template, a language or a setting of the page: where, what, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {what}")]
pub struct PageError {
    place: String,
    what: String,
}

/// How a room looks.
#[derive(Clone, Debug)]
pub struct PageOptions {
    /// The room's name in addresses.
    pub room: String,
    /// What visitors read as its name, 1 to 100 characters.
    pub title: String,
    /// The brand's colour, `#rrggbb` or `#rgb`; where it would be hard to read, a darker or lighter one is shown.
    pub accent: Option<String>,
    /// A template of one's own.
    pub template: Option<PathBuf>,
    /// Where a template may have pictures, style sheets and fonts from beside this server: `https://cdn.example.com`.
    pub asset_origins: Vec<String>,
    /// The origins beside this server's that visitors are sent to, which the answer to a form may lead to.
    pub goals: Vec<String>,
    /// What those are told who come before the opening.
    pub opening: Opening,
}

/// In which order those get their places who are there at a scheduled opening.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Opening {
    /// By lot.
    #[default]
    Draw,
    /// As they came.
    Arrival,
}

/// Why there is no seat to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The room cannot be asked now: 503.
    Unavailable,
    /// There is no such room: 404.
    NotFound,
    /// What the browser sent is forged, or of another room: 403.
    NotValid,
}

/// What a request for the page says, beside whose it is.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest<'a> {
    /// The field `Accept-Language`.
    pub accept_language: Option<&'a str>,
    /// Now, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// Random, and new for every request.
    pub nonce: [u8; 16],
}

/// The page of one room.
#[derive(Debug)]
pub struct Page {
    options: PageOptions,
    accent: Accent,
    languages: Arc<Languages>,
    template: Template,
}

// === impl PageError ===

impl PageError {
    pub(super) fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }

    /// Where it is: a file with its line, or a setting.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// What is wrong, and what to do.
    pub fn what(&self) -> &str {
        &self.what
    }
}

// === impl Page ===

impl Page {
    /// Checks how a room is to look, and tries its template on every state that a visitor can be in.
    ///
    /// # Errors
    /// A file or a setting is not as it should be: the error says where, what, and what to do.
    pub fn new(options: PageOptions, languages: Arc<Languages>) -> Result<Self, PageError> {
        let title = options.title.trim();
        if title.is_empty() || title.chars().count() > MAX_TITLE_CHARS || title.contains(char::is_control) {
            return Err(PageError::new(
                "title",
                format!("write 1 to {MAX_TITLE_CHARS} characters, in one line"),
            ));
        }
        if options.asset_origins.len() > MAX_ASSET_ORIGINS {
            return Err(PageError::new("asset origins", format!("the most is {MAX_ASSET_ORIGINS}")));
        }
        if let Some(wrong) = options.asset_origins.iter().find(|origin| !is_origin(origin)) {
            let what = format!("'{wrong}' is not an origin: write https://, a host, and a port if need be");
            return Err(PageError::new("asset origins", what));
        }
        let accent = Accent::parse(options.accent.as_deref().unwrap_or(USUAL_ACCENT))?;
        let template = Template::load(options.template.as_deref())?;
        let page = Self { options, accent, languages, template };
        page.try_template()?;
        Ok(page)
    }

    /// The page of a visitor.
    pub fn of_seat(&self, seat: &Seat, request: PageRequest<'_>) -> DoorResponse {
        self.answer(StatusCode::OK, Situation::Seat(seat), request)
    }

    /// The page where there is no seat to show.
    pub fn of_failure(&self, failure: Failure, request: PageRequest<'_>) -> DoorResponse {
        let status = match failure {
            Failure::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Failure::NotFound => StatusCode::NOT_FOUND,
            Failure::NotValid => StatusCode::FORBIDDEN,
        };
        let mut response = self.answer(status, Situation::Failure(failure), request);
        if failure == Failure::Unavailable {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(UNAVAILABLE_POLL_MS / 1_000));
        }
        response
    }

    fn answer(&self, status: StatusCode, situation: Situation<'_>, request: PageRequest<'_>) -> DoorResponse {
        let nonce = hex(&request.nonce);
        let Some(language) = self.languages.choose(request.accept_language) else {
            return Response::new(Full::default());
        };
        let view = self.view(situation, language, request.now_ms, &nonce);
        let html = self.template.render(&view);
        let mut response = Response::new(Full::new(Bytes::from(html)));
        *response.status_mut() = status;
        let policy = HeaderValue::from_str(&self.policy(&nonce));
        let language = HeaderValue::from_str(language.tag());
        let fields = response.headers_mut();
        // Both are made of letters, digits and signs that a field may have.
        fields.insert(
            CONTENT_SECURITY_POLICY,
            policy.unwrap_or(HeaderValue::from_static("default-src 'none'")),
        );
        fields.insert(CONTENT_LANGUAGE, language.unwrap_or(HeaderValue::from_static("en")));
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        fields.insert(VARY, HeaderValue::from_static("accept-language, cookie"));
        fields.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        // The address of the page says nothing secret, but other sites need not know who waits where.
        fields.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
        response
    }

    /// Nothing but files of this server, and of the origins that the operator named, none of them a script. Styles in the
    /// page need the nonce, which nobody knows who writes a message or an address.
    fn policy(&self, nonce: &str) -> String {
        let listed = |origins: &[String]| -> String {
            // What a policy cannot name, such as an IPv6 address, is left out: nothing may end a part of it.
            origins.iter().filter(|origin| is_origin(origin)).flat_map(|origin| [" ", origin]).collect()
        };
        let (origins, goals) = (listed(&self.options.asset_origins), listed(&self.options.goals));
        format!(
            "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'{origins}; \
             img-src 'self' data:{origins}; font-src 'self'{origins}; connect-src 'self'; worker-src 'self'; \
             base-uri 'none'; form-action 'self'{goals}; frame-ancestors 'none'"
        )
    }
}

/// A scheme, a host and perhaps a port, and nothing that would end a part of the policy.
fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
    let (name, port) = host.split_once(':').unwrap_or((host, "443"));
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    !name.is_empty() && text.len() <= 300 && name.bytes().all(is_name) && port.parse::<u16>().is_ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A text file of at most so many bytes.
fn read_bounded(path: &Path, most: u64) -> Result<String, PageError> {
    let place = || path.display().to_string();
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| PageError::new(place(), format!("{error}: check the path")))?;
    if bytes.len() as u64 > most {
        return Err(PageError::new(
            place(),
            format!("the file is larger than {most} bytes: make it smaller"),
        ));
    }
    String::from_utf8(bytes).map_err(|_| PageError::new(place(), "the file is not UTF-8: save it as UTF-8"))
}

#[cfg(test)]
mod tests;
