//! What a new database begins with.

use tidegate_core::rule::model::Rules;

use crate::edit::{rule_document, settings_document};
use crate::model::{Actor, DEFAULT_TENANT, Expect};
use crate::repository::{CatalogError, Repository, RuleEdit};

/// The name under which a database remembers that it was seeded.
const NAME: &str = "example-rules";

/// Rules for a database that has none, put in once: what is removed later does not come back.
#[derive(Clone, Debug)]
pub struct Seed(Rules);

impl Seed {
    /// These rules, for the default tenant.
    #[must_use]
    pub const fn new(rules: Rules) -> Self {
        Self(rules)
    }

    /// Puts them in, unless that was done before. Returns whether it was done now.
    pub(crate) async fn plant(&self, repository: &Repository, now_us: i64) -> Result<bool, CatalogError> {
        let actor = Actor::server();
        let mut edits = Vec::new();
        for domain in &self.0.domains {
            let (name, expect) = (domain.name.clone(), Expect::Any);
            edits.push(RuleEdit::PutDomain { domain: name, document: settings_document(domain), expect });
            for rule in &domain.rules {
                let (domain, document) = (domain.name.clone(), rule_document(rule));
                edits.push(RuleEdit::PutRule { domain, rule: rule.name.clone(), document, expect });
            }
        }
        repository.seed(&actor, now_us, DEFAULT_TENANT, &edits, NAME).await
    }
}
