//! Usage while the database dies again and again: nothing is counted twice, nothing is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tidegate_testkit::{FaultProxy, Postgres, RedisServer, Stopwatch, wait_for};

use crate::machine::{PATIENCE, RUNTIME, alone, hold, is_strict, rounds};
use crate::site::{Nodes, check_of};
use crate::wire::Connection;

const DOMAIN: &str = r#"{"name":"used","rules":[{"name":"per-user","key":["user_id"],"algorithm":"fixed_window","limit":50,"window":"1d"}]}"#;

/// What passed and what was denied.
type Counts = (u64, u64);

/// Asks for some users in turn until stopped, and counts the answers.
async fn ask(mut connection: Connection, client: usize, stop: Arc<AtomicBool>) -> Counts {
    let (mut allowed, mut denied) = (0, 0);
    for turn in 0.. {
        if stop.load(Relaxed) {
            break;
        }
        let body = check_of("used", &format!("{client}-{}", turn / 80));
        match connection.post("/v1/check", &body).await.unwrap().status {
            200 => allowed += 1,
            429 => denied += 1,
            other => panic!("{other}"),
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    (allowed, denied)
}

/// The usage of the domain that is in the database; `None` while that does not answer.
fn written(nodes: &Nodes) -> Option<Counts> {
    let answer = nodes.try_admin(0, "GET", "/usage?domain=used&by=domain", "").ok()?;
    let answer = (answer.status == 200).then(|| answer.json())?;
    let sum = |what: &str| {
        answer["items"].as_array().unwrap().iter().map(|item| item[what].as_u64().unwrap()).sum()
    };
    Some((sum("allowed"), sum("denied")))
}

#[test]
fn usage_is_counted_once_however_often_the_database_dies() {
    let _alone = alone();
    let (mut postgres, redis) = (Postgres::start(), RedisServer::start());
    let arguments = ["--store", &redis.url(), "--store-deadline", "1s", "--usage-flush", "100ms"];
    // What the database did is unknown where its answer is lost.
    let proxy = FaultProxy::start(([127, 0, 0, 1], postgres.port()).into(), 11);
    let lossy = format!("postgres://postgres@{}/postgres", proxy.address());
    let nodes = Nodes::start(&[postgres.url(), postgres.url(), lossy], &arguments);
    nodes.change(0, "PUT", "/domains/used", DOMAIN);
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = nodes
        .addresses()
        .into_iter()
        .cycle()
        .take(6)
        .enumerate()
        .map(|(client, address)| RUNTIME.spawn(ask(Connection::new(address), client, Arc::clone(&stop))))
        .collect();
    proxy.change(|faults| faults.drop_replies = 0.05);
    let mut random = fastrand::Rng::new();
    println!("seed {}", random.get_seed());
    let kills = rounds(if is_strict() { 20 } else { 3 });
    for _ in 0..kills {
        hold(Duration::from_millis(random.u64(300..1_500)));
        postgres.kill();
        hold(Duration::from_millis(random.u64(0..500)));
        postgres.restart();
    }
    stop.store(true, Relaxed);
    println!("{} replies lost", proxy.replies_dropped());
    assert!(proxy.replies_dropped() > 0);
    proxy.heal();
    let answered = clients.into_iter().map(|client| RUNTIME.block_on(client).unwrap());
    let answered = answered.fold((0, 0), |(allowed, denied), (a, d)| (allowed + a, denied + d));
    let watch = Stopwatch::start();
    wait_for("all usage is written", PATIENCE, || {
        let written = written(&nodes)?;
        assert!(
            written.0 <= answered.0 && written.1 <= answered.1,
            "counted twice: {written:?} of {answered:?}"
        );
        (written == answered).then_some(())
    });
    println!(
        "{kills} kills: {answered:?} allowed and denied, written {:?} after the last answer",
        watch.elapsed()
    );
    // What was left to write would come now.
    hold(Duration::from_secs(2));
    assert_eq!(written(&nodes), Some(answered));
    assert!(answered.1 > 0);
    nodes.assert_alive();
}
