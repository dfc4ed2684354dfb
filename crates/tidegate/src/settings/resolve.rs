//! Flags, environment and file to the arguments that count.
//!
//! clap reads the command line once to see what it tells. Everything else - variables, then the file - becomes a default
//! of the arguments that it does not tell, and clap reads the command line again. So there is one parser for a value,
//! wherever it stands, and one message.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::file::{Entry, SettingsFile, Value, read_bounded};
use super::{CONFIG, Environment, FILE_SUFFIX, LISTEN, Origin, Origins, PORT, is_secret, listen, variables};

/// The most findings of one settings file that are reported.
const MAX_FINDINGS: usize = 20;
/// The largest file that holds a secret, in bytes.
const MAX_SECRET_BYTES: u64 = 64 << 10;
/// Words longer than this are nobody's misspelling.
const MAX_COMPARED_BYTES: usize = 64;

/// The arguments of a call, and where each setting was told.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// What clap read.
    pub(crate) matches: ArgMatches,
    /// Where each setting was told; empty for commands that take no settings.
    pub(crate) origins: Origins,
}

/// Why the arguments cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    /// The command line: wrong, or a wish for help.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// The environment or the settings file. Each line names the place and what to do.
    #[error("{}", .0.join("\n"))]
    Settings(Vec<String>),
}

/// Values that are told beside the command line, by the argument's id.
type Values = HashMap<String, (Vec<OsString>, Origin)>;

/// Reads the arguments of a call. Settings are those of the command itself and of its subcommands `with_settings`; the
/// others read their variables as clap does.
pub(crate) fn resolve(
    command: &Command,
    with_settings: &[&str],
    call: &[OsString],
    environment: &Environment,
) -> Result<Resolved, ResolveError> {
    let bare = without_variables(command, with_settings);
    let matches = bare.clone().try_get_matches_from(call)?;
    let (name, told) = match matches.subcommand() {
        Some((name, _)) if !with_settings.contains(&name) => {
            return Ok(Resolved { matches, origins: Origins::default() });
        }
        Some((name, told)) => (Some(name.to_owned()), told),
        None => (None, &matches),
    };
    let of = name.as_deref().and_then(|name| command.find_subcommand(name)).unwrap_or(command);
    let settings: Vec<&Arg> = of.get_arguments().filter(|argument| !variables(argument).is_empty()).collect();
    let (values, origins) = beside(&settings, told, environment)?;

    let with_default = |argument: Arg| match values.get(argument.get_id().as_str()) {
        Some((values, _)) => argument.default_values(values),
        None => argument,
    };
    let layered = match &name {
        Some(name) => bare.mut_subcommand(name, |command| command.mut_args(with_default)),
        None => bare.mut_args(with_default),
    };
    Ok(Resolved { matches: layered.try_get_matches_from(call)?, origins })
}

/// The command with the settings' variables taken away.
fn without_variables(command: &Command, with_settings: &[&str]) -> Command {
    let take_away = |argument: Arg| argument.env(None::<&str>);
    let bare = command.clone().mut_args(take_away);
    with_settings
        .iter()
        .fold(bare, |bare, name| bare.mut_subcommand(name, |command| command.mut_args(take_away)))
}

