//! What is asked, and what has to come of it.

/// Windows are so long that nothing comes back while the table is gone through.
pub(crate) const RULES: &str = "
version: 1
domains:
  - name: bucket
    rules: [{ name: bucket, key: [who], algorithm: token_bucket, limit: 3, window: 1d }]
  - name: burst
    rules: [{ name: burst, key: [who], algorithm: token_bucket, limit: 2, window: 7d, burst: 5 }]
  - name: leaky
    rules: [{ name: leaky, key: [who], algorithm: leaky_bucket, limit: 2, window: 1d, burst: 2 }]
  - name: fixed
    rules: [{ name: fixed, key: [who], algorithm: fixed_window, limit: 2, window: 365d }]
  - name: sliding
    rules: [{ name: sliding, key: [who], algorithm: sliding_window, limit: 2, window: 30d }]
  - name: log
    rules: [{ name: log, key: [who], algorithm: sliding_window_log, limit: 2, window: 36h }]
  - name: several
    rules:
      - { name: wide, key: [who], algorithm: token_bucket, limit: 9, window: 1d }
      - { name: narrow, key: [who], algorithm: fixed_window, limit: 2, window: 1d }
      - { name: other, key: [who], algorithm: sliding_window_log, limit: 2, window: 2d, match: { plan: other } }
  - name: shadows
    rules:
      - { name: obeyed, key: [who], algorithm: fixed_window, limit: 3, window: 1d }
      - { name: watched, key: [who], algorithm: fixed_window, limit: 1, window: 1d, mode: shadow }
  - name: watched
    rules: [{ name: watched, key: [who], algorithm: fixed_window, limit: 1, window: 1d, mode: shadow }]
  - name: tiers
    default_tier: free
    rules:
      - name: tiered
        key: [who]
        algorithm: fixed_window
        limit: 5
        window: 1d
        tiers: { free: { limit: 1, window: 1d }, gold: { limit: 3, window: 7d } }
  - name: spelled
    rules:
      - name: spelled
        match: { remote_address: '2001:DB8:0::1', host.2: Example.com, path.2: /a }
        key: [who]
        algorithm: fixed_window
        limit: 1
        window: 1d
  - name: closed
    rules: [{ name: closed, key: [who], algorithm: fixed_window, limit: 0, window: 1d }]
";

/// In place of this, the value of an entry is what keeps one asker from the others.
pub(crate) const WHO: &str = "{who}";

/// Values, and what each door has to make of them before it decides.
pub(crate) const SPELLINGS: [(&str, &str); 3] =
    [("2001:db8::2:1", "2001:db8::/64"), ("EXAMPLE.com", "example.com"), ("/b/..//a", "/a")];

/// A sequence of requests of one asker.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) domain: &'static str,
    pub(crate) entries: &'static [(&'static str, &'static str)],
    /// The same bucket by its numbers, where one token bucket is all there is.
    pub(crate) plain: Option<Plain>,
    /// The rule that binds in the end, where one does.
    pub(crate) binds: &'static str,
    pub(crate) steps: &'static [Step],
}

/// `CL.THROTTLE`'s numbers.
#[derive(Clone, Copy)]
pub(crate) struct Plain {
    pub(crate) max_burst: u64,
    pub(crate) count: u64,
    pub(crate) period_s: u64,
}

/// One request, and what has to come of it.
pub(crate) struct Step {
    pub(crate) cost: u64,
    pub(crate) peek: bool,
    pub(crate) comes: Comes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comes {
    /// It passes, and so many units are left.
    Passes(u64),
    /// It does not, but later it could; so many units are left.
    Refused(u64),
    /// It never could; so many units are left.
    Never(u64),
    /// Nothing limits it.
    Unlimited,
}

use Comes::{Never, Passes, Refused, Unlimited};

const fn take(cost: u64, comes: Comes) -> Step {
    Step { cost, peek: false, comes }
}

const fn peek(cost: u64, comes: Comes) -> Step {
    Step { cost, peek: true, comes }
}

const BUCKET: Option<Plain> = Some(Plain { max_burst: 2, count: 3, period_s: 86_400 });
const BURST: Option<Plain> = Some(Plain { max_burst: 4, count: 2, period_s: 7 * 86_400 });
const ONLY_WHO: &[(&str, &str)] = &[("who", WHO)];

/// A case of somebody of whom nothing else is known; what binds is called like its domain.
const fn case(
    name: &'static str,
    domain: &'static str,
    plain: Option<Plain>,
    steps: &'static [Step],
) -> Case {
    Case { name, domain, entries: ONLY_WHO, plain, binds: domain, steps }
}

impl Case {
    const fn with_entries(self, entries: &'static [(&'static str, &'static str)]) -> Self {
        Self { entries, ..self }
    }

