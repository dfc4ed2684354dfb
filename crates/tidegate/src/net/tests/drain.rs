//! Shutting down drops nobody who was let in.

use super::*;

/// What the kernel does with the filter: who is in the queue stays, who comes later waits outside.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_listener_without_handshakes_keeps_its_queue() {
    use std::io::{ErrorKind, Read, Write};

    let listener = bind(&ListenOptions::new("127.0.0.1:0".parse().unwrap(), "--listen")).unwrap();
    let address = listener.local_addr().unwrap();
    let mut early = std::net::TcpStream::connect(address).unwrap();
    super::super::listen::stop_handshakes(&listener).unwrap();
    let late = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300));
    assert_eq!(late.expect_err("no new connection").kind(), ErrorKind::TimedOut);

    let (mut accepted, _) = listener.accept().await.unwrap();
    early.write_all(b"ping").unwrap();
    let mut bytes = [0; 4];
    accepted.read_exact(&mut bytes).await.unwrap();
    accepted.write_all(&bytes).await.unwrap();
    early.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"ping");
    let none = listener.into_std().unwrap().accept().expect_err("nobody else is in the queue");
    assert_eq!(none.kind(), ErrorKind::WouldBlock);
}

#[tokio::test]
async fn requests_in_flight_are_finished_and_told_to_close() {
    let mut door = start(patient());
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = door.connect().await;
        client.send(HOLD).await;
        clients.push(client);
    }
    eventually("all are in flight", || door.holding.load(Ordering::SeqCst) == 5).await;
    door.signal();
    let address = door.address;
    timeout(PATIENCE, async { while Client::try_connect(address).await.is_ok() {} }).await.expect("refusals");
    door.release.add_permits(5);
    for client in &mut clients {
        let response = client.receive().await.expect("the response");
        assert!(response.contains("connection: close"), "{response}");
        client.closed().await;
    }
    assert_eq!(door.ended().await, DrainReport { open_at_signal: 5, aborted: 0 });
}

#[tokio::test]
async fn what_is_not_done_by_the_drain_timeout_is_aborted_and_reported() {
    let mut door = start(ConnectionLimits { drain_timeout_ms: 200, ..patient() });
    let mut client = door.connect().await;
    client.send(HOLD).await;
    eventually("it is in flight", || door.holding.load(Ordering::SeqCst) == 1).await;
    door.signal();
    client.closed().await;
    let stats = Arc::clone(&door.stats);
    assert_eq!(door.ended().await.aborted, 1);
    assert_eq!(value(&stats.aborted_at_drain), 1);
    assert_eq!(value(&stats.open), 0);
}

/// Connections the kernel accepted before the signal, which the loop never fetched.
#[tokio::test]
async fn the_accept_queue_is_served() {
    let (stop, stopped) = oneshot::channel();
    stop.send(()).unwrap();
    // On this single-threaded runtime the loop first runs when the test first waits; the socket
    // listens already. Blocking clients do not wait for the runtime.
    let door = start_until(patient(), Some(stopped));
    let mut queued: Vec<_> = (0..50).map(|_| std::net::TcpStream::connect(door.address).unwrap()).collect();
    for socket in &mut queued {
        std::io::Write::write_all(socket, GET).unwrap();
    }
    for socket in queued {
        socket.set_nonblocking(true).unwrap();
        let mut client = Client { socket: TcpStream::from_std(socket).unwrap(), read: Vec::new() };
        client.receive().await.expect("a response");
    }
    assert_eq!(door.ended().await.aborted, 0);
}

#[tokio::test]
async fn a_request_that_comes_on_an_idle_connection_after_the_signal_is_served() {
    let mut door = start(ConnectionLimits { linger_ms: 5_000, ..patient() });
    let mut client = door.connect().await;
    client.ask(GET).await.expect("a response");
    door.signal();
    sleep(Duration::from_millis(300)).await;
    let response = client.ask(GET).await.expect("a response after the signal");
    assert!(response.contains("connection: close"), "{response}");
    client.closed().await;
    assert_eq!(door.ended().await.aborted, 0);
}

#[tokio::test]
async fn part_of_a_head_is_awaited_past_the_linger() {
    let mut door = start(patient());
    let mut client = door.connect().await;
    client.ask(GET).await.expect("a response");
    let (part, rest) = GET.split_at(9);
    client.send(part).await;
    sleep(Duration::from_millis(50)).await;
    door.signal();
    sleep(Duration::from_millis(400)).await;
    let response = client.ask(rest).await.expect("a response after the linger");
    assert!(response.contains("connection: close"), "{response}");
    assert_eq!(door.ended().await.aborted, 0);
}

/// The promise under load: every request written to a connection that was let in is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_dropped_under_load() {
    let mut door = start(ConnectionLimits { linger_ms: 1_000, ..patient() });
    let answered = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..32)
        .map(|number| tokio::spawn(ask_until_refused(door.address, number % 2 == 0, Arc::clone(&answered))))
        .collect();
    eventually("the load is on", || value(&answered) > 2_000).await;
    door.signal();
    for client in clients {
        let lost = timeout(PATIENCE, client).await.expect("every client is refused in the end").unwrap();
        assert_eq!(lost, 0, "requests without an answer");
    }
    assert_eq!(door.ended().await.aborted, 0);
}

/// Asks until no connection is given any more; returns the requests that were not answered.
async fn ask_until_refused(address: SocketAddr, keep_alive: bool, answered: Arc<AtomicU64>) -> u64 {
    let mut lost = 0;
    while let Ok(mut client) = Client::try_connect(address).await {
        loop {
            let Some(response) = client.ask(GET).await else {
                lost += 1;
                break;
            };
            answered.fetch_add(1, Ordering::Relaxed);
            if !keep_alive || response.contains("connection: close") {
                break;
            }
        }
    }
    lost
}
