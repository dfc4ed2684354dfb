//! Documents of changes, read: once, however often a change is made again on what is there then.

use tidegate_config::{
    Parsed, ParsedDomain, ParsedRule, RuleFileErrors, parse_domain_with, parse_rule_with, parse_rules_with,
};

use super::{EditError, Editor, beside};

/// How findings call a document.
pub(super) const DOCUMENT: &str = "body";

impl Editor {
    /// Reads a rule file.
    ///
    /// # Errors
    /// [`EditError::Findings`].
    pub async fn read_file(&self, text: impl AsRef<str> + Send + 'static) -> Result<Parsed, EditError> {
        let defaults = self.defaults;
        beside(move || parse_rules_with(text.as_ref(), DOCUMENT, &defaults).map_err(findings)).await
    }

    /// Reads a domain.
    ///
    /// # Errors
    /// [`EditError::Findings`].
    pub async fn read_domain(
        &self,
        text: impl AsRef<str> + Send + 'static,
    ) -> Result<ParsedDomain, EditError> {
        let defaults = self.defaults;
        beside(move || parse_domain_with(text.as_ref(), DOCUMENT, &defaults).map_err(findings)).await
    }

    /// Reads a rule.
    ///
    /// # Errors
    /// [`EditError::Findings`].
    pub async fn read_rule(&self, text: impl AsRef<str> + Send + 'static) -> Result<ParsedRule, EditError> {
        let defaults = self.defaults;
        beside(move || parse_rule_with(text.as_ref(), DOCUMENT, &defaults).map_err(findings)).await
    }
}

pub(super) fn findings(errors: RuleFileErrors) -> EditError {
    EditError::Findings(Box::new(errors))
}
