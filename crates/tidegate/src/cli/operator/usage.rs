//! `tidegate usage`.

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::client::part;
use super::table::table;
use super::{AdminArguments, text};
use crate::cli::{SUCCESS, terminal};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tidegate usage                                   the last hour, by domain, rule and tier\n  tidegate usage --last 7d --resolution hour --by time,domain\n  tidegate usage --top payments                    the busiest keys of a domain on this node"
)]
pub(in crate::cli) struct UsageArguments {
    #[command(flatten)]
    admin: AdminArguments,

    /// How far to look back
    #[arg(long, value_name = "TIME", default_value = "1h")]
    last: String,

    /// What to keep apart: tenant, domain, rule, tier, time; if not given, domain, rule and tier, of all tenants also tenant
    #[arg(long, value_name = "LIST")]
    by: Option<String>,

    /// Minutes (as long as they are kept) or hours
    #[arg(long, value_enum, default_value = "minute")]
    resolution: Resolution,

    /// One domain only
    #[arg(long, value_name = "NAME")]
    domain: Option<String>,

    /// Show the busiest keys of this domain on this node instead, of the last minutes
    #[arg(long, value_name = "DOMAIN", conflicts_with_all = ["domain", "by", "last", "resolution"])]
    top: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Resolution {
    /// Sixty seconds
    Minute,
    /// An hour
    Hour,
}

pub(in crate::cli) fn run(arguments: &UsageArguments) -> anyhow::Result<u8> {
    let (admin, client) = (&arguments.admin, arguments.admin.client()?);
    if let Some(domain) = &arguments.top {
        let answer = client.get(&format!("/top?domain={}", part(domain)))?.json()?;
        admin.print(&answer, |answer| {
            let row = |item: &Value| {
                ["requests_at_most", "allowed", "denied", "cost"].iter().fold(
                    vec![text(item, "key").to_owned()],
                    |mut row, name| {
                        row.push(item[*name].to_string());
                        row
                    },
                )
            };
            let rows: Vec<Vec<String>> = answer["items"].as_array().into_iter().flatten().map(row).collect();
            table(&["KEY", "REQUESTS", "ALLOWED", "DENIED", "COST"], &rows)
        })?;
        return Ok(SUCCESS);
    }
    let resolution = match arguments.resolution {
        Resolution::Minute => "minute",
        Resolution::Hour => "hour",
    };
    let dimensions = match (&arguments.by, &admin.tenant) {
        (Some(by), _) => by.as_str(),
        (None, Some(_)) => "domain,rule,tier",
        (None, None) => "tenant,domain,rule,tier",
    };
    let (last, by) = (part(&arguments.last), part(dimensions));
    let domain =
        arguments.domain.as_deref().map_or(String::new(), |domain| format!("&domain={}", part(domain)));
    let answer =
        client.get(&format!("/usage?last={last}&by={by}&resolution={resolution}{domain}"))?.json()?;
    admin.print(&answer, |answer| {
        let dimensions: Vec<&str> = dimensions.split(',').filter(|name| !name.is_empty()).collect();
        let heading: Vec<String> = dimensions.iter().map(|name| name.to_uppercase()).collect();
        let mut heading: Vec<&str> = heading.iter().map(String::as_str).collect();
        heading.extend(["ALLOWED", "DENIED", "COST"]);
        let row = |item: &Value| -> Vec<String> {
            let named = dimensions.iter().map(|name| match text(item, name) {
                "" => "-".to_owned(),
                text => text.to_owned(),
            });
            named.chain(["allowed", "denied", "cost"].iter().map(|name| item[*name].to_string())).collect()
        };
        let rows: Vec<Vec<String>> = answer["items"].as_array().into_iter().flatten().map(row).collect();
        table(&heading, &rows)
    })?;
    if answer["complete"] == Value::Bool(false) {
        terminal::print_note("there is more than this: ask for less with --last, --domain or --by");
    }
    Ok(SUCCESS)
}
