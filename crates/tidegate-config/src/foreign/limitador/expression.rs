//! Conditions and variables: the part of CEL that asks entries of one descriptor.
//!
//! ```text
//! condition = all { "||" all }
//! all       = term { "&&" term }
//! term      = "!" term | "(" condition ")" | "true" | "false" | "has(" entry ")" | text "in" descriptor
//!           | text ( "==" | "!=" ) entry
//!           | "descriptors." ( "exists" | "all" ) "(" name "," condition ")"
//!           | entry ( "==" text | "!=" text | "in" "[" [ text { "," text } ] "]"
//!                   | "." ( "startsWith" | "endsWith" | "contains" | "matches" ) "(" text ")" )
//! entry     = descriptor "." name | descriptor "[" text "]" | name { "." name }
//! descriptor = "descriptors[0]" | the name in exists() or all()
//! ```

use tidegate_core::rule::pattern::{GlobError, Pattern, Regex};

use super::lexer::{Token, tokens};
use crate::suggest::quote;

/// The deepest nesting of brackets and negations.
const MAX_NESTING: usize = 16;

/// Why an expression has no equal here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal(pub(super) String);

/// An expression that is true or false, or, of entries that are missing, neither.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expression {
    Constant(bool),
    Asks(Asks),
    Not(Box<Expression>),
    And(Vec<Expression>),
    Or(Vec<Expression>),
}

/// What is asked of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asks {
    pub(super) entry: String,
    pub(super) asked: Asked,
    /// Whether it was named without a descriptor.
    pub(super) is_bare: bool,
}

/// A question to an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Whether its value matches one of these. An error where it is missing.
    Is(Vec<Pattern>),
    /// Whether it has a value: true, or an error where it is missing.
    AnyValue,
    /// Whether it is there.
    Present,
}

/// The entry that a variable names.
///
/// # Errors
/// It is more than the name of an entry.
pub(super) fn variable(text: &str) -> Result<String, Refusal> {
    let mut parser = Parser::of(text)?;
    let named = parser.entry()?;
    parser.end()?;
    Ok(named.entry)
}

/// Reads a condition.
///
/// # Errors
/// What of it is not read.
pub(super) fn condition(text: &str) -> Result<Expression, Refusal> {
    let mut parser = Parser::of(text)?;
    let condition = parser.condition(0)?;
    parser.end()?;
    Ok(condition)
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    /// Names that stand for the descriptor.
    aliases: Vec<String>,
}

/// An entry, and how it was named.
struct Named {
    entry: String,
    is_bare: bool,
}

impl Named {
    fn asks(self, asked: Asked) -> Expression {
        Expression::Asks(Asks { entry: self.entry, asked, is_bare: self.is_bare })
    }
}

impl Parser {
    fn of(text: &str) -> Result<Self, Refusal> {
        let tokens = tokens(text).map_err(Refusal)?.into_iter().peekable();
        Ok(Self { tokens, aliases: Vec::new() })
    }

    fn condition(&mut self, depth: usize) -> Result<Expression, Refusal> {
        let mut parts = vec![self.all(depth)?];
        while self.takes("||") {
            parts.push(self.all(depth)?);
        }
        Ok(one_or(parts, Expression::Or))
    }

    fn all(&mut self, depth: usize) -> Result<Expression, Refusal> {
        let mut parts = vec![self.term(depth)?];
        while self.takes("&&") {
            parts.push(self.term(depth)?);
        }
        Ok(one_or(parts, Expression::And))
    }

    fn term(&mut self, depth: usize) -> Result<Expression, Refusal> {
        if depth > MAX_NESTING {
            return Err(refused("it is nested too deep"));
        }
        if self.takes("!") {
            return Ok(Expression::Not(Box::new(self.term(depth + 1)?)));
        }
        if self.takes("(") {
            let inner = self.condition(depth + 1)?;
            self.expect(")")?;
            return Ok(inner);
        }
        match self.tokens.peek() {
            Some(Token::Text(_)) => self.behind_a_text(),
            Some(Token::Name(name)) if name == "true" || name == "false" => {
                let constant = name == "true";
                self.tokens.next();
                Ok(Expression::Constant(constant))
            }
            Some(Token::Name(name)) if name == "has" => {
                self.tokens.next();
                self.expect("(")?;
                let named = self.entry()?;
                self.expect(")")?;
                Ok(named.asks(Asked::Present))
            }
            _ => self.of_an_entry(depth),
        }
    }

