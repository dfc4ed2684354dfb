//! The way back: the model as documents in the form of the rule file.
//!
//! Equal models give equal documents, in the order of the documentation, without what is said by leaving it out; only the
//! algorithm is always there, so that a document means the same whatever the defaults.

use serde_json::{Map, Value, json};
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::room::{EarlyEnd, OpeningOrder};
use tidegate_core::rule::model::{Condition, Consistency, Denies, Domain, EntryCondition, Mode, Rule, Rules};
use tidegate_core::rule::pattern::Pattern;
use tidegate_core::time::Micros;

use crate::quotas::named_burst;
use crate::rules::{RoomDefinition, RoomSeatPer};

/// A waiting room as a JSON document.
#[must_use]
pub fn room_json(room: &RoomDefinition) -> Value {
    let (spec, mut fields) = (&room.spec, Map::new());
    let mut put = |name: &str, value: Value| {
        fields.insert(name.to_owned(), value);
    };
    let span = |span: Option<Micros>| json!(span.map_or_else(|| "none".to_owned(), |span| span.to_string()));
    put("name", json!(room.name.as_str()));
    put("title", json!(room.title));
    put("capacity", json!(spec.capacity));
    put("release_rate", json!(format!("{}/{}", spec.release.limit(), spec.release.window())));
    let early_end = match spec.session.early_end {
        EarlyEnd::HoldsSeat => "holds_seat",
        EarlyEnd::FreesSeat => "frees_seat",
    };
    let session = &spec.session;
    put(
        "session",
        json!({
            "limit": span(session.limit), "idle": span(session.idle), "renewals": session.renewals, "early_end": early_end,
        }),
    );
    put("claim", json!({ "window": spec.claim.window.to_string(), "extensions": spec.claim.extensions }));
    put(
        "one_seat_per",
        json!(match &room.one_seat_per {
            RoomSeatPer::Device => "device".to_owned(),
            RoomSeatPer::Ip => "ip".to_owned(),
            RoomSeatPer::Header(name) => format!("header:{name}"),
        }),
    );
    if let Some(seats) = spec.seats_per_prefix {
        put("seats_per_prefix", json!(seats));
    }
    put("max_waiting", json!(spec.max_waiting));
    put("method", json!(spec.method.name()));
    if let Some(opening) = spec.opening {
        let at = i64::try_from(opening.at.as_micros())
            .ok()
            .and_then(|at| jiff::Timestamp::from_microsecond(at).ok());
        put("opens_at", json!(at.map(|at| at.to_string())));
        let order = match opening.order {
            OpeningOrder::Shuffled => "shuffled",
            OpeningOrder::AsTheyCame => "arrival",
        };
        put("order", json!(order));
    }
    if !room.hosts.is_empty() {
        put("hosts", json!(room.hosts));
    }
    if let Some(place) = &room.return_to {
        put("return_to", json!(place));
    }
    if let Some(message) = &room.message {
        put("message", json!(message));
    }
    if let Some(accent) = &room.accent {
        put("accent", json!(accent));
    }
    if let Some(template) = &room.template {
        put("template", json!(template));
    }
    if !room.asset_origins.is_empty() {
        put("asset_origins", json!(room.asset_origins));
    }
    put("min_lease", json!(spec.min_lease.to_string()));
    Value::Object(fields)
}

