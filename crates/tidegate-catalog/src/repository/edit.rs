//! Changes of domains and rules: all of a call or none, under one version.

use std::collections::BTreeMap;

use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use tidegate_core::rule::model::{MAX_DOMAINS, MAX_RULES};

use super::dialect::{Dialect, Kind, bump, count, fixed, int, maybe_int, stored, text};
use super::error::{CatalogError, Result};
use super::trail::{Author, Line, Trail};
use super::{CALL, LONG_CALL, Repository, subjects};
use crate::model::{Actor, Expect};

/// The most domains of all tenants: nine tenths of what one set of rules may have.
const MAX_STORED_DOMAINS: i64 = MAX_DOMAINS as i64 / 10 * 9;
/// The most rules of all tenants: nine tenths of what one set of rules may have.
const MAX_STORED_RULES: i64 = MAX_RULES as i64 / 10 * 9;
/// How many domains and rules all tenants have.
const INSTALLATION: &str = "(SELECT COUNT(*) FROM domains), (SELECT COUNT(*) FROM rules) \
                            + (SELECT COUNT(*) FROM tenants WHERE max_requests_per_second IS NOT NULL)";

/// One change of a tenant's rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleEdit {
    /// A domain's settings; the domain is made where it is absent.
    PutDomain {
        /// The domain.
        domain: String,
        /// Its settings, as JSON.
        document: String,
        /// Of the domain's settings.
        expect: Expect,
    },
    /// A domain with its rules, and its subjects' tiers, overrides and bans.
    DeleteDomain {
        /// The domain.
        domain: String,
        /// Of the domain's settings.
        expect: Expect,
    },
    /// A rule: a new one is the last of its domain, another keeps its place.
    PutRule {
        /// The domain, which is there.
        domain: String,
        /// The rule.
        rule: String,
        /// The rule, as JSON.
        document: String,
        /// Of the rule.
        expect: Expect,
    },
    /// A rule goes.
    DeleteRule {
        /// The domain.
        domain: String,
        /// The rule.
        rule: String,
        /// Of the rule.
        expect: Expect,
    },
    /// A rule under another name, in the same place.
    RenameRule {
        /// The domain.
        domain: String,
        /// The rule.
        rule: String,
        /// Its new name, which is free.
        to: String,
        /// The rule, as JSON.
        document: String,
        /// Of the rule under its old name.
        expect: Expect,
    },
}

/// A domain as it was when a change was checked against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainGuard {
    /// The domain.
    pub domain: String,
    /// Its content version; `None` where it was not there.
    pub content_version: Option<i64>,
}

/// A change under way.
struct Editor<'a> {
    conn: &'a mut AnyConnection,
    dialect: Dialect,
    author: Author<'a>,
    trail: Trail<'a>,
    /// The last places of domains that have got new rules.
    ends: BTreeMap<&'a str, i64>,
    /// How many rules, and how many domains, there are more than before.
    more: [i64; 2],
}

/// A row of a domain or a rule.
struct Found {
    document: String,
    version: i64,
    position: i64,
}

impl Repository {
    /// Makes all these changes, or none; returns their version.
    ///
    /// # Errors
    ///
    /// - `NotFound`: the tenant, the domain of a rule, or what is to be deleted or renamed is not there.
    /// - `Conflict`: an edit's expectation does not hold.
    /// - `Stale`: a guard does not hold.
    /// - `Ceiling`: the tenant would have too many rules, or more domains than it may have rules.
    pub async fn edit_rules(
        &self,
        actor: &Actor,
        now_us: i64,
        tenant: &str,
        edits: &[RuleEdit],
        guards: &[DomainGuard],
    ) -> Result<i64> {
        let many =
            edits.len() > 100 || edits.iter().any(|edit| matches!(edit, RuleEdit::DeleteDomain { .. }));
        self.bounded(if many { LONG_CALL } else { CALL }, async {
            let mut write = self.write().await?;
            let version = self.edit(write.conn(), actor, now_us, tenant, edits, guards).await?;
            write.commit().await?;
            Ok(version)
        })
        .await
    }

    /// Makes these changes, which may be none, once in the life of the database, whoever asks first; whether it was this
    /// call.
    ///
    /// # Errors
    ///
    /// As [`edit_rules`](Self::edit_rules).
    pub async fn seed(
        &self,
        actor: &Actor,
        now_us: i64,
        tenant: &str,
        edits: &[RuleEdit],
        name: &str,
    ) -> Result<bool> {
        self.bounded(LONG_CALL, async {
            let mut write = self.write().await?;
            let sql = "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
            let query = sqlx::query(sql).bind(format!("seed:{name}")).bind(now_us.to_string());
            if query.execute(write.conn()).await?.rows_affected() == 0 {
                return Ok(false);
            }
            if !edits.is_empty() {
                self.edit(write.conn(), actor, now_us, tenant, edits, &[]).await?;
            }
            write.commit().await?;
            Ok(true)
        })
        .await
    }

