//! The rule file: its tree to [`Rules`].

mod check;
pub(crate) mod condition;
mod domain;
pub(crate) mod fields;
mod lease;
mod paths;
mod quota;
mod room;
mod rule;
pub(crate) mod scalar;
mod spelling;

use std::collections::HashMap;
use std::io::Read;
use std::path::Path as FilePath;

use tidegate_core::quota::Algorithm;
use tidegate_core::rule::model::{Domain, MAX_DOMAINS, MAX_RULES, Rule, Rules};
use tidegate_core::time::Micros;

use crate::finding::{RuleFileErrors, RuleFileWarning};
use crate::foreign::{self, Format};
use crate::path::Path;
use crate::report::{Report, Spot};
use crate::suggest::{self, quote};
use crate::yaml::{self, Node, Value};
use domain::ListOfRules;
use fields::{Fields, Shape};
pub use room::{
    MAX_ROOM_ASSET_ORIGINS, MAX_ROOM_HOSTS, MAX_ROOM_MESSAGE_CHARS, MAX_ROOM_TEMPLATE_BYTES,
    MAX_ROOM_TITLE_CHARS, MAX_ROOMS, RoomCheck, RoomDefinition, RoomFault, RoomSeatPer,
};

/// The largest rule file, in bytes: 16 MiB.
pub const MAX_FILE_BYTES: usize = 16 << 20;
/// The longest value or prefix of a condition, in bytes.
pub const MAX_VALUE_BYTES: usize = 1024;
/// The most patterns that one condition may list.
pub const MAX_PATTERNS: usize = 1024;
/// The most priorities in one `reserve`.
pub const MAX_RESERVES: usize = 16;
/// The longest `queue.max_wait`: five minutes.
pub const MAX_QUEUE_WAIT: Micros = Micros::from_secs(300);
/// The largest `queue.max_depth`, in units.
pub const MAX_QUEUE_DEPTH: u64 = 1_000_000;

/// The version of the format that is written and read.
const VERSION: &str = "1";

const FILE: Shape = Shape {
    what: "a rule file",
    fields: &["version", "domains", "rooms"],
    others: &[("rules", "domains"), ("waiting_rooms", "rooms")],
};

/// A rule file that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The rules.
    pub rules: Rules,
    /// The waiting rooms.
    pub rooms: Vec<RoomDefinition>,
    /// What looks unintended, at most [`MAX_FINDINGS`](crate::MAX_FINDINGS), in the order of the file.
    pub warnings: Vec<RuleFileWarning>,
    /// How the file is written: never [`Format::Auto`].
    pub format: Format,
}

/// The fields of every map with fixed fields, by the name of its schema.
#[cfg(test)]
pub(crate) fn shapes() -> [(&'static str, &'static [&'static str]); 10] {
    [
        ("RuleFile", FILE.fields),
        ("Domain", domain::DOMAIN.fields),
        ("Rule", rule::RULE.fields),
        ("Tier", rule::TIER.fields),
        ("Queue", rule::QUEUE.fields),
        ("Lease", lease::LEASE.fields),
        ("Condition", condition::CONDITION.fields),
        ("Room", room::ROOM.fields),
        ("Session", room::SESSION.fields),
        ("Claim", room::CLAIM.fields),
    ]
}

/// What holds where a rule or a file says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// The algorithm of a rule that names none.
    pub algorithm: Algorithm,
    /// How whole files are written.
    pub format: Format,
    /// Where the waiting rooms are that rules send to.
    pub rooms: RoomsOfRules,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { algorithm: rule::DEFAULT_ALGORITHM, format: Format::Auto, rooms: RoomsOfRules::OfFile }
    }
}

/// Where the waiting rooms are that the rules of a text send to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RoomsOfRules {
    /// In the same file: a rule that sends to another one is wrong.
    #[default]
    OfFile,
    /// Somewhere: these are rules alone, as a server exports them.
    Elsewhere,
}

/// Reads the text of a rule file; `file` names it in findings.
///
/// # Errors
/// Everything that is wrong with the file, up to [`MAX_FINDINGS`](crate::MAX_FINDINGS) errors.
pub fn parse_rules(text: &str, file: &str) -> Result<Parsed, RuleFileErrors> {
    parse_rules_with(text, file, &Defaults::default())
}

/// As [`parse_rules`], with other defaults.
///
/// # Errors
/// As [`parse_rules`].
pub fn parse_rules_with(text: &str, file: &str, defaults: &Defaults) -> Result<Parsed, RuleFileErrors> {
    parse_rules_checked(text, file, defaults, &room::no_check)
}

/// As [`parse_rules_with`], and everything that `check` says of the rooms.
///
/// # Errors
/// As [`parse_rules`].
pub fn parse_rules_checked(
    text: &str,
    file: &str,
    defaults: &Defaults,
    check: &RoomCheck<'_>,
) -> Result<Parsed, RuleFileErrors> {
    let mut format = defaults.format;
    let mut rooms = Vec::new();
    let (domains, warnings) = parse(text, file, |root, report| {
        format = defaults.format.of(root);
        match format {
            Format::Auto | Format::Tidegate => read_file(root, defaults, (&mut rooms, check), report),
            Format::Envoy | Format::Limitador => foreign::read(format, root, report),
        }
    })?;
    Ok(Parsed { rules: Rules { domains: domains.unwrap_or_default() }, rooms, warnings, format })
}

