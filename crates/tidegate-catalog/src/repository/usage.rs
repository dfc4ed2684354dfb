//! Who used how much: added up as it comes in, by the minute and, later, by the hour.

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::dialect::{Dialect, count, fixed, int, stored, text};
use super::error::Result;
use super::{CALL, LONG_CALL, Repository};
use crate::model::{Resolution, UsageCounts, UsageKey};

/// The most rows of one answer.
const MAX_ROWS: u32 = 10_000;
/// The highest cost of a row and of a sum: what is above is this. One who asks for as many units as can be asked for must
/// not keep everybody's usage from being added up.
const MAX_STORED_COST: i64 = 9_000_000_000_000_000_000;
/// How long the numbers of batches are known.
const BATCHES_KEPT_US: i64 = 24 * 3_600 * 1_000_000;

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It was added by this call.
    Now,
    /// It had been added before, and is not added twice.
    Before,
}

/// What sums are made apart for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dimension {
    /// The tenant.
    Tenant,
    /// The domain.
    Domain,
    /// The rule.
    Rule,
    /// The tier.
    Tier,
    /// The span of time, of the query's resolution.
    Time,
}

/// A question about usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageQuery {
    /// One tenant, or all.
    pub tenant: Option<String>,
    /// One domain, or all.
    pub domain: Option<String>,
    /// One rule, or all.
    pub rule: Option<String>,
    /// One tier, or all.
    pub tier: Option<String>,
    /// From this second since the Unix epoch on: spans that begin then or later.
    pub from_s: i64,
    /// Up to this second, which is not included.
    pub to_s: i64,
    /// By the hour, minutes that are not rolled up yet included; or by the minute, as long as these are kept.
    pub resolution: Resolution,
    /// What to keep apart; what is not here is summed up, and empty in the answer.
    pub group_by: Vec<Dimension>,
    /// The most rows, up to 10,000.
    pub limit: u32,
}

/// How long usage is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Seconds by the minute; then it becomes hours.
    pub minutes_s: i64,
    /// Seconds by the hour; then it is deleted.
    pub hours_s: i64,
}

impl Repository {
    /// Adds what a node has counted by the minute: once, however often the same batch of the same node is sent.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`](super::CatalogError); send the same batch again then.
    pub async fn add_usage(
        &self,
        node: &str,
        batch: i64,
        now_us: i64,
        rows: &[(UsageKey, UsageCounts)],
    ) -> Result<Added> {
        // In order, so that two nodes that write the same rows never wait for one another crosswise.
        let mut rows: Vec<_> = rows.iter().map(|(key, counts)| (key, *counts)).collect();
        rows.sort_by_key(|(key, _)| *key);
        let rows = summed(rows);
        self.bounded(CALL, async {
            let mut write = self.write().await?;
            let sql = "INSERT INTO usage_batches (node, batch, at_us) VALUES ($1, $2, $3) \
                       ON CONFLICT (node, batch) DO NOTHING";
            let query = sqlx::query(sql).bind(node).bind(batch).bind(now_us);
            if query.execute(write.conn()).await?.rows_affected() == 0 {
                return Ok(Added::Before);
            }
            self.add(write.conn(), &rows).await?;
            write.commit().await?;
            Ok(Added::Now)
        })
        .await
    }

    async fn add(&self, conn: &mut AnyConnection, rows: &[(&UsageKey, UsageCounts)]) -> Result<()> {
        let given = match self.dialect {
            Dialect::Sqlite => "json_each($1) WHERE true",
            Dialect::Postgres => "jsonb_array_elements($1::jsonb) AS given (value)",
        };
        let sql = format!(
            "INSERT INTO usage (tenant, domain, rule, tier, resolution, at_s, allowed, denied, cost) \
             SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, 'minute', CAST(value ->> 4 AS BIGINT), \
             CAST(value ->> 5 AS BIGINT), CAST(value ->> 6 AS BIGINT), CAST(value ->> 7 AS BIGINT) FROM {given} \
             {}",
            on_conflict(self.dialect)
        );
        let minute = |at_s: i64| at_s.div_euclid(60).saturating_mul(60);
        let rows: Vec<_> = rows
            .iter()
            .map(|(key, counts)| {
                let counts = (stored(counts.allowed), stored(counts.denied), stored(counts.cost));
                let (at_s, (allowed, denied, cost)) = (minute(key.at_s), counts);
                (&key.tenant, &key.domain, &key.rule, &key.tier, at_s, allowed, denied, cost)
            })
            .collect();
        sqlx::query(fixed(sql)).bind(serde_json::json!(rows).to_string()).execute(conn).await?;
        Ok(())
    }

