//! The page as a template. An operator's own can extend the one in the program, or include its parts.
//!
//! A template cannot read files, is rendered with a budget, and cannot switch escaping off. It is tried on every state that a
//! visitor can be in when it is loaded: what is wrong with it is said then, not in front of a crowd.

use std::path::Path;

use minijinja::value::{Serde, Value};
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, escape_formatter, filters, tests,
};

use super::seat::{Claim, EstimatedWait, Reason, RoomState, Seat, Session, State, Why};
use super::view::{Situation, View};
use super::{Failure, Page, PageError, read_bounded};

/// The largest template, in bytes: 256 KiB.
const MAX_TEMPLATE_BYTES: u64 = 256 << 10;
/// What rendering may cost: an instruction or 64 bytes are one unit. The page in the program needs less than 900.
const MAX_FUEL: u64 = 50_000;
/// How deep macros, blocks and includes may be nested.
const MAX_RECURSION: usize = 60;
/// The largest page, in bytes: 1 MiB.
const MAX_PAGE_BYTES: usize = 1 << 20;

/// The template in the program, and its parts.
const PAGE: &str = "page.html";
const PARTS: [(&str, &str); 3] = [
    (PAGE, include_str!("templates/page.html")),
    ("head.html", include_str!("templates/head.html")),
    ("card.html", include_str!("templates/card.html")),
];

/// What a page must have for its script to run.
const NEEDED: [&str; 2] = ["id=\"tidegate-data\"", "src=\"/rooms/assets/room.js\""];

/// A template and what stands in for it.
#[derive(Debug)]
pub(super) struct Template {
    environment: Environment<'static>,
    name: String,
}

impl Template {
    /// The template of a file, or that in the program.
    ///
    /// # Errors
    /// The file cannot be read, or is not a template.
    pub(super) fn load(path: Option<&Path>) -> Result<Self, PageError> {
        let mut environment = environment();
        for (name, source) in PARTS {
            environment.add_template(name, source).map_err(|error| described(&error, name))?;
        }
        let mut name = PAGE.to_owned();
        if let Some(path) = path {
            name = path.display().to_string();
            let source = read_bounded(path, MAX_TEMPLATE_BYTES)?;
            if PARTS.iter().any(|(part, _)| *part == name) {
                // It would take the place of the part that it extends.
                name = format!("./{name}");
            }
            environment.add_template_owned(name.clone(), source).map_err(|error| described(&error, &name))?;
        }
        Ok(Self { environment, name })
    }

    /// The page. A template that fails although it was tried is replaced by the one in the program.
    pub(super) fn render(&self, view: &View<'_>) -> String {
        self.render_as(&self.name, view).or_else(|error| {
            tracing::error!(template = self.name, %error, "the waiting page is shown without its template");
            self.render_as(PAGE, view)
        }).unwrap_or_default()
    }

    fn render_as(&self, name: &str, view: &View<'_>) -> Result<String, PageError> {
        let template = self.environment.get_template(name).map_err(|error| described(&error, name))?;
        let value = Value::from(Serde(view));
        let html = template.render(value).map_err(|error| described(&error, name))?;
        if html.len() > MAX_PAGE_BYTES {
            let what = format!("the page is larger than {MAX_PAGE_BYTES} bytes: make it smaller");
            return Err(PageError::new(name, what));
        }
        Ok(html)
    }
}

impl Page {
    /// Tries the template on every state that a visitor can be in.
    pub(super) fn try_template(&self) -> Result<(), PageError> {
        let name = &self.template.name;
        let wrong = |what: &str| Err(PageError::new(name.as_str(), what));
        let Some(language) = self.languages.choose(None) else { return Ok(()) };
        let seats = samples();
        let failures = [Failure::Unavailable, Failure::NotFound, Failure::NotValid].map(Situation::Failure);
        for situation in seats.iter().map(Situation::Seat).chain(failures) {
            let html = self.template.render_as(name, &self.view(situation, language, 0, "nonce"))?;
            if NEEDED.iter().any(|needed| html.matches(needed).count() != 1) {
                return wrong("the page would not run: write {% include \"head.html\" %} once, in <head>");
            }
            // Two of them come with head.html.
            if html.to_ascii_lowercase().matches("<script").count() != 2 {
                return wrong(
                    "scripts of one's own do not run here, the page's policy forbids them: remove them",
                );
            }
        }
        Ok(())
    }
}

