//! Values of an entry that are meant, but for some.

use std::collections::HashSet;

use crate::rule::pattern::Pattern;

/// Any value, or any that matches one of some patterns, except those that match one of others. Of a hundred thousand
/// exceptions, one is found in as many steps as the logarithm says: the exact ones are kept in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Exceptions {
    within: Vec<Pattern>,
    exact: Vec<String>,
    others: Vec<Pattern>,
}

impl Exceptions {
    /// Values that match one of `within` (any value where that is empty) and none of `but`.
    #[must_use]
    pub fn new(within: Vec<Pattern>, but: impl IntoIterator<Item = Pattern>) -> Self {
        let (mut exact, mut others, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        for pattern in but {
            match pattern {
                Pattern::Exact(text) => exact.push(text),
                other => {
                    if seen.insert(other.clone()) {
                        others.push(other);
                    }
                }
            }
        }
        exact.sort_unstable();
        exact.dedup();
        Self { within, exact, others }
    }

    /// What a value must match one of; nothing where any value is meant.
    #[must_use]
    pub fn within(&self) -> &[Pattern] {
        &self.within
    }

    /// What a value must not match: exact values in their order, then the others as they were given.
    pub fn but(&self) -> impl Iterator<Item = Pattern> {
        let exact = self.exact.iter().cloned().map(Pattern::Exact);
        exact.chain(self.others.iter().cloned())
    }

    /// How many exceptions there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.exact.len() + self.others.len()
    }

    /// The exceptions that are not exact values.
    pub(super) fn other_patterns(&self) -> &[Pattern] {
        &self.others
    }

    /// How many exceptions are not exact values: each of them is tried, one after another.
    #[must_use]
    pub const fn pattern_count(&self) -> usize {
        self.others.len()
    }

    /// Whether nothing is excepted.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `value` is meant.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        let is_within = self.within.is_empty() || self.within.iter().any(|pattern| pattern.matches(value));
        is_within
            && self.exact.binary_search_by(|text| text.as_str().cmp(value)).is_err()
            && !self.others.iter().any(|pattern| pattern.matches(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(text: &str) -> Pattern {
        Pattern::Exact(text.to_owned())
    }

    #[test]
    fn any_value_but_some() {
        let prefix = Pattern::Prefix("test-".to_owned());
        let exceptions = Exceptions::new(Vec::new(), [exact("b"), prefix.clone(), exact("a"), exact("b")]);
        for (value, is_meant) in [("a", false), ("b", false), ("c", true), ("test-1", false), ("test", true)]
        {
            assert_eq!(exceptions.matches(value), is_meant, "{value}");
        }
        assert_eq!(exceptions.but().collect::<Vec<_>>(), [exact("a"), exact("b"), prefix]);
        assert_eq!(exceptions.len(), 3);
    }

    #[test]
    fn values_of_some_but_others() {
        let exceptions = Exceptions::new(vec![Pattern::Prefix("/v1/".to_owned())], [exact("/v1/health")]);
        assert!(exceptions.matches("/v1/orders"));
        assert!(!exceptions.matches("/v1/health"));
        assert!(!exceptions.matches("/v2/orders"));
    }
}