/// One domain that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedDomain {
    /// The domain.
    pub domain: Domain,
    /// What looks unintended.
    pub warnings: Vec<RuleFileWarning>,
}

/// One rule that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedRule {
    /// The rule.
    pub rule: Rule,
    /// What looks unintended.
    pub warnings: Vec<RuleFileWarning>,
}

/// Reads the text of one domain, YAML or JSON, as it stands in the list `domains` of a rule file; `rules` may be absent.
/// Fields in findings are those of the domain.
///
/// # Errors
/// As [`parse_rules`].
pub fn parse_domain_with(
    text: &str,
    file: &str,
    defaults: &Defaults,
) -> Result<ParsedDomain, RuleFileErrors> {
    let (domain, warnings) = parse(text, file, |root, report| {
        domain::read(root, Path::ROOT, ListOfRules::Optional, defaults, report)
    })?;
    whole(domain, file).map(|domain| ParsedDomain { domain, warnings })
}

/// Reads the text of one rule, YAML or JSON, as it stands in the list `rules` of a domain. Fields in findings are those of
/// the rule.
///
/// # Errors
/// As [`parse_rules`].
pub fn parse_rule_with(text: &str, file: &str, defaults: &Defaults) -> Result<ParsedRule, RuleFileErrors> {
    let (rule, warnings) = parse(text, file, |root, report| rule::read(root, Path::ROOT, defaults, report))?;
    whole(rule, file).map(|rule| ParsedRule { rule, warnings })
}

/// Reads the text of one waiting room, YAML or JSON, as it stands in the list `rooms` of a rule file. Fields in findings are
/// those of the room.
///
/// # Errors
/// As [`parse_rules`].
pub fn parse_room(text: &str, file: &str) -> Result<RoomDefinition, RuleFileErrors> {
    parse_room_checked(text, file, &room::no_check)
}

/// As [`parse_room`], and everything that `check` says of it.
///
/// # Errors
/// As [`parse_rules`].
pub fn parse_room_checked(
    text: &str,
    file: &str,
    check: &RoomCheck<'_>,
) -> Result<RoomDefinition, RuleFileErrors> {
    let (room, _) = parse(text, file, |root, report| room::read(root, Path::ROOT, check, report))?;
    whole(room, file)
}

/// Reads a text, and everything that is to be said of it.
fn parse<T>(
    text: &str,
    file: &str,
    read: impl FnOnce(&Node, &mut Report<'_>) -> Option<T>,
) -> Result<(Option<T>, Vec<RuleFileWarning>), RuleFileErrors> {
    let mut report = Report::new(file);
    let read = if text.len() > MAX_FILE_BYTES {
        too_large(&mut report);
        None
    } else {
        yaml::read(text, &mut report).and_then(|root| read(&root, &mut report))
    };
    Ok((read, report.finish()?))
}

/// What was read, or that there was nothing to read.
fn whole<T>(read: Option<T>, file: &str) -> Result<T, RuleFileErrors> {
    read.ok_or_else(|| {
        let mut report = Report::new(file);
        let spot = Spot { line: 1, column: 1 };
        report.error(spot, &Path::ROOT, "there is nothing to read", "write a map of fields");
        report.finish().err().unwrap_or(RuleFileErrors { errors: Vec::new(), omitted: 0 })
    })
}

/// Reads a rule file from disk.
///
/// # Errors
/// As [`parse_rules`] and [`read_text`].
pub fn load_rules(path: &FilePath) -> Result<Parsed, RuleFileErrors> {
    parse_rules(&read_text(path)?, &path.display().to_string())
}

/// The text of the file at `path`, for [`parse_rules`] and for [`Finding::render`](crate::Finding::render).
///
/// # Errors
/// The file is missing, a directory, unreadable, larger than [`MAX_FILE_BYTES`] or not UTF-8.
pub fn read_text(path: &FilePath) -> Result<String, RuleFileErrors> {
    let file = path.display().to_string();
    let mut report = Report::new(&file);
    let text = read_bytes(path, &mut report).and_then(|bytes| match String::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let at = spot_of_byte(error.as_bytes(), error.utf8_error().valid_up_to());
            report.error(at, &Path::ROOT, "the file is not UTF-8 from here on", "save it as UTF-8");
            None
        }
    });
    report.finish()?;
    Ok(text.unwrap_or_default())
}

fn read_bytes(path: &FilePath, report: &mut Report<'_>) -> Option<Vec<u8>> {
    let whole = Spot::default();
    if path.is_dir() {
        let remedy = "name a file in it, for example rules.yaml";
        report.error(whole, &Path::ROOT, "this is a directory, not a file", remedy);
        return None;
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    match std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)) {
        Ok(_) if bytes.len() > MAX_FILE_BYTES => too_large(report),
        Ok(_) => return Some(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            report.error(whole, &Path::ROOT, "there is no such file", "check the path and its spelling");
        }
        Err(error) => {
            let message = format!("the file cannot be read: {error}");
            report.error(whole, &Path::ROOT, message, "check its permissions and owner");
        }
    }
    None
}