    const fn binding(self, binds: &'static str) -> Self {
        Self { binds, ..self }
    }
}

pub(crate) const CASES: &[Case] = &[
    case(
        "a bucket is used up",
        "bucket",
        BUCKET,
        &[
            take(1, Passes(2)),
            take(1, Passes(1)),
            take(1, Passes(0)),
            take(1, Refused(0)),
            take(1, Refused(0)),
        ],
    ),
    case(
        "more than the limit at one instant",
        "burst",
        BURST,
        &[take(4, Passes(1)), take(1, Passes(0)), take(5, Refused(0)), take(1, Refused(0))],
    ),
    case(
        "what is too much now takes nothing",
        "bucket",
        BUCKET,
        &[take(2, Passes(1)), take(2, Refused(1)), take(3, Refused(1)), take(1, Passes(0))],
    ),
    case(
        "a cost that never fits",
        "bucket",
        BUCKET,
        &[take(4, Never(3)), take(3, Passes(0)), take(4, Never(0)), take(1, Refused(0))],
    ),
    case(
        "looking takes nothing",
        "bucket",
        BUCKET,
        &[
            peek(1, Passes(3)),
            take(2, Passes(1)),
            peek(1, Passes(1)),
            take(1, Passes(0)),
            peek(1, Refused(0)),
        ],
    ),
    case(
        "looking at a cost",
        "fixed",
        None,
        &[peek(2, Passes(2)), peek(3, Never(2)), take(1, Passes(1)), peek(2, Refused(1)), take(1, Passes(0))],
    ),
    case("a leaky bucket", "leaky", None, &[take(1, Passes(1)), take(1, Passes(0)), take(1, Refused(0))]),
    case("a fixed window", "fixed", None, &[take(1, Passes(1)), take(1, Passes(0)), take(1, Refused(0))]),
    case("a sliding window", "sliding", None, &[take(1, Passes(1)), take(1, Passes(0)), take(1, Refused(0))]),
    case("a log", "log", None, &[take(1, Passes(1)), take(1, Passes(0)), take(1, Refused(0))]),
    case(
        "the narrowest of several rules binds",
        "several",
        None,
        &[take(1, Passes(1)), take(1, Passes(0)), take(1, Refused(0))],
    )
    .binding("narrow"),
    case(
        "of two that refuse, the one that does so longer binds",
        "several",
        None,
        &[take(1, Passes(1)), take(1, Passes(0)), take(1, Refused(0))],
    )
    .binding("other")
    .with_entries(&[("who", WHO), ("plan", "other")]),
    case(
        "one rule's refusal takes nothing from another",
        "several",
        None,
        &[take(2, Passes(0)), take(2, Refused(0)), peek(1, Refused(0))],
    )
    .binding("narrow"),
    case(
        "a shadow rule beside another is not obeyed",
        "shadows",
        None,
        &[take(1, Passes(2)), take(1, Passes(1)), take(1, Passes(0)), take(1, Refused(0))],
    )
    .binding("obeyed"),
    case("a shadow rule alone limits nothing", "watched", None, &[take(1, Unlimited), take(1, Unlimited)]),
    case("the default tier", "tiers", None, &[take(1, Passes(0)), take(1, Refused(0))]).binding("tiered"),
    case(
        "the tier that the request says",
        "tiers",
        None,
        &[take(1, Passes(2)), take(1, Passes(1)), take(1, Passes(0)), take(1, Refused(0))],
    )
    .binding("tiered")
    .with_entries(&[("who", WHO), ("tier", "gold")]),
    case(
        "an address, a host and a path in other spellings",
        "spelled",
        None,
        &[take(1, Passes(0)), take(1, Refused(0))],
    )
    .with_entries(&[
        ("who", WHO),
        ("remote_address", SPELLINGS[0].0),
        ("host.2", SPELLINGS[1].0),
        ("path.2", SPELLINGS[2].0),
    ]),
    case("a quota of nothing", "closed", None, &[take(1, Never(0)), take(1, Never(0))]),
    case("no rule matches", "bucket", None, &[take(1, Unlimited), take(1, Unlimited)])
        .with_entries(&[("somebody", WHO)]),
    case("no such domain", "nowhere", None, &[take(1, Unlimited), take(1, Unlimited)]),
];