    /// `'x' == entry`, `'entry' in descriptor`.
    fn behind_a_text(&mut self) -> Result<Expression, Refusal> {
        let text = self.text()?;
        if self.takes("==") {
            return Ok(self.entry()?.asks(is(text)));
        }
        if self.takes("!=") {
            return Ok(Expression::Not(Box::new(self.entry()?.asks(is(text)))));
        }
        self.expect_name("in")?;
        match self.tokens.next() {
            Some(Token::Name(name)) if name == "descriptors" => self.index()?,
            Some(Token::Name(name)) if self.aliases.contains(&name) => {}
            other => return Err(expected("descriptors[0]", other.as_ref())),
        }
        Ok(Named { entry: text, is_bare: false }.asks(Asked::Present))
    }

    fn of_an_entry(&mut self, depth: usize) -> Result<Expression, Refusal> {
        match self.entry_or_call()? {
            Head::Entry(named) => self.comparison(named),
            Head::Call(named, function) => {
                let asked = self.call(&function)?;
                Ok(named.asks(asked))
            }
            Head::OfAll => self.of_all(depth),
        }
    }

    /// `exists(d, …)` or `all(d, …)` of descriptors, of which there is one here: what stands in the brackets.
    fn of_all(&mut self, depth: usize) -> Result<Expression, Refusal> {
        let alias = self.name()?;
        self.expect(",")?;
        self.aliases.push(alias);
        let inner = self.condition(depth + 1)?;
        self.aliases.pop();
        self.expect(")")?;
        Ok(inner)
    }

    /// What stands behind an entry.
    fn comparison(&mut self, named: Named) -> Result<Expression, Refusal> {
        if self.takes("==") {
            return Ok(named.asks(is(self.text()?)));
        }
        if self.takes("!=") {
            return Ok(Expression::Not(Box::new(named.asks(is(self.text()?)))));
        }
        self.expect_name("in")?;
        self.expect("[")?;
        let mut values = Vec::new();
        while !self.takes("]") {
            if !values.is_empty() {
                self.expect(",")?;
            }
            values.push(Pattern::Exact(self.text()?));
        }
        Ok(named.asks(Asked::Is(values)))
    }

    /// A function of an entry, behind its name and bracket.
    fn call(&mut self, name: &str) -> Result<Asked, Refusal> {
        if !matches!(name, "startsWith" | "endsWith" | "contains" | "matches") {
            return Err(refused(&format!("{name}() is not read")));
        }
        let text = self.text()?;
        self.expect(")")?;
        if text.is_empty() {
            return Ok(Asked::AnyValue);
        }
        let pieces = match name {
            "matches" => return of_regex(&text),
            "startsWith" => vec![text, String::new()],
            "endsWith" => vec![String::new(), text],
            _ => vec![String::new(), text, String::new()],
        };
        let pattern = Pattern::of_pieces(pieces).map_err(|error| refused(&error.to_string()))?;
        Ok(Asked::Is(vec![pattern]))
    }

    fn entry(&mut self) -> Result<Named, Refusal> {
        match self.entry_or_call()? {
            Head::Entry(named) => Ok(named),
            Head::Call(_, call) => Err(refused(&format!("{call}() cannot stand here"))),
            Head::OfAll => Err(refused("exists() cannot stand here")),
        }
    }