/// What environment and file tell, and where each setting was told.
fn beside(
    settings: &[&Arg],
    told: &ArgMatches,
    environment: &Environment,
) -> Result<(Values, Origins), ResolveError> {
    let (flags, others): (Vec<&Arg>, Vec<&Arg>) = settings.iter().partition(|argument| {
        told.value_source(argument.get_id().as_str()) == Some(ValueSource::CommandLine)
    });
    let mut findings = Vec::new();
    let mut values = match settings_file(settings, told, environment) {
        Ok(file) => file.map_or_else(Values::new, |file| file_values(&file, settings, &mut findings)),
        Err(finding) => return Err(ResolveError::Settings(vec![finding])),
    };
    for argument in &others {
        match variable(argument, environment) {
            Ok(Some((value, name))) => {
                let value = vec![value];
                findings.extend(wrong(argument, &value).map(|message| format!("{name}: {message}")));
                values.insert(argument.get_id().to_string(), (value, Origin::Variable(name)));
            }
            Ok(None) => {}
            Err(finding) => findings.push(finding),
        }
    }
    if findings.is_empty()
        && let Some(listen) = others.iter().find(|argument| argument.get_id() == LISTEN)
        && let Some(port) = environment.get(PORT)
    {
        match with_port(listen, values.get(LISTEN), port) {
            Ok(address) => {
                values.insert(LISTEN.to_owned(), (vec![address.into()], Origin::Variable(PORT.to_owned())));
            }
            Err(message) => findings.push(format!("{PORT}: {message}")),
        }
    }
    if !findings.is_empty() {
        findings.truncate(MAX_FINDINGS);
        return Err(ResolveError::Settings(findings));
    }
    let origins = origins(&flags, &values);
    Ok((values, origins))
}

/// Where each setting was told: these by flag, the others by what has a value.
fn origins(flags: &[&Arg], values: &Values) -> Origins {
    let mut origins = Origins::default();
    for (id, (_, origin)) in values {
        origins.set(id, origin.clone());
    }
    for argument in flags {
        let id = argument.get_id().as_str();
        origins.set(id, Origin::Flag(format!("--{}", argument.get_long().unwrap_or(id))));
    }
    origins
}

/// The address that is told otherwise, with another port.
fn with_port(listen: &Arg, told: Option<&(Vec<OsString>, Origin)>, port: &OsStr) -> Result<String, String> {
    let address = match told {
        Some((values, _)) => values.first().and_then(|value| value.to_str()),
        None => listen.get_default_values().first().and_then(|value| value.to_str()),
    };
    listen::with_port(address.unwrap_or_default(), port.to_str().unwrap_or_default())
}

/// What a variable tells of an argument, and its name. A secret may stand in a file that a variable names.
fn variable(argument: &Arg, environment: &Environment) -> Result<Option<(OsString, String)>, String> {
    for name in variables(argument) {
        let value = environment.get(&name);
        let file = format!("{name}{FILE_SUFFIX}");
        let path = if is_secret(argument) { environment.get(&file) } else { None };
        match (value, path) {
            (Some(_), Some(_)) => return Err(format!("{name} and {file} are both set: keep one of them")),
            (Some(value), None) => return Ok(Some((value.to_owned(), name))),
            (None, Some(path)) => return Ok(Some((secret_in(Path::new(path), &file)?.into(), file))),
            (None, None) => {}
        }
    }
    Ok(None)
}

/// The secret that a file holds, without the line end.
fn secret_in(path: &Path, variable: &str) -> Result<String, String> {
    let place = format!("{variable}: {}", path.display());
    let mut text = read_bounded(path, MAX_SECRET_BYTES).map_err(|error| format!("{place}: {error}"))?;
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    if text.is_empty() { Err(format!("{place}: the file is empty")) } else { Ok(text) }
}

/// The settings file, where one is told.
fn settings_file(
    settings: &[&Arg],
    told: &ArgMatches,
    environment: &Environment,
) -> Result<Option<SettingsFile>, String> {
    let Some(argument) = settings.iter().find(|argument| argument.get_id() == CONFIG) else {
        return Ok(None);
    };
    let flag = told.get_raw(CONFIG).and_then(|mut values| values.next()).map(OsStr::to_owned);
    let path = match flag {
        Some(path) => Some(path),
        None => variable(argument, environment)?.map(|(path, _)| path),
    };
    path.map(|path| SettingsFile::read(Path::new(&path))).transpose()
}

