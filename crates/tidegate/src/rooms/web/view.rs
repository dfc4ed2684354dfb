//! A seat in a language: the variables of a template, and what the script of the page is given.

use minijinja::Value;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::json;

use super::seat::{EstimatedWait, Reason, Seat, Session, Stage, State, Why};
use super::texts::{Direction, Language, filled};
use super::{Failure, Opening, Page};

/// The shortest and the longest time after which a page without scripts reloads itself, in seconds. A person has to be able to
/// read and to press a button in between.
const MIN_RELOAD_S: u64 = 5;
const MAX_RELOAD_S: u64 = 300;
/// How long a page waits that has no seat, in milliseconds.
pub(super) const UNAVAILABLE_POLL_MS: u64 = 10_000;
/// A session is nearly over in its last quarter, if that is neither too short to do anything nor too long to warn of.
const MIN_WARNING_MS: u64 = 10_000;
const MAX_WARNING_MS: u64 = 120_000;
/// The longest message that is shown, in characters.
const MAX_MESSAGE_CHARS: usize = 1_000;
/// The longest address that is made a link, in bytes.
const MAX_LINK_BYTES: usize = 2_000;

/// What of a room's name is escaped in addresses: nothing that a name may have, since a router compares what is written.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What the page is about.
#[derive(Clone, Copy)]
pub(super) enum Situation<'a> {
    Seat(&'a Seat),
    Failure(Failure),
}

/// The variables of a template; docs/guide/waiting-page.md says what they mean.
#[derive(Serialize)]
pub(super) struct View<'a> {
    room: &'a str,
    title: &'a str,
    lang: &'a str,
    dir: Direction,
    stage: Stage,
    why: Option<&'static str>,
    document_title: String,
    status: &'a str,
    headline: &'a str,
    lead: &'a str,
    position: Option<u64>,
    position_shown: Option<String>,
    ahead: Option<String>,
    queue_number: Option<u64>,
    queue_number_text: Option<String>,
    progress: u64,
    wait: String,
    reason: Option<&'a str>,
    timer_label: &'a str,
    timer: Option<String>,
    is_nearly_over: bool,
    extensions_left: u32,
    extensions: String,
    message: Option<String>,
    opening_note: &'a str,
    return_to: Option<&'a str>,
    onward: String,
    may_retry: bool,
    reload_s: Option<u64>,
    reloads_itself: String,
    api: String,
    t: Value,
    accent: AccentView,
    nonce: &'a str,
    data: Value,
}

/// The room's colour, as CSS writes colours.
#[derive(Serialize)]
struct AccentView {
    fill: String,
    on_fill: String,
    light: String,
    dark: String,
}

