use http::HeaderMap;
use http_body_util::BodyExt as _;
use tidegate_testkit::TempDir;

use super::*;

const NOW_MS: u64 = 1_700_000_000_000;

fn options() -> PageOptions {
    PageOptions {
        room: "demo".to_owned(),
        title: "Demo Shop".to_owned(),
        accent: None,
        template: None,
        asset_origins: Vec::new(),
        goals: Vec::new(),
        opening: Opening::Draw,
    }
}

fn languages() -> Arc<Languages> {
    Arc::new(Languages::load(&LanguageOptions::default()).unwrap())
}

fn page(options: PageOptions) -> Result<Page, String> {
    Page::new(options, languages()).map_err(|error| error.to_string())
}

fn request(accept_language: Option<&str>) -> PageRequest<'_> {
    PageRequest { accept_language, now_ms: NOW_MS, nonce: [7; 16] }
}

fn html(response: DoorResponse) -> String {
    let waker = std::task::Waker::noop();
    let mut body = std::pin::pin!(response.into_body().collect());
    let polled = std::future::Future::poll(body.as_mut(), &mut std::task::Context::from_waker(waker));
    let std::task::Poll::Ready(Ok(whole)) = polled else { panic!("a whole body is ready at once") };
    String::from_utf8(whole.to_bytes().to_vec()).unwrap()
}

/// A seat as the contract writes it, with some members changed.
fn seat(changes: &serde_json::Value) -> Seat {
    let mut seat = serde_json::json!({
        "room": "demo", "state": "waiting", "why": null, "room_state": "open", "ticket": "v1.secret", "queue_number": 4812,
        "position": 1234, "waiting": 2000, "serving_number": 3578,
        "estimated_wait": { "from_s": 900, "to_s": 1500, "reason": "slower" }, "progress": 0.42, "opens_at": null,
        "message": null, "poll_after_ms": 8000, "claim": null, "session": null, "pass": "v1.secret", "return_to": "/shop?a=1&b=2",
    });
    for (name, value) in changes.as_object().unwrap() {
        seat[name] = value.clone();
    }
    serde_json::from_value(seat).unwrap()
}

fn shown(changes: &serde_json::Value) -> String {
    html(page(options()).unwrap().of_seat(&seat(changes), request(None)))
}

/// What of a page is seen: no element that is hidden with all that is in it, by the marks that the page has.
fn is_shown(html: &str, stages: &str) -> bool {
    html.contains(&format!("data-tg-stages=\"{stages}\">"))
}

#[test]
fn forms_lead_to_the_room_as_it_is_named() {
    let page = page(PageOptions { room: "summer-sale".to_owned(), ..options() }).unwrap();
    let html = html(page.of_seat(&seat(&serde_json::json!({})), request(None)));
    assert!(
        html.contains("action=\"&#x2f;v1&#x2f;rooms&#x2f;summer-sale&#x2f;leave\"") && !html.contains("%2D"),
        "{html}"
    );
    assert!(html.contains("\"api\":\"/v1/rooms/summer-sale/\""), "{html}");
}

#[test]
fn a_waiting_visitor_sees_place_wait_and_what_comes_next() {
    let html = shown(&serde_json::json!({}));
    for wanted in [
        "<html lang=\"en\" dir=\"ltr\">",
        "<title>(1,234) You are in line – Demo Shop</title>",
        "data-tg=\"position\">1,234<",
        ">people ahead of you<",
        ">15 to 25 minutes<",
        "The line moves slower than before",
        "value=\"42\"",
        "Your number: 4,812",
        "What happens next",
        "<noscript><meta http-equiv=\"refresh\" content=\"8\"></noscript>",
        "action=\"&#x2f;v1&#x2f;rooms&#x2f;demo&#x2f;leave\"",
    ] {
        assert!(html.contains(wanted), "{wanted} is not in {html}");
    }
    assert!(is_shown(&html, "waiting paused") && !is_shown(&html, "ready") && !is_shown(&html, "admitted"));
    assert!(!html.contains("secret"), "a page needs no tokens");
}

