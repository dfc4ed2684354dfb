//! The variables of the process. A variable that is set to nothing counts as not set: compose and unit files write that.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use tidegate_config::{LIMIT_SUFFIX, WINDOW_SUFFIX};

/// The most quotas of rules that variables set.
const MAX_QUOTA_VARIABLES: usize = 1_000;

/// Variables and their values, none of them empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment(BTreeMap<String, OsString>);

impl Environment {
    /// The variables of this process. Names that are not UTF-8 are nobody's.
    pub(crate) fn of_process() -> Self {
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect()
    }

    /// The value of a variable.
    pub(crate) fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(name).map(OsString::as_os_str)
    }

    /// The variables `<RULE>_RATE_LIMIT_WINDOW_SECONDS` and `<RULE>_RATE_LIMIT_MAX_REQUESTS`, by name.
    ///
    /// # Errors
    ///
    /// One is not UTF-8, or there are too many. The text says which and what to do.
    pub(crate) fn quota_variables(&self) -> Result<Vec<(String, String)>, String> {
        let of_a_rule = |name: &str| {
            [WINDOW_SUFFIX, LIMIT_SUFFIX]
                .iter()
                .any(|suffix| name.strip_suffix(suffix).is_some_and(|rule| !rule.is_empty()))
        };
        let found: Vec<_> = self.0.iter().filter(|(name, _)| of_a_rule(name)).collect();
        if found.len() > MAX_QUOTA_VARIABLES {
            return Err(format!(
                "more than {MAX_QUOTA_VARIABLES} variables set quotas (…_RATE_LIMIT_…): write a rule file"
            ));
        }
        let text = |(name, value): (&String, &OsString)| match value.to_str() {
            Some(value) => Ok((name.clone(), value.to_owned())),
            None => Err(format!("{name}: the value is not UTF-8: write a number")),
        };
        found.into_iter().map(text).collect()
    }
}

impl FromIterator<(String, OsString)> for Environment {
    fn from_iter<T: IntoIterator<Item = (String, OsString)>>(variables: T) -> Self {
        Self(variables.into_iter().filter(|(_, value)| !value.is_empty()).collect())
    }
}

/// Whether a variable of this process is set to something.
pub(crate) fn is_set(name: impl AsRef<OsStr>) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// Whether a variable of this process is set to nothing.
pub(crate) fn is_blank(name: impl AsRef<OsStr>) -> bool {
    std::env::var_os(name).is_some_and(|value| value.is_empty())
}