impl Page {
    /// What the template is given.
    pub(super) fn view<'a>(
        &'a self,
        situation: Situation<'a>,
        language: &'a Language,
        now_ms: u64,
        nonce: &'a str,
    ) -> View<'a> {
        let seat = situation.seat();
        let stage = situation.stage();
        let why = situation.why();
        let headline = why.and_then(|why| existing(language, &format!("{}{why}_title", situation.prefix())));
        let headline = headline.unwrap_or_else(|| language.text(&format!("{}_title", stage.name())));
        let position = seat.and_then(|seat| seat.position);
        let queue_number = seat.and_then(shown_number);
        let left_ms = seat.and_then(|seat| left_ms(seat, stage, now_ms));
        let reload_s = situation.poll_after_ms().map(reload_s);
        let return_to = seat.and_then(|seat| seat.return_to.as_deref()).filter(|link| is_link(link));
        let title = self.options.title.as_str();
        let extensions_left = seat.and_then(|seat| seat.claim).map_or(0, |claim| claim.extensions_left);
        View {
            room: &self.options.room,
            title,
            lang: language.tag(),
            dir: language.direction(),
            stage,
            why,
            document_title: document_title(language, title, headline, stage, position),
            status: language.text(&format!("{}_status", stage.name())),
            headline,
            lead: lead(language, &situation),
            position,
            position_shown: position.map(|position| language.number(position)),
            ahead: position.map(|position| match position {
                0 => language.text("ahead_none").to_owned(),
                _ => language.counted("ahead_label", position),
            }),
            queue_number,
            queue_number_text: queue_number
                .map(|number| filled(language.text("queue_number"), "count", &language.number(number))),
            progress: seat.map_or(0, |seat| percent(seat.progress)),
            wait: wait(language, seat.and_then(|seat| seat.estimated_wait)),
            reason: seat
                .and_then(|seat| seat.estimated_wait?.reason)
                .map(|reason| reason_text(language, reason)),
            timer_label: language.text(&format!("{}_label", stage.name())),
            timer: left_ms.map(|left_ms| clock(language, left_ms)),
            is_nearly_over: seat.and_then(|seat| seat.session).is_some_and(is_nearly_over),
            extensions_left,
            extensions: match extensions_left {
                0 => language.text("extensions_none").to_owned(),
                left => language.counted("extensions", u64::from(left)),
            },
            message: seat.and_then(|seat| seat.message.as_deref()).and_then(shown_message),
            opening_note: language.text(match self.options.opening {
                Opening::Draw => "opening_draw",
                Opening::Arrival => "opening_arrival",
            }),
            return_to,
            onward: filled(language.text("onward"), "title", title),
            may_retry: why.is_some_and(|why| !["rejected", "not_found"].contains(&why)),
            reload_s,
            reloads_itself: reload_s.map(|s| language.counted("reloads_itself", s)).unwrap_or_default(),
            api: self.api(),
            t: language.value(),
            accent: AccentView {
                fill: self.accent.fill.to_string(),
                on_fill: self.accent.on_fill.to_string(),
                light: self.accent.light.to_string(),
                dark: self.accent.dark.to_string(),
            },
            nonce,
            data: self.data(situation, language, now_ms),
        }
    }

    fn api(&self) -> String {
        let room = utf8_percent_encode(&self.options.room, IN_PATH);
        format!("/v1/rooms/{room}/")
    }

    /// What the script begins with. It stands in an element that is not run, where only `<` would mean something.
    fn data(&self, situation: Situation<'_>, language: &Language, now_ms: u64) -> Value {
        let data = json!({
            "room": self.options.room,
            "title": self.options.title,
            "api": self.api(),
            "now_ms": now_ms,
            "lang": language.tag(),
            "thousands": language.thousands(),
            "seat": situation.seat(),
            "why": situation.why(),
            "poll_after_ms": situation.poll_after_ms(),
        });
        let text = format!("{{\"page\":{data},\"texts\":{}}}", language.json());
        let text = text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
        Value::from_safe_string(text)
    }
}

// === impl Situation ===

impl<'a> Situation<'a> {
    fn seat(self) -> Option<&'a Seat> {
        match self {
            Self::Seat(seat) => Some(seat),
            Self::Failure(_) => None,
        }
    }

    pub(super) fn stage(self) -> Stage {
        self.seat().map_or(Stage::Error, Seat::stage)
    }

    fn why(self) -> Option<&'static str> {
        match self {
            Self::Seat(seat) => seat.why.map(Why::name),
            Self::Failure(Failure::Unavailable) => Some("unavailable"),
            Self::Failure(Failure::NotFound) => Some("not_found"),
            Self::Failure(Failure::NotValid) => Some("not_valid"),
        }
    }

    /// Of the names of texts that say why.
    fn prefix(self) -> &'static str {
        match self {
            Self::Seat(_) => "why_",
            Self::Failure(_) => "error_",
        }
    }

    /// When the page asks again; `None` where nothing will change by itself.
    fn poll_after_ms(self) -> Option<u64> {
        match (self, self.stage()) {
            (_, Stage::Ended | Stage::Refused) => None,
            (Self::Seat(seat), _) => {
                Some(seat.session.map_or(seat.poll_after_ms, |session| session.heartbeat_ms))
            }
            (Self::Failure(Failure::Unavailable), _) => Some(UNAVAILABLE_POLL_MS),
            (Self::Failure(_), _) => None,
        }
    }
}

/// The number of a visitor. Of those who wait, only where numbers are in order: before a draw, the first to come would take 1 for a
/// place.
fn shown_number(seat: &Seat) -> Option<u64> {
    let awaits_draw = seat.state == State::Waiting && seat.position.is_none();
    seat.queue_number.filter(|_| !awaits_draw)
}

fn existing<'a>(language: &'a Language, key: &str) -> Option<&'a str> {
    Some(language.text(key)).filter(|text| !text.is_empty())
}

