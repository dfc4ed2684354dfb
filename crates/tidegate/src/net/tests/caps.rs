//! How many may connect, and who goes when there is no room.

use std::net::IpAddr;

use super::super::registry::AddressKey;
use super::*;

fn full_at(max_connections: usize) -> ConnectionLimits {
    ConnectionLimits { max_connections, ..patient() }
}

#[tokio::test]
async fn with_everybody_busy_one_too_many_is_closed_at_once() {
    let door = start(full_at(2));
    let mut busy = [door.connect().await, door.connect().await];
    for client in &mut busy {
        client.send(HOLD).await;
    }
    eventually("both are busy", || door.holding.load(Ordering::SeqCst) == 2).await;
    // Past the grace of a head that does not come, which theirs did.
    sleep(Duration::from_millis(1_600)).await;
    door.connect().await.closed().await;
    assert_eq!(value(&door.stats.refused_total_cap), 1);
    assert_eq!(value(&door.stats.idle_evicted), 0);

    door.release.add_permits(2);
    for client in &mut busy {
        client.receive().await.expect("the busy ones are served");
    }
    drop(busy);
    eventually("there is room", || value(&door.stats.open) == 0).await;
    door.connect().await.ask(GET).await.expect("the next client is served");
}

#[tokio::test]
async fn the_longest_idle_makes_room() {
    let door = start(ConnectionLimits { header_timeout_ms: 20, ..full_at(3) });
    let mut busy = door.connect().await;
    busy.send(HOLD).await;
    let mut oldest = door.connect().await;
    oldest.ask(GET).await.expect("a response");
    // The clock that orders them is as coarse as the sweep.
    sleep(Duration::from_millis(50)).await;
    let mut younger = door.connect().await;
    younger.ask(GET).await.expect("a response");

    door.connect().await.ask(GET).await.expect("the new client is served");
    oldest.closed().await;
    younger.ask(GET).await.expect("the younger one stays");
    door.release.add_permits(1);
    busy.receive().await.expect("the busy one stays");
    assert_eq!(value(&door.stats.idle_evicted), 1);
    assert_eq!(value(&door.stats.refused_total_cap), 0);
}

/// Thousands of sockets that say nothing must not lock out those that do.
#[tokio::test]
async fn sockets_that_never_spoke_make_room_after_their_grace() {
    let door = start(full_at(50));
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(door.connect().await);
    }
    eventually("all are open", || value(&door.stats.open) == 50).await;
    sleep(Duration::from_millis(1_600)).await;
    for _ in 0..25 {
        let mut client = door.connect().await;
        client.ask(GET).await.expect("a response");
        client.ask(GET).await.expect("a second response");
    }
    assert_eq!(value(&door.stats.refused_total_cap), 0);
}

#[tokio::test]
async fn idle_clients_ten_times_the_cap_are_all_served_once() {
    let door = start(full_at(20));
    let mut clients = Vec::new();
    let mut served = 0;
    for _ in 0..200 {
        let mut client = door.connect().await;
        // Candidates are looked for at most every 10 ms; a refused client comes again.
        while client.ask(GET).await.is_none() {
            sleep(Duration::from_millis(5)).await;
            client = door.connect().await;
        }
        served += 1;
        clients.push(client);
    }
    assert_eq!(served, 200);
    assert!(value(&door.stats.idle_evicted) >= 180);
    eventually("the cap holds", || value(&door.stats.open) <= 20).await;
}

#[tokio::test]
async fn an_address_has_its_share_and_no_more() {
    let door = start(ConnectionLimits { max_connections_per_address: 3, ..patient() });
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = door.connect().await;
        client.ask(GET).await.expect("a response");
        clients.push(client);
    }
    door.connect().await.closed().await;
    assert_eq!(value(&door.stats.refused_per_address), 1);

    let elsewhere = tokio::net::TcpSocket::new_v4().unwrap();
    elsewhere.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let socket = elsewhere.connect(door.address).await.unwrap();
    let mut other = Client { socket, read: Vec::new() };
    other.ask(GET).await.expect("another address is served");

    clients.pop();
    eventually("a place is free", || value(&door.stats.open) == 3).await;
    door.connect().await.ask(GET).await.expect("the place is given again");
}

#[test]
fn an_ipv6_subscriber_is_one_address() {
    let key = |text: &str| AddressKey::of(text.parse::<IpAddr>().unwrap().to_canonical());
    assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
    assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
    assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
    assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
}
