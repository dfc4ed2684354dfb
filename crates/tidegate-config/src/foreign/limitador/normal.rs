//! Expressions as conditions of a rule: any of some lists, in each of which everything has to hold.
//!
//! An entry that a request lacks is an error there. Of `&&` and `||`, the operand that decides does, whatever error the other
//! one is (CEL, "logical operators"); where an error is left, the limit does not apply. So each question is turned into what has to
//! be true of its entry (`!=` is "there, and not this"), and negations are moved inwards first.

use std::collections::BTreeMap;

use tidegate_core::rule::model::{
    Condition, EntryCondition, Exceptions, MAX_ALTERNATIVES, MAX_CONDITIONS, MAX_EXCEPTED_PATTERNS,
    MAX_EXCEPTIONS, MAX_PARTS,
};
use tidegate_core::rule::pattern::{Pattern, Regex};

use super::expression::{Asked, Asks, Expression, Refusal};
use crate::rules::MAX_PATTERNS;

/// What has to be true of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Literal {
    Is(Vec<Pattern>),
    Not(Vec<Pattern>),
    Present,
    Absent,
}

type Alternative = Vec<(String, Literal)>;

/// What a limit asks: its conditions, and alternatives of which one has to hold.
pub(super) struct Asking {
    pub(super) conditions: Vec<EntryCondition>,
    pub(super) any: Vec<Vec<EntryCondition>>,
}

/// The lists of which everything in one has to hold.
pub(super) struct Alternatives(Vec<Alternative>);

impl Alternatives {
    /// What every request fulfils.
    pub(super) fn always() -> Self {
        Self(vec![Vec::new()])
    }

    /// Those in which the expression is true, too.
    ///
    /// # Errors
    /// There would be too many.
    pub(super) fn and(self, expression: &Expression) -> Result<Self, Refusal> {
        let mut bare = Vec::new();
        bare_entries(expression, &mut bare);
        let there: Alternative = bare.into_iter().map(|entry| (entry, Literal::Present)).collect();
        let both = product(&self.0, &when(expression, true)?)?;
        product(&both, &[there]).map(Self)
    }

    /// As conditions of a rule; nothing where no request can fulfil them.
    ///
    /// # Errors
    /// They are too many.
    pub(super) fn finish(self) -> Result<Option<Asking>, Refusal> {
        let mut any: Vec<Vec<EntryCondition>> = Vec::new();
        for alternative in self.0 {
            if let Some(conditions) = merged(alternative)?
                && !any.contains(&conditions)
            {
                any.push(conditions);
            }
        }
        let Some(first) = any.first() else { return Ok(None) };
        let is_in_all = |one: &&EntryCondition| any.iter().all(|conditions| conditions.contains(one));
        let conditions: Vec<EntryCondition> = first.iter().filter(is_in_all).cloned().collect();
        for one in &mut any {
            one.retain(|condition| !conditions.contains(condition));
        }
        // An alternative of which nothing is left always holds.
        if any.iter().any(Vec::is_empty) {
            any.clear();
        }
        if conditions.len().max(any.iter().map(Vec::len).max().unwrap_or(0)) > MAX_CONDITIONS {
            return Err(Refusal(format!("it asks more than {MAX_CONDITIONS} entries")));
        }
        Ok(Some(Asking { conditions, any }))
    }
}

/// Entries that were named without a descriptor. Without one of them, nothing is decided there, not even by `||`.
fn bare_entries(expression: &Expression, found: &mut Vec<String>) {
    match expression {
        Expression::Asks(Asks { entry, asked: Asked::Is(_) | Asked::AnyValue, is_bare: true }) => {
            if !found.contains(entry) {
                found.push(entry.clone());
            }
        }
        Expression::Constant(_) | Expression::Asks(_) => {}
        Expression::Not(inner) => bare_entries(inner, found),
        Expression::And(parts) | Expression::Or(parts) => {
            parts.iter().for_each(|part| bare_entries(part, found));
        }
    }
}

/// When an expression is true, or when it is false.
fn when(expression: &Expression, outcome: bool) -> Result<Vec<Alternative>, Refusal> {
    match (expression, outcome) {
        (Expression::Constant(constant), outcome) => {
            Ok(if *constant == outcome { vec![Vec::new()] } else { Vec::new() })
        }
        (Expression::Asks(asks), outcome) => literal(asks, outcome),
        (Expression::Not(inner), outcome) => when(inner, !outcome),
        (Expression::And(parts), true) | (Expression::Or(parts), false) => {
            let mut all = vec![Vec::new()];
            for part in parts {
                all = product(&all, &when(part, outcome)?)?;
            }
            Ok(all)
        }
        (Expression::Or(parts), true) | (Expression::And(parts), false) => {
            let mut any = Vec::new();
            for part in parts {
                for alternative in when(part, outcome)? {
                    add(&mut any, alternative)?;
                }
            }
            Ok(any)
        }
    }
}

fn literal(asks: &Asks, outcome: bool) -> Result<Vec<Alternative>, Refusal> {
    let literal = match (&asks.asked, outcome) {
        (Asked::Present, true) | (Asked::AnyValue, true) => Literal::Present,
        (Asked::Present, false) => Literal::Absent,
        (Asked::AnyValue, false) => return Ok(Vec::new()),
        (Asked::Is(patterns), outcome) => {
            let patterns = patterns.iter().map(writable).collect::<Result<Vec<Pattern>, Refusal>>()?;
            match (patterns.is_empty(), outcome) {
                (true, true) => return Ok(Vec::new()),
                (true, false) => Literal::Present,
                (false, true) => Literal::Is(patterns),
                (false, false) => Literal::Not(patterns),
            }
        }
    };
    Ok(vec![vec![(asks.entry.clone(), literal)]])
}