fn too_large(report: &mut Report<'_>) {
    let message = format!("the file is larger than {} MiB", MAX_FILE_BYTES >> 20);
    report.error(Spot::default(), &Path::ROOT, message, "split it over several installations, or use tiers");
}

/// Line and column of byte `offset`; what comes before it is UTF-8.
fn spot_of_byte(bytes: &[u8], offset: usize) -> Spot {
    let before = bytes.get(..offset).and_then(|before| std::str::from_utf8(before).ok()).unwrap_or_default();
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Spot { line: small(line), column: small(column) }
}

fn read_file(
    root: &Node,
    defaults: &Defaults,
    (rooms, check): (&mut Vec<RoomDefinition>, &RoomCheck<'_>),
    report: &mut Report<'_>,
) -> Option<Vec<Domain>> {
    let path = Path::ROOT;
    if matches!(root.value, Value::Null) {
        let remedy = "begin with 'version: 1' and 'domains:'";
        report.error(Spot { line: 1, column: 1 }, &path, "the file says nothing", remedy);
        return None;
    }
    let fields = Fields::read(root, path, &FILE, report)?;
    fields.required("version", "write version: 1", report, read_version);
    let list =
        fields.optional("rooms", report, |node, path, report| room::read_list(node, path, check, report));
    rooms.extend(list.unwrap_or_default());
    let remedy = "write domains: and a list of domains";
    let domains = fields.required("domains", remedy, report, |node, path, report| {
        read_domains(node, path, defaults, rooms, report)
    });
    if let (Some(node), RoomsOfRules::OfFile) = (fields.get("domains"), defaults.rooms) {
        let names = fields.get("rooms").map(room::names_of).unwrap_or_default();
        check_rooms_of_rules(node, &names, report);
    }
    domains
}

/// Rules send to rooms of the same file.
fn check_rooms_of_rules(domains: &Node, rooms: &[&str], report: &mut Report<'_>) {
    let domains_path = Path::ROOT.field("domains");
    for (index, domain) in items_of(Some(domains)).iter().enumerate() {
        let domain_path = domains_path.index(index);
        let rules_path = domain_path.field("rules");
        for (index, rule) in items_of(domain.get("rules")).iter().enumerate() {
            let Some((node, name)) = rule.get("room").and_then(|node| Some((node, node.text()?))) else {
                continue;
            };
            if rooms.contains(&name) {
                continue;
            }
            let remedy = match suggest::nearest(name, rooms.iter().copied()) {
                Some(room) => format!("did you mean '{room}'?"),
                None => "add the room to rooms, or correct its name".to_owned(),
            };
            let message = format!("there is no room {} in this file", quote(name));
            report.error(node.at, &rules_path.index(index).field("room"), message, remedy);
        }
    }
}

/// The items of a list; none of anything else.
fn items_of(node: Option<&Node>) -> &[Node] {
    match node.map(|node| &node.value) {
        Some(Value::List(items)) => items,
        _ => &[],
    }
}

fn read_version(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<()> {
    if node.text() == Some(VERSION) {
        return Some(());
    }
    let message = format!("the version is {}", node.describe());
    report.error(node.at, path, message, "write 1, the only version there is");
    None
}

fn read_domains(
    node: &Node,
    path: &Path<'_>,
    defaults: &Defaults,
    rooms: &[RoomDefinition],
    report: &mut Report<'_>,
) -> Option<Vec<Domain>> {
    let items = fields::list(node, path, "write a list of domains, each with '- name:'", report)?;
    if items.is_empty() && rooms.is_empty() {
        report.warn(node.at, path, "there is no domain, so nothing is limited", "add a domain");
    }
    if items.len() > MAX_DOMAINS {
        let message = format!("there are {} domains", items.len());
        report.error(node.at, path, message, format!("use at most {MAX_DOMAINS}"));
        return None;
    }
    let mut names: HashMap<String, Spot> = HashMap::new();
    let mut rules = 0_usize;
    let mut domains = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let path = path.index(index);
        if let Some(Node { value: Value::List(list), at, .. }) = item.get("rules") {
            rules = rules.saturating_add(list.len());
            if rules > MAX_RULES {
                let message = format!("there are more than {MAX_RULES} rules in the file");
                report.error(*at, &path.field("rules"), message, "use tiers or fewer rules");
                return None;
            }
        }
        let domain = domain::read(item, path, ListOfRules::Needed, defaults, report);
        fields::unique_name(item, &path, "domain", &mut names, report);
        domains.extend(domain);
    }
    Some(domains)
}

/// What is said of a text that has no place: `'x' is not …`.
pub(crate) fn is_not(node: &Node, what: &str) -> String {
    match &node.value {
        Value::Scalar(_, text) => format!("{} is not {what}", quote(text)),
        _ => format!("expected {what}, found {}", node.describe()),
    }
}