    /// An entry, and the name of the function of it that is called, behind its bracket.
    fn entry_or_call(&mut self) -> Result<Head, Refusal> {
        let name = match self.tokens.next() {
            Some(Token::Name(name)) if !matches!(name.as_str(), "true" | "false" | "null" | "in") => name,
            Some(other) => return Err(refused(&format!("{} is not an entry", shown(&other)))),
            None => return Err(refused("it ends too early")),
        };
        if name == "limit" && self.tokens.peek() == Some(&Token::Sign(".")) {
            return Err(refused("what the limit itself is called is not read"));
        }
        if name == "descriptors" {
            if self.takes(".") {
                return self.function_of_descriptors();
            }
            self.index()?;
            return self.entry_of_descriptor();
        }
        if self.aliases.contains(&name) {
            return self.entry_of_descriptor();
        }
        if self.tokens.peek() == Some(&Token::Sign("(")) {
            return Err(refused(&format!("{name}() is not read")));
        }
        let mut entry = name;
        while self.takes(".") {
            let name = self.name()?;
            if self.takes("(") {
                return Ok(Head::Call(Named { entry, is_bare: true }, name));
            }
            entry = format!("{entry}.{name}");
        }
        Ok(Head::Entry(Named { entry, is_bare: true }))
    }

    /// Behind `descriptors.`
    fn function_of_descriptors(&mut self) -> Result<Head, Refusal> {
        let name = self.name()?;
        if !matches!(name.as_str(), "exists" | "all") {
            return Err(refused(&format!("descriptors.{name} is not read")));
        }
        self.expect("(")?;
        Ok(Head::OfAll)
    }

    /// Behind `descriptors[0]`, or a name that stands for it.
    fn entry_of_descriptor(&mut self) -> Result<Head, Refusal> {
        let entry = if self.takes("[") {
            let entry = self.text()?;
            self.expect("]")?;
            entry
        } else {
            self.expect(".")?;
            self.name()?
        };
        let named = Named { entry, is_bare: false };
        if !self.takes(".") {
            return Ok(Head::Entry(named));
        }
        let name = self.name()?;
        if self.takes("(") {
            return Ok(Head::Call(named, name));
        }
        Err(refused("values of entries are texts and have no fields; put a name with dots in [\"…\"]"))
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

/// What a term begins with.
enum Head {
    Entry(Named),
    /// A function of an entry, up to its bracket.
    Call(Named, String),
    /// `descriptors.exists(` or `descriptors.all(`.
    OfAll,
}

fn is(text: String) -> Asked {
    Asked::Is(vec![Pattern::Exact(text)])
}

fn one_or(mut parts: Vec<Expression>, several: fn(Vec<Expression>) -> Expression) -> Expression {
    match parts.len() {
        1 => parts.remove(0),
        _ => several(parts),
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

/// What a regular expression asks: in simpler words where texts and `.*` are all there is to it.
fn of_regex(regex: &str) -> Result<Asked, Refusal> {
    if let Some(pieces) = texts_between_stars(regex) {
        match (pieces.as_slice(), Pattern::of_pieces(pieces.clone())) {
            ([text], _) => return Ok(is(text.clone())),
            (_, Ok(pattern)) => return Ok(Asked::Is(vec![pattern])),
            (_, Err(GlobError::OnlyStars)) => return Ok(Asked::AnyValue),
            (_, Err(_)) => {}
        }
    }
    let regex = Regex::parse(regex).map_err(|error| refused(&error.to_string()))?;
    Ok(Asked::Is(vec![Pattern::Regex(regex)]))
}

/// The texts between `.*` and missing `^` and `$`; `\` makes a sign a letter. No value has a line break, at which `.` would stop.
fn texts_between_stars(regex: &str) -> Option<Vec<String>> {
    let (mut pieces, rest) = match regex.strip_prefix('^') {
        Some(rest) => (vec![String::new()], rest),
        None => (vec![String::new(), String::new()], regex),
    };
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        let piece = pieces.last_mut()?;
        match c {
            '\\' => piece.push(chars.next().filter(char::is_ascii_punctuation)?),
            '$' => return chars.next().is_none().then_some(pieces),
            '.' if chars.as_str().starts_with('*') => {
                chars.next();
                if chars.as_str().starts_with(['?', '+', '*', '{']) {
                    return None;
                }
                pieces.push(String::new());
            }
            '.' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' => return None,
            c => piece.push(c),
        }
    }
    pieces.push(String::new());
    Some(pieces)
}

#[cfg(test)]
mod tests;
