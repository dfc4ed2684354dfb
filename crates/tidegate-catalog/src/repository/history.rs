//! How rules were before.

use sqlx::any::AnyRow;

use super::dialect::{fixed, int, maybe_text, text};
use super::error::Result;
use super::{CALL, Repository};
use crate::model::{MAX_PAGE, StoredDomain, StoredRule};

/// One change of a rule, or of a domain's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Grows with time; a page goes on before it.
    pub id: i64,
    /// The rules version of the change.
    pub version: i64,
    /// The rule; absent for the domain's settings.
    pub rule: Option<String>,
    /// What was done: `put`, `delete`, `rename`.
    pub action: String,
    /// How it is since; absent where it is gone.
    pub document: Option<String>,
    /// Who did it.
    pub actor: String,
    /// When.
    pub at_us: i64,
}

impl Repository {
    /// The newest changes of a domain first; those of one rule or all, those with a lower id than `before` or all.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`](super::CatalogError).
    pub async fn history(
        &self,
        tenant: &str,
        domain: &str,
        rule: Option<&str>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<HistoryEntry>> {
        self.bounded(CALL, async {
            // A rule's own index is used only where the statement asks for one rule.
            let of_rule = if rule.is_some() { "AND rule = $5" } else { "" };
            let sql = format!(
                "SELECT id, version, rule, action, document, actor, at_us FROM rule_history \
                 WHERE tenant = $1 AND domain = $2 AND id < $3 {of_rule} ORDER BY id DESC LIMIT $4"
            );
            let query = sqlx::query(fixed(sql)).bind(tenant).bind(domain).bind(before.unwrap_or(i64::MAX));
            let query = query.bind(i64::from(limit.min(MAX_PAGE)));
            let query = if let Some(rule) = rule { query.bind(rule) } else { query };
            let rows = query.fetch_all(&mut *self.desk().await?).await?;
            let entry = |row: &AnyRow| {
                Ok(HistoryEntry {
                    id: int(row, 0)?,
                    version: int(row, 1)?,
                    rule: Some(text(row, 2)?).filter(|rule| !rule.is_empty()),
                    action: text(row, 3)?,
                    document: maybe_text(row, 4)?,
                    actor: text(row, 5)?,
                    at_us: int(row, 6)?,
                })
            };
            rows.iter().map(entry).collect()
        })
        .await
    }

    /// A domain as it was in force when the rules had this version.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`](super::CatalogError).
    pub async fn domain_at(&self, tenant: &str, domain: &str, version: i64) -> Result<Option<StoredDomain>> {
        self.bounded(CALL, async {
            let sql = "SELECT rule, document, version FROM rule_history \
                       WHERE id IN (SELECT MAX(id) FROM rule_history \
                       WHERE tenant = $1 AND domain = $2 AND version <= $3 GROUP BY rule) ORDER BY position";
            let query = sqlx::query(sql).bind(tenant).bind(domain).bind(version);
            let rows = query.fetch_all(&mut *self.desk().await?).await?;
            let mut content_version = 0;
            let mut settings = None;
            let mut rules = Vec::new();
            for row in &rows {
                let version = int(row, 2)?;
                content_version = content_version.max(version);
                let (name, document) = (text(row, 0)?, maybe_text(row, 1)?);
                match document {
                    Some(document) if name.is_empty() => settings = Some((document, version)),
                    Some(document) => rules.push(StoredRule { name, document, version }),
                    None => {}
                }
            }
            Ok(settings.map(|(document, version)| StoredDomain {
                tenant: tenant.to_owned(),
                name: domain.to_owned(),
                document,
                version,
                content_version,
                rules,
            }))
        })
        .await
    }
}
