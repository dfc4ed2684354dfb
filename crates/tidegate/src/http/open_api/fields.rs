//! The header fields of the door's responses.

use crate::door::open_api::Field;

/// A list of structured strings with whole numbers as parameters (RFC 9651).
const ITEMS: &str = r#"^"([^"\\]|\\.)*"(;[a-z]+=[0-9]+)*(, "([^"\\]|\\.)*"(;[a-z]+=[0-9]+)*)*$"#;
const NUMBER: &str = "^[0-9]+$";

const POLICY: Field = Field {
    name: "RateLimit-Policy",
    description: "For each enforced rule its limit `q` and its window `w` in seconds (draft-ietf-httpapi-ratelimit-headers-11). Missing where no enforced rule applied.",
    is_always_there: false,
    pattern: ITEMS,
    example: r#""api-client";q=20;w=60"#,
};

const RATE_LIMIT: Field = Field {
    name: "RateLimit",
    description: "For each enforced rule the units left `r`, and `t`: seconds until some come back.",
    is_always_there: false,
    pattern: ITEMS,
    example: r#""api-client";r=19;t=3"#,
};

const LEGACY_LIMIT: Field = Field {
    name: "X-RateLimit-Limit",
    description: "With `--legacy-fields`: units of the binding rule.",
    is_always_there: false,
    pattern: NUMBER,
    example: "20",
};

const LEGACY_REMAINING: Field = Field {
    name: "X-RateLimit-Remaining",
    description: "With `--legacy-fields`: units left of the binding rule.",
    is_always_there: false,
    pattern: NUMBER,
    example: "19",
};

const LEGACY_RESET: Field = Field {
    name: "X-RateLimit-Reset",
    description: "With `--legacy-fields`: seconds until the binding rule's bucket is at rest.",
    is_always_there: false,
    pattern: NUMBER,
    example: "3",
};

/// Set where the store did not decide.
pub(super) const DEGRADED: Field = Field {
    name: "X-Tidegate-Degraded",
    description: "The store did not answer: the failure policy that decided instead.",
    is_always_there: false,
    pattern: "^(allow|deny|local)$",
    example: "local",
};

const TIER_LOOKUP: Field = Field {
    name: "Tidegate-Tier-Lookup",
    description: "The catalog did not answer in time: an older answer was used, or the domain's default tier.",
    is_always_there: false,
    pattern: "^(stale|failed)$",
    example: "stale",
};

/// Whether caches may keep it.
pub(super) const CACHE_CONTROL: Field = Field {
    name: "Cache-Control",
    description: "`no-store`: no cache keeps it. `no-cache`: it may be kept, and is asked for again with its tag before it is used. \
                  `public`: it is the same for everybody, and may be kept for so many seconds.",
    is_always_there: true,
    pattern: "^(no-store|no-cache|public, max-age=(1|300))$",
    example: "no-store",
};

/// The version of a document.
pub(super) const ETAG: Field = Field {
    name: "ETag",
    description: "A strong tag of these bytes.",
    is_always_there: true,
    pattern: "^\"[0-9a-z-]+\"$",
    example: "\"0f343b0931126a20\"",
};

/// On everything that `/v1/authz` answers.
pub(super) const TIDEGATE_STATUS: Field = Field {
    name: "X-Tidegate-Status",
    description: "The status that the answer would have without the parameter `status`.",
    is_always_there: true,
    pattern: "^[1-5][0-9]{2}$",
    example: "429",
};

/// The fields of a decision; `Retry-After` comes with denials beside them.
pub(super) const OF_DECISIONS: [Field; 7] =
    [POLICY, RATE_LIMIT, LEGACY_LIMIT, LEGACY_REMAINING, LEGACY_RESET, DEGRADED, TIER_LOOKUP];

/// The fields of a room's answers, all but the first only where there is something to say.
pub(super) const OF_ROOMS: [Field; 14] = [
    CACHE_CONTROL,
    maybe(
        "Set-Cookie",
        "What a browser is to keep, or to forget.",
        "^(__Host-)?tidegate_",
        "tidegate_device=…; Path=/; HttpOnly; SameSite=Lax",
    ),
    maybe("Vary", "What else the answer depends on.", "^[a-z, -]+$", "origin"),
    maybe("Location", "Where a browser goes on.", "^[!-~]+$", "/rooms/demo"),
    maybe("Access-Control-Allow-Origin", "The page that may read it.", "^[!-~]+$", "https://shop.example"),
    maybe("Access-Control-Allow-Credentials", "It may send cookies.", "^true$", "true"),
    maybe("Access-Control-Expose-Headers", "Fields that it may read.", "^[a-z, -]+$", "retry-after, date"),
    maybe("Access-Control-Allow-Methods", "Methods that it may use.", "^[A-Z, ]+$", "GET, POST"),
    maybe("Access-Control-Allow-Headers", "Fields that it may send.", "^[a-z, -]+$", "content-type"),
    maybe("Access-Control-Max-Age", "For so many seconds it need not ask again.", NUMBER, "600"),
    maybe("X-Content-Type-Options", "The type is not to be guessed.", "^nosniff$", "nosniff"),
    maybe("Content-Language", "The language of a page.", "^[A-Za-z0-9-]+$", "en"),
    maybe("Referrer-Policy", "Other sites are not told of it.", "^[a-z-]+$", "same-origin"),
    maybe("X-Accel-Buffering", "Tells nginx to pass on what there is.", "^no$", "no"),
];

/// Pages of other sites may load it.
pub(super) const CROSS_ORIGIN: Field =
    maybe("Cross-Origin-Resource-Policy", "Who may load it.", "^cross-origin$", "cross-origin");

const fn maybe(
    name: &'static str,
    description: &'static str,
    pattern: &'static str,
    example: &'static str,
) -> Field {
    Field { name, description, is_always_there: false, pattern, example }
}
