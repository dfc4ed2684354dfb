//! A room whose node is killed and paused again and again while a crowd is there.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use tidegate_testkit::{TempDir, Tidegate};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

/// Visitors where nothing else is said.
const VISITORS: u64 = 5_000;
/// The fewest seats, and one for so many visitors. Each is taken for some seconds: until its visitor asks, and while it stays.
const SEATS: u64 = 1_000;
const VISITORS_PER_SEAT: u64 = 50;
/// Between two faults, the least and for so many visitors, and how long they last. Whoever is not answered for that long, and for as long as a machine with other
/// things to do takes, is still within the time that a session may be idle.
const BETWEEN: Duration = Duration::from_secs(3);
const BETWEEN_PER_5_000: Duration = Duration::from_secs(1);
const KILLED: Duration = Duration::from_millis(500);
const PAUSED: Duration = Duration::from_secs(2);

#[expect(clippy::disallowed_methods, reason = "how long a test is, and of what, is told from outside")]
fn told(variable: &str) -> Option<String> {
    std::env::var(variable).ok()
}

fn visitors() -> u64 {
    told("TIDEGATE_VISITORS").map_or(VISITORS, |told| told.parse().expect("TIDEGATE_VISITORS is a number"))
}

fn seats() -> u64 {
    SEATS.max(visitors() / VISITORS_PER_SEAT)
}

fn between() -> Duration {
    BETWEEN.max(BETWEEN_PER_5_000 * u32::try_from(visitors() / 5_000).unwrap())
}

fn program() -> PathBuf {
    told("TIDEGATE_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_tidegate").into(), PathBuf::from)
}

fn crowd(node: &Tidegate) -> Command {
    let mut command = Command::new(program());
    command.args(["crowd", &format!("http://{}", node.address()), "--room", "sale", "--json"]);
    let visitors = visitors();
    let numbers = [
        ("--visitors", visitors),
        ("--arrivals", 500),
        ("--connections", 1_024),
        ("--leave-line", 5),
        ("--vanish-line", 5),
        ("--reload", 5),
        ("--leave-inside", 88),
        ("--close-inside", 10),
        ("--vanish-inside", 2),
        ("--seed", 6),
    ];
    command.args(numbers.iter().flat_map(|(flag, number)| [(*flag).to_owned(), number.to_string()]));
    // A machine with other things to do may take ten times as long as one without.
    command.args([
        "--for",
        &format!("{}s", visitors / 20),
        "--timeout",
        "4s",
        "--patience",
        "4s",
        "--stay",
        "1s",
    ]);
    command
}

/// What a node went through.
#[derive(Debug, Default)]
struct Trouble {
    kills: u32,
    pauses: u32,
}

/// Kills and pauses a node in turn, until the crowd is gone.
async fn trouble(mut node: Tidegate, mut is_over: watch::Receiver<bool>) -> Trouble {
    let mut trouble = Trouble::default();
    while timeout(between(), is_over.wait_for(|is_over| *is_over)).await.is_err() {
        if trouble.kills <= trouble.pauses {
            node.kill();
            sleep(KILLED).await;
            node = spawn_blocking(move || {
                node.restart();
                node
            })
            .await
            .unwrap();
            trouble.kills += 1;
        } else {
            node.pause();
            sleep(PAUSED).await;
            node.resume();
            trouble.pauses += 1;
        }
    }
    trouble
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_overtaken_loses_a_place_or_is_let_in_twice_while_the_node_is_killed_and_paused() {
    let folder = TempDir::new("crowd-faults");
    let rules = format!(
        "version: 1\ndomains: []\nrooms:\n  - name: sale\n    capacity: {}\n    release_rate: 500/s\n    \
         session: {{ limit: 40s, idle: 20s, early_end: frees_seat }}\n    claim: {{ window: 20s }}\n",
        seats()
    );
    let rules = folder.write("rules.yaml", &rules).display().to_string();
    let state = folder.path().join("state").display().to_string();
    let node = Tidegate::start(program(), &["--rules", &rules, "--state-file", &state]);
    let (mut command, over) = (crowd(&node), watch::Sender::new(false));
    let goes = over.subscribe();
    let crowd = async {
        let output = spawn_blocking(move || command.output().unwrap()).await.unwrap();
        over.send_replace(true);
        output
    };
    let (output, trouble): (Output, Trouble) = tokio::join!(crowd, trouble(node, goes));
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{trouble:?}\n{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(trouble.kills >= 2 && trouble.pauses >= 1, "{trouble:?}");
    assert_eq!(output.status.code(), Some(0), "the room was fair");
    let report: Value = serde_json::from_str(&text).unwrap();
    let of = |name: &str| report["visitors"][name].as_u64().unwrap_or(0);
    assert_eq!(of("waiting") + of("not_joined") + of("inside") + of("lost"), 0, "everybody came through");
    assert!(of("late") * 100 <= visitors(), "this machine was too slow for a crowd");
    assert_eq!(report["numbers"], visitors());
    assert_eq!(report["sessions"]["capacity"], seats());
    let most = report["sessions"]["most_seen"].as_u64().unwrap();
    assert!(most * 10 > seats(), "the seats were used, by {most} at the most");
}
