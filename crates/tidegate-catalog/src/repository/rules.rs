//! Domains and their rules, as nodes and people read them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::dialect::{fixed, int, text};
use super::error::Result;
use super::{CALL, LONG_CALL, Repository, overrides, tenants, versions};
use crate::model::{MAX_PAGE, OverrideQuotas, StoredDomain, StoredRule, Tenant};

/// All that rules are compiled from, of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RulesDelta {
    /// The rules version of this moment.
    pub version: i64,
    /// Every domain: tenant, name, content version.
    pub domains: Vec<(String, String, i64)>,
    /// Those whose content version is not the known one, in the order of their names.
    pub changed: Vec<StoredDomain>,
    /// Every tenant, in the order of their names.
    pub tenants: Vec<Tenant>,
    /// The quotas of overrides that are not over, each once for its tenant, domain and rule.
    pub overrides: Arc<OverrideQuotas>,
}

/// A domain without its documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainSummary {
    /// Unique within the tenant.
    pub name: String,
    /// The rules version of the last change of its settings.
    pub version: i64,
    /// The rules version of the last change of anything in it.
    pub content_version: i64,
    /// How many rules it has.
    pub rules: i64,
}

impl Repository {
    /// What changed in the rules since `known`: content versions by tenant and domain.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`](super::CatalogError).
    pub async fn rules(&self, now_us: i64, known: &HashMap<(String, String), i64>) -> Result<RulesDelta> {
        self.bounded(LONG_CALL, async {
            let mut tx = self.snapshot(&self.vital).await?;
            let version = versions(&mut tx).await?.rules;
            let listed =
                sqlx::query("SELECT tenant, name, content_version FROM domains ORDER BY tenant, name");
            let mut domains = Vec::new();
            for row in listed.fetch_all(&mut *tx).await? {
                domains.push((text(&row, 0)?, text(&row, 1)?, int(&row, 2)?));
            }
            let is_new = |domain: &&(String, String, i64)| {
                known.get(&(domain.0.clone(), domain.1.clone())) != Some(&domain.2)
            };
            let wanted: Vec<_> =
                domains.iter().filter(is_new).map(|(tenant, name, _)| [tenant, name]).collect();
            let changed = if wanted.is_empty() { Vec::new() } else { self.whole(&mut tx, &wanted).await? };
            Ok(RulesDelta {
                version,
                changed,
                tenants: tenants::all(&mut tx).await?,
                overrides: Arc::new(overrides::quotas(&mut tx, now_us).await?.into_iter().collect()),
                domains,
            })
        })
        .await
    }

    /// A domain with its rules.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`](super::CatalogError).
    pub async fn domain(&self, tenant: &str, name: &str) -> Result<Option<StoredDomain>> {
        self.bounded(CALL, async {
            let mut tx = self.snapshot(&self.desk).await?;
            Ok(self.whole(&mut tx, &[[tenant, name]]).await?.pop())
        })
        .await
    }

    /// All domains of a tenant with their rules, as they are at one instant, in the order of their names.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`](super::CatalogError).
    pub async fn domains_of(&self, tenant: &str) -> Result<Vec<StoredDomain>> {
        self.bounded(LONG_CALL, async {
            let mut tx = self.snapshot(&self.desk).await?;
            let query = sqlx::query("SELECT name FROM domains WHERE tenant = $1").bind(tenant);
            let rows = query.fetch_all(&mut *tx).await?;
            let names = rows.iter().map(|row| text(row, 0)).collect::<Result<Vec<String>>>()?;
            let places: Vec<[&str; 2]> = names.iter().map(|name| [tenant, name.as_str()]).collect();
            self.whole(&mut tx, &places).await
        })
        .await
    }

    /// Domains of a tenant in the order of their names, those after `after` or all.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`](super::CatalogError).
    pub async fn domains(&self, tenant: &str, after: Option<&str>, limit: u32) -> Result<Vec<DomainSummary>> {
        self.bounded(CALL, async {
            let sql = "SELECT d.name, d.version, d.content_version, \
                       (SELECT COUNT(*) FROM rules r WHERE r.tenant = d.tenant AND r.domain = d.name) \
                       FROM domains d WHERE d.tenant = $1 AND d.name > $2 ORDER BY d.name LIMIT $3";
            let query = sqlx::query(sql).bind(tenant).bind(after.unwrap_or_default());
            let query = query.bind(i64::from(limit.min(MAX_PAGE)));
            let rows = query.fetch_all(&mut *self.desk().await?).await?;
            let summary = |row: &AnyRow| {
                Ok(DomainSummary {
                    name: text(row, 0)?,
                    version: int(row, 1)?,
                    content_version: int(row, 2)?,
                    rules: int(row, 3)?,
                })
            };
            rows.iter().map(summary).collect()
        })
        .await
    }

    /// Domains, given by tenant and name, with their rules, in the order of their names.
    async fn whole<T: serde::Serialize>(
        &self,
        conn: &mut AnyConnection,
        wanted: &[[T; 2]],
    ) -> Result<Vec<StoredDomain>> {
        let given = self.dialect.given(1);
        let wanted = serde_json::json!(wanted).to_string();
        let sql = format!(
            "SELECT tenant, name, document, version, content_version FROM domains \
             JOIN {given} ON tenant = given.a AND name = given.b"
        );
        let mut domains = BTreeMap::new();
        for row in sqlx::query(fixed(sql)).bind(&wanted).fetch_all(&mut *conn).await? {
            let domain = StoredDomain {
                tenant: text(&row, 0)?,
                name: text(&row, 1)?,
                document: text(&row, 2)?,
                version: int(&row, 3)?,
                content_version: int(&row, 4)?,
                rules: Vec::new(),
            };
            domains.insert((domain.tenant.clone(), domain.name.clone()), domain);
        }
        let sql = format!(
            "SELECT tenant, domain, name, document, version FROM rules \
             JOIN {given} ON tenant = given.a AND domain = given.b ORDER BY tenant, domain, position"
        );
        for row in sqlx::query(fixed(sql)).bind(&wanted).fetch_all(conn).await? {
            let rule = StoredRule { name: text(&row, 2)?, document: text(&row, 3)?, version: int(&row, 4)? };
            if let Some(domain) = domains.get_mut(&(text(&row, 0)?, text(&row, 1)?)) {
                domain.rules.push(rule);
            }
        }
        Ok(domains.into_values().collect())
    }
}