    /// Sums of usage, in the order of what they are kept apart for.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`](super::CatalogError).
    pub async fn usage(&self, asked: &UsageQuery) -> Result<Vec<(UsageKey, UsageCounts)>> {
        self.bounded(CALL, async {
            let query = sqlx::query(fixed(sums(self.dialect, asked)));
            let query = query.bind(&asked.tenant).bind(&asked.domain).bind(&asked.rule).bind(&asked.tier);
            let query = query.bind(asked.from_s).bind(asked.to_s).bind(i64::from(asked.limit.min(MAX_ROWS)));
            let rows = query.fetch_all(&mut *self.desk().await?).await?;
            let sum = |row: &AnyRow| {
                let key = UsageKey {
                    tenant: text(row, 0)?,
                    domain: text(row, 1)?,
                    rule: text(row, 2)?,
                    tier: text(row, 3)?,
                    at_s: int(row, 4)?,
                };
                let counts = UsageCounts {
                    allowed: count(int(row, 5)?),
                    denied: count(int(row, 6)?),
                    cost: count(int(row, 7)?),
                };
                Ok((key, counts))
            };
            rows.iter().map(sum).collect()
        })
        .await
    }

    /// Makes hours of old minutes, deletes old hours, and forgets the numbers of batches of more than a day ago.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`](super::CatalogError).
    pub async fn roll_up(&self, now_us: i64, keep: &Retention) -> Result<()> {
        let hour = |at_s: i64| at_s.div_euclid(3_600).saturating_mul(3_600);
        let now_s = now_us.div_euclid(1_000_000);
        let minutes_until = hour(now_s.saturating_sub(keep.minutes_s));
        let hours_until = hour(now_s.saturating_sub(keep.hours_s));
        self.bounded(LONG_CALL, async {
            let mut write = self.write().await?;
            let conn = write.conn();
            if self.is_postgres() {
                // One node at a time; the others find nothing to do then.
                let turn = sqlx::query("SELECT name FROM meta WHERE name = 'roll_up' FOR UPDATE");
                turn.fetch_one(&mut *conn).await?;
            }
            for sql in to_hours(self.dialect) {
                sqlx::query(fixed(sql)).bind(minutes_until).execute(&mut *conn).await?;
            }
            let old =
                sqlx::query("DELETE FROM usage WHERE resolution = 'hour' AND at_s < $1").bind(hours_until);
            old.execute(&mut *conn).await?;
            let old = sqlx::query("DELETE FROM usage_batches WHERE at_us < $1");
            old.bind(now_us.saturating_sub(BATCHES_KEPT_US)).execute(&mut *conn).await?;
            write.commit().await
        })
        .await
    }
}

/// Rows of the same key, which are neighbours, made one: a statement may not write a row twice.
fn summed(rows: Vec<(&UsageKey, UsageCounts)>) -> Vec<(&UsageKey, UsageCounts)> {
    let mut sums: Vec<(&UsageKey, UsageCounts)> = Vec::with_capacity(rows.len());
    let minute = |key: &UsageKey| key.at_s.div_euclid(60);
    let same = |a: &UsageKey, b: &UsageKey| {
        (&a.tenant, &a.domain, &a.rule, &a.tier, minute(a))
            == (&b.tenant, &b.domain, &b.rule, &b.tier, minute(b))
    };
    for (key, counts) in rows {
        match sums.last_mut() {
            Some((last, sum)) if same(last, key) => sum.add(counts),
            _ => sums.push((key, counts)),
        }
    }
    sums
}

