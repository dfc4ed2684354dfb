//! `tidegate crowd`: visitors of a waiting room, made up, and a report on whether the room was fair to them.

use anyhow::Context;
use clap::builder::RangedI64ValueParser;
use clap::{Args, ValueEnum, value_parser};
use tidegate_config::parse_duration;
use tidegate_core::time::Micros;
use tidegate_wire::room::name::RoomName;

use super::check::block_on;
use super::{NEGATIVE, SUCCESS, terminal};
use crate::crowd::{
    FirstCall, Habits, MAX_AGE, MAX_ARRIVALS_PER_S, MAX_CONNECTIONS, MAX_NODES, MAX_TIME, MAX_TIMEOUT,
    MAX_VISITORS, MIN_TIMEOUT, Node, Plan, Progress, Report, Share, run as send, text,
};

/// Nothing was unfair, but too little happened to say so.
const NO_VERDICT: u8 = 3;
/// Open files beyond connections: the runtime's own, standard streams, and some to spare.
const OTHER_FILES: u64 = 64;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tidegate crowd --visitors 1000 --arrivals 200                  a crowd at the room demo of this machine\n  tidegate crowd http://a:8080 http://b:8080 --room sale         visitors move from node to node\n  tidegate crowd --leave-inside 50 --vanish-inside 20 --stay 3s  some leave, some close their tab\n  tidegate crowd --json > report.json\n\nThe status is 0 if the room was fair, 1 if it was not, 2 if the crowd could not come, 3 if fewer than half of it heard of a place."
)]
pub(super) struct CrowdArguments {
    /// Where the room is; of several nodes, each request goes to any
    #[arg(value_name = "URL", default_value = "http://127.0.0.1:8080", num_args = 1..=MAX_NODES)]
    nodes: Vec<String>,

    /// The room
    #[arg(long, short, value_name = "ROOM", default_value = "demo")]
    room: String,

    /// How many come
    #[arg(long, short, value_name = "N", default_value_t = 100, value_parser = value_parser!(u32).range(1..=i64::from(MAX_VISITORS)))]
    visitors: u32,

    /// How many come in a second
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = value_parser!(u32).range(1..=i64::from(MAX_ARRIVALS_PER_S)))]
    arrivals: u32,

    /// Requests at one time, and so connections to each node
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = value_parser!(u32).range(1..=i64::from(MAX_CONNECTIONS)))]
    connections: u32,

    /// How long the whole takes at most
    #[arg(long = "for", value_name = "TIME", default_value = "5m", value_parser = parse_duration)]
    at_most: Micros,

    /// How long an answer is waited for; then another node is asked
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    timeout: Micros,

    /// How old an answer of a node may be: whoever waits on for longer than that after a later visitor was called was overtaken
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    max_age: Micros,

    /// What visitors ask for first
    #[arg(long, value_name = "CALL", default_value = "page")]
    first: First,

    /// Percent who leave the line, and say so
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = percent())]
    leave_line: u8,

    /// Percent who stop asking while they wait
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = percent())]
    vanish_line: u8,

    /// About how long those wait first
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    patience: Micros,

    /// Percent of those who are called and never come
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = percent())]
    unclaimed: u8,

    /// Percent of those inside who leave, and say so
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = percent())]
    leave_inside: u8,

    /// Percent of those inside who close the page, which says so by a beacon
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = percent())]
    close_inside: u8,

    /// Percent of those inside who are not heard of any more
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = percent())]
    vanish_inside: u8,

    /// About how long those are inside first; all others stay until their session ends
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    stay: Micros,

    /// Percent of polls that are a page that is loaded again, and joins again
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = percent())]
    reload: u8,

    /// The same numbers make the same visitors; a random one if not given
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Print the report as JSON
    #[arg(long)]
    json: bool,

    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
}

/// What visitors ask for first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum First {
    /// The waiting page, which gives them a cookie
    Page,
    /// A place, as the snippet in another page does
    Join,
}

fn percent() -> RangedI64ValueParser<u8> {
    value_parser!(u8).range(0..=100)
}

pub(super) fn run(arguments: &CrowdArguments) -> anyhow::Result<u8> {
    let plan = plan(arguments)?;
    raise_open_files(&plan)?;
    let mut progress = if arguments.quiet { Progress::hidden() } else { Progress::on_stderr(plan.visitors) };
    let interrupted = async {
        // Where signals cannot be heard, the run ends when it is over.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let report: Report = block_on(send(&plan, interrupted, &mut progress))??;
    if arguments.json {
        terminal::print(&serde_json::to_string_pretty(&report)?)?;
    } else {
        terminal::print(&text(&report))?;
    }
    Ok(match (report.is_fair, report.is_enough) {
        (false, _) => NEGATIVE,
        (true, false) => NO_VERDICT,
        (true, true) => SUCCESS,
    })
}

fn plan(arguments: &CrowdArguments) -> anyhow::Result<Plan> {
    let share = Share::percent;
    let habits = Habits {
        leave_line: share(arguments.leave_line)?,
        vanish_line: share(arguments.vanish_line)?,
        patience: within("--patience", arguments.patience, Micros::ZERO, MAX_TIME)?,
        unclaimed: share(arguments.unclaimed)?,
        leave_inside: share(arguments.leave_inside)?,
        close_inside: share(arguments.close_inside)?,
        vanish_inside: share(arguments.vanish_inside)?,
        stay: within("--stay", arguments.stay, Micros::ZERO, MAX_TIME)?,
        reload: share(arguments.reload)?,
    };
    habits.check()?;
    Ok(Plan {
        nodes: arguments.nodes.iter().map(|url| Node::parse(url)).collect::<Result<_, _>>()?,
        room: RoomName::new(&arguments.room).context("--room")?,
        visitors: arguments.visitors,
        arrivals_per_s: arguments.arrivals,
        connections: arguments.connections,
        at_most: within("--for", arguments.at_most, Micros::from_secs(1), MAX_TIME)?,
        timeout: within("--timeout", arguments.timeout, MIN_TIMEOUT, MAX_TIMEOUT)?,
        max_age: within("--max-age", arguments.max_age, Micros::ZERO, MAX_AGE)?,
        first_call: match arguments.first {
            First::Page => FirstCall::Page,
            First::Join => FirstCall::Join,
        },
        habits,
        seed: arguments.seed.unwrap_or_else(|| fastrand::u64(..)),
    })
}

fn within(flag: &str, time: Micros, least: Micros, most: Micros) -> anyhow::Result<Micros> {
    anyhow::ensure!((least..=most).contains(&time), "{flag}: write {least} to {most}");
    Ok(time)
}

/// Connections are files, of which a process may open few where nobody has said otherwise.
fn raise_open_files(plan: &Plan) -> anyhow::Result<()> {
    let wanted = u64::from(plan.connections) * plan.nodes.len() as u64 + OTHER_FILES;
    let raised = rlimit::increase_nofile_limit(wanted).context("the limit of open files cannot be read")?;
    anyhow::ensure!(
        raised >= wanted,
        "--connections {} to {} nodes takes {wanted} open files, and this process may have {raised}: raise it with ulimit -n, or ask for fewer",
        plan.connections,
        plan.nodes.len()
    );
    Ok(())
}