    async fn edit(
        &self,
        conn: &mut AnyConnection,
        actor: &Actor,
        now_us: i64,
        tenant: &str,
        edits: &[RuleEdit],
        guards: &[DomainGuard],
    ) -> Result<i64> {
        // From here on no other change of rules is under way.
        let version = bump(conn, Kind::Rules).await?;
        let most = self.begin_edit(conn, tenant, guards).await?;
        let mut editor = Editor {
            conn: &mut *conn,
            dialect: self.dialect,
            author: Author { actor, now_us, tenant, version },
            trail: Trail::default(),
            ends: BTreeMap::new(),
            more: [0; 2],
        };
        for edit in edits {
            editor.apply(edit).await?;
            if editor.trail.is_full() {
                editor.write_trail().await?;
            }
        }
        editor.check_ceilings(most).await?;
        editor.write_trail().await?;
        for edit in edits {
            if let RuleEdit::DeleteDomain { domain, .. } = edit {
                subjects::forget(self.dialect, conn, tenant, Some(domain)).await?;
            }
        }
        Ok(version)
    }

    /// How many rules the tenant may have, where all guards hold.
    async fn begin_edit(
        &self,
        conn: &mut AnyConnection,
        tenant: &str,
        guards: &[DomainGuard],
    ) -> Result<i64> {
        let given = self.dialect.given(2);
        // Where there is no such domain its version is -1, on both sides.
        let sql = format!(
            "SELECT max_rules, (SELECT COUNT(*) FROM {given} LEFT JOIN domains ON tenant = $1 AND name = given.a \
             WHERE COALESCE(content_version, -1) <> CAST(given.b AS BIGINT)) FROM tenants WHERE name = $1"
        );
        let shown =
            |guard: &DomainGuard| [guard.domain.clone(), guard.content_version.unwrap_or(-1).to_string()];
        let guards: Vec<_> = guards.iter().map(shown).collect();
        let query = sqlx::query(fixed(sql)).bind(tenant).bind(serde_json::json!(guards).to_string());
        let row = query.fetch_optional(conn).await?.ok_or(CatalogError::NotFound)?;
        if int(&row, 1)? > 0 {
            return Err(CatalogError::Stale);
        }
        int(&row, 0)
    }
}

/// What all tenants have together must fit one set of rules, beside the rule file's: else nobody's changes could be put in force
/// any more. A tenant with a ceiling of requests has a rule for it.
pub(super) async fn check_installation(conn: &mut AnyConnection) -> Result<()> {
    let sql = format!("SELECT {INSTALLATION}");
    fits_installation(&sqlx::query(fixed(sql)).fetch_one(conn).await?, 0)
}

/// From [`INSTALLATION`], whose first column is at `at`.
fn fits_installation(row: &AnyRow, at: usize) -> Result<()> {
    for (column, what, most) in [
        (at, "domains of this installation", MAX_STORED_DOMAINS),
        (at + 1, "rules of this installation", MAX_STORED_RULES),
    ] {
        if int(row, column)? > most {
            return Err(CatalogError::Ceiling { what, most: count(most) });
        }
    }
    Ok(())
}

impl<'a> Editor<'a> {
    async fn apply(&mut self, edit: &'a RuleEdit) -> Result<()> {
        match edit {
            RuleEdit::PutDomain { domain, document, expect } => {
                self.put_domain(domain, document, *expect).await
            }
            RuleEdit::DeleteDomain { domain, expect } => self.delete_domain(domain, *expect).await,
            RuleEdit::PutRule { domain, rule, document, expect } => {
                self.put_rule(domain, rule, document, *expect).await
            }
            RuleEdit::DeleteRule { domain, rule, expect } => self.delete_rule(domain, rule, *expect).await,
            RuleEdit::RenameRule { domain, rule, to, document, expect } => {
                self.rename_rule(domain, rule, to, document, *expect).await
            }
        }
    }

    async fn put_domain(&mut self, domain: &'a str, document: &str, expect: Expect) -> Result<()> {
        let found = self.domain(domain).await?;
        meet(expect, found.as_ref())?;
        let sql = "INSERT INTO domains (tenant, name, document, version, content_version) VALUES ($1, $2, $3, $4, $4) \
                   ON CONFLICT (tenant, name) DO UPDATE SET document = excluded.document, version = excluded.version";
        let query =
            sqlx::query(sql).bind(self.author.tenant).bind(domain).bind(document).bind(self.author.version);
        query.execute(&mut *self.conn).await?;
        self.more[1] += i64::from(found.is_none());
        self.keep(domain, "", "put", Some(document), 0);
        self.record("domain.put", domain, found.as_ref(), Some(document));
        Ok(())
    }

