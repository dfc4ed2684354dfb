//! Conditions and variables: the part of CEL that asks one thing of one entry.
//!
//! ```text
//! condition = term { "&&" term }
//! term      = "!" term | "(" condition ")" | "has(" entry ")" | text "in" "descriptors[0]" | text "==" entry
//!           | entry ( "==" text | "!=" text | "in" "[" text { "," text } "]"
//!                   | ".startsWith(" text ")" | ".matches(" text ")" )
//! entry     = "descriptors[0]." name | "descriptors[0][" text "]" | name { "." name }
//! ```
//!
//! An entry that a request lacks is an error there, and the limit does not apply: so `!=` is "there, and not this" here.

use std::collections::BTreeMap;

use tidegate_core::rule::model::{
    Condition, EntryCondition, Exceptions, MAX_CONDITIONS, MAX_EXCEPTED_PATTERNS, MAX_EXCEPTIONS,
};
use tidegate_core::rule::pattern::Pattern;

use super::lexer::{Token, tokens};
use crate::path::Path;
use crate::report::Report;
use crate::rules::MAX_PATTERNS;
use crate::rules::condition::Reader;
use crate::rules::fields;
use crate::rules::scalar::{self, Name};
use crate::suggest::quote;
use crate::yaml::Node;

/// The deepest nesting of brackets and negations.
const MAX_NESTING: usize = 16;

/// Why an expression has no equal here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal(String);

impl Refusal {
    /// Reports a condition.
    fn of_condition(self, text: &str, node: &Node, path: &Path<'_>, report: &mut Report<'_>) {
        let remedy = "write it as ==, !=, in, has() or startsWith() of one entry, joined by &&";
        self.report(text, remedy, node, path, report);
    }

    /// Reports a variable.
    pub(super) fn of_variable(self, text: &str, node: &Node, path: &Path<'_>, report: &mut Report<'_>) {
        self.report(text, "write the name of one entry, such as descriptors[0].user_id", node, path, report);
    }

    fn report(self, text: &str, remedy: &str, node: &Node, path: &Path<'_>, report: &mut Report<'_>) {
        let message = format!("the expression {} has no equal here: {}", quote(text), self.0);
        report.error(node.at, path, message, remedy);
    }
}

/// What an expression asks of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    Is(Vec<Pattern>),
    Not(Vec<Pattern>),
    Present,
    Absent,
}

impl Asked {
    fn negated(self) -> Self {
        match self {
            Asked::Is(patterns) => Asked::Not(patterns),
            Asked::Not(patterns) => Asked::Is(patterns),
            Asked::Present => Asked::Absent,
            Asked::Absent => Asked::Present,
        }
    }
}

/// The entry that a variable names.
///
/// # Errors
/// It is more than the name of an entry.
pub(super) fn variable(text: &str) -> Result<String, Refusal> {
    let mut parser = Parser::of(text)?;
    let entry = parser.entry()?;
    parser.end()?;
    Ok(entry)
}

/// The conditions of a limit, by entry.
#[derive(Default)]
pub(super) struct Conditions(BTreeMap<String, Merged>);

/// Everything that is asked of one entry.
#[derive(Default)]
struct Merged {
    is: Option<Vec<Pattern>>,
    not: Vec<Pattern>,
    is_present: bool,
    is_absent: bool,
}

impl Conditions {
    /// Adds what one expression asks.
    pub(super) fn add(&mut self, text: &str, node: &Node, path: &Path<'_>, report: &mut Report<'_>) {
        match parse(text) {
            Ok(asked) => {
                for (entry, asked) in asked {
                    if !scalar::check_name(&entry, node.at, path, Name::Entry, report) {
                        continue;
                    }
                    if let Err(refusal) = self.ask(entry, asked, node, path, report) {
                        refusal.of_condition(text, node, path, report);
                    }
                }
            }
            Err(refusal) => refusal.of_condition(text, node, path, report),
        }
    }

    fn ask(
        &mut self,
        entry: String,
        asked: Asked,
        node: &Node,
        path: &Path<'_>,
        report: &mut Report<'_>,
    ) -> Result<(), Refusal> {
        let mut reader = Reader { entry: &entry, report };
        let asked = match asked {
            Asked::Is(patterns) => Asked::Is(possible(patterns, &mut reader, node, path)),
            Asked::Not(mut patterns) => {
                // No entry has an empty value.
                patterns.retain(|pattern| *pattern != Pattern::Exact(String::new()));
                Asked::Not(possible(patterns, &mut reader, node, path))
            }
            other => other,
        };
        let merged = self.0.entry(entry).or_default();
        match asked {
            Asked::Is(_) if merged.is.is_some() => {
                return Err(Refusal(
                    "the entry is compared with several values that all have to be".to_owned(),
                ));
            }
            Asked::Is(patterns) => merged.is = Some(patterns),
            Asked::Not(patterns) => {
                merged.is_present = true;
                merged.not.extend(patterns);
            }
            Asked::Present => merged.is_present = true,
            Asked::Absent => merged.is_absent = true,
        }
        Ok(())
    }