/// A rule as a JSON document.
#[must_use]
pub fn rule_json(rule: &Rule) -> Value {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| {
        fields.insert(name.to_owned(), value);
    };
    put("name", json!(rule.name));
    if let Some(formerly) = &rule.formerly {
        put("formerly", json!(formerly));
    }
    if !rule.conditions.is_empty() {
        put("match", conditions(&rule.conditions));
    }
    if !rule.any.is_empty() {
        put("any", rule.any.iter().map(|one| conditions(one)).collect());
    }
    if rule.only {
        put("only", json!(true));
    }
    if !rule.order.is_empty() {
        put("order", json!(rule.order));
    }
    if rule.otherwise {
        put("otherwise", json!(true));
    }
    put("key", json!(rule.key));
    put("algorithm", json!(rule.algorithm.name()));
    put("limit", json!(rule.quota.limit()));
    put(time_field(rule.algorithm), json!(rule.quota.window().to_string()));
    if let Some(burst) = named_burst(rule.algorithm, &rule.quota) {
        put("burst", json!(burst));
    }
    if !rule.tiers.is_empty() {
        let tiers = rule.tiers.iter().map(|(name, quota)| (name.clone(), tier(rule, quota)));
        put("tiers", Value::Object(tiers.collect()));
    }
    if !rule.reserve.is_empty() {
        let shares =
            rule.reserve.iter().map(|one| (one.priority.clone(), json!(format!("{}%", one.percent))));
        put("reserve", Value::Object(shares.collect()));
    }
    if rule.mode != Mode::Enforce {
        put("mode", json!(rule.mode.name()));
    }
    if !rule.replaces.is_empty() {
        put("replaces", json!(rule.replaces));
    }
    if rule.denies != Denies::Alone {
        put("denies", json!(rule.denies.name()));
    }
    if let Some(policy) = rule.on_store_failure {
        put("on_store_failure", json!(policy.name()));
    }
    if let Some(queue) = rule.queue {
        put("queue", json!({ "max_wait": queue.max_wait.to_string(), "max_depth": queue.max_depth }));
    }
    if let Some(room) = rule.room() {
        put("on_limit", json!("room"));
        put("room", json!(room.as_str()));
    }
    if let Consistency::Leased(lease) = rule.consistency {
        put("consistency", json!("leased"));
        let mut fields = Map::new();
        if let Some(units) = lease.named_units() {
            fields.insert("units".to_owned(), json!(units));
        }
        fields.insert("hold".to_owned(), json!(lease.hold().to_string()));
        put("lease", Value::Object(fields));
    }
    Value::Object(fields)
}

/// Everything of a domain but its rules, as a JSON document.
#[must_use]
pub fn domain_settings_json(domain: &Domain) -> Value {
    let mut fields = Map::new();
    fields.insert("name".to_owned(), json!(domain.name));
    if let Some(subject) = &domain.subject {
        fields.insert("subject".to_owned(), json!(subject));
    }
    if let Some(tier) = &domain.default_tier {
        fields.insert("default_tier".to_owned(), json!(tier));
    }
    if let Some(policy) = domain.on_store_failure {
        fields.insert("on_store_failure".to_owned(), json!(policy.name()));
    }
    Value::Object(fields)
}

const fn time_field(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Concurrency => "permit_ttl",
        _ => "window",
    }
}

/// What a tier says differently from its rule; all of it where that is nothing, since an empty tier would be an error.
fn tier(rule: &Rule, quota: &Quota) -> Value {
    let mut fields = Map::new();
    let inherited = named_burst(rule.algorithm, &rule.quota);
    if quota.limit() != rule.quota.limit() || quota == &rule.quota {
        fields.insert("limit".to_owned(), json!(quota.limit()));
    }
    if quota.window() != rule.quota.window() {
        fields.insert(time_field(rule.algorithm).to_owned(), json!(quota.window().to_string()));
    }
    let without = Quota::new(rule.algorithm, quota.limit(), quota.window(), inherited);
    if without.map(|quota| quota.burst()) != Ok(quota.burst()) {
        fields.insert("burst".to_owned(), json!(quota.burst()));
    }
    if fields.is_empty() {
        fields.insert("limit".to_owned(), json!(quota.limit()));
    }
    Value::Object(fields)
}

fn conditions(conditions: &[EntryCondition]) -> Value {
    let entries = conditions.iter().map(|wanted| (wanted.entry.clone(), condition(&wanted.condition)));
    Value::Object(entries.collect())
}

fn condition(condition: &Condition) -> Value {
    match condition {
        Condition::AllOf(parts) => {
            let parts: Vec<Value> = parts.iter().map(self::condition).collect();
            json!({ "all": parts })
        }
        Condition::Present => json!("*"),
        Condition::Absent => json!({ "absent": true }),
        Condition::OneOf(patterns) => one_or_several(patterns),
        Condition::NoneOf(exceptions) => {
            let not = one_or_several(&exceptions.but().collect::<Vec<_>>());
            match exceptions.within() {
                [] => json!({ "not": not }),
                within => {
                    let is = within.iter().map(pattern).collect::<Vec<_>>();
                    let is = match <[Value; 1]>::try_from(is) {
                        // Only a list takes the long forms.
                        Ok([Value::String(one)]) => Value::String(one),
                        Ok(one) => Value::Array(one.into()),
                        Err(several) => Value::Array(several),
                    };
                    json!({ "is": is, "not": not })
                }
            }
        }
    }
}

fn one_or_several(patterns: &[Pattern]) -> Value {
    match patterns {
        [one] => pattern(one),
        several => Value::Array(several.iter().map(pattern).collect()),
    }
}