fn environment() -> Environment<'static> {
    // Nothing but what a page needs: what a template cannot name, it cannot misuse.
    let mut environment = Environment::empty();
    environment.add_filter("default", filters::default);
    environment.add_filter("escape", filters::escape);
    environment.add_filter("join", filters::join);
    environment.add_filter("lower", filters::lower);
    environment.add_filter("replace", filters::replace);
    environment.add_filter("trim", filters::trim);
    environment.add_filter("upper", filters::upper);
    environment.add_test("defined", tests::is_defined);
    environment.add_test("none", tests::is_none);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_formatter(|out, state, value| {
        if !matches!(state.auto_escape(), AutoEscape::Html) {
            let what = "escaping cannot be switched off: remove {% autoescape %}";
            return Err(Error::new(ErrorKind::InvalidOperation, what));
        }
        if value.is_none() { Ok(()) } else { escape_formatter(out, state, value) }
    });
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(MAX_FUEL));
    environment.set_recursion_limit(MAX_RECURSION);
    environment
}

/// What the engine says of a template, with its place and what to do.
fn described(error: &Error, name: &str) -> PageError {
    let place = match (error.name(), error.line()) {
        (name, Some(line)) => format!("{}:{line}", name.unwrap_or_default()),
        (_, None) => name.to_owned(),
    };
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    let advice = match error.kind() {
        ErrorKind::OutOfFuel => "it does too much: make its loops and texts shorter",
        ErrorKind::TemplateNotFound => {
            "a template can extend page.html and include head.html and card.html, and no files"
        }
        ErrorKind::UndefinedError => "correct the name: docs/guide/waiting-page.md lists the variables",
        ErrorKind::UnknownFilter | ErrorKind::UnknownTest | ErrorKind::UnknownFunction => {
            "correct the name: docs/guide/waiting-page.md lists what there is"
        }
        _ => "correct the template",
    };
    PageError::new(place, format!("{}{detail}: {advice}", error.kind()))
}

/// A seat in every state, with everything and with as little as it can have.
fn samples() -> Vec<Seat> {
    let full = Seat {
        state: State::Waiting,
        why: None,
        room_state: RoomState::Open,
        queue_number: Some(1_234),
        position: Some(12),
        estimated_wait: Some(EstimatedWait { from_s: 300, to_s: 600, reason: Some(Reason::Slower) }),
        progress: 0.5,
        opens_at: Some(1.0),
        message: Some("a message".to_owned()),
        poll_after_ms: 2_000,
        claim: Some(Claim { left_ms: 20_000, extensions_left: 2 }),
        session: Some(Session { started_at: 0.0, ends_at: 40.0, left_ms: 40_000, heartbeat_ms: 5_000 }),
        return_to: Some("/shop".to_owned()),
    };
    let bare = Seat {
        queue_number: None,
        position: None,
        estimated_wait: None,
        progress: 0.0,
        opens_at: None,
        message: None,
        claim: None,
        session: None,
        return_to: None,
        ..full
    };
    let states = [
        (State::Waiting, RoomState::Scheduled, None),
        (State::Waiting, RoomState::Open, None),
        (State::Waiting, RoomState::Paused, None),
        (State::Ready, RoomState::Open, None),
        (State::Admitted, RoomState::Open, None),
        (State::Ended, RoomState::Open, Some(Why::SessionLimit)),
        (State::Refused, RoomState::Closed, Some(Why::RoomClosed)),
    ];
    let each =
        |seat: &Seat| states.map(|(state, room_state, why)| Seat { state, room_state, why, ..seat.clone() });
    [each(&full), each(&bare)].concat()
}