    /// The conditions in the order of their entries.
    pub(super) fn finish(
        self,
        node: &Node,
        path: &Path<'_>,
        report: &mut Report<'_>,
    ) -> Option<Vec<EntryCondition>> {
        fields::at_most(MAX_CONDITIONS, self.0.len(), "entries with conditions", node, path, report);
        let mut conditions = Vec::with_capacity(self.0.len());
        for (entry, merged) in self.0 {
            let (is, not) = (merged.is.as_ref().map_or(0, Vec::len), merged.not.len());
            fields::at_most(MAX_PATTERNS, is, "values", node, path, report);
            fields::at_most(MAX_EXCEPTIONS, not, "exceptions", node, path, report);
            let condition = match (merged.is, merged.not) {
                (is, _) if merged.is_absent && (is.is_some() || merged.is_present) => {
                    let message = format!("the entry {} has to be there and not to be there", quote(&entry));
                    report.error(node.at, path, message, "remove one of the two conditions");
                    continue;
                }
                _ if merged.is_absent => Condition::Absent,
                (Some(is), not) if not.is_empty() => Condition::OneOf(is),
                (None, not) if not.is_empty() => Condition::Present,
                (is, not) => {
                    let exceptions = Exceptions::new(is.unwrap_or_default(), not);
                    let patterns = exceptions.pattern_count();
                    fields::at_most(MAX_EXCEPTED_PATTERNS, patterns, "prefixes", node, path, report);
                    Condition::NoneOf(exceptions)
                }
            };
            conditions.push(EntryCondition { entry, condition });
        }
        Some(conditions)
    }
}

/// The patterns, each once and as a rule file could say it; what no request can have is reported.
fn possible(
    patterns: Vec<Pattern>,
    reader: &mut Reader<'_, '_, '_>,
    node: &Node,
    path: &Path<'_>,
) -> Vec<Pattern> {
    let mut kept: Vec<Pattern> = Vec::with_capacity(patterns.len());
    for pattern in patterns {
        let checked = match &pattern {
            Pattern::Exact(text) if reader.is_value(text, node, path) => reader.exact(text, node, path),
            Pattern::Prefix(text) if reader.is_value(text, node, path) => reader.prefix(text, node, path),
            _ => None,
        };
        kept.extend(checked.filter(|pattern| !kept.contains(pattern)));
    }
    kept
}

fn parse(text: &str) -> Result<Vec<(String, Asked)>, Refusal> {
    let mut parser = Parser::of(text)?;
    let asked = parser.condition(0)?;
    parser.end()?;
    Ok(asked)
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
}

impl Parser {
    fn of(text: &str) -> Result<Self, Refusal> {
        Ok(Self { tokens: tokens(text).map_err(Refusal)?.into_iter().peekable() })
    }

    fn condition(&mut self, depth: usize) -> Result<Vec<(String, Asked)>, Refusal> {
        let mut asked = self.term(depth)?;
        loop {
            if self.takes("&&") {
                asked.extend(self.term(depth)?);
            } else if self.takes("||") {
                return Err(refused("|| would need several limits; 'in' says several values of one entry"));
            } else {
                return Ok(asked);
            }
        }
    }

    fn term(&mut self, depth: usize) -> Result<Vec<(String, Asked)>, Refusal> {
        if depth > MAX_NESTING {
            return Err(refused("it is nested too deep"));
        }
        if self.takes("!") {
            let asked = self.term(depth + 1)?;
            let [(entry, asked)] = <[_; 1]>::try_from(asked)
                .map_err(|_| refused("! of several conditions would need several limits"))?;
            return Ok(vec![(entry, asked.negated())]);
        }
        if self.takes("(") {
            let asked = self.condition(depth + 1)?;
            self.expect(")")?;
            return Ok(asked);
        }
        if let Some(Token::Text(_)) = self.tokens.peek() {
            let text = self.text()?;
            if self.takes("==") {
                return Ok(vec![(self.entry()?, Asked::Is(vec![Pattern::Exact(text)]))]);
            }
            self.expect_name("in")?;
            self.descriptor()?;
            return Ok(vec![(text, Asked::Present)]);
        }
        if self.tokens.peek() == Some(&Token::Name("has".to_owned())) {
            self.tokens.next();
            self.expect("(")?;
            let entry = self.entry()?;
            self.expect(")")?;
            return Ok(vec![(entry, Asked::Present)]);
        }
        let (entry, call) = self.entry_or_call()?;
        let asked = match call {
            Some(call) => self.call(&call)?,
            None => self.comparison()?,
        };
        Ok(vec![(entry, asked)])
    }

    /// What stands behind an entry.
    fn comparison(&mut self) -> Result<Asked, Refusal> {
        if self.takes("==") {
            return Ok(Asked::Is(vec![Pattern::Exact(self.text()?)]));
        }
        if self.takes("!=") {
            return Ok(Asked::Not(vec![Pattern::Exact(self.text()?)]));
        }
        self.expect_name("in")?;
        self.expect("[")?;
        let mut values = vec![Pattern::Exact(self.text()?)];
        while self.takes(",") {
            values.push(Pattern::Exact(self.text()?));
        }
        self.expect("]")?;
        Ok(Asked::Is(values))
    }

