//! Which series an expression of Prometheus asks for: not a parser of its language, but of all names in it.

/// What an expression names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Named {
    /// Metrics, each with the labels of its matchers.
    pub(crate) metrics: Vec<(String, Vec<String>)>,
    /// Labels that results are grouped or joined by.
    pub(crate) groups: Vec<String>,
}

const FUNCTIONS: [&str; 16] = [
    "absent",
    "abs",
    "avg",
    "changes",
    "clamp_min",
    "count",
    "histogram_quantile",
    "increase",
    "label_values",
    "max",
    "max_over_time",
    "min",
    "rate",
    "sum",
    "time",
    "topk",
];
const LISTS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
const OPERATORS: [&str; 5] = ["and", "or", "unless", "offset", "bool"];

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text,
    Range,
    Sign(char),
}

impl Named {
    /// Reads an expression.
    pub(crate) fn of(expression: &str) -> Result<Self, String> {
        let tokens = tokens(expression)?;
        let mut named = Self::default();
        let mut rest = tokens.as_slice();
        while let Some((token, after)) = rest.split_first() {
            rest = after;
            let Token::Word(word) = token else {
                if *token == Token::Sign('{') {
                    return Err("a matcher without a metric".to_owned());
                }
                continue;
            };
            match after.first() {
                _ if LISTS.contains(&word.as_str()) => {
                    let (labels, after) = words_until(after.get(1..).unwrap_or_default(), ')')?;
                    named.groups.extend(labels);
                    rest = after;
                }
                _ if OPERATORS.contains(&word.as_str()) => {}
                // `sum (…)`, or `sum by (…) (…)`.
                Some(Token::Sign('(') | Token::Word(_)) if FUNCTIONS.contains(&word.as_str()) => {}
                Some(Token::Sign('(')) => return Err(format!("{word} is no function that is known here")),
                Some(Token::Sign('{')) => {
                    let (labels, after) = words_until(&after[1..], '}')?;
                    named.metrics.push((word.clone(), labels));
                    rest = after;
                }
                _ => named.metrics.push((word.clone(), Vec::new())),
            }
        }
        if named.metrics.is_empty() { Err("it asks for nothing".to_owned()) } else { Ok(named) }
    }
}

/// The words up to a sign, and what follows it.
fn words_until(tokens: &[Token], end: char) -> Result<(Vec<String>, &[Token]), String> {
    let at = tokens.iter().position(|token| *token == Token::Sign(end));
    let at = at.ok_or_else(|| format!("{end} is missing"))?;
    let words = tokens[..at].iter().filter_map(|token| match token {
        Token::Word(word) => Some(word.clone()),
        _ => None,
    });
    Ok((words.collect(), &tokens[at + 1..]))
}

fn tokens(expression: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let (token, length) = match first {
            _ if first.is_whitespace() => (None, first.len_utf8()),
            '"' => (Some(Token::Text), 2 + rest[1..].find('"').ok_or("a text has no end")?),
            '[' => (Some(Token::Range), 1 + rest.find(']').ok_or("a range has no end")?),
            // Numbers and times, with their units.
            '0'..='9' => (None, rest.find(|c: char| !is_word(c) && c != '.').unwrap_or(rest.len())),
            _ if is_word(first) => {
                let length = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
                (Some(Token::Word(rest[..length].to_owned())), length)
            }
            _ => (Some(Token::Sign(first)), first.len_utf8()),
        };
        tokens.extend(token);
        rest = &rest[length..];
    }
    Ok(tokens)
}

#[test]
fn names_are_found_where_they_stand() {
    let named = Named::of(
        r#"histogram_quantile(0.99, sum by (le, door) (rate(a_bucket{door="x y", instance=~"$i"}[$__rate_interval]))) > 2.5e3 and on (job) b offset 5m"#,
    );
    let text = str::to_owned;
    let metrics = vec![(text("a_bucket"), vec![text("door"), text("instance")]), (text("b"), Vec::new())];
    let groups = ["le", "door", "job"].map(text).to_vec();
    assert_eq!(named, Ok(Named { metrics, groups }));
}

#[test]
fn what_is_not_understood_is_refused() {
    for bad in ["", "1 + 1", "rat(a[5m])", r#"{job="x"}"#, r#"a{b="c"#, "a[5m", "sum by (le"] {
        assert!(Named::of(bad).is_err(), "{bad}");
    }
}