/// The pattern as a rule file can say it. An empty value, which only gRPC can bring, is an expression there.
fn writable(pattern: &Pattern) -> Result<Pattern, Refusal> {
    if *pattern != Pattern::Exact(String::new()) {
        return Ok(pattern.clone());
    }
    Regex::parse("^$").map(Pattern::Regex).map_err(|error| Refusal(error.to_string()))
}

/// Adds an alternative, to one that asks only another value of the same entry where there is one.
fn add(any: &mut Vec<Alternative>, alternative: Alternative) -> Result<(), Refusal> {
    if let [(entry, Literal::Is(more))] = alternative.as_slice() {
        for known in any.iter_mut() {
            if let [(other, Literal::Is(values))] = known.as_mut_slice()
                && other == entry
            {
                values.extend(more.iter().cloned());
                return Ok(());
            }
        }
    }
    if !any.contains(&alternative) {
        any.push(alternative);
    }
    few_enough(any.len())
}

/// Everything of one list and everything of another, for each two of them.
fn product(one: &[Alternative], other: &[Alternative]) -> Result<Vec<Alternative>, Refusal> {
    few_enough(one.len().saturating_mul(other.len()))?;
    let mut all = Vec::with_capacity(one.len() * other.len());
    for a in one {
        all.extend(other.iter().map(|b| a.iter().chain(b).cloned().collect::<Alternative>()));
    }
    Ok(all)
}

fn few_enough(alternatives: usize) -> Result<(), Refusal> {
    if alternatives > MAX_ALTERNATIVES {
        return Err(Refusal(format!("|| makes more than {MAX_ALTERNATIVES} alternatives of it")));
    }
    Ok(())
}

/// Everything that is asked of one entry.
#[derive(Default)]
struct Merged {
    /// Of each of these, the value has to match one.
    is: Vec<Vec<Pattern>>,
    not: Vec<Pattern>,
    is_present: bool,
    is_absent: bool,
}

/// A list as conditions, in the order of their entries; nothing where they contradict one another.
fn merged(alternative: Alternative) -> Result<Option<Vec<EntryCondition>>, Refusal> {
    let mut by_entry: BTreeMap<String, Merged> = BTreeMap::new();
    for (entry, literal) in alternative {
        let merged = by_entry.entry(entry).or_default();
        match literal {
            Literal::Is(patterns) => {
                let patterns = once_each(patterns);
                if !merged.is.contains(&patterns) {
                    merged.is.push(patterns);
                }
            }
            Literal::Not(patterns) => merged.not.extend(patterns),
            Literal::Present => merged.is_present = true,
            Literal::Absent => merged.is_absent = true,
        }
    }
    let mut conditions = Vec::with_capacity(by_entry.len());
    for (entry, merged) in by_entry {
        let Some(condition) = merged.condition()? else { return Ok(None) };
        conditions.push(EntryCondition { entry, condition });
    }
    Ok(Some(conditions))
}

fn once_each(patterns: Vec<Pattern>) -> Vec<Pattern> {
    let mut kept: Vec<Pattern> = Vec::with_capacity(patterns.len());
    for pattern in patterns {
        if !kept.contains(&pattern) {
            kept.push(pattern);
        }
    }
    kept
}

impl Merged {
    /// As one condition; nothing where no value fulfils it.
    fn condition(mut self) -> Result<Option<Condition>, Refusal> {
        if self.is_absent {
            let is_wanted = self.is_present || !self.is.is_empty() || !self.not.is_empty();
            return Ok((!is_wanted).then_some(Condition::Absent));
        }
        let is_exact = |patterns: &Vec<Pattern>| patterns.iter().all(|p| matches!(p, Pattern::Exact(_)));
        if (self.is.len() > 1 || !self.not.is_empty())
            && let Some(place) = self.is.iter().position(is_exact)
        {
            // Single values are looked at here and now.
            let values = self.is.swap_remove(place);
            let fits = |text: &str| {
                self.is.iter().all(|patterns| patterns.iter().any(|pattern| pattern.matches(text)))
                    && !self.not.iter().any(|pattern| pattern.matches(text))
            };
            let left: Vec<Pattern> = values
                .into_iter()
                .filter(|value| matches!(value, Pattern::Exact(text) if fits(text)))
                .collect();
            return Ok((!left.is_empty()).then_some(Condition::OneOf(left)));
        }
        let most = [
            (self.is.len(), MAX_PARTS, "conditions on one entry"),
            (self.is.iter().map(Vec::len).max().unwrap_or(0), MAX_PATTERNS, "values of one entry"),
            (self.not.len(), MAX_EXCEPTIONS, "exceptions"),
        ];
        if let Some((count, most, what)) = most.into_iter().find(|(count, most, _)| count > most) {
            return Err(Refusal(format!("it has {count} {what}, and may have {most}")));
        }
        let mut lists = self.is.into_iter();
        let first = lists.next();
        let first = match (first, self.not.is_empty()) {
            (Some(patterns), true) => Condition::OneOf(patterns),
            (None, true) => Condition::Present,
            (within, false) => {
                let exceptions = Exceptions::new(within.unwrap_or_default(), self.not);
                if exceptions.pattern_count() > MAX_EXCEPTED_PATTERNS {
                    return Err(Refusal(format!("it excepts more than {MAX_EXCEPTED_PATTERNS} patterns")));
                }
                Condition::NoneOf(exceptions)
            }
        };
        let mut parts = vec![first];
        parts.extend(lists.map(Condition::OneOf));
        Ok(Some(if parts.len() == 1 { parts.remove(0) } else { Condition::AllOf(parts) }))
    }
}
