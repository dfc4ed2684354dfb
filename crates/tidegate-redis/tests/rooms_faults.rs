//! The logs of rooms when servers are killed, paused, and replaced, or the way to them is.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod rooms_common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rooms_common::{LONG, PATIENCE, cluster_url, insist, name, next, node, put, sentinel_url};
use tidegate_store::conformance::room_log::{entries, taken};
use tidegate_store::rooms::shared::{Append, Appended, Heard, LogError, RoomLog, Taken};
use tidegate_testkit::{
    ClusterOptions, FaultProxy, Link, RedisCluster, RedisOptions, RedisServer, SentinelOptions, Sentinels,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

/// Every other answer is lost: what is made again until it is answered is there once.
#[tokio::test]
async fn an_append_whose_answer_is_lost_is_done_once() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(server.address(), 5);
    let far = node(&format!("redis://{}", proxy.address()), 1).await;
    let near = node(&server.url(), 2).await;
    let mut heard = near.log.listen(near.id);
    assert_eq!(next(&mut heard).await, Heard::Up);
    let room = name("lossy");
    let term = taken(&far, &room, LONG).await.term;
    let mut unknown = 0;
    for after in 0..20_u64 {
        proxy.drop_next_replies(1 + after % 2);
        let text = Bytes::from((after + 1).to_string());
        let list = [text.clone()];
        let append = Append { term, after, entries: &list, tell: &text, lease: LONG };
        let begun = Instant::now();
        loop {
            match far.log.append(&room, append).await {
                Ok(outcome) => {
                    assert_eq!(outcome, Appended::Kept);
                    break;
                }
                Err(LogError::Unknown(_)) => unknown += 1,
                Err(LogError::NotDone(_)) => {}
                Err(error) => panic!("{error}"),
            }
            assert!(begun.elapsed() < PATIENCE);
            sleep(Duration::from_millis(5)).await;
        }
        proxy.heal();
        assert_eq!(next(&mut heard).await, Heard::Message(text), "it is told once");
    }
    assert!(unknown > 0, "no answer was lost");
    let all: Vec<(u64, String)> = (1..=20).map(|number| (number, number.to_string())).collect();
    assert_eq!(entries(&near, &room, 0).await, all);
    sleep(Duration::from_millis(200)).await;
    assert!(heard.is_empty(), "{:?}", heard.recv().await);
}

/// What a new keeper is told after the server was killed, by what the server keeps.
#[tokio::test]
async fn a_server_that_was_started_again_may_have_lost_entries() {
    let aof = |fsync: &str| RedisOptions::new().setting("appendonly", "yes").setting("appendfsync", fsync);
    for (options, may_have_lost) in [(aof("everysec"), true), (aof("always"), false)] {
        let mut server = RedisServer::with(&options);
        let (one, other) = (node(&server.url(), 1).await, node(&server.url(), 2).await);
        let room = name("restarted");
        let first = taken(&one, &room, LONG).await;
        assert_eq!(put(&one, &room, (first.term, 0), "a").await, Appended::Kept);
        // Enough for a disk that is written to every second.
        sleep(Duration::from_millis(2_100)).await;
        let head = taken(&one, &room, LONG).await;
        assert!(!head.may_have_lost, "the same run");
        server.restart();
        let kept = insist(|| other.log.take(&room, other.id, LONG, false)).await;
        assert_eq!(kept, Taken::Kept { by: one.id, term: head.term });
        let again = insist(|| one.log.take(&room, one.id, LONG, false)).await;
        let Taken::Yours(again) = again else { panic!("{again:?}") };
        assert!(again.term > head.term);
        assert_eq!(
            (again.former, again.last, again.may_have_lost),
            (head.term, 1, may_have_lost),
            "{options:?}"
        );
        assert!(again.term > head.term + 1, "terms that were lost are passed over");
        // Nobody has made up for it yet: it is told again, until something was appended.
        let once_more = taken(&one, &room, LONG).await;
        assert_eq!(once_more.may_have_lost, may_have_lost);
        assert_eq!(put(&one, &room, (once_more.term, 1), "b").await, Appended::Kept);
        assert!(!taken(&one, &room, LONG).await.may_have_lost);
    }
}

#[tokio::test]
async fn a_server_that_has_forgotten_all_is_made_up_for() {
    let mut server = RedisServer::start();
    let one = node(&server.url(), 1).await;
    let room = name("forgotten");
    let first = taken(&one, &room, LONG).await;
    for after in 0..3 {
        assert_eq!(put(&one, &room, (first.term, after), "x").await, Appended::Kept);
    }
    server.restart();
    assert_eq!(put(&one, &room, (first.term, 3), "y").await, Appended::Deposed);
    assert_eq!(
        insist(|| one.log.take(&room, one.id, LONG, false)).await,
        Taken::NoRoom { was_removed: false }
    );
    assert_eq!(one.log.rooms().await, Ok(Vec::new()));
    let second = taken(&one, &room, LONG).await;
    assert!(second.term > first.term, "terms go on: {second:?} after {first:?}");
    assert_eq!(second.last, 0);
    assert_eq!(put(&one, &room, (second.term, 3), "y").await, Appended::Behind { last: 0 });
    let state = [Bytes::from_static(b"three")];
    assert_eq!(one.log.put_snapshot(&room, second.term, 3, &state).await, Ok(Appended::Kept));
    assert_eq!(put(&one, &room, (second.term, 3), "y").await, Appended::Kept);
    assert_eq!(entries(&one, &room, 3).await, [(4, "y".to_owned())]);
}