/// What the file tells. What is wrong in it is a finding even where something stronger wins: it would be next time.
fn file_values(file: &SettingsFile, settings: &[&Arg], findings: &mut Vec<String>) -> Values {
    let mut values = Values::new();
    for entry in &file.entries {
        let place = format!("{}:{}", file.name, entry.line);
        match entry_values(entry, settings) {
            Ok((id, _)) if values.contains_key(id) => {
                findings
                    .push(format!("{place}: '{}' stands twice: remove one of the two", shown(&entry.key)));
            }
            Ok((_, None)) => {}
            Ok((id, Some(told))) => {
                values.insert(id.to_owned(), (told, Origin::File(place)));
            }
            Err(message) => findings.push(format!("{place}: {message}")),
        }
    }
    values
}

/// The argument that an entry of the file means, and its values; none where nothing stands there.
fn entry_values<'a>(entry: &Entry, settings: &[&'a Arg]) -> Result<(&'a str, Option<Vec<OsString>>), String> {
    let key = entry.key.replace('_', "-");
    let of_files = |argument: &&&'a Arg| argument.get_id() != CONFIG;
    let Some(argument) =
        settings.iter().filter(of_files).find(|argument| argument.get_long() == Some(key.as_str()))
    else {
        let known = settings.iter().filter(of_files).filter(|argument| !argument.is_hide_set());
        return Err(unknown(&entry.key, &key, known.filter_map(|argument| argument.get_long())));
    };
    let takes_many = matches!(argument.get_action(), ArgAction::Append);
    let told: Vec<OsString> = match &entry.value {
        Value::Nothing => Vec::new(),
        Value::One(text) => vec![text.into()],
        Value::List(texts) if takes_many => texts.iter().map(OsString::from).collect(),
        Value::List(_) => return Err(format!("'{key}' takes one value, not a list")),
        Value::Other if takes_many => return Err(format!("'{key}' takes a value or a list of values")),
        Value::Other => return Err(format!("'{key}' takes one value")),
    };
    if matches!(entry.value, Value::List(_)) && told.is_empty() && !argument.get_default_values().is_empty() {
        return Err(format!("the list of '{key}' is empty: leave the key out, or say what it holds"));
    }
    match wrong(argument, &told) {
        Some(message) => Err(format!("{key}: {message}")),
        None => Ok((argument.get_id().as_str(), (!told.is_empty()).then_some(told))),
    }
}

/// What clap says of these values of an argument, as it says it of the flag.
fn wrong(argument: &Arg, values: &[OsString]) -> Option<String> {
    let long = argument.get_long()?.to_owned();
    let mut argument = argument.clone().env(None::<&str>);
    if matches!(argument.get_action(), ArgAction::SetTrue) {
        // Beside the command line, a switch is told its value.
        argument = argument.num_args(1).value_name("BOOLEAN");
    }
    let argument = argument.action(ArgAction::Append);
    let call = values.iter().map(|value| {
        let mut word = OsString::from(format!("--{long}="));
        word.push(value);
        word
    });
    let command = Command::new("").no_binary_name(true).disable_help_flag(true).arg(argument);
    let error = command.try_get_matches_from(call).err()?;
    let text = error.render().to_string();
    Some(text.trim_start_matches("error:").trim().to_owned())
}

fn unknown<'a>(written: &str, key: &str, known: impl Iterator<Item = &'a str>) -> String {
    let distance = |name: &str| strsim::damerau_levenshtein(&key.to_ascii_lowercase(), name);
    let close = |(distance, name): &(usize, &str)| *distance <= (name.len() / 3).max(1);
    let meant = (key.len() <= MAX_COMPARED_BYTES)
        .then(|| known.map(|name| (distance(name), name)).filter(close).min())
        .flatten();
    match meant {
        Some((_, name)) => format!("there is no setting '{}': did you mean '{name}'?", shown(written)),
        None => format!("there is no setting '{}': 'tidegate settings' lists them", shown(written)),
    }
}

/// A foreign word in a message: shortened, without control characters.
fn shown(word: &str) -> String {
    word.chars().take(MAX_COMPARED_BYTES).flat_map(char::escape_debug).collect()
}