/// The statement for a question: made of texts of this file only.
fn sums(dialect: Dialect, asked: &UsageQuery) -> String {
    let time = match asked.resolution {
        Resolution::Minute => "at_s",
        Resolution::Hour => "at_s - at_s % 3600",
    };
    let column = |dimension: Dimension| match dimension {
        Dimension::Tenant => "tenant",
        Dimension::Domain => "domain",
        Dimension::Rule => "rule",
        Dimension::Tier => "tier",
        Dimension::Time => time,
    };
    let all = [Dimension::Time, Dimension::Tenant, Dimension::Domain, Dimension::Rule, Dimension::Tier];
    let kept = |dimension: &Dimension| asked.group_by.contains(dimension);
    let shown = |dimension: Dimension| match (kept(&dimension), dimension) {
        (true, dimension) => column(dimension),
        (false, Dimension::Time) => "CAST(0 AS BIGINT)",
        (false, _) => "''",
    };
    let (tenant, domain) = (shown(Dimension::Tenant), shown(Dimension::Domain));
    let (rule, tier, at) = (shown(Dimension::Rule), shown(Dimension::Tier), shown(Dimension::Time));
    let groups: Vec<_> = all.into_iter().filter(kept).map(column).collect();
    let (group, order) = if groups.is_empty() {
        // No group: one row, or none where nothing was used.
        (String::new(), "HAVING COUNT(*) > 0".to_owned())
    } else {
        (format!("GROUP BY {}", groups.join(", ")), format!("ORDER BY {}", groups.join(", ")))
    };
    let only = match asked.resolution {
        Resolution::Minute => "AND resolution = 'minute'",
        // All there are; said, because the index of times begins with it.
        Resolution::Hour => "AND resolution IN ('minute', 'hour')",
    };
    format!(
        "SELECT {tenant}, {domain}, {rule}, {tier}, {at}, CAST(SUM(allowed) AS BIGINT), \
         CAST(SUM(denied) AS BIGINT), {} FROM usage \
         WHERE ($1 IS NULL OR tenant = $1) AND ($2 IS NULL OR domain = $2) AND ($3 IS NULL OR rule = $3) \
         AND ($4 IS NULL OR tier = $4) AND at_s >= $5 AND at_s < $6 {only} {group} {order} LIMIT $7",
        sum_of_costs(dialect)
    )
}

/// The sum of costs, at most [`MAX_STORED_COST`]. SQLite's is rounded where it is above 2^53.
fn sum_of_costs(dialect: Dialect) -> String {
    match dialect {
        Dialect::Sqlite => format!("CAST(MIN(TOTAL(cost), {MAX_STORED_COST}) AS INTEGER)"),
        Dialect::Postgres => format!("CAST(LEAST(SUM(cost), {MAX_STORED_COST}) AS BIGINT)"),
    }
}

/// What a row that is there already becomes. What SQLite cannot add up as a whole number it adds up as another.
fn on_conflict(dialect: Dialect) -> String {
    let cost = match dialect {
        Dialect::Sqlite => format!("CAST(MIN(usage.cost + excluded.cost, {MAX_STORED_COST}) AS INTEGER)"),
        Dialect::Postgres => {
            format!("CAST(LEAST(CAST(usage.cost AS NUMERIC) + excluded.cost, {MAX_STORED_COST}) AS BIGINT)")
        }
    };
    format!(
        "ON CONFLICT (tenant, domain, rule, tier, resolution, at_s) DO UPDATE SET \
         allowed = usage.allowed + excluded.allowed, denied = usage.denied + excluded.denied, cost = {cost}"
    )
}

/// Statements that move minutes into hours. PostgreSQL does it in one, so that no minute that comes in between is deleted
/// without being counted; SQLite lets nothing come in between.
fn to_hours(dialect: Dialect) -> Vec<String> {
    let (sum, add) = (sum_of_costs(dialect), on_conflict(dialect));
    let into = "INSERT INTO usage (tenant, domain, rule, tier, resolution, at_s, allowed, denied, cost)";
    let hours = "SELECT tenant, domain, rule, tier, 'hour', at_s - at_s % 3600 AS hour, CAST(SUM(allowed) AS BIGINT), \
                 CAST(SUM(denied) AS BIGINT)";
    let old = "resolution = 'minute' AND at_s < $1";
    let groups = "GROUP BY tenant, domain, rule, tier, hour";
    match dialect {
        Dialect::Sqlite => vec![
            format!("{into} {hours}, {sum} FROM usage WHERE {old} {groups} {add}"),
            format!("DELETE FROM usage WHERE {old}"),
        ],
        Dialect::Postgres => vec![format!(
            "WITH gone AS (DELETE FROM usage WHERE {old} RETURNING *) {into} {hours}, {sum} FROM gone {groups} {add}"
        )],
    }
}