#[test]
fn each_state_has_its_page() {
    use serde_json::json;
    let claim = json!({ "ends_at": 1.0, "left_ms": 20_000, "extensions_left": 2 });
    let session = json!({ "started_at": 0.0, "ends_at": 40.0, "left_ms": 9_000, "idle_ms": 15_000, "heartbeat_ms": 5_000, "renewable": false });
    let opening = json!({ "room_state": "scheduled", "opens_at": 1_700_003_723.0, "position": null });
    let cases: [(serde_json::Value, &str, &[&str]); 8] = [
        (opening, "opening ready admitted", &["You are early", "1:02:03", "by lot"]),
        (json!({ "room_state": "paused" }), "waiting paused", &["The line is paused"]),
        (json!({ "room_state": "draining" }), "waiting paused", &["Nobody new can join"]),
        (json!({ "position": 0 }), "waiting paused", &["You are next"]),
        (
            json!({ "state": "ready", "claim": claim }),
            "ready",
            &["It is your turn", "0:20", "Go in now", "2 more times"],
        ),
        (
            json!({ "state": "admitted", "session": session }),
            "admitted",
            &[
                "You are in",
                "0:09",
                "href=\"&#x2f;shop?a=1&amp;b=2\"",
                "data-tg=\"warning\">Your time is nearly over",
            ],
        ),
        (json!({ "state": "ended", "why": "idle" }), "ended", &["You were away", "Join the line again"]),
        (
            json!({ "state": "refused", "why": "room_full" }),
            "refused error",
            &["The line is full", "Try again"],
        ),
    ];
    for (changes, stages, wanted) in cases {
        let html = shown(&changes);
        assert!(is_shown(&html, stages), "{changes}: {stages} is hidden in {html}");
        for wanted in wanted {
            assert!(html.contains(wanted), "{changes}: {wanted} is not in {html}");
        }
    }
}

/// Before a draw, the first to come would take its number for its place.
#[test]
fn a_number_is_shown_only_where_it_says_something_about_the_place() {
    let opening = |position: Option<u64>| {
        let opens_at = 1_700_003_723.0;
        shown(&serde_json::json!({ "room_state": "scheduled", "opens_at": opens_at, "position": position }))
    };
    let drawn = opening(None);
    assert!(drawn.contains("data-tg=\"queue_number\" hidden></p>"), "{drawn}");
    assert!(!drawn.contains("Your number: 4,812") && drawn.contains("gets a place by lot"), "{drawn}");
    let as_they_came = opening(Some(11));
    assert!(as_they_came.contains("data-tg=\"queue_number\">Your number: 4,812<"), "{as_they_came}");
}

/// A text for each reason, and none of another's.
#[test]
fn every_reason_is_explained() {
    let mut headlines = std::collections::BTreeSet::new();
    for why in [
        "session_limit",
        "idle",
        "left",
        "not_claimed",
        "lapsed",
        "by_operator",
        "revoked",
        "room_closed",
        "room_full",
        "draining",
        "too_many_seats",
        "rejected",
    ] {
        let state = if headlines.len() < 7 { "ended" } else { "refused" };
        let html = shown(&serde_json::json!({ "state": state, "why": why }));
        let headline = html.split("tabindex=\"-1\">").nth(1).unwrap().split('<').next().unwrap().to_owned();
        assert!(!headline.is_empty() && headlines.insert(headline), "{why}");
        assert!(!html.contains("http-equiv"), "{why}: nothing changes by itself");
    }
}

#[test]
fn failures_have_pages_and_statuses() {
    let page = page(options()).unwrap();
    for (failure, status, wanted, reloads) in [
        (Failure::Unavailable, 503, "The line does not answer", true),
        (Failure::NotFound, 404, "There is no such line", false),
        (Failure::NotValid, 403, "Your place could not be checked", false),
    ] {
        let response = page.of_failure(failure, request(None));
        assert_eq!(response.status(), status);
        let html = html(response);
        assert!(html.contains(wanted) && html.contains("http-equiv") == reloads, "{html}");
    }
}

