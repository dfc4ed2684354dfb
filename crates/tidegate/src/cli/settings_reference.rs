//! The reference page of all settings, made from the arguments themselves: docs/reference/settings.md.

use std::fmt::Write;

use clap::{Arg, ArgAction, Command};

use super::settings_command::GENERAL;
use crate::settings::{CONFIG, FILE_SUFFIX, PORT, is_secret, variables};

const HEAD: &str = "\
# Settings

Made from the program's own arguments (`TIDEGATE_BLESS=1 cargo test -p tidegate --lib reference` writes it anew). How flags, variables and
file go together is in [Running](../guide/running.md#settings); `tidegate settings` shows what counts on your machine, and why.

A key of the settings file is the flag without `--`. Times are written like `250ms`, `10s`, `1m30s`. Switches take `true` or
`false` as variables and in the file. Of several variables, the first that is set counts. Variables that are set to nothing count
as not set.
";

const QUOTAS: &str = "
## Quotas by variables

| variable | meaning |
| --- | --- |
| `<RULE>_RATE_LIMIT_MAX_REQUESTS` | the limit of a rule, for example `LOGIN_RATE_LIMIT_MAX_REQUESTS=5` |
| `<RULE>_RATE_LIMIT_WINDOW_SECONDS` | its window, for example `BUY_TICKET_RATE_LIMIT_WINDOW_SECONDS=60` |

`<RULE>` is the rule's name in capitals, with `_` for every other character: `BUY_TICKET` is the rule `buy-ticket`.
";

const MORE: &str = "
More about them: [the shared store](../operations/shared-store.md), [when the store does not answer](../operations/store-outage.md),
[behind a proxy](../operations/behind-a-proxy.md), [overload and limits](../operations/overload-and-limits.md),
[state and restart](../operations/state-and-restart.md), [traces](../operations/tracing.md), [algorithms](algorithms.md).
";

/// The page, from the arguments of `serve`.
pub(super) fn page(serve: &Command) -> String {
    let settings: Vec<&Arg> =
        serve.get_arguments().filter(|argument| !variables(argument).is_empty()).collect();
    let mut groups: Vec<&str> = Vec::new();
    for argument in &settings {
        let group = argument.get_help_heading().unwrap_or(GENERAL);
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    let mut page = HEAD.to_owned();
    for group in groups {
        let of_group = |argument: &&&Arg| argument.get_help_heading().unwrap_or(GENERAL) == group;
        // Writing to a text does not fail.
        let _ = write!(page, "\n## {group}\n\n| flag | variables | key | default | meaning |\n");
        page.push_str("| --- | --- | --- | --- | --- |\n");
        settings.iter().filter(of_group).for_each(|argument| page.push_str(&row(argument)));
    }
    page.push_str(QUOTAS);
    page.push_str(MORE);
    page
}

fn row(argument: &Arg) -> String {
    let flag = match (argument.get_short(), argument.is_hide_set()) {
        (_, true) => String::new(),
        (Some(short), false) => format!("`-{short}`, `{}`", long(argument)),
        (None, false) => format!("`{}`", long(argument)),
    };
    let key = match argument.get_long() {
        Some(long) if argument.get_id() != CONFIG && !argument.is_hide_set() => format!("`{long}`"),
        _ => String::new(),
    };
    let default: Vec<String> =
        argument.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
    let default = match argument.get_action() {
        ArgAction::SetTrue => "`false`".to_owned(),
        _ => default.join(", "),
    };
    let cells = [flag, told_by(argument), key, default, meaning(argument)];
    format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
}

/// The flag with the name of its value.
fn long(argument: &Arg) -> String {
    let long = argument.get_long().unwrap_or_default();
    match argument.get_value_names() {
        Some([name, ..]) if argument.get_action().takes_values() => format!("--{long} {name}"),
        _ => format!("--{long}"),
    }
}

fn told_by(argument: &Arg) -> String {
    let mut names = Vec::new();
    for name in variables(argument) {
        names.push(format!("`{name}`"));
        if is_secret(argument) {
            names.push(format!("`{name}{FILE_SUFFIX}`"));
        }
    }
    if argument.get_id() == "listen" {
        names.push(format!("`{PORT}` (the port only)"));
    }
    names.join(", ")
}

fn meaning(argument: &Arg) -> String {
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let choices: Vec<String> = argument
        .get_possible_values()
        .iter()
        .filter(|_| argument.get_action().takes_values())
        .filter(|value| !value.is_hide_set())
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    let secret = if is_secret(argument) {
        ". A variable that ends with `_FILE` names a file that holds it"
    } else {
        ""
    };
    match choices.as_slice() {
        [] => format!("{help}{secret}"),
        choices => format!("{help}: {}", choices.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory;

    use super::page;
    use crate::cli::Arguments;

    #[test]
    fn the_reference_page_is_up_to_date() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/settings.md");
        let command = Arguments::command();
        let page = page(command.find_subcommand("serve").unwrap());
        #[expect(
            clippy::disallowed_methods,
            reason = "only this test writes the file, and only when it is asked to"
        )]
        let bless = std::env::var("TIDEGATE_BLESS").is_ok();
        if bless {
            std::fs::write(&path, &page).unwrap();
        }
        assert!(
            std::fs::read_to_string(&path).unwrap_or_default() == page,
            "docs/reference/settings.md is old; run: TIDEGATE_BLESS=1 cargo test -p tidegate --lib reference"
        );
    }
}
