//! Clients that are too slow are closed, and others are not.

use tokio::time::Instant;

use super::*;

const SHORT: Duration = Duration::from_millis(250);
/// Long enough for every short timeout to have fired, if it runs.
const LONGER: Duration = Duration::from_millis(800);

fn impatient() -> ConnectionLimits {
    ConnectionLimits {
        header_timeout_ms: 250,
        idle_timeout_ms: 250,
        write_stall_timeout_ms: 250,
        body_timeout_ms: 250,
        ..patient()
    }
}

#[tokio::test]
async fn part_of_a_head_is_closed_after_the_header_timeout() {
    let door = start(ConnectionLimits { idle_timeout_ms: 60_000, ..impatient() });
    let mut client = door.connect().await;
    let begun = Instant::now();
    client.send(b"GET / HTTP/1.1\r\nhost:").await;
    client.closed().await;
    assert!(begun.elapsed() >= SHORT, "closed early: {:?}", begun.elapsed());
    assert_eq!(value(&door.stats.header_timeouts), 1);
}

/// Each byte in time, the head as a whole not: a slow loris.
#[tokio::test]
async fn trickling_a_head_does_not_extend_the_header_timeout() {
    let door = start(ConnectionLimits { idle_timeout_ms: 60_000, ..impatient() });
    let mut client = door.connect().await;
    let begun = Instant::now();
    client.send(b"GET / HTTP/1.1\r\nx: ").await;
    while client.socket.write_all(b"x").await.is_ok() {
        assert!(begun.elapsed() < PATIENCE, "still connected");
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(value(&door.stats.header_timeouts), 1);
}

#[tokio::test]
async fn a_silent_connection_is_closed_after_the_header_timeout() {
    let door = start(ConnectionLimits { idle_timeout_ms: 60_000, ..impatient() });
    let mut client = door.connect().await;
    client.closed().await;
    assert_eq!(value(&door.stats.header_timeouts), 1);
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_the_idle_timeout() {
    let door = start(ConnectionLimits { header_timeout_ms: 60_000, ..impatient() });
    let mut client = door.connect().await;
    let begun = Instant::now();
    client.ask(GET).await.expect("a response");
    client.closed().await;
    assert!(begun.elapsed() >= SHORT, "closed early: {:?}", begun.elapsed());
    assert_eq!(value(&door.stats.idle_timeouts), 1);
    assert_eq!(value(&door.stats.header_timeouts), 0);
}

/// The time between requests is not the time of the next head (hyper's own timeout mixes them up).
#[tokio::test]
async fn the_header_timeout_does_not_run_between_requests() {
    let door = start(ConnectionLimits { idle_timeout_ms: 60_000, ..impatient() });
    let mut client = door.connect().await;
    client.ask(GET).await.expect("a response");
    sleep(LONGER).await;
    client.ask(GET).await.expect("a second response");
    client.send(b"GET").await;
    client.closed().await;
    assert_eq!(value(&door.stats.header_timeouts), 1);
}

#[tokio::test]
async fn a_slow_answer_is_nobodys_timeout() {
    let door = start(impatient());
    let mut client = door.connect().await;
    client.send(HOLD).await;
    sleep(LONGER).await;
    door.release.add_permits(1);
    assert!(client.receive().await.expect("a response").ends_with("held"));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_after_the_write_stall_timeout() {
    let door = start(impatient());
    let mut client = door.connect().await;
    client.send(b"GET /huge HTTP/1.1\r\nhost: t\r\n\r\n").await;
    eventually("the connection is closed", || value(&door.stats.write_stalls) == 1).await;
    eventually("it left the registry", || value(&door.stats.open) == 0).await;
    assert_eq!(client.receive().await, None, "a whole response");
}

#[tokio::test]
async fn a_client_that_reads_slowly_is_served_and_stays() {
    let door = start(ConnectionLimits { idle_timeout_ms: 60_000, ..impatient() });
    let mut client = door.connect().await;
    client.send(b"GET /huge HTTP/1.1\r\nhost: t\r\n\r\n").await;
    let mut buffer = vec![0; 2 << 20];
    // No `x` is in the head.
    let mut received = 0;
    while received < HUGE_BYTES {
        let read = timeout(PATIENCE, client.socket.read(&mut buffer)).await.unwrap().unwrap();
        assert_ne!(read, 0, "cut off after {received} bytes");
        received += buffer[..read].iter().filter(|byte| **byte == b'x').count();
        sleep(Duration::from_millis(5)).await;
    }
    sleep(LONGER).await;
    client.ask(GET).await.expect("a response after a slow one");
    assert_eq!(value(&door.stats.write_stalls), 0);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_answered_408() {
    let door = start(impatient());
    let mut client = door.connect().await;
    let begun = Instant::now();
    client.send(b"POST /echo HTTP/1.1\r\nhost: t\r\ncontent-length: 10\r\n\r\nabc").await;
    assert!(client.receive().await.expect("a response").starts_with("HTTP/1.1 408"));
    assert!(begun.elapsed() >= SHORT);
    client.closed().await;
}