#[test]
fn languages_are_chosen_and_said() {
    let page = page(options()).unwrap();
    let response = page.of_seat(&seat(&serde_json::json!({})), request(Some("ar-EG, en;q=0.5")));
    assert_eq!(response.headers()["content-language"], "ar");
    let html = html(response);
    assert!(html.contains("<html lang=\"ar\" dir=\"rtl\">") && html.contains("أنت في الطابور"), "{html}");
}

#[test]
fn the_policy_lets_nothing_else_run() {
    let mut with_origin = options();
    with_origin.asset_origins = vec!["https://cdn.example.com".to_owned()];
    with_origin.goals = ["https://shop.example:8443", "https://a;script-src *", "http://[::1]:80"]
        .map(str::to_owned)
        .to_vec();
    let page = page(with_origin).unwrap();
    let response = page.of_seat(&seat(&serde_json::json!({})), request(None));
    let policy = response.headers()["content-security-policy"].to_str().unwrap();
    for wanted in [
        "default-src 'none';",
        "script-src 'self';",
        "frame-ancestors 'none'",
        "form-action 'self' https://shop.example:8443; ",
        "base-uri 'none'",
    ] {
        assert!(policy.contains(wanted), "{policy}");
    }
    assert!(
        policy.contains("img-src 'self' data: https://cdn.example.com;") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert!(policy.contains(&format!("'nonce-{}'", "07".repeat(16))));
    for (name, value) in [
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
    ] {
        assert_eq!(response.headers()[name], value);
    }
}

const HOSTILE: [&str; 8] = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "<!--<script>",
    "]]>\u{202e}\u{2028}",
    "javascript:alert(1)",
];

/// Whatever an operator's message, a title, an address or a language says, a page has the same elements.
#[test]
fn nothing_that_is_said_becomes_markup() {
    let shape = |html: &str| {
        (html.matches('<').count(), html.matches("<script").count(), html.matches("<img").count())
    };
    let plain = shape(&shown(&serde_json::json!({ "message": "hello", "return_to": null })));
    for text in HOSTILE {
        let html = shown(&serde_json::json!({ "message": text, "return_to": text }));
        assert_eq!(shape(&html), plain, "{text}: {html}");
        assert!(!html.contains("href=\"javascript"), "{text}");
        let mut hostile = options();
        hostile.title = text.to_owned();
        hostile.room = text.to_owned();
        let page = page(hostile).unwrap();
        let bare = seat(&serde_json::json!({ "message": "hello", "return_to": null }));
        let html = super::tests::html(page.of_seat(&bare, request(None)));
        assert_eq!(shape(&html), plain, "{text}: {html}");
        let directory = TempDir::new("language");
        let quoted = serde_json::to_string(&text.replace(['{', '}'], "")).unwrap();
        let texts = format!(
            "language: en\ndirection: ltr\nthousands: \"<\"\ntexts:\n  waiting_title: {quoted}\n  claim: {quoted}\n"
        );
        let files = vec![directory.write("en.yaml", &texts)];
        let languages = Languages::load(&LanguageOptions { files, default: None });
        // A text in a language has no control characters.
        let Ok(languages) = languages else { continue };
        let html = super::tests::html(
            Page::new(options(), Arc::new(languages)).unwrap().of_seat(&bare, request(None)),
        );
        assert_eq!(shape(&html), plain, "{text}: {html}");
    }
}

fn with_template(source: impl AsRef<[u8]>) -> Result<Page, String> {
    let directory = TempDir::new("template");
    let path = directory.join("own.html");
    std::fs::write(&path, source).unwrap();
    page(PageOptions { template: Some(path), ..options() })
}

#[test]
fn a_template_extends_the_page() {
    let page = with_template(
        "{% extends \"page.html\" %}{% block brand %}<img src=\"https://cdn.example.com/l.png\" alt=\"{{ title }}\">{% endblock %}\
         {% block head %}<style nonce=\"{{ nonce }}\">body { color: red }</style>{% endblock %}",
    )
    .unwrap();
    let html = html(page.of_seat(&seat(&serde_json::json!({})), request(None)));
    assert!(
        html.contains("alt=\"Demo Shop\"") && html.contains("1,234") && html.contains("color: red"),
        "{html}"
    );
}