/// A replica takes over: the log goes on there, and a new keeper is told that something may be missing, however the replica writes
/// to its disk.
#[tokio::test]
async fn a_failover_by_sentinels_is_survived_and_told() {
    let redis = RedisOptions::new().setting("appendonly", "yes").setting("appendfsync", "always");
    let mut group = Sentinels::with(&SentinelOptions { redis, ..SentinelOptions::default() });
    let (one, other) = (node(&sentinel_url(&group), 1).await, node(&sentinel_url(&group), 2).await);
    let mut heard = other.log.listen(other.id);
    assert_eq!(next(&mut heard).await, Heard::Up);
    let room = name("moved");
    let first = taken(&one, &room, LONG).await;
    assert_eq!(put(&one, &room, (first.term, 0), "a").await, Appended::Kept);
    // Until the replica has it.
    group.servers()[group.primary()].wait_until_copied("copied");

    let killed = group.kill_primary();
    assert_eq!(next(&mut heard).await, Heard::Down);
    group.wait_for_failover(killed, PATIENCE);
    assert_eq!(put(&one, &room, (first.term, 1), "b").await, Appended::Kept);
    assert_eq!(next(&mut heard).await, Heard::Up);
    one.log.send(Some(other.id), Bytes::from_static(b"after"));
    assert_eq!(next(&mut heard).await, Heard::Message("after".into()));
    assert!(!taken(&one, &room, LONG).await.may_have_lost, "the keeper has appended since");

    // Once more, back to the first one, and nothing is appended before somebody takes it.
    group.restart(killed);
    group.servers()[killed].wait_until_synced_replica(PATIENCE);
    one.log.release(&room, taken(&one, &room, LONG).await.term).await.unwrap();
    group.servers()[group.primary()].wait_until_copied("copied");
    let killed = group.kill_primary();
    group.wait_for_failover(killed, PATIENCE);
    let taken = insist(|| other.log.take(&room, other.id, LONG, false)).await;
    let Taken::Yours(head) = taken else { panic!("{taken:?}") };
    assert_eq!((head.last, head.may_have_lost), (2, true));
}

/// A slot moves while a room in it is appended to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_moves_with_its_slot() {
    let cluster = RedisCluster::start(3, 0);
    let one = node(&cluster_url(&cluster), 1).await;
    let room = name("travels");
    let term = taken(&one, &room, LONG).await.term;
    let slot = cluster.slot_of("troom:{travels}:h");
    let (from, to) = (cluster.master_of(slot), (cluster.master_of(slot) + 1) % 3);
    assert_eq!(put(&one, &room, (term, 0), "1").await, Appended::Kept);
    assert_eq!(one.log.put_snapshot(&room, term, 1, &[Bytes::from_static(b"1")]).await, Ok(Appended::Kept));
    let appending = async {
        for after in 1..200_u64 {
            assert_eq!(put(&one, &room, (term, after), &(after + 1).to_string()).await, Appended::Kept);
            sleep(Duration::from_millis(1)).await;
        }
    };
    let moving = async {
        tokio::task::block_in_place(|| {
            cluster.open_slot(slot, from, to);
            cluster.migrate_slots(slot..=slot, from, to);
        });
    };
    let (_, ()) = tokio::join!(appending, moving);
    assert_eq!(cluster.master_of(slot), to);
    let loaded = one.log.load(&room, 0).await.unwrap();
    assert_eq!(loaded.snapshot, Some((1, vec![Bytes::from_static(b"1")])));
    let all: Vec<(u64, Bytes)> = (2..=200).map(|number: u64| (number, number.to_string().into())).collect();
    assert_eq!(loaded.entries, all);
}

/// A node of a Cluster is killed and its replica takes over: rooms go on, and messages between the nodes too.
#[tokio::test]
async fn a_failover_in_a_cluster_is_survived_and_told() {
    let options = ClusterOptions { masters: 3, replicas_per_master: 1, ..ClusterOptions::default() };
    let mut cluster = RedisCluster::with(&options);
    let (one, other) = (node(&cluster_url(&cluster), 1).await, node(&cluster_url(&cluster), 2).await);
    let mut heard = other.log.listen(other.id);
    assert_eq!(next(&mut heard).await, Heard::Up);
    let room = name("survives");
    let first = taken(&one, &room, LONG).await;
    assert_eq!(put(&one, &room, (first.term, 0), "a").await, Appended::Kept);
    one.log.release(&room, first.term).await.unwrap();
    let master = cluster.master_of(cluster.slot_of("troom:{survives}:h"));
    cluster.nodes()[master].wait_until_copied("{survives}:copied");
    cluster.kill(master);
    let taken = insist(|| other.log.take(&room, other.id, LONG, false)).await;
    let Taken::Yours(head) = taken else { panic!("{taken:?}") };
    assert_eq!((head.last, head.may_have_lost), (1, true));
    // Whichever node was listened to and published over: in the end messages come.
    let begun = Instant::now();
    loop {
        one.log.send(Some(other.id), Bytes::from_static(b"there?"));
        match timeout(Duration::from_millis(200), heard.recv()).await {
            Ok(Some(Heard::Message(_))) => break,
            _ => assert!(begun.elapsed() < PATIENCE, "no message after the failover"),
        }
    }
}

