//! The conditions of a rule: `match`.

use std::borrow::Cow;
use std::collections::HashSet;

use tidegate_core::rule::model::{
    Condition, EntryCondition, Exceptions, MAX_ALTERNATIVES, MAX_CONDITIONS, MAX_EXCEPTED_PATTERNS,
    MAX_EXCEPTIONS, MAX_PARTS,
};
use tidegate_core::rule::pattern::{Glob, GlobError, Pattern, Regex, RegexError, Template, TemplateError};

use super::fields::{self, Fields, Shape};
use super::paths::{self, Reach};
use super::scalar::{self, Name};
use super::spelling::{self, Address};
use super::{MAX_PATTERNS, MAX_VALUE_BYTES, is_not};
use crate::path::Path;
use crate::report::Report;
use crate::suggest::quote;
use crate::yaml::{Node, Value};

pub(crate) const CONDITION: Shape = Shape {
    what: "a condition",
    fields: &["exact", "prefix", "glob", "regex", "is", "not", "all", "present", "absent"],
    others: &[
        ("equals", "exact"),
        ("value", "exact"),
        ("one_of", "is"),
        ("except", "not"),
        ("none_of", "not"),
        ("not_in", "not"),
        ("starts_with", "prefix"),
        ("suffix", "glob"),
        ("ends_with", "glob"),
        ("contains", "glob"),
        ("pattern", "regex"),
        ("matches", "regex"),
        ("regexp", "regex"),
        ("and", "all"),
        ("all_of", "all"),
        ("exists", "present"),
        ("missing", "absent"),
    ],
};

/// The methods whose names everyone writes in capitals.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];

/// Reads the lists of conditions of which one has to hold.
pub(crate) fn read_any(
    node: &Node,
    path: &Path<'_>,
    report: &mut Report<'_>,
) -> Option<Vec<Vec<EntryCondition>>> {
    let remedy = "write for example [{ path: \"/v1/*\" }, { host: api.example.com }]";
    let items = fields::list(node, path, remedy, report)?;
    fields::at_most(MAX_ALTERNATIVES, items.len(), "alternatives", node, path, report);
    let mut any = Vec::with_capacity(items.len().min(MAX_ALTERNATIVES));
    for (index, item) in items.iter().take(MAX_ALTERNATIVES).enumerate() {
        let path = path.index(index);
        let Some(one) = read(item, &path, report) else { continue };
        if matches!(&item.value, Value::Map(entries) if entries.is_empty()) {
            let remedy = "write a condition, or remove any";
            report.error(item.at, &path, "the alternative always holds, so any says nothing", remedy);
        }
        any.push(one);
    }
    if items.is_empty() {
        report.error(
            node.at,
            path,
            "the list is empty, so nothing matches",
            "write at least one, or remove any",
        );
    }
    Some(any)
}

/// Reads the map of conditions.
pub(crate) fn read(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<Vec<EntryCondition>> {
    let entries =
        fields::map(node, path, "write for example { path: \"/v1/*\", method: [POST, PUT] }", report)?;
    fields::at_most(MAX_CONDITIONS, entries.len(), "conditions", node, path, report);
    let mut conditions = Vec::with_capacity(entries.len());
    for (key, value) in entries.iter().take(MAX_CONDITIONS) {
        let Some(entry) = fields::key_text(key, path, report) else { continue };
        let path = path.field(entry);
        scalar::check_name(entry, key.at, &path, Name::Entry, report);
        let condition = Reader { entry, report }.condition(value, &path);
        conditions.extend(condition.map(|condition| EntryCondition { entry: entry.to_owned(), condition }));
    }
    Some(conditions)
}

/// Reads what is asked of one entry.
pub(crate) struct Reader<'a, 'r, 'f> {
    pub(crate) entry: &'a str,
    pub(crate) report: &'r mut Report<'f>,
}