    /// A function of an entry, behind its name and bracket.
    fn call(&mut self, name: &str) -> Result<Asked, Refusal> {
        let text = self.text()?;
        self.expect(")")?;
        let pattern = match name {
            "startsWith" => Pattern::Prefix(text),
            "matches" => simple_regex(&text).ok_or_else(|| {
                refused("of regular expressions only ^text$ and ^text, without other signs, have one")
            })?,
            _ => return Err(refused(&format!("{name}() is not read"))),
        };
        Ok(Asked::Is(vec![pattern]))
    }

    fn entry(&mut self) -> Result<String, Refusal> {
        match self.entry_or_call()? {
            (entry, None) => Ok(entry),
            (_, Some(call)) => Err(refused(&format!("{call}() cannot stand here"))),
        }
    }

    /// An entry, and the name of the function of it that is called, behind its bracket.
    fn entry_or_call(&mut self) -> Result<(String, Option<String>), Refusal> {
        let name = match self.tokens.next() {
            Some(Token::Name(name)) if !matches!(name.as_str(), "true" | "false" | "null" | "in") => name,
            Some(other) => return Err(refused(&format!("{} is not an entry", shown(&other)))),
            None => return Err(refused("it ends too early")),
        };
        let is_of_descriptor = name == "descriptors";
        let mut entry = name;
        if is_of_descriptor {
            self.index()?;
            entry = if self.takes("[") {
                let entry = self.text()?;
                self.expect("]")?;
                entry
            } else {
                self.expect(".")?;
                self.name()?
            };
        } else if self.tokens.peek() == Some(&Token::Sign("(")) {
            return Err(refused(&format!("{entry}() is not read")));
        }
        while self.takes(".") {
            let name = self.name()?;
            if self.takes("(") {
                return Ok((entry, Some(name)));
            }
            if is_of_descriptor {
                return Err(refused(
                    "values of entries are texts and have no fields; put a name with dots in [\"…\"]",
                ));
            }
            entry = format!("{entry}.{name}");
        }
        Ok((entry, None))
    }

    /// `descriptors[0]`.
    fn descriptor(&mut self) -> Result<(), Refusal> {
        self.expect_name("descriptors")?;
        self.index()
    }

    fn index(&mut self) -> Result<(), Refusal> {
        self.expect("[")?;
        match self.tokens.next() {
            Some(Token::Number(number)) if number == "0" => self.expect("]"),
            _ => Err(refused("only descriptors[0] is read: each descriptor is decided by itself")),
        }
    }

    fn name(&mut self) -> Result<String, Refusal> {
        match self.tokens.next() {
            Some(Token::Name(name)) => Ok(name),
            other => Err(expected("a name", other.as_ref())),
        }
    }

    fn text(&mut self) -> Result<String, Refusal> {
        match self.tokens.next() {
            Some(Token::Text(text)) => Ok(text),
            other => Err(expected("a text in quotes", other.as_ref())),
        }
    }

    fn takes(&mut self, sign: &'static str) -> bool {
        self.tokens.next_if_eq(&Token::Sign(sign)).is_some()
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), Refusal> {
        match self.tokens.next() {
            Some(Token::Sign(found)) if found == sign => Ok(()),
            other => Err(expected(sign, other.as_ref())),
        }
    }

    fn expect_name(&mut self, name: &str) -> Result<(), Refusal> {
        match self.tokens.next() {
            Some(Token::Name(found)) if found == name => Ok(()),
            other => Err(expected(&format!("==, != or {name}"), other.as_ref())),
        }
    }

    fn end(&mut self) -> Result<(), Refusal> {
        self.tokens.next().map_or(Ok(()), |token| Err(expected("the end", Some(&token))))
    }
}

fn refused(reason: &str) -> Refusal {
    Refusal(reason.to_owned())
}

fn expected(what: &str, found: Option<&Token>) -> Refusal {
    let found = found.map_or("the end".to_owned(), shown);
    Refusal(format!("expected {what}, found {found}"))
}

fn shown(token: &Token) -> String {
    match token {
        Token::Name(text) | Token::Number(text) | Token::Text(text) => quote(text),
        Token::Sign(sign) => quote(sign),
    }
}

/// `^text$` and `^text`, which other patterns can say; `\` makes a sign a letter.
fn simple_regex(regex: &str) -> Option<Pattern> {
    let mut text = String::new();
    let mut chars = regex.strip_prefix('^')?.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.push(chars.next().filter(char::is_ascii_punctuation)?),
            '$' => return chars.next().is_none().then_some(Pattern::Exact(text)),
            '.' if chars.as_str() == "*" || chars.as_str() == "*$" => break,
            '.' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' => return None,
            c => text.push(c),
        }
    }
    Some(Pattern::Prefix(text))
}

#[cfg(test)]
mod tests;