/// The connection that listens is cut, then silent: both are told, and what is sent after Up comes.
#[tokio::test]
async fn a_connection_that_listens_is_cut_or_silent_and_comes_back() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(server.address(), 3);
    let far = node(&format!("redis://{}", proxy.address()), 1).await;
    let near = node(&server.url(), 2).await;
    let mut heard = far.log.listen(far.id);
    assert_eq!(next(&mut heard).await, Heard::Up);
    for round in 0..3 {
        let text = Bytes::from(format!("round {round}"));
        assert!(near.log.send(Some(far.id), text.clone()));
        assert_eq!(next(&mut heard).await, Heard::Message(text));
        let begun = Instant::now();
        if round % 2 == 0 {
            proxy.change(|faults| faults.link = Link::Refuse);
            assert_eq!(next(&mut heard).await, Heard::Down);
            assert!(
                begun.elapsed() < Duration::from_millis(1_900),
                "a cut is noticed at once: {:?}",
                begun.elapsed()
            );
        } else {
            proxy.change(|faults| faults.link = Link::BlackHole);
            assert_eq!(next(&mut heard).await, Heard::Down);
            let took = begun.elapsed();
            assert!(took > Duration::from_millis(1_400) && took < Duration::from_secs(8), "{took:?}");
        }
        sleep(Duration::from_millis(300)).await;
        assert!(heard.is_empty(), "down is said once");
        proxy.heal();
        assert_eq!(next(&mut heard).await, Heard::Up);
    }
    // Idle for longer than a silence may last: it is still up.
    sleep(Duration::from_secs(3)).await;
    assert!(heard.is_empty());
}

/// A way to one of two servers: connections go to the one that is chosen when they are made.
async fn crossing(servers: [std::net::SocketAddr; 2], chosen: Arc<AtomicUsize>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("redis://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let server = servers[chosen.load(Ordering::SeqCst)];
            tokio::spawn(async move {
                let mut far = TcpStream::connect(server).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    address
}

/// A node listens at a server that answers and over which messages do not go, as a primary that was replaced while it was cut off:
/// it notices, and leaves it.
#[tokio::test]
async fn a_server_that_answers_and_passes_nothing_on_is_left() {
    let (present, former) = (RedisServer::start(), RedisServer::start());
    let chosen = Arc::new(AtomicUsize::new(0));
    let address = crossing([present.address(), former.address()], Arc::clone(&chosen)).await;
    let one = node(&address, 1).await;
    chosen.store(1, Ordering::SeqCst);
    let mut heard = one.log.listen(one.id);
    assert_eq!(next(&mut heard).await, Heard::Up);
    chosen.store(0, Ordering::SeqCst);
    assert_eq!(next(&mut heard).await, Heard::Down);
    assert_eq!(next(&mut heard).await, Heard::Up);
    assert!(one.log.send(None, Bytes::from_static(b"here")));
    assert_eq!(next(&mut heard).await, Heard::Message("here".into()));
    sleep(Duration::from_secs(3)).await;
    assert!(heard.is_empty(), "{:?}", heard.recv().await);
}

/// Messages that cannot be sent within a second are never sent.
#[tokio::test]
async fn an_old_message_is_not_sent() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(server.address(), 9);
    let far = node(&format!("redis://{}", proxy.address()), 1).await;
    let near = node(&server.url(), 2).await;
    let mut heard = near.log.listen(near.id);
    assert_eq!(next(&mut heard).await, Heard::Up);
    proxy.change(|faults| faults.link = Link::Refuse);
    sleep(Duration::from_millis(100)).await;
    assert!(far.log.send(Some(near.id), Bytes::from_static(b"old")));
    sleep(Duration::from_millis(1_200)).await;
    // A short gap is bridged.
    assert!(far.log.send(Some(near.id), Bytes::from_static(b"young")));
    proxy.heal();
    let begun = Instant::now();
    while heard.is_empty() && begun.elapsed() < Duration::from_secs(1) {
        far.log.send(Some(near.id), Bytes::from_static(b"new"));
        sleep(Duration::from_millis(20)).await;
    }
    let first = next(&mut heard).await;
    assert!(matches!(&first, Heard::Message(text) if text != "old"), "{first:?}");
    // Without a way out only so many wait.
    proxy.change(|faults| faults.link = Link::Refuse);
    let large = Bytes::from(vec![0; 512 << 10]);
    let taken = (0..100).filter(|_| far.log.send(None, large.clone())).count();
    assert!((16..=40).contains(&taken), "{taken} of 512 KiB were taken");
}