/// What is wrong with a template is said when it is loaded, with the line and what to do.
#[test]
fn templates_that_would_fail_are_refused_when_loaded() {
    let head = "<html><head>{% include \"head.html\" %}</head>\n";
    let of = |rest: &str| format!("{head}{rest}");
    let cases = [
        (of("{{ titel }}"), "own.html:2: undefined value"),
        (of("{{ title | shout }}"), "own.html:2: unknown filter"),
        (of("{% if %}"), "own.html:2: syntax error"),
        (of("{{ message | safe }}"), "unknown filter"),
        (of("{% autoescape false %}{{ message }}{% endautoescape %}"), "escaping cannot be switched off"),
        (of("{% include \"/etc/passwd\" %}"), "include head.html and card.html, and no files"),
        (of("{% include \"../own.html\" %}"), "and no files"),
        (
            of(
                "{% for a in [1,2,3,4,5,6,7,8,9]*9 %}{% for b in [1,2,3,4,5,6,7,8,9]*99 %}{{ b }}{% endfor %}{% endfor %}",
            ),
            "it does too much",
        ),
        (of("{{ \"x\" * 100000000 }}"), "it does too much"),
        (of("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}"), "own.html:2"),
        (of("{% set x = [1] * 1000000000000 %}"), "own.html:2"),
        (of("<script>alert(1)</script>"), "scripts of one's own do not run"),
        (of("<SCRIPT src=\"https://cdn.example.com/a.js\"></SCRIPT>"), "scripts of one's own do not run"),
        (of("{% if stage == \"ready\" %}{{ oops }}{% endif %}"), "own.html:2"),
        ("<html>{% include \"card.html\" %}</html>".to_owned(), "{% include \"head.html\" %} once"),
        (of("{% include \"head.html\" %}"), "{% include \"head.html\" %} once"),
        (String::new(), "{% include \"head.html\" %} once"),
        ("x".repeat(300_000), "the file is larger than 262144 bytes"),
    ];
    for (source, wanted) in cases {
        let error = with_template(&source).unwrap_err();
        assert!(error.contains("own.html") && error.contains(wanted), "{source:.300}: {error}");
    }
    assert!(with_template([0xff, 0xfe]).unwrap_err().contains("not UTF-8"));
    let missing = PageOptions { template: Some("/nowhere.html".into()), ..options() };
    assert!(page(missing).unwrap_err().contains("/nowhere.html"));
}

#[test]
fn settings_that_cannot_be_right_are_refused() {
    let with = |change: fn(&mut PageOptions)| {
        let mut changed = options();
        change(&mut changed);
        page(changed).unwrap_err()
    };
    assert!(with(|options| options.title = " ".to_owned()).contains("1 to 100 characters"));
    assert!(with(|options| options.title = "x".repeat(101)).contains("1 to 100 characters"));
    assert!(with(|options| options.title = "a\nb".to_owned()).contains("in one line"));
    assert!(with(|options| options.accent = Some("teal".to_owned())).contains("#0b6e7f"));
    assert!(
        with(|options| options.asset_origins = vec!["https://a.example".to_owned(); 9])
            .contains("the most is 8")
    );
    for wrong in [
        "cdn.example",
        "https://",
        "https://a b",
        "https://a;script-src *",
        "https://u@a",
        "https://a/b",
        "https://a:x",
        "*",
    ] {
        let changed = PageOptions { asset_origins: vec![wrong.to_owned()], ..options() };
        assert!(page(changed).unwrap_err().contains("is not an origin"), "{wrong}");
    }
}

#[test]
fn files_are_there_under_their_names() {
    let html = shown(&serde_json::json!({}));
    for name in ["room.css", "room.js"] {
        assert!(html.contains(&format!("\"/rooms/assets/{name}\"")));
        assert!(asset(name, &HeaderMap::new()).is_some());
    }
}
