//! The command line. Each command is a file; this one reads the arguments and hands over.

mod catalog_arguments;
mod check;
mod check_config;
mod convert;
mod crowd_command;
mod explain;
mod grpc_arguments;
mod http_client;
mod logging;
mod operator;
mod replay_command;
mod resp_arguments;
mod room_arguments;
pub(crate) mod rule_file;
mod serve_command;
mod settings_command;
mod settings_reference;
mod store_arguments;
pub(crate) mod terminal;
mod trace_arguments;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::settings::{Environment, ResolveError, is_blank, resolve};

/// The command did what it was asked.
const SUCCESS: u8 = 0;
/// The answer is no: a denial, or a file with errors.
const NEGATIVE: u8 = 1;
/// The command could not be carried out.
const FAILURE: u8 = 2;

/// Decides who gets through, and when: a rate limiter and a waiting room in one program.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    serve: serve_command::ServeArguments,
}

const EXAMPLES: &str = "\
Examples:
  tidegate                                   serve the example rules on 127.0.0.1:8080
  tidegate serve --rules rules.yaml          serve your own
  tidegate settings --config tidegate.yaml   what would count, and where it was told
  tidegate check-config rules.yaml           find mistakes in a rule file
  tidegate convert envoy.yaml                rules of another limiter as rules of this one
  tidegate check client_id=api_client        ask for one decision
  tidegate explain client_id=api_client      see which rules match, and why
  tidegate replay --rules rules.yaml access.log.gz
                                             see what the rules would have done to real traffic
  tidegate crowd --visitors 1000             a thousand visitors for the waiting room demo";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server (what `tidegate` does without a command)
    Serve(Box<serve_command::ServeArguments>),
    /// Show each setting of the server, its value, and where it was told
    Settings(Box<settings_command::SettingsArguments>),
    /// Check rule files and say what is wrong, where, and what to do
    CheckConfig(check_config::CheckConfigArguments),
    /// Turn rules of envoyproxy/ratelimit or Limitador into a rule file of Tidegate
    Convert(convert::ConvertArguments),
    /// Ask for one decision, from a running server or from a rule file
    Check(check::CheckArguments),
    /// Show which rules match a request, why, and what each would say
    Explain(explain::ExplainArguments),
    /// Run rules against access logs and report what they would have done
    Replay(replay_command::ReplayArguments),
    /// Send a crowd of made-up visitors to a waiting room, and report whether it was fair to them
    Crowd(Box<crowd_command::CrowdArguments>),
    /// List, change, compare and roll back the rules of a running server
    Rules(operator::RulesArguments),
    /// Tiers, bans and overrides of subjects on a running server
    Subjects(operator::SubjectsArguments),
    /// Make, rotate and revoke API keys on a running server
    Keys(operator::KeysArguments),
    /// Waiting rooms of a running server: who waits, and how fast they come in
    Rooms(operator::RoomsArguments),
    /// Tenants of a running server, and what they may have
    Tenants(operator::TenantsArguments),
    /// Show what was allowed and denied, and the busiest keys
    Usage(operator::UsageArguments),
    /// Print the JSON Schema of rule files, for editors
    Schema,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// The commands that take settings: from flags, environment and file.
const WITH_SETTINGS: [&str; 2] = ["serve", "settings"];

/// Runs the program with the process's arguments.
#[must_use]
pub fn run() -> ExitCode {
    let call: Vec<OsString> = std::env::args_os().collect();
    let (command, environment) = (command(), Environment::of_process());
    let resolved = match resolve(&command, &WITH_SETTINGS, &call, &environment) {
        Ok(resolved) => resolved,
        // Help names variables, which were taken away for reading.
        Err(ResolveError::Usage(error)) if error.kind() == ErrorKind::DisplayHelp => {
            command.try_get_matches_from(&call).err().unwrap_or(error).exit()
        }
        Err(ResolveError::Usage(error)) => error.exit(),
        Err(error @ ResolveError::Settings(_)) => {
            terminal::print_error(&error.into());
            return ExitCode::from(FAILURE);
        }
    };
    let arguments = match Arguments::from_arg_matches(&resolved.matches) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    let result = match arguments.command {
        None => serve_command::run(arguments.serve, &resolved.origins, &environment),
        Some(Command::Serve(arguments)) => serve_command::run(*arguments, &resolved.origins, &environment),
        Some(Command::Settings(arguments)) => {
            settings_command::run(*arguments, &command, &resolved, &environment)
        }
        Some(Command::CheckConfig(arguments)) => check_config::run(&arguments),
        Some(Command::Convert(arguments)) => convert::run(&arguments),
        Some(Command::Check(arguments)) => check::run(&arguments),
        Some(Command::Explain(arguments)) => explain::run(&arguments),
        Some(Command::Replay(arguments)) => replay_command::run(&arguments),
        Some(Command::Crowd(arguments)) => crowd_command::run(&arguments),
        Some(Command::Rules(arguments)) => operator::rules(&arguments),
        Some(Command::Subjects(arguments)) => operator::subjects(&arguments),
        Some(Command::Keys(arguments)) => operator::keys(&arguments),
        Some(Command::Rooms(arguments)) => operator::rooms(&arguments),
        Some(Command::Tenants(arguments)) => operator::tenants(&arguments),
        Some(Command::Usage(arguments)) => operator::usage(&arguments),
        Some(Command::Schema) => terminal::print(&tidegate_config::json_schema()).map(|()| SUCCESS),
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "tidegate", &mut script);
            terminal::print(&String::from_utf8_lossy(&script)).map(|()| SUCCESS)
        }
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) if terminal::is_closed_pipe(&error) => ExitCode::from(SUCCESS),
        Err(error) => {
            terminal::print_error(&error);
            ExitCode::from(FAILURE)
        }
    }
}

/// The arguments. Commands without settings read their variables as clap does, except those that are set to nothing.
fn command() -> clap::Command {
    let unset = |argument: clap::Arg| match argument.get_env() {
        Some(name) if is_blank(name) => argument.env(None::<&str>),
        _ => argument,
    };
    Arguments::command().mut_subcommands(|command| {
        if WITH_SETTINGS.contains(&command.get_name()) { command } else { command.mut_args(unset) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn serve_is_what_happens_without_a_command() {
        let arguments = Arguments::try_parse_from(["tidegate", "--listen", "127.0.0.1:9"]).unwrap();
        assert!(arguments.command.is_none());
        assert!(Arguments::try_parse_from(["tidegate", "--listen", "127.0.0.1:9", "schema"]).is_err());
    }
}