impl Reader<'_, '_, '_> {
    fn condition(&mut self, node: &Node, path: &Path<'_>) -> Option<Condition> {
        match &node.value {
            Value::Scalar(_, text) if text == "*" => Some(Condition::Present),
            Value::Scalar(..) => self.pattern(node, path).map(|pattern| Condition::OneOf(vec![pattern])),
            Value::List(items) => self.one_of(items, MAX_PATTERNS, node, path).map(Condition::OneOf),
            Value::Map(_) => self.spelled_out(node, path),
            Value::Null => {
                let remedy = "write a value, '*' for any value, or {absent: true}";
                self.report.error(node.at, path, "the condition says nothing", remedy);
                None
            }
        }
    }

    fn one_of(&mut self, items: &[Node], most: usize, node: &Node, path: &Path<'_>) -> Option<Vec<Pattern>> {
        if items.is_empty() {
            self.report.error(
                node.at,
                path,
                "the list is empty, so no value matches",
                "write at least one value",
            );
            return None;
        }
        fields::at_most(most, items.len(), "values", node, path, self.report);
        let mut seen: HashSet<Pattern> = HashSet::new();
        let mut patterns: Vec<Pattern> = Vec::new();
        for (index, item) in items.iter().take(most).enumerate() {
            let path = path.index(index);
            let pattern = match &item.value {
                Value::Scalar(_, text) if text == "*" => {
                    let remedy = "write '*' alone, without the list";
                    self.report.error(item.at, &path, "'*' matches every value, so the list is idle", remedy);
                    None
                }
                Value::Scalar(..) => self.pattern(item, &path),
                Value::Map(_) => match self.spelled_out(item, &path) {
                    Some(Condition::OneOf(one)) => one.into_iter().next(),
                    Some(_) => {
                        let remedy = "write it alone, without the list";
                        self.report.error(
                            item.at,
                            &path,
                            "present, absent, all and not cannot be one of several",
                            remedy,
                        );
                        None
                    }
                    None => None,
                },
                _ => {
                    let remedy = "write texts such as POST, or {prefix: text}";
                    self.report.error(item.at, &path, is_not(item, "a value"), remedy);
                    None
                }
            };
            let Some(pattern) = pattern else { continue };
            if !seen.insert(pattern.clone()) {
                let message = format!("{} stands twice", item.describe());
                self.report.error(item.at, &path, message, "remove one of the two");
            }
            patterns.push(pattern);
        }
        (!patterns.is_empty()).then_some(patterns)
    }

    /// `{not: …}`, alone or beside `is`.
    fn excepted(&mut self, fields: &Fields<'_, '_>, not: &Node) -> Option<Condition> {
        let within = match fields.get("is") {
            Some(node) => match self.short_form(node, &fields.path.field("is"))? {
                Condition::OneOf(patterns) => patterns,
                _ => Vec::new(),
            },
            None => Vec::new(),
        };
        let path = fields.path.field("not");
        let but = match &not.value {
            Value::List(items) if items.is_empty() => {
                let remedy = "write at least one value, or leave not out";
                self.report.error(not.at, &path, "the list is empty, so nothing is excepted", remedy);
                return None;
            }
            Value::List(items) => self.one_of(items, MAX_EXCEPTIONS, not, &path)?,
            Value::Scalar(_, text) if text == "*" => {
                let remedy = "write {absent: true} for an entry that is not there";
                self.report.error(not.at, &path, "every value is excepted, so none matches", remedy);
                return None;
            }
            Value::Map(_) => match self.spelled_out(not, &path)? {
                Condition::OneOf(patterns) => patterns,
                _ => {
                    let remedy = "write the values that are not meant, or {exact: …} and {prefix: …} of them";
                    self.report.error(not.at, &path, "only values can be excepted", remedy);
                    return None;
                }
            },
            _ => vec![self.pattern(not, &path)?],
        };
        let exceptions = Exceptions::new(within, but);
        let patterns = exceptions.pattern_count();
        fields::at_most(MAX_EXCEPTED_PATTERNS, patterns, "prefixes and templates", not, &path, self.report);
        Some(Condition::NoneOf(exceptions))
    }

    /// What may stand without a map: a value, a prefix, a template, `*`, or a list.
    fn short_form(&mut self, node: &Node, path: &Path<'_>) -> Option<Condition> {
        if matches!(node.value, Value::Map(_)) {
            let remedy = "write a value, a prefix such as /v1/*, a template, or a list of them";
            self.report.error(node.at, path, is_not(node, "a value"), remedy);
            return None;
        }
        self.condition(node, path)
    }

    /// `{exact: …}`, `{prefix: …}`, `{present: true}` or `{absent: true}`; `{not: …}` and `{is: …, not: …}`.
    fn spelled_out(&mut self, node: &Node, path: &Path<'_>) -> Option<Condition> {
        let fields = Fields::read(node, *path, &CONDITION, self.report)?;
        let Value::Map(entries) = &node.value else { return None };
        if let Some(not) = fields.get("not")
            && entries.iter().all(|(key, _)| matches!(key.text(), Some("is" | "not")))
        {
            return self.excepted(&fields, not);
        }
        let [(key, value)] = entries.as_slice() else {
            let message = format!("the condition has {} parts", entries.len());
            let remedy = "write exactly one of exact, prefix, glob, regex, is, not, all, present and absent; not may stand beside is";
            self.report.error(node.at, path, message, remedy);
            return None;
        };
        let path = fields.path.field(key.text()?);
        let pattern = match key.text()? {
            "present" => return self.flag(value, &path, "absent").then_some(Condition::Present),
            "absent" => return self.flag(value, &path, "present").then_some(Condition::Absent),
            "is" => return self.short_form(value, &path),
            "all" => return self.all_of(value, &path),
            "glob" => {
                let text = self.value(value, &path)?;
                self.glob(Glob::parse(text), value, &path)
            }
            "regex" => {
                let text = self.value(value, &path)?;
                self.regex(text, value, &path)
            }
            "exact" => {
                let text = self.value(value, &path)?;
                self.exact(text, value, &path)
            }
            "prefix" => {
                let text = self.value(value, &path)?;
                self.prefix(text, value, &path)
            }
            _ => None,
        };
        pattern.map(|pattern| Condition::OneOf(vec![pattern]))
    }

    /// `{all: […]}`: each of them a condition on the value.
    fn all_of(&mut self, node: &Node, path: &Path<'_>) -> Option<Condition> {
        let remedy = "write for example [\"/v1/*\", {not: /v1/health}]";
        let items = fields::list(node, path, remedy, self.report)?;
        if !(2..=MAX_PARTS).contains(&items.len()) {
            let message = format!("{} conditions are to hold together", items.len());
            self.report.error(node.at, path, message, format!("write 2 to {MAX_PARTS} of them"));
            return None;
        }
        let mut parts = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let path = path.index(index);
            match self.condition(item, &path)? {
                part @ (Condition::OneOf(_) | Condition::NoneOf(_)) => parts.push(part),
                Condition::Present | Condition::Absent | Condition::AllOf(_) => {
                    let message = "only conditions on the value can be parts of all";
                    self.report.error(item.at, &path, message, "write values, not, glob or regex");
                    return None;
                }
            }
        }
        Some(Condition::AllOf(parts))
    }

    /// The `true` of `{present: true}`.
    fn flag(&mut self, node: &Node, path: &Path<'_>, opposite: &str) -> bool {
        let flag = scalar::boolean(node, path, self.report);
        if flag == Some(false) {
            self.report.error(
                node.at,
                path,
                "false says the opposite",
                format!("write {{{opposite}: true}}"),
            );
        }
        flag == Some(true)
    }

    /// A text in the short form: exact, with stars, or a path template.
    fn pattern(&mut self, node: &Node, path: &Path<'_>) -> Option<Pattern> {
        let text = self.value(node, path)?;
        if text.starts_with('/') && text.contains('{') {
            if text.contains('*') {
                let message = format!("{} mixes a path template with '*'", quote(text));
                let remedy = "write a template such as /users/{id}, or a prefix such as /users/*";
                self.report.error(node.at, path, message, remedy);
                return None;
            }
            return self.template(text, node, path);
        }
        match text.strip_suffix('*') {
            Some(before) if !before.contains('*') => self.prefix(before, node, path),
            None if !text.contains('*') => self.exact(text, node, path),
            _ => self.glob(Glob::new(text.split('*').map(str::to_owned)), node, path),
        }
    }

    /// The text of a value, within its bounds.
    pub(crate) fn value<'n>(&mut self, node: &'n Node, path: &Path<'_>) -> Option<&'n str> {
        let Some(text) = node.text() else {
            self.report.error(node.at, path, is_not(node, "a text"), "write a text, in quotes if need be");
            return None;
        };
        self.is_value(text, node, path).then_some(text)
    }

    /// Whether a text can be a value.
    pub(crate) fn is_value(&mut self, text: &str, node: &Node, path: &Path<'_>) -> bool {
        if text.len() > MAX_VALUE_BYTES {
            let message = format!("the value has {} bytes", text.len());
            self.report.error(node.at, path, message, format!("use at most {MAX_VALUE_BYTES}"));
            return false;
        }
        if text.chars().any(scalar::is_unwritable) {
            let message = format!("the value {} has a control character", quote(text));
            self.report.error(node.at, path, message, "remove it: no request can have it");
            return false;
        }
        true
    }

    pub(crate) fn exact(&mut self, text: &str, node: &Node, path: &Path<'_>) -> Option<Pattern> {
        let capitals = text.to_ascii_uppercase();
        if self.entry == "method" && capitals != text && METHODS.contains(&capitals.as_str()) {
            let message =
                format!("methods are written in capitals, so {} matches nothing usual", quote(text));
            self.report.warn(node.at, path, message, format!("write {capitals}"));
        }
        if text.is_empty() {
            let remedy =
                "write {absent: true} for an entry that is not there, {regex: '^$'} for an empty one";
            self.report.error(
                node.at,
                path,
                "the value is empty, and only gRPC can bring such an entry",
                remedy,
            );
            return None;
        }
        let text = self.spelled(text, node, path);
        self.possible_path(&text, Reach::Whole, node, path).then(|| Pattern::Exact(text.into_owned()))
    }

    /// A value as the doors bring it, with a warning where that is more than another spelling.
    fn spelled<'t>(&mut self, text: &'t str, node: &Node, path: &Path<'_>) -> Cow<'t, str> {
        let spelled = spelling::part(self.entry, text);
        if spelling::is_host(self.entry) && spelled != text {
            let message = "hosts are compared in small letters";
            self.report.warn(node.at, path, message, format!("write {spelled}"));
        }
        match spelling::address(text).filter(|_| spelling::is_address(self.entry)) {
            None => spelled,
            Some(Address::Same(address)) => Cow::Owned(address),
            Some(Address::Wider(network)) => {
                let message =
                    format!("an IPv6 client counts as its network, so this matches all of {network}");
                let remedy =
                    format!("write '{network}', or the network of as many bits as --ipv6-prefix says");
                self.report.warn(node.at, path, message, remedy);
                Cow::Owned(network)
            }
            Some(Address::Never) => {
                let message = "an address is compared as it is, not as a network, so this never matches";
                let remedy = "write a prefix such as 10.*, single addresses, or IPv6 networks of 64 bits";
                self.report.warn(node.at, path, message, remedy);
                spelled
            }
        }
    }

    pub(crate) fn prefix(&mut self, text: &str, node: &Node, path: &Path<'_>) -> Option<Pattern> {
        if text.is_empty() {
            self.report.error(node.at, path, "the prefix is empty", "write {present: true} for any value");
            return None;
        }
        let text = spelling::beginning(self.entry, text);
        self.possible_path(&text, Reach::Beginning, node, path).then(|| Pattern::Prefix(text.into_owned()))
    }

    /// A text with stars. Where the only one is at the end, it is a prefix.
    pub(crate) fn glob(
        &mut self,
        glob: Result<Glob, GlobError>,
        node: &Node,
        path: &Path<'_>,
    ) -> Option<Pattern> {
        let glob = match glob {
            Ok(glob) => glob,
            Err(error) => {
                let remedy = match error {
                    GlobError::NoStar => "write {exact: …} for one value",
                    GlobError::OnlyStars => "write '*' alone, or {present: true}",
                    GlobError::TooManyStars => "use fewer stars, or {regex: …}",
                    GlobError::BadEscape => "write \\\\ for a backslash, \\* for a star of the value",
                };
                self.report.error(node.at, path, error.to_string(), remedy);
                return None;
            }
        };
        let mut places = glob.pieces().iter().enumerate().filter(|(_, piece)| !piece.is_empty());
        let is_possible = places.all(|(place, piece)| {
            let reach = if place == 0 { Reach::Beginning } else { Reach::Within };
            self.possible_path(piece, reach, node, path)
        });
        let pieces = glob.pieces().iter().map(|piece| spelling::part(self.entry, piece).into_owned());
        let pattern = is_possible.then(|| Pattern::of_pieces(pieces));
        pattern.and_then(Result::ok)
    }

    pub(crate) fn regex(&mut self, text: &str, node: &Node, path: &Path<'_>) -> Option<Pattern> {
        match Regex::parse(text) {
            Ok(regex) => Some(Pattern::Regex(regex)),
            Err(error) => {
                let remedy = match error {
                    RegexError::TooLong | RegexError::TooLarge => {
                        "write it simpler: [0-9] for \\d, [a-z] for \\w, or a glob"
                    }
                    RegexError::Syntax(_) => "see https://docs.rs/regex for what can be written",
                };
                self.report.error(node.at, path, error.to_string(), remedy);
                None
            }
        }
    }

    fn template(&mut self, text: &str, node: &Node, path: &Path<'_>) -> Option<Pattern> {
        match Template::parse(text) {
            Ok(template) => {
                self.possible_path(text, Reach::Whole, node, path).then_some(Pattern::Template(template))
            }
            Err(error) => {
                let remedy = match &error {
                    TemplateError::EmptySegment => "remove one of the two slashes",
                    TemplateError::RepeatedParameter(_) => "give the second one another name",
                    TemplateError::TooManySegments => "write a prefix such as /users/*",
                    _ => {
                        "write for example /users/{id}/orders, or {exact: …} if the braces belong to the value"
                    }
                };
                self.report.error(node.at, path, error.to_string(), remedy);
                None
            }
        }
    }

    /// Whether a normalised path can be like `text`.
    fn possible_path(&mut self, text: &str, reach: Reach, node: &Node, path: &Path<'_>) -> bool {
        let problem = if self.entry == "path" { paths::problem(text, reach) } else { None };
        let Some((why, remedy)) = problem else { return true };
        self.report.error(node.at, path, format!("{} never matches: {why}", quote(text)), remedy);
        false
    }
}
