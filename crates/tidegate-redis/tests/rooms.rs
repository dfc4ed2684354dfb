//! The logs of rooms on real servers: the suite of the port on every kind of them, and what is Redis' own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod rooms_common;

use std::time::Duration;

use bytes::Bytes;
use rooms_common::{LOCAL, LONG, cluster_url, insist, name, node, put, rooms, sentinel_url};
use tidegate_store::conformance::room_log::{
    entries_and_snapshots_do_not_disturb_each_other, racing_nodes_have_one_keeper, run_all, taken,
};
use tidegate_store::rooms::shared::{Append, Appended, LogError, RoomLog, Taken};
use tidegate_testkit::{RedisCluster, RedisOptions, RedisServer, Sentinels};
use tokio::time::sleep;

#[tokio::test]
async fn one_server_keeps_every_promise() {
    let server = RedisServer::start();
    let address = server.url();
    run_all(|_| rooms(&address)).await;
}

#[tokio::test]
async fn the_primary_that_sentinels_name_keeps_every_promise() {
    let group = Sentinels::start();
    let address = sentinel_url(&group);
    run_all(|_| rooms(&address)).await;
}

#[tokio::test]
async fn a_cluster_keeps_every_promise() {
    let cluster = RedisCluster::start(3, 0);
    let address = cluster_url(&cluster);
    run_all(|_| rooms(&address)).await;
}

#[tokio::test]
async fn a_thousand_races_have_a_thousand_winners() {
    let server = RedisServer::start();
    let nodes = [node(&server.url(), 1).await, node(&server.url(), 2).await];
    racing_nodes_have_one_keeper(&nodes, 1_000).await;
}

#[tokio::test]
async fn snapshots_and_appends_go_on_side_by_side() {
    let server = RedisServer::start();
    let nodes = [node(&server.url(), 1).await, node(&server.url(), 2).await];
    entries_and_snapshots_do_not_disturb_each_other(&nodes, 3_000).await;
}

#[tokio::test]
async fn a_thousand_rooms_on_each_kind_of_server() {
    let (server, cluster) = (RedisServer::start(), RedisCluster::start(3, 0));
    for address in [server.url(), cluster_url(&cluster)] {
        let (one, other) = (node(&address, 1).await, node(&address, 2).await);
        for some in (0..1_000).collect::<Vec<_>>().chunks(100) {
            let making = some.iter().copied().map(|number| {
                let (log, id) = (one.log.clone(), one.id);
                tokio::spawn(async move {
                    let room = name(&format!("room-{number}"));
                    let Ok(Taken::Yours(head)) = log.take(&room, id, LONG, true).await else {
                        panic!("{room}")
                    };
                    let entries = [Bytes::from(number.to_string())];
                    let tell = Bytes::new();
                    let append =
                        Append { term: head.term, after: 0, entries: &entries, tell: &tell, lease: LONG };
                    assert_eq!(log.append(&room, append).await, Ok(Appended::Kept));
                })
            });
            for made in making.collect::<Vec<_>>() {
                made.await.unwrap();
            }
        }
        let listed = other.log.rooms().await.unwrap();
        assert_eq!(listed.len(), 1_000);
        for room in listed {
            let loaded = other.log.load(&room, 0).await.unwrap();
            let number = room.as_str().strip_prefix("room-").unwrap().to_owned();
            assert_eq!(loaded.entries, [(1, Bytes::from(number))]);
        }
    }
}

/// Keys of a room: nothing is left behind by a snapshot that was put, nor, after a while, by one that was not.
#[tokio::test]
async fn nothing_is_left_behind() {
    let server = RedisServer::start();
    let keys = || server.command(&["KEYS", "*"]).items().iter().map(|key| key.text()).collect::<Vec<_>>();
    let one = node(&server.url(), 1).await;
    let room = name("tidy");
    let term = taken(&one, &room, LONG).await.term;
    put(&one, &room, (term, 0), "a").await;
    for _ in 0..5 {
        assert_eq!(
            one.log.put_snapshot(&room, term, 1, &[Bytes::from_static(b"s")]).await,
            Ok(Appended::Kept)
        );
    }
    let mut left = keys();
    left.sort();
    assert_eq!(left.len(), 4, "the list of rooms, the head, the lease, one snapshot: {left:?}");
    assert!(left[0].starts_with("troom:{tidy}:h") && left[2].starts_with("troom:{tidy}:s"), "{left:?}");
    assert_eq!(server.command(&["TTL", &left[2]]).integer(), -1, "it stays");

    // One that is not finished, as if the node had died: its pieces have an end.
    let (log, at) = (one.log.clone(), room.clone());
    let many: Vec<Bytes> = vec![Bytes::from(vec![1; 500_000]); 200];
    let putting = tokio::spawn(async move { log.put_snapshot(&at, term, 1, &many).await });
    while keys().len() < 5 {
        sleep(Duration::from_millis(1)).await;
    }
    putting.abort();
    assert!(putting.await.unwrap_err().is_cancelled());
    sleep(Duration::from_millis(100)).await;
    let dangling: Vec<String> = keys().into_iter().filter(|key| !left.contains(key)).collect();
    assert_eq!(dangling.len(), 1);
    let stays = server.command(&["TTL", &dangling[0]]).integer();
    assert!((1..=60).contains(&stays), "{stays}");

    assert_eq!(one.log.remove(&room, term).await, Ok(Appended::Kept));
    assert_eq!(keys().iter().filter(|key| !dangling.contains(key)).collect::<Vec<_>>(), ["troom:{tidy}:h"]);
    let kept = server.command(&["TTL", "troom:{tidy}:h"]).integer();
    assert!((2_591_000..=2_592_000).contains(&kept), "its term stays for 30 days: {kept}");
}