fn lead<'a>(language: &'a Language, situation: &Situation<'_>) -> &'a str {
    let why =
        situation.why().and_then(|why| existing(language, &format!("{}{why}_lead", situation.prefix())));
    let is_draining = situation.seat().is_some_and(|seat| seat.room_state == super::RoomState::Draining);
    match (why, situation.stage()) {
        (Some(lead), _) => lead,
        (None, Stage::Waiting) if is_draining => language.text("draining_lead"),
        (None, stage) => language.text(&format!("{}_lead", stage.name())),
    }
}

fn document_title(
    language: &Language,
    title: &str,
    headline: &str,
    stage: Stage,
    position: Option<u64>,
) -> String {
    let place = position.filter(|_| matches!(stage, Stage::Waiting | Stage::Paused));
    let place = place.map(|position| format!("({}) ", language.number(position))).unwrap_or_default();
    format!("{place}{headline} – {title}")
}

/// What is left until the opening, of the time to go in, or of the session.
fn left_ms(seat: &Seat, stage: Stage, now_ms: u64) -> Option<u64> {
    match stage {
        // A time that no clock has saturates; one that is over is zero.
        Stage::Opening => seat.opens_at.map(|opens_at| ((opens_at * 1_000.0) as u64).saturating_sub(now_ms)),
        Stage::Ready => seat.claim.map(|claim| claim.left_ms),
        Stage::Admitted => seat.session.map(|session| session.left_ms),
        _ => None,
    }
}

/// Days, hours, minutes and seconds, rounded up: 0:00 is over.
fn clock(language: &Language, left_ms: u64) -> String {
    let seconds = left_ms.div_ceil(1_000);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let seconds = seconds % 60;
    match (days, hours) {
        (0, 0) => format!("{minutes}:{seconds:02}"),
        (0, _) => format!("{hours}:{minutes:02}:{seconds:02}"),
        _ => format!("{} {hours}:{minutes:02}:{seconds:02}", language.counted("days", days)),
    }
}

fn is_nearly_over(session: Session) -> bool {
    // Seconds of a session; a negative length saturates to zero.
    let length_ms = ((session.ends_at - session.started_at) * 1_000.0) as u64;
    session.left_ms <= (length_ms / 4).clamp(MIN_WARNING_MS, MAX_WARNING_MS)
}

/// A range in words, in the unit that it is shortest in, and never shorter than it is.
fn wait(language: &Language, wait: Option<EstimatedWait>) -> String {
    let Some(EstimatedWait { from_s, to_s, .. }) = wait else {
        return language.text("wait_unknown").to_owned();
    };
    let (unit, unit_s) = match to_s {
        0..60 => return language.text("wait_soon").to_owned(),
        60..5_400 => ("minutes", 60),
        5_400..86_400 => ("hours", 3_600),
        _ => return language.text("wait_long").to_owned(),
    };
    let (from, to) = ((from_s / unit_s).max(1), to_s.div_ceil(unit_s));
    if from >= to {
        return language.counted(&format!("wait_{unit}"), to);
    }
    filled(&language.counted(&format!("wait_{unit}_range"), to), "from", &language.number(from))
}

fn reason_text(language: &Language, reason: Reason) -> &str {
    language.text(match reason {
        Reason::Paused => "reason_paused",
        Reason::Slower => "reason_slower",
        Reason::Capacity => "reason_capacity",
    })
}

fn percent(progress: f64) -> u64 {
    // Not a number is zero.
    (progress.clamp(0.0, 1.0) * 100.0) as u64
}

fn reload_s(poll_after_ms: u64) -> u64 {
    poll_after_ms.div_ceil(1_000).clamp(MIN_RELOAD_S, MAX_RELOAD_S)
}

fn shown_message(message: &str) -> Option<String> {
    let message: String = message.trim().chars().take(MAX_MESSAGE_CHARS).collect();
    Some(message).filter(|message| !message.is_empty())
}

/// Whether an address may be a link: a path of this host, or a web address without a user. Addresses are checked when a
/// visitor joins; this rules out that a mistake there becomes a script here.
fn is_link(address: &str) -> bool {
    let is_plain =
        |character: char| !character.is_control() && !character.is_whitespace() && character != '\\';
    if address.len() > MAX_LINK_BYTES || !address.chars().all(is_plain) {
        return false;
    }
    if let Some(path) = address.strip_prefix('/') {
        return !path.starts_with('/');
    }
    let host = ["https://", "http://"].iter().find_map(|scheme| address.strip_prefix(scheme));
    let host = host.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    !host.is_empty() && !host.contains('@')
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
