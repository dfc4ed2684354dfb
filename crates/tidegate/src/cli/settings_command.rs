//! `tidegate settings`: each setting of the server, its value, and where it was told.

use std::fmt::Write;

use clap::{Arg, ArgAction, Args, Command};
use serde::Serialize;

use super::catalog_arguments::catalog_place;
use super::serve_command::{self, ServeArguments};
use super::settings_reference;
use super::store_arguments::{MEMORY, StoreSource};
use super::{SUCCESS, terminal};
use crate::serve::{CatalogPlace, CatalogSettings};
use crate::settings::{Environment, Origin, Origins, Resolved, is_secret, variables};

/// The heading of settings that have none of their own.
pub(super) const GENERAL: &str = "Server";
/// The heading of variables that set quotas.
const QUOTAS: &str = "Quotas by variables";
/// What is shown of a secret.
const SET: &str = "(set)";
/// The widest column of values; longer ones push what follows.
const MAX_VALUE_WIDTH: usize = 40;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SettingsArguments {
    #[command(flatten)]
    serve: ServeArguments,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Print the reference page of all settings
    #[arg(long, hide = true)]
    reference: bool,
}

const EXAMPLES: &str = "\
Example:
  tidegate settings --config tidegate.yaml   what a server with this file and this environment would use";

/// A setting as it counts.
#[derive(Debug, Serialize)]
struct Row {
    setting: String,
    /// None where it is not told and has no default.
    value: Option<Shown>,
    /// `flag`, `env`, `file` or `default`.
    source: &'static str,
    /// The flag, the variable, or the file and line.
    place: Option<String>,
    group: String,
}

/// A value as it may be shown.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Shown {
    One(String),
    Many(Vec<String>),
}

pub(super) fn run(
    arguments: SettingsArguments,
    command: &Command,
    resolved: &Resolved,
    environment: &Environment,
) -> anyhow::Result<u8> {
    let serve = command.find_subcommand("serve").unwrap_or(command);
    if arguments.reference {
        terminal::print(&settings_reference::page(serve))?;
        return Ok(SUCCESS);
    }
    let store = store(&arguments.serve, &resolved.origins);
    // Settings that the server would refuse are not shown as if it would take them.
    let settings = serve_command::settings(arguments.serve, &resolved.origins, environment)?;
    let rows = rows(serve, resolved, store, &settings.catalog);
    let text = if arguments.json { serde_json::to_string_pretty(&rows)? } else { table(&rows) };
    terminal::print(&text)?;
    Ok(SUCCESS)
}

/// `store` is the one that counts.
fn rows(
    serve: &Command,
    resolved: &Resolved,
    store: (&'static str, &Origin),
    catalog: &CatalogSettings,
) -> Vec<Row> {
    let shown =
        serve.get_arguments().filter(|argument| !variables(argument).is_empty() && !argument.is_hide_set());
    let mut rows: Vec<Row> = shown.map(|argument| row(argument, resolved)).collect();
    for row in &mut rows {
        match row.setting.as_str() {
            "store" => {
                let (shown, origin) = store;
                row.value = Some(Shown::One(shown.to_owned()));
                (row.source, row.place) = (origin.kind(), origin.place().map(str::to_owned));
            }
            "last-good-rules" => {
                row.value = catalog.last_good.as_ref().map(|file| Shown::One(readable(file.as_os_str())));
            }
            _ => {}
        }
    }
    rows.extend(catalog.quota_variables.iter().map(|(name, value)| Row {
        setting: name.clone(),
        value: Some(Shown::One(readable(value.as_ref()))),
        source: Origin::Variable(String::new()).kind(),
        place: Some(name.clone()),
        group: QUOTAS.to_owned(),
    }));
    rows
}

fn row(argument: &Arg, resolved: &Resolved) -> Row {
    let id = argument.get_id().as_str();
    let origin = resolved.origins.of(id);
    Row {
        setting: argument.get_long().unwrap_or(id).to_owned(),
        value: value(argument, resolved),
        source: origin.kind(),
        place: origin.place().map(str::to_owned),
        group: argument.get_help_heading().unwrap_or(GENERAL).to_owned(),
    }
}

/// The store that counts, as it may be shown, and where it was told: it has several names.
fn store<'a>(arguments: &ServeArguments, origins: &'a Origins) -> (&'static str, &'a Origin) {
    let source = arguments.store.telling(origins);
    let shown = if matches!(source, StoreSource::Store(MEMORY)) { MEMORY } else { SET };
    (shown, origins.of(source.id()))
}

fn value(argument: &Arg, resolved: &Resolved) -> Option<Shown> {
    let matches = resolved.matches.subcommand().map_or(&resolved.matches, |(_, matches)| matches);
    let id = argument.get_id().as_str();
    let texts: Vec<String> = matches
        .get_raw(id)
        .into_iter()
        .flatten()
        .map(|text| if is_secret(argument) { open(id, &text.to_string_lossy()) } else { readable(text) })
        .collect();
    match argument.get_action() {
        ArgAction::Append => Some(Shown::Many(texts)),
        // A switch on the command line has no text.
        ArgAction::SetTrue => Some(Shown::One(matches.get_flag(id).to_string())),
        _ => texts.into_iter().next().map(Shown::One),
    }
}

/// What may be shown of a secret: a database that is a file, or none, has no login.
fn open(id: &str, text: &str) -> String {
    match id {
        "database_url" => match catalog_place(text) {
            Ok(CatalogPlace::None | CatalogPlace::Sqlite(_)) => text.to_owned(),
            Ok(CatalogPlace::Postgres(_)) | Err(_) => SET.to_owned(),
        },
        _ => SET.to_owned(),
    }
}

/// A value on one line.
fn readable(text: &std::ffi::OsStr) -> String {
    text.to_string_lossy().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The rows in columns, grouped.
fn table(rows: &[Row]) -> String {
    let text = |row: &Row| match &row.value {
        None => "not set".to_owned(),
        Some(Shown::One(text)) => text.clone(),
        Some(Shown::Many(texts)) if texts.is_empty() => "none".to_owned(),
        Some(Shown::Many(texts)) => texts.join(","),
    };
    let name_width = rows.iter().map(|row| row.setting.len()).max().unwrap_or(0);
    let value_width =
        rows.iter().map(|row| text(row).chars().count()).max().unwrap_or(0).min(MAX_VALUE_WIDTH);
    let mut groups: Vec<&str> = Vec::new();
    for row in rows {
        if !groups.contains(&row.group.as_str()) {
            groups.push(&row.group);
        }
    }
    let mut out = String::new();
    for group in groups {
        // Writing to a text does not fail.
        let _ = writeln!(out, "{}{group}", if out.is_empty() { "" } else { "\n" });
        for row in rows.iter().filter(|row| row.group == group) {
            let told = match &row.place {
                Some(place) => format!("{} {place}", row.source),
                None => row.source.to_owned(),
            };
            let _ = writeln!(out, "  {:name_width$}  {:value_width$}  {told}", row.setting, text(row));
        }
    }
    out
}

#[cfg(test)]
mod tests;
