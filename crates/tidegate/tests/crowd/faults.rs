//! A room whose node is killed and paused again and again while a crowd is there.

use std::future::pending;
use std::time::Duration;

use tidegate::crowd::{FirstCall, Habits, Node, Plan, Progress, Report, Share, run, text};
use tidegate_core::time::Micros;
use tidegate_testkit::{TempDir, Tidegate};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// Visitors where nothing else is said.
const VISITORS: u32 = 5_000;
/// Seats. Most are taken for about two seconds: until their visitor asks, and while it stays.
const SEATS: u32 = 1_000;
/// How many come in a second.
const ARRIVALS: u32 = 500;
/// Between two faults, and how long they last. Whoever is not answered for that long, and for as long as a machine with other
/// things to do takes, is still within the time that a session may be idle.
const BETWEEN: Duration = Duration::from_secs(3);
const KILLED: Duration = Duration::from_millis(500);
const PAUSED: Duration = Duration::from_secs(2);

fn visitors() -> u32 {
    #[expect(clippy::disallowed_methods, reason = "how long a test is, is told from outside")]
    let told = std::env::var("TIDEGATE_VISITORS");
    told.map_or(VISITORS, |told| told.parse().expect("TIDEGATE_VISITORS is a number"))
}

fn plan(node: &Tidegate) -> Plan {
    let share = |percent| Share::percent(percent).unwrap();
    Plan {
        nodes: vec![Node::parse(&format!("http://{}", node.address())).unwrap()],
        room: "sale".parse().unwrap(),
        visitors: visitors(),
        arrivals_per_s: ARRIVALS,
        connections: 1_024,
        at_most: Micros::from_secs(u64::from(visitors() / 20)),
        timeout: Micros::from_secs(4),
        max_age: Micros::ZERO,
        first_call: FirstCall::Page,
        habits: Habits {
            leave_line: share(5),
            vanish_line: share(5),
            patience: Micros::from_secs(4),
            leave_inside: share(88),
            close_inside: share(10),
            vanish_inside: share(2),
            stay: Micros::from_secs(1),
            reload: share(5),
            ..Habits::PATIENT
        },
        seed: 6,
    }
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
    while timeout(BETWEEN, is_over.wait_for(|is_over| *is_over)).await.is_err() {
        if trouble.kills <= trouble.pauses {
            node.kill();
            sleep(KILLED).await;
            node = tokio::task::spawn_blocking(move || {
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
        "version: 1\ndomains: []\nrooms:\n  - name: sale\n    capacity: {SEATS}\n    release_rate: 100_000/s\n    \
         session: {{ limit: 40s, idle: 20s, early_end: frees_seat }}\n    claim: {{ window: 20s }}\n"
    );
    let rules = folder.write("rules.yaml", &rules).display().to_string();
    let state = folder.path().join("state").display().to_string();
    let node = Tidegate::start(env!("CARGO_BIN_EXE_tidegate"), &["--rules", &rules, "--state-file", &state]);
    let (plan, over) = (plan(&node), watch::Sender::new(false));
    let crowd = async {
        let report = run(&plan, pending(), &mut Progress::hidden()).await.unwrap();
        over.send_replace(true);
        report
    };
    let (report, trouble): (Report, Trouble) = tokio::join!(crowd, trouble(node, over.subscribe()));
    println!("{trouble:?}\n{}", text(&report));
    assert!(trouble.kills >= 2 && trouble.pauses >= 1, "{trouble:?}");
    assert!(report.is_fair, "{:#?}", report.violations);
    let of = |name| report.visitors.get(name).copied().unwrap_or(0);
    assert_eq!(of("waiting") + of("not_joined") + of("inside") + of("lost"), 0, "everybody came through");
    assert!(of("late") * 100 <= u64::from(plan.visitors), "this machine was too slow for a crowd");
    assert_eq!(report.sessions.capacity, Some(SEATS.into()));
    assert!(report.sessions.most_seen * 10 > u64::from(SEATS), "the seats were used: {:?}", report.sessions);
}