/// The short form, unless a star or a brace of the text would be taken for something else.
fn pattern(pattern: &Pattern) -> Value {
    let is_taken_otherwise = |text: &str| text.contains('*') || (text.starts_with('/') && text.contains('{'));
    match pattern {
        Pattern::Exact(text) if is_taken_otherwise(text) => json!({ "exact": text }),
        Pattern::Exact(text) => json!(text),
        Pattern::Prefix(text) if is_taken_otherwise(text) => json!({ "prefix": text }),
        Pattern::Prefix(text) => json!(format!("{text}*")),
        Pattern::Template(template) => json!(template.text()),
        Pattern::Glob(glob) => {
            let short = glob.pieces().join("*");
            let has_brace = short.starts_with('/') && short.contains('{');
            if has_brace || glob.pieces().iter().any(|piece| piece.contains('*')) {
                json!({ "glob": glob.to_string() })
            } else {
                json!(short)
            }
        }
        Pattern::Regex(regex) => json!({ "regex": regex.text() }),
    }
}

/// Rules as a whole rule file, in YAML.
#[must_use]
pub fn rules_yaml(rules: &Rules) -> String {
    let mut out = String::from("version: 1\n");
    if rules.domains.is_empty() {
        out.push_str("domains: []\n");
        return out;
    }
    out.push_str("domains:\n");
    for (index, domain) in rules.domains.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        item(&mut out, &domain_settings_json(domain), 2);
        if domain.rules.is_empty() {
            out.push_str("    rules: []\n");
            continue;
        }
        out.push_str("    rules:\n");
        for (index, rule) in domain.rules.iter().enumerate() {
            if index > 0 {
                out.push('\n');
            }
            item(&mut out, &rule_json(rule), 6);
        }
    }
    out
}

/// The longest line in characters, unless one value is longer.
const MAX_LINE: usize = 100;

/// A map as an item of a list: a field a line.
fn item(out: &mut String, value: &Value, indent: usize) {
    for (index, (name, value)) in value.as_object().into_iter().flatten().enumerate() {
        indented(out, indent);
        out.push_str(if index == 0 { "- " } else { "  " });
        field(out, name, value, indent + 2);
    }
}

/// A field in one line, or its parts in a line each where that would be too long.
fn field(out: &mut String, name: &str, value: &Value, indent: usize) {
    scalar(out, name);
    out.push(':');
    let mut line = String::new();
    inline(&mut line, value);
    let is_long = indent + name.chars().count() + 2 + line.chars().count() > MAX_LINE;
    match value {
        Value::Object(fields) if is_long => {
            out.push('\n');
            for (name, value) in fields {
                indented(out, indent + 2);
                field(out, name, value, indent + 2);
            }
        }
        Value::Array(items) if is_long => {
            out.push('\n');
            for item in items {
                indented(out, indent + 2);
                out.push_str("- ");
                inline(out, item);
                out.push('\n');
            }
        }
        _ => {
            out.push(' ');
            out.push_str(&line);
            out.push('\n');
        }
    }
}

fn indented(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn inline(out: &mut String, value: &Value) {
    match value {
        Value::String(text) => scalar(out, text),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                inline(out, item);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            out.push_str("{ ");
            for (index, (name, value)) in fields.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                scalar(out, name);
                out.push_str(": ");
                inline(out, value);
            }
            out.push_str(" }");
        }
        other => out.push_str(&other.to_string()),
    }
}

/// A text plain where nothing could be taken for something else, else in double quotes.
fn scalar(out: &mut String, text: &str) {
    if is_plain(text) {
        out.push_str(text);
    } else {
        quoted(out, text);
    }
}

/// Words that readers of YAML take for something else than themselves.
const TAKEN: [&str; 12] =
    ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "inf", "nan", "infinity"];

fn is_plain(text: &str) -> bool {
    let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-./".contains(&b))
        && !TAKEN.iter().any(|word| text.eq_ignore_ascii_case(word));
    let is_duration = text.starts_with(|c: char| c.is_ascii_digit())
        && text.ends_with(['s', 'm', 'h', 'd'])
        && text.bytes().all(|b| b.is_ascii_digit() || b"smhdu".contains(&b));
    let is_share = text
        .strip_suffix('%')
        .is_some_and(|share| !share.is_empty() && share.bytes().all(|b| b.is_ascii_digit()));
    is_word || is_duration || is_share
}

/// A text in double quotes. What is not seen, or ends a line for some readers, is escaped.
fn quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\u{2028}'
            | '\u{2029}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{a0}'
            | '\u{feff}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}