#[tokio::test]
async fn keys_that_are_no_log_of_ours_are_an_error() {
    let server = RedisServer::start();
    let one = node(&server.url(), 1).await;
    server.command(&["SET", "troom:{odd}:h", "x"]).ok();
    assert!(matches!(one.log.load(&name("odd"), 0).await, Err(LogError::Corrupt(_))));
    assert!(matches!(one.log.take(&name("odd"), one.id, LONG, true).await, Err(LogError::Corrupt(_))));
    for head in [["s", "x"], ["s", "-1"], ["s", "1e400"], ["n", "many"]] {
        let room = name("odder");
        server.command(&["DEL", "troom:{odder}:h"]).ok();
        let term = taken(&one, &room, LONG).await.term;
        put(&one, &room, (term, 0), "a").await;
        server.command(&["HSET", "troom:{odder}:h", head[0], head[1]]).ok();
        let loaded = one.log.load(&room, 0).await;
        assert!(matches!(loaded, Err(LogError::Corrupt(_))), "{head:?}: {loaded:?}");
        server.command(&["DEL", "troom:{odder}:l"]).ok();
    }
    // A snapshot of which pieces are gone.
    let room = name("torn");
    let term = taken(&one, &room, LONG).await.term;
    put(&one, &room, (term, 0), "a").await;
    let pieces = [Bytes::from_static(b"s"), Bytes::from_static(b"t")];
    assert_eq!(one.log.put_snapshot(&room, term, 1, &pieces).await, Ok(Appended::Kept));
    let key = server.command(&["KEYS", "troom:{torn}:s*"]).items()[0].text();
    server.command(&["RPOP", &key]).ok();
    assert!(matches!(one.log.load(&room, 0).await, Err(LogError::Corrupt(_))));
    server.command(&["DEL", &key]).ok();
    assert!(matches!(one.log.load(&room, 0).await, Err(LogError::Corrupt(_))));
    // Entries larger than any of ours.
    server.command(&["RPUSH", "troom:{torn}:e", &"x".repeat((512 << 10) + 1)]).ok();
    assert!(matches!(one.log.load(&room, 1).await, Err(LogError::Corrupt(_))));
    server.command(&["SADD", "trooms", "No Name"]).ok();
    assert!(matches!(one.log.rooms().await, Err(LogError::Corrupt(_))));
}

/// A room whose making was cut off before it was listed, and one that is listed and not there.
#[tokio::test]
async fn the_list_of_rooms_mends_itself() {
    let server = RedisServer::start();
    let one = node(&server.url(), 1).await;
    let room = name("unlisted");
    taken(&one, &room, LONG).await;
    server.command(&["DEL", "trooms"]).ok();
    taken(&one, &room, LONG).await;
    assert_eq!(one.log.rooms().await, Ok(vec![room]));
    server.command(&["SADD", "trooms", "ghost"]).ok();
    assert_eq!(
        one.log.take(&name("ghost"), one.id, LONG, false).await,
        Ok(Taken::NoRoom { was_removed: false })
    );
    assert_eq!(one.log.rooms().await, Ok(vec![name("unlisted")]));
}

/// The user that the documents recommend, and no other rights.
#[tokio::test]
async fn the_user_that_the_documents_recommend_may_do_what_is_needed() {
    let page = include_str!("../../../docs/operations/shared-store.md");
    let rights = |user: &str| {
        let block =
            page.split(&format!("user {user} on >secret")).nth(1).unwrap().split("```").next().unwrap();
        block.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let users = format!("user admin on >admin ~* &* +@all\nuser rooms on >secret {}\n", rights("rooms"));
    let server = RedisServer::with(&RedisOptions::new().acl(&users, "admin", "admin"));
    let address = format!("redis://rooms:secret@{}", server.address());
    run_all(|_| rooms(&address)).await;
    let log = server.command(&["ACL", "LOG"]);
    assert_eq!(log.items().len(), 0, "nothing was refused: {log:?}");
}

#[tokio::test]
async fn the_clock_is_the_servers_once_it_is_known() {
    let server = RedisServer::start();
    let log = rooms(&server.url()).await;
    let clock = log.clock();
    insist(|| async { if clock() > LOCAL { Ok(()) } else { Err(LogError::NotDone("not yet".to_owned())) } })
        .await;
    let earlier = clock().as_micros();
    let time = server.command(&["TIME"]);
    let parts: Vec<u64> = time.items().iter().map(|part| part.text().parse().unwrap()).collect();
    let of_server = parts[0] * 1_000_000 + parts[1];
    // As far off as half of a round trip, which takes its time on a busy machine.
    let (earliest, latest) = (earlier - 250_000, clock().as_micros() + 250_000);
    assert!((earliest..=latest).contains(&of_server), "{of_server} is not in {earliest} to {latest}");
    let mut before = clock();
    for _ in 0..1_000 {
        let now = clock();
        assert!(now >= before);
        before = now;
    }
    // No server: the local time.
    let alone = rooms("redis://127.0.0.1:1").await;
    assert_eq!(alone.clock()(), LOCAL);
}
