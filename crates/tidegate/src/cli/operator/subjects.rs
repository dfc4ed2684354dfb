//! `tidegate subjects`.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use http::Method;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use super::client::{Client, Condition, part, read_input};
use super::table::table;
use super::{AdminArguments, said_of_change, text};
use crate::admin::MAX_BODY_BYTES;
use crate::cli::SUCCESS;

/// Subjects in one request of an import.
const PAGE_SUBJECTS: usize = 10_000;
/// Bytes of the subjects and tiers in one request: well below the longest body, with room for what is around them.
const PAGE_BYTES: usize = MAX_BODY_BYTES - 1_024;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct SubjectsArguments {
    #[command(flatten)]
    admin: AdminArguments,

    #[command(subcommand)]
    action: Action,
}

const EXAMPLES: &str = "\
Examples:
  tidegate subjects set-tier payments u1 enterprise
  tidegate subjects import payments tiers.csv            lines of subject,tier
  tidegate subjects get payments u1                      tier, ban, overrides, buckets
  tidegate subjects ban payments u1 --reason 'card testing' --for 2h
  tidegate subjects override payments u1 per-user --limit 500 --for 7d";

#[derive(Debug, Subcommand)]
enum Action {
    /// Show what is known of a subject, and its buckets
    Get {
        /// The domain
        domain: String,
        /// The subject
        subject: String,
    },
    /// List subjects that have a tier of their own
    List {
        /// The domain
        domain: String,
        /// Of one tier only
        #[arg(long)]
        tier: Option<String>,
    },
    /// Set a subject's tier
    SetTier {
        /// The domain
        domain: String,
        /// The subject
        subject: String,
        /// The tier
        tier: String,
    },
    /// Give a subject the default tier again
    ClearTier {
        /// The domain
        domain: String,
        /// The subject
        subject: String,
    },
    /// Set the tiers of many subjects, from lines of subject,tier
    Import {
        /// The domain
        domain: String,
        /// The file; - is standard input
        file: PathBuf,
    },
    /// Put a subject's buckets to rest
    Reset {
        /// The domain
        domain: String,
        /// The subject
        subject: String,
    },
    /// Give units back to a subject
    Refund {
        /// The domain
        domain: String,
        /// The subject
        subject: String,
        /// Units
        #[arg(long)]
        cost: u64,
    },
    /// Refuse a subject whatever the rules say
    Ban {
        /// The domain
        domain: String,
        /// The subject
        subject: String,
        /// Why; the subject is told
        #[arg(long)]
        reason: String,
        /// How long; for ever if not given
        #[arg(long = "for", value_name = "TIME")]
        lasting: Option<String>,
    },
    /// Lift a ban
    Unban {
        /// The domain
        domain: String,
        /// The subject
        subject: String,
    },
    /// List bans
    Bans {
        /// The domain
        domain: String,
    },
    /// Give one subject a quota of its own in a rule
    Override {
        /// The domain
        domain: String,
        /// The subject
        subject: String,
        /// The rule
        rule: String,
        /// Units in a window
        #[arg(long)]
        limit: u64,
        /// The window; the rule's if not given
        #[arg(long, value_name = "TIME")]
        window: Option<String>,
        /// Units at one instant; the limit if not given
        #[arg(long)]
        burst: Option<u64>,
        /// How long; for ever if not given
        #[arg(long = "for", value_name = "TIME")]
        lasting: Option<String>,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Take an override back
    ClearOverride {
        /// The domain
        domain: String,
        /// The subject
        subject: String,
        /// The rule
        rule: String,
    },
    /// List overrides
    Overrides {
        /// The domain
        domain: String,
    },
}

pub(in crate::cli) fn run(arguments: &SubjectsArguments) -> anyhow::Result<u8> {
    let (admin, client) = (&arguments.admin, arguments.admin.client()?);
    let delete = |path: String| -> anyhow::Result<()> {
        let answer = client.ask(Method::DELETE, &path, &Condition::None, None)?.json()?;
        admin.print(&answer, said_of_change)
    };
    let send = |method: Method, path: String, body: Value| -> anyhow::Result<()> {
        let answer = client.send_json(method, &path, &body)?;
        admin.print(&answer, said_of_change)
    };
    match &arguments.action {
        Action::Get { domain, subject } => get(admin, &client, domain, subject)?,
        Action::List { domain, tier } => list(admin, &client, domain, tier.as_deref())?,
        Action::SetTier { domain, subject, tier } => {
            send(Method::PUT, path_of(domain, subject, ""), json!({ "tier": tier }))?;
        }
        Action::ClearTier { domain, subject } => delete(path_of(domain, subject, ""))?,
        Action::Import { domain, file } => import(admin, &client, domain, &read_input(file)?)?,
        Action::Reset { domain, subject } => {
            let answer = client.send_json(Method::POST, &path_of(domain, subject, "/reset"), &json!({}))?;
            admin.print(&answer, |answer| match answer["reset"].as_u64() {
                Some(1) => "1 bucket put to rest\n".to_owned(),
                many => format!("{} buckets put to rest\n", many.unwrap_or(0)),
            })?;
        }
        Action::Refund { domain, subject, cost } => {
            let path = path_of(domain, subject, "/refund");
            let answer = client.send_json(Method::POST, &path, &json!({ "cost": cost }))?;
            admin.print(&answer, said_of_buckets)?;
        }
        Action::Ban { domain, subject, reason, lasting } => {
            send(Method::PUT, path_of(domain, subject, "/ban"), json!({ "reason": reason, "for": lasting }))?;
        }
        Action::Unban { domain, subject } => delete(path_of(domain, subject, "/ban"))?,
        Action::Bans { domain } => {
            let items = Value::Array(client.all(&format!("/domains/{}/bans", part(domain)))?);
            admin.print(&items, |items| {
                rows_of(items, &["SUBJECT", "UNTIL", "REASON", "BY"], &["subject", "until", "reason", "by"])
            })?;
        }
        Action::Override { domain, subject, rule, limit, window, burst, lasting, reason } => {
            let path = path_of(domain, subject, &format!("/overrides/{}", part(rule)));
            let body = json!({
                "limit": limit, "window": window, "burst": burst, "for": lasting, "reason": reason,
            });
            send(Method::PUT, path, body)?;
        }
        Action::ClearOverride { domain, subject, rule } => {
            delete(path_of(domain, subject, &format!("/overrides/{}", part(rule))))?;
        }
        Action::Overrides { domain } => {
            let items = Value::Array(client.all(&format!("/domains/{}/overrides", part(domain)))?);
            let names = ["subject", "rule", "limit", "until", "reason"];
            admin.print(&items, |items| {
                rows_of(items, &["SUBJECT", "RULE", "LIMIT", "UNTIL", "REASON"], &names)
            })?;
        }
    }
    Ok(SUCCESS)
}

fn path_of(domain: &str, subject: &str, rest: &str) -> String {
    format!("/domains/{}/subjects/{}{rest}", part(domain), part(subject))
}

/// A table of these members of every item.
fn rows_of(items: &Value, heading: &[&str], names: &[&str]) -> String {
    let cell = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let row = |item: &Value| names.iter().map(|name| cell(&item[*name])).collect();
    let rows: Vec<Vec<String>> = items.as_array().into_iter().flatten().map(row).collect();
    table(heading, &rows)
}

fn list(admin: &AdminArguments, client: &Client, domain: &str, tier: Option<&str>) -> anyhow::Result<()> {
    let filter = tier.map_or(String::new(), |tier| format!("?tier={}", part(tier)));
    let items = Value::Array(client.all(&format!("/domains/{}/subjects{filter}", part(domain)))?);
    admin.print(&items, |items| rows_of(items, &["SUBJECT", "TIER"], &["subject", "tier"]))
}

fn get(admin: &AdminArguments, client: &Client, domain: &str, subject: &str) -> anyhow::Result<()> {
    let answer = client.get(&path_of(domain, subject, ""))?.json()?;
    admin.print(&answer, |answer| {
        let tier = answer["tier"].as_str().unwrap_or("(the domain's default)");
        let mut said = format!("{subject}: tier {tier}\n");
        if let Some(ban) = answer["ban"].as_object() {
            let ban = Value::Object(ban.clone());
            let until = ban["until"].as_str().unwrap_or("for ever");
            said.push_str(&format!(
                "banned until {until}: {} (by {})\n",
                text(&ban, "reason"),
                text(&ban, "by")
            ));
        }
        for one in answer["overrides"].as_array().into_iter().flatten() {
            let until = one["until"].as_str().unwrap_or("for ever");
            said.push_str(&format!(
                "override of {}: limit {} until {until}\n",
                text(one, "rule"),
                one["limit"]
            ));
        }
        said.push_str(&said_of_buckets(answer));
        said
    })
}

fn said_of_buckets(answer: &Value) -> String {
    let mut buckets = answer["buckets"].clone();
    for bucket in buckets.as_array_mut().into_iter().flatten() {
        // An override is a tier that nobody has named.
        if text(bucket, "tier").starts_with('=') {
            bucket["tier"] = Value::from("(override)");
        }
    }
    rows_of(
        &buckets,
        &["RULE", "TIER", "LIMIT", "USED", "REMAINING", "MODE"],
        &["rule", "tier", "limit", "used", "remaining", "mode"],
    )
}

fn import(admin: &AdminArguments, client: &Client, domain: &str, lines: &str) -> anyhow::Result<()> {
    let rows = parsed_lines(lines)?;
    if rows.is_empty() {
        bail!("there is no line of subject,tier");
    }
    let bar = ProgressBar::new(rows.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} subjects, {eta} left") {
        bar.set_style(style);
    }
    let path = format!("/domains/{}/subjects", part(domain));
    let mut answer = Value::Null;
    for page in pages(&rows) {
        let tiers: Map<String, Value> =
            page.iter().map(|(subject, tier)| ((*subject).to_owned(), Value::from(*tier))).collect();
        answer = client.send_json(Method::POST, &path, &json!({ "tiers": tiers })).with_context(|| {
            format!(
                "{} of {} subjects were imported; import again, what is there already does no harm",
                bar.position(),
                rows.len()
            )
        })?;
        bar.inc(page.len() as u64);
    }
    bar.finish_and_clear();
    answer["subjects"] = Value::from(rows.len());
    admin.print(&answer, |answer| format!("{} subjects\n{}", answer["subjects"], said_of_change(answer)))
}

