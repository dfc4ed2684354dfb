//! `tidegate tenants`.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};
use tidegate_catalog::model::DEFAULT_TENANT;

use super::client::{Body, Condition, part};
use super::table::table;
use super::{AdminArguments, said_of_change, text};
use crate::cli::SUCCESS;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct TenantsArguments {
    #[command(flatten)]
    admin: AdminArguments,

    #[command(subcommand)]
    action: Action,
}

const EXAMPLES: &str = "\
Examples:
  tidegate tenants create acme --max-rules 100 --max-requests-per-second 500
  tidegate tenants set acme --max-keys 20                 what is not given stays
  tidegate keys create acme-ops --tenant acme --scope check --scope admin-write";

#[derive(Debug, Subcommand)]
enum Action {
    /// List tenants and their ceilings
    List,
    /// Make a tenant
    Create {
        /// 1 to 63 of a-z, 0-9 and -
        name: String,
        #[command(flatten)]
        ceilings: Ceilings,
    },
    /// Change a tenant's ceilings; what is not given stays
    Set {
        /// The tenant
        name: String,
        #[command(flatten)]
        ceilings: Ceilings,
    },
    /// Remove a tenant and all it has
    Delete {
        /// The tenant
        name: String,
    },
}

/// What a tenant may have.
#[derive(Debug, Args)]
struct Ceilings {
    /// Rules, over all domains
    #[arg(long, value_name = "N")]
    max_rules: Option<u32>,
    /// API keys
    #[arg(long, value_name = "N")]
    max_keys: Option<u32>,
    /// Requests a second, over all nodes
    #[arg(long, value_name = "N")]
    max_requests_per_second: Option<u32>,
}

pub(in crate::cli) fn run(arguments: &TenantsArguments) -> anyhow::Result<u8> {
    let (admin, client) = (&arguments.admin, arguments.admin.client()?);
    match &arguments.action {
        Action::List => {
            let items = Value::Array(client.all("/tenants")?);
            admin.print(&items, |items| {
                let row = |tenant: &Value| {
                    let requests = tenant["max_requests_per_second"].as_u64();
                    vec![
                        text(tenant, "name").to_owned(),
                        tenant["max_rules"].to_string(),
                        tenant["max_keys"].to_string(),
                        requests.map_or_else(|| "-".to_owned(), |most| most.to_string()),
                        if text(tenant, "name") == DEFAULT_TENANT { "-" } else { text(tenant, "created_at") }
                            .to_owned(),
                    ]
                };
                let rows: Vec<Vec<String>> = items.as_array().into_iter().flatten().map(row).collect();
                table(&["TENANT", "RULES", "KEYS", "REQUESTS/S", "CREATED"], &rows)
            })?;
        }
        Action::Create { name, ceilings } => {
            let body = json!({
                "name": name,
                "max_rules": ceilings.max_rules,
                "max_keys": ceilings.max_keys,
                "max_requests_per_second": ceilings.max_requests_per_second,
            });
            admin.print(&client.send_json(Method::POST, "/tenants", &body)?, said_of_change)?;
        }
        Action::Set { name, ceilings } => {
            let path = format!("/tenants/{}", part(name));
            let reply = client.get(&path)?;
            let (mut tenant, etag) = (reply.json()?, reply.etag.unwrap_or_default());
            let mut set = |field: &str, value: Option<u32>| {
                if let Some(value) = value {
                    tenant[field] = Value::from(value);
                }
            };
            set("max_rules", ceilings.max_rules);
            set("max_keys", ceilings.max_keys);
            set("max_requests_per_second", ceilings.max_requests_per_second);
            let wanted = ["name", "max_rules", "max_keys", "max_requests_per_second"];
            let body: serde_json::Map<String, Value> =
                wanted.iter().map(|field| ((*field).to_owned(), tenant[*field].clone())).collect();
            let body = Some(Body::json(&body)?);
            let answer = client.ask(Method::PUT, &path, &Condition::Version(etag), body)?.json()?;
            admin.print(&answer, said_of_change)?;
        }
        Action::Delete { name } => {
            let path = format!("/tenants/{}", part(name));
            let answer = client.ask(Method::DELETE, &path, &Condition::Any, None)?.json()?;
            admin.print(&answer, said_of_change)?;
        }
    }
    Ok(SUCCESS)
}
