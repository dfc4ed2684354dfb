//! Goal: the proxy loses, delays and refuses exactly what it is told to.
//! Method: an echo server behind it; blocking clients with timeouts.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use tidegate_testkit::{FaultProxy, Link, RedisServer, RespClient, Stopwatch, wait_until};

const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(5);

/// Sends back what it gets and counts how often it got something; lives as long as the test's process.
fn echo() -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let received = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&received);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, count) = (stream.unwrap(), Arc::clone(&count));
            thread::spawn(move || {
                let mut buffer = [0; 1_024];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    count.fetch_add(1, Relaxed);
                    let _ = stream.write_all(&buffer[..length]);
                }
            });
        }
    });
    (address, received)
}

fn connect(proxy: &FaultProxy, timeout: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(proxy.address())?;
    stream.set_read_timeout(Some(timeout))?;
    Ok(stream)
}

/// Sends one word and reads the echo.
fn ask(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"ping")?;
    let mut word = [0; 4];
    stream.read_exact(&mut word)?;
    assert_eq!(&word, b"ping");
    Ok(())
}

#[test]
fn nothing_goes_wrong_unless_told() {
    let (upstream, _) = echo();
    let proxy = FaultProxy::start(upstream, 1);
    let mut stream = connect(&proxy, LONG).unwrap();
    for _ in 0..100 {
        ask(&mut stream).unwrap();
    }
    stream.write_all(b"last").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "last", "a client that has sent all still gets its answers");
    assert_eq!((proxy.connections(), proxy.replies_dropped()), (1, 0));
}

#[test]
fn a_dropped_reply_was_received_upstream() {
    let (upstream, received) = echo();
    let proxy = FaultProxy::start(upstream, 1);
    let mut stream = connect(&proxy, LONG).unwrap();
    ask(&mut stream).unwrap();
    proxy.drop_next_replies(1);
    let error = ask(&mut stream).unwrap_err();
    assert!(matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset), "{error}");
    assert_eq!((received.load(Relaxed), proxy.replies_dropped()), (2, 1));
    ask(&mut connect(&proxy, LONG).unwrap()).unwrap();
}

#[test]
fn a_share_of_replies_is_dropped_and_the_seed_repeats_it() {
    let (upstream, received) = echo();
    let run = |seed| {
        let proxy = FaultProxy::start(upstream, seed);
        proxy.change(|faults| faults.drop_replies = 0.3);
        let outcomes: Vec<bool> =
            (0..200).map(|_| ask(&mut connect(&proxy, LONG).unwrap()).is_ok()).collect();
        let lost = outcomes.iter().filter(|&&arrived| !arrived).count();
        assert_eq!(proxy.replies_dropped(), u64::try_from(lost).unwrap());
        assert!((30..=90).contains(&lost), "{lost} of 200");
        outcomes
    };
    let first = run(7);
    assert_eq!(received.load(Relaxed), 200, "every request arrived");
    assert_eq!(run(7), first);
    assert_ne!(run(8), first);
}

#[test]
fn a_delay_takes_time_and_not_throughput() {
    let (upstream, _) = echo();
    let proxy = FaultProxy::start(upstream, 1);
    proxy.change(|faults| {
        faults.reply_delay = Duration::from_millis(100);
        faults.request_delay = Duration::from_millis(50);
        faults.jitter = Duration::from_millis(20);
    });
    let mut stream = connect(&proxy, LONG).unwrap();
    let watch = Stopwatch::start();
    ask(&mut stream).unwrap();
    assert!(watch.elapsed() >= Duration::from_millis(150), "{:?}", watch.elapsed());

    let watch = Stopwatch::start();
    let mut writer = stream.try_clone().unwrap();
    let writer = thread::spawn(move || (0..100u8).for_each(|byte| writer.write_all(&[byte]).unwrap()));
    let mut answers = [0; 100];
    stream.read_exact(&mut answers).unwrap();
    writer.join().unwrap();
    assert!(answers.iter().copied().eq(0..100), "in order");
    assert!(watch.elapsed() < Duration::from_secs(2), "{:?}", watch.elapsed());
}

#[test]
fn refusing_closes_and_healing_opens() {
    let (upstream, _) = echo();
    let proxy = FaultProxy::start(upstream, 1);
    let mut stream = connect(&proxy, LONG).unwrap();
    ask(&mut stream).unwrap();
    proxy.change(|faults| faults.link = Link::Refuse);
    assert!(ask(&mut stream).is_err(), "closed");
    wait_until("connections are refused", LONG, || {
        connect(&proxy, LONG).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    });
    proxy.heal();
    wait_until("connections are taken", LONG, || {
        connect(&proxy, LONG).is_ok_and(|mut stream| ask(&mut stream).is_ok())
    });
}

#[test]
fn a_black_hole_is_silent_and_delivers_later() {
    let (upstream, received) = echo();
    let proxy = FaultProxy::start(upstream, 1);
    let mut stream = connect(&proxy, SHORT).unwrap();
    ask(&mut stream).unwrap();
    proxy.change(|faults| faults.link = Link::BlackHole);
    assert!(ask(&mut stream).is_err(), "silent");
    let mut late = connect(&proxy, SHORT).unwrap();
    assert!(ask(&mut late).is_err(), "silent from its start");
    assert_eq!(received.load(Relaxed), 1);
    proxy.heal();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let mut word = [0; 4];
    stream.read_exact(&mut word).unwrap();
    wait_until("both late requests arrive", LONG, || received.load(Relaxed) == 3);
}

/// A test's own runtime may be busy or blocked; the proxy goes on.
#[tokio::test]
async fn it_works_from_inside_a_runtime() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(server.address(), 1);
    let mut client = RespClient::connect(proxy.address(), LONG).unwrap();
    client.command(&["SET", "counter", "0"]).ok();
    proxy.drop_next_replies(1);
    assert!(client.try_command(&["INCR", "counter"]).is_err());
    assert_eq!(server.command(&["GET", "counter"]).integer(), 1, "done, but not told");
}