/// The rows in order, in as many as fit a request.
fn pages<'r, 'a>(rows: &'r [(&'a str, &'a str)]) -> Vec<&'r [(&'a str, &'a str)]> {
    let bytes = |(subject, tier): &(&str, &str)| json!([subject, tier]).to_string().len();
    let (mut pages, mut rest) = (Vec::new(), rows);
    while !rest.is_empty() {
        let mut sum = 0;
        let fitting = rest.iter().take(PAGE_SUBJECTS).take_while(|row| {
            sum += bytes(row);
            sum <= PAGE_BYTES
        });
        // A row that fits nowhere is for the server to refuse.
        let (page, after) = rest.split_at(fitting.count().max(1));
        pages.push(page);
        rest = after;
    }
    pages
}

/// Subjects and tiers; nothing of a file with a bad line is taken. There are no comments: a subject may begin with anything.
fn parsed_lines(lines: &str) -> anyhow::Result<Vec<(&str, &str)>> {
    let mut rows = Vec::new();
    for (number, line) in lines.lines().enumerate() {
        let line = line.trim_end_matches('\r');
        if line.trim().is_empty() || (number == 0 && line == "subject,tier") {
            continue;
        }
        match line.rsplit_once(',') {
            Some((subject, tier)) if !subject.is_empty() && !tier.trim().is_empty() => {
                rows.push((subject, tier.trim()));
            }
            _ => bail!("line {}: write subject,tier, for example u1,enterprise", number + 1),
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_subject_and_tier_are_read_and_a_bad_one_is_named() {
        let rows = parsed_lines("subject,tier\nu1,pro\n\n#x,pro\na,b,free\r\n").unwrap();
        assert_eq!(rows, [("u1", "pro"), ("#x", "pro"), ("a,b", "free")]);
        assert!(parsed_lines("# who pays\n").is_err(), "no line is left out in silence");
        let error = parsed_lines("u1,pro\nu2\n").unwrap_err();
        assert!(error.to_string().starts_with("line 2:"), "{error}");
    }

    #[test]
    fn pages_of_an_import_fit_a_body_and_leave_nothing_out() {
        let short: Vec<String> = (0..25_000).map(|number| format!("u{number}")).collect();
        let long: Vec<String> = (0..5_000).map(|number| format!("{number}{}", "\"".repeat(500))).collect();
        for (subjects, least) in [(short, 3), (long, 5), (vec!["x".repeat(MAX_BODY_BYTES)], 1)] {
            let rows: Vec<(&str, &str)> = subjects.iter().map(|subject| (subject.as_str(), "pro")).collect();
            let pages = pages(&rows);
            assert!(pages.len() >= least, "{} pages", pages.len());
            for page in pages.iter().filter(|page| page.len() > 1) {
                let tiers: Map<String, Value> =
                    page.iter().map(|(subject, tier)| ((*subject).to_owned(), Value::from(*tier))).collect();
                assert!(page.len() <= PAGE_SUBJECTS);
                assert!(json!({ "tiers": tiers }).to_string().len() <= MAX_BODY_BYTES);
            }
            assert_eq!(pages.concat(), rows);
        }
    }
}
