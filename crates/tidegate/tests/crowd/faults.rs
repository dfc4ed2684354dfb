//! Rooms whose nodes, and whose Redis, are killed and paused again and again while a crowd is there.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use tidegate_testkit::{RedisOptions, RedisServer, TempDir, Tidegate, TidegateOptions};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

/// Visitors where nothing else is said.
const VISITORS: u64 = 5_000;
/// The fewest seats, and one for so many visitors. Each is taken for some seconds: until its visitor asks, and while it stays.
const SEATS: u64 = 1_000;
const VISITORS_PER_SEAT: u64 = 50;
/// Between two faults, the least and for so many visitors. How long these last: whoever is not answered for that long, and for as long
/// as a machine with other things to do takes, is still within the time that a session may be idle.
const BETWEEN: Duration = Duration::from_secs(3);
const BETWEEN_PER_5_000: Duration = Duration::from_secs(1);
/// A process that is killed stays away for so long.
const KILLED: Duration = Duration::from_millis(500);
/// Somebody may be told what was so long ago: nodes take what they know for news as long as the keeper's lease, 3 s, and tell it while
/// Redis is away, 2 s at the most here.
const MAX_AGE_SHARED: &str = "5s";
/// Of these tests only.
const SECRET: &str = "1f6c0b4e92d7a8537c31e5f08a9b2d46b07d4c93e6128f5a29e8d3a1f7460bc5";

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

/// A room with so many calls a second.
fn rules(folder: &TempDir, release_rate: u32) -> String {
    let rules = format!(
        "version: 1\ndomains: []\nrooms:\n  - name: sale\n    capacity: {}\n    release_rate: {release_rate}/s\n    \
         session: {{ limit: 40s, idle: 20s, early_end: frees_seat }}\n    claim: {{ window: 20s }}\n",
        seats()
    );
    folder.write("rules.yaml", &rules).display().to_string()
}

fn crowd(nodes: &[String], max_age: &str) -> Command {
    let mut command = Command::new(program());
    command.arg("crowd").args(nodes).args(["--room", "sale", "--json", "--max-age", max_age]);
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

/// A process that faults happen to.
trait Victim: Send {
    fn kill(&mut self);
    fn restart(&mut self);
    fn pause(&mut self);
    fn resume(&mut self);
}

impl Victim for Tidegate {
    fn kill(&mut self) {
        Tidegate::kill(self);
    }

    fn restart(&mut self) {
        Tidegate::restart(self);
    }

    fn pause(&mut self) {
        Tidegate::pause(self);
    }

    fn resume(&mut self) {
        Tidegate::resume(self);
    }
}

impl Victim for RedisServer {
    fn kill(&mut self) {
        RedisServer::kill(self);
    }

    fn restart(&mut self) {
        RedisServer::restart(self);
    }

    fn pause(&mut self) {
        RedisServer::pause(self);
    }

    fn resume(&mut self) {
        RedisServer::resume(self);
    }
}

/// What happens to which victim.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Killed(usize),
    Paused(usize, Duration),
}

/// Makes one fault after the other, until the crowd is gone. Tells of each.
async fn trouble(
    mut victims: Vec<Box<dyn Victim>>,
    faults: &[Fault],
    mut is_over: watch::Receiver<bool>,
) -> Vec<Fault> {
    let mut made = Vec::new();
    for fault in faults.iter().cycle() {
        if timeout(between(), is_over.wait_for(|is_over| *is_over)).await.is_ok() {
            break;
        }
        match *fault {
            Fault::Killed(victim) => {
                victims[victim].kill();
                sleep(KILLED).await;
                victims = spawn_blocking(move || {
                    victims[victim].restart();
                    victims
                })
                .await
                .unwrap();
            }
            Fault::Paused(victim, time) => {
                victims[victim].pause();
                sleep(time).await;
                victims[victim].resume();
            }
        }
        made.push(*fault);
    }
    made
}

/// A crowd comes through a room while there is trouble; what it has to say, and how many faults there were.
async fn through(mut command: Command, victims: Vec<Box<dyn Victim>>, faults: &[Fault]) -> (Value, usize) {
    let over = watch::Sender::new(false);
    let goes = over.subscribe();
    let crowd = async {
        let output = spawn_blocking(move || command.output().unwrap()).await.unwrap();
        over.send_replace(true);
        output
    };
    let (output, made): (Output, Vec<Fault>) = tokio::join!(crowd, trouble(victims, faults, goes));
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{made:?}\n{text}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "the room was fair");
    (serde_json::from_str(&text).unwrap(), made.len())
}

/// Everybody came through the room, which was in use.
fn came_through(report: &Value) {
    let of = |name: &str| report["visitors"][name].as_u64().unwrap_or(0);
    assert_eq!(of("waiting") + of("not_joined") + of("inside") + of("lost"), 0, "everybody came through");
    assert!(of("late") * 100 <= visitors(), "this machine was too slow for a crowd");
    assert_eq!(report["sessions"]["capacity"], seats());
    let most = report["sessions"]["most_seen"].as_u64().unwrap();
    assert!(most * 10 > seats(), "the seats were used, by {most} at the most");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_overtaken_loses_a_place_or_is_let_in_twice_while_the_node_is_killed_and_paused() {
    let folder = TempDir::new("crowd-faults");
    let rules = rules(&folder, 500);
    let state = folder.path().join("state").display().to_string();
    let node = Tidegate::start(program(), &["--rules", &rules, "--state-file", &state]);
    let command = crowd(&[format!("http://{}", node.address())], "0s");
    let faults = [Fault::Killed(0), Fault::Paused(0, Duration::from_secs(2))];
    let (report, made) = through(command, vec![Box::new(node)], &faults).await;
    assert!(made >= 3, "{made}");
    came_through(&report);
    assert_eq!(report["numbers"], visitors());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_while_nodes_that_share_the_room_and_their_redis_are_killed_and_paused() {
    let folder = TempDir::new("crowd-shared-faults");
    let options = RedisOptions::new().setting("appendonly", "yes").setting("appendfsync", "everysec");
    let redis = RedisServer::with(&options);
    let (rules, store) = (rules(&folder, 200), redis.url());
    let secret = folder.write("secret", SECRET).display().to_string();
    let arguments = ["--rules", &rules, "--room-secret-file", &secret, "--store", &store];
    let options = TidegateOptions::new(program()).arguments(arguments);
    let nodes: Vec<Tidegate> = (0..3).map(|_| Tidegate::with(&options)).collect();
    let command = crowd(
        &nodes.iter().map(|node| format!("http://{}", node.address())).collect::<Vec<_>>(),
        MAX_AGE_SHARED,
    );
    let mut victims: Vec<Box<dyn Victim>> = Vec::new();
    victims.extend(nodes.into_iter().map(|node| Box::new(node) as Box<dyn Victim>));
    victims.push(Box::new(redis));
    // The first node has made the room and keeps it; four seconds are longer than its lease.
    let faults = [
        Fault::Paused(0, Duration::from_secs(4)),
        Fault::Killed(3),
        Fault::Killed(1),
        Fault::Paused(3, Duration::from_secs(2)),
        Fault::Paused(2, Duration::from_secs(4)),
        Fault::Killed(0),
        Fault::Paused(1, Duration::from_secs(4)),
        Fault::Killed(2),
    ];
    let (report, made) = through(command, victims, &faults).await;
    assert!(made >= 5, "{made}");
    came_through(&report);
}