    async fn delete_domain(&mut self, domain: &'a str, expect: Expect) -> Result<()> {
        let found = self.domain(domain).await?;
        meet(expect, found.as_ref())?;
        let found = found.ok_or(CatalogError::NotFound)?;
        // What the same change has done to its rules before comes before in its history.
        self.write_trail().await?;
        let sql = "INSERT INTO rule_history (version, tenant, domain, rule, position, document, action, actor, at_us) \
                   SELECT $3, tenant, domain, name, 0, NULL, 'delete', $4, $5 FROM rules \
                   WHERE tenant = $1 AND domain = $2 ORDER BY position";
        let rules = sqlx::query(sql).bind(self.author.tenant).bind(domain).bind(self.author.version);
        let rules =
            rules.bind(&self.author.actor.name).bind(self.author.now_us).execute(&mut *self.conn).await?;
        self.more[0] -= stored(rules.rows_affected());
        self.more[1] -= 1;
        self.ends.remove(domain);
        for sql in [
            "DELETE FROM rules WHERE tenant = $1 AND domain = $2",
            "DELETE FROM domains WHERE tenant = $1 AND name = $2",
        ] {
            sqlx::query(sql).bind(self.author.tenant).bind(domain).execute(&mut *self.conn).await?;
        }
        self.keep(domain, "", "delete", None, 0);
        self.record("domain.delete", domain, Some(&found), None);
        Ok(())
    }

    async fn put_rule(&mut self, domain: &'a str, rule: &str, document: &str, expect: Expect) -> Result<()> {
        let found = self.rule(domain, rule).await?;
        meet(expect, found.as_ref())?;
        let position = match &found {
            Some(found) => found.position,
            None => self.end(domain).await?,
        };
        self.more[0] += i64::from(found.is_none());
        let sql = "INSERT INTO rules (tenant, domain, name, position, document, version) VALUES ($1, $2, $3, $4, $5, $6) \
                   ON CONFLICT (tenant, domain, name) DO UPDATE SET document = excluded.document, \
                   version = excluded.version";
        let query = sqlx::query(sql).bind(self.author.tenant).bind(domain).bind(rule).bind(position);
        query.bind(document).bind(self.author.version).execute(&mut *self.conn).await?;
        self.keep(domain, rule, "put", Some(document), position);
        self.record("rule.put", &format!("{domain}/{rule}"), found.as_ref(), Some(document));
        Ok(())
    }

    async fn delete_rule(&mut self, domain: &'a str, rule: &str, expect: Expect) -> Result<()> {
        let found = self.rule(domain, rule).await?;
        meet(expect, found.as_ref())?;
        let found = found.ok_or(CatalogError::NotFound)?;
        self.remove(domain, rule).await?;
        self.more[0] -= 1;
        self.keep(domain, rule, "delete", None, found.position);
        self.record("rule.delete", &format!("{domain}/{rule}"), Some(&found), None);
        Ok(())
    }

    async fn rename_rule(
        &mut self,
        domain: &'a str,
        rule: &str,
        to: &str,
        document: &str,
        expect: Expect,
    ) -> Result<()> {
        let found = self.rule(domain, rule).await?;
        meet(expect, found.as_ref())?;
        let found = found.ok_or(CatalogError::NotFound)?;
        meet(Expect::Absent, self.rule(domain, to).await?.as_ref())?;
        let sql = "UPDATE rules SET name = $4, document = $5, version = $6 \
                   WHERE tenant = $1 AND domain = $2 AND name = $3";
        let query = sqlx::query(sql).bind(self.author.tenant).bind(domain).bind(rule).bind(to);
        query.bind(document).bind(self.author.version).execute(&mut *self.conn).await?;
        self.move_overrides(domain, rule, to).await?;
        self.keep(domain, rule, "rename", None, found.position);
        self.keep(domain, to, "rename", Some(document), found.position);
        self.record("rule.rename", &format!("{domain}/{rule} to {to}"), Some(&found), Some(document));
        Ok(())
    }

    /// The overrides of a rule follow it to its new name; those of a rule that had this name before go.
    async fn move_overrides(&mut self, domain: &str, rule: &str, to: &str) -> Result<()> {
        let left = sqlx::query("DELETE FROM overrides WHERE tenant = $1 AND domain = $2 AND rule = $3");
        left.bind(self.author.tenant).bind(domain).bind(to).execute(&mut *self.conn).await?;
        let own =
            sqlx::query("UPDATE overrides SET rule = $4 WHERE tenant = $1 AND domain = $2 AND rule = $3");
        own.bind(self.author.tenant).bind(domain).bind(rule).bind(to).execute(&mut *self.conn).await?;
        Ok(())
    }

    async fn domain(&mut self, domain: &str) -> Result<Option<Found>> {
        let query = sqlx::query("SELECT document, version, 0 FROM domains WHERE tenant = $1 AND name = $2");
        let row = query.bind(self.author.tenant).bind(domain).fetch_optional(&mut *self.conn).await?;
        row.map(|row| Found::of(&row)).transpose()
    }

    async fn rule(&mut self, domain: &str, rule: &str) -> Result<Option<Found>> {
        let sql =
            "SELECT document, version, position FROM rules WHERE tenant = $1 AND domain = $2 AND name = $3";
        let query = sqlx::query(sql).bind(self.author.tenant).bind(domain).bind(rule);
        query.fetch_optional(&mut *self.conn).await?.map(|row| Found::of(&row)).transpose()
    }

    async fn remove(&mut self, domain: &str, rule: &str) -> Result<()> {
        let query = sqlx::query("DELETE FROM rules WHERE tenant = $1 AND domain = $2 AND name = $3");
        query.bind(self.author.tenant).bind(domain).bind(rule).execute(&mut *self.conn).await?;
        Ok(())
    }

    /// The place after the last rule of a domain; `NotFound` where there is no such domain.
    async fn end(&mut self, domain: &'a str) -> Result<i64> {
        let last = match self.ends.get(domain) {
            Some(last) => *last,
            None => {
                let sql = "SELECT (SELECT MAX(position) FROM rules WHERE tenant = $1 AND domain = $2) FROM domains \
                           WHERE tenant = $1 AND name = $2";
                let query = sqlx::query(sql).bind(self.author.tenant).bind(domain);
                let row = query.fetch_optional(&mut *self.conn).await?.ok_or(CatalogError::NotFound)?;
                maybe_int(&row, 0)?.unwrap_or(0)
            }
        };
        let end = last.saturating_add(1);
        self.ends.insert(domain, end);
        Ok(end)
    }

    /// Looked at after the changes, which are undone where there are too many. Who has more than a ceiling that was lowered may
    /// still change and delete.
    async fn check_ceilings(&mut self, most: i64) -> Result<()> {
        if self.more.iter().all(|more| *more <= 0) {
            return Ok(());
        }
        let sql = format!(
            "SELECT (SELECT COUNT(*) FROM rules WHERE tenant = $1), \
             (SELECT COUNT(*) FROM domains WHERE tenant = $1), {INSTALLATION}"
        );
        let row = sqlx::query(fixed(sql)).bind(self.author.tenant).fetch_one(&mut *self.conn).await?;
        // A domain without rules takes room from other tenants, too.
        for (column, what) in ["rules of a tenant", "domains of a tenant"].into_iter().enumerate() {
            if self.more[column] > 0 && int(&row, column)? > most {
                return Err(CatalogError::Ceiling { what, most: count(most) });
            }
        }
        fits_installation(&row, 2)
    }

    /// A line of history; the rule '' is the domain's settings.
    fn keep(
        &mut self,
        domain: &'a str,
        rule: &str,
        action: &'static str,
        document: Option<&str>,
        position: i64,
    ) {
        self.trail.keep(domain, &Line { rule, action, document, position });
    }

    fn record(&mut self, action: &'static str, target: &str, before: Option<&Found>, after: Option<&str>) {
        self.trail.record(action, target, before.map(|found| found.document.as_str()), after);
    }

    async fn write_trail(&mut self) -> Result<()> {
        self.trail.write(self.dialect, self.conn, self.author).await
    }
}

impl Found {
    fn of(row: &AnyRow) -> Result<Self> {
        Ok(Self { document: text(row, 0)?, version: int(row, 1)?, position: int(row, 2)? })
    }
}

fn meet(expect: Expect, found: Option<&Found>) -> Result<()> {
    expect_version(expect, found.map(|found| found.version))
}

/// Whether what a change expects is so; asked for early where that saves work, and always by who writes.
pub(crate) fn expect_version(expect: Expect, current: Option<i64>) -> Result<()> {
    let met = match expect {
        Expect::Any => true,
        Expect::Absent => current.is_none(),
        Expect::Present => current.is_some(),
        Expect::Version(version) => current == Some(version),
    };
    if met { Ok(()) } else { Err(CatalogError::Conflict { current }) }
}
