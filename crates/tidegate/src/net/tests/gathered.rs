//! How often a connection writes, counted at a socket in memory. All of it runs on one worker of the runtime that the server
//! has, so turns come in the same order each time; the runtime of one thread has another order and would not tell.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::task::JoinSet;

use super::super::registry::{AddressKey, Registry};
use super::super::task;
use super::*;

const TOGETHER: usize = 16;

/// One end of a pipe that counts what is written to it.
struct Counted {
    pipe: DuplexStream,
    writes: Arc<AtomicU64>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.pipe).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn http2_answers_that_are_ready_together_leave_together() {
    let gathered = tokio::spawn(writes_of_answers(TOGETHER)).await.unwrap();
    assert!(gathered <= 4, "{TOGETHER} answers took {gathered} writes");
}

/// Writes of a door for `together` answers to requests that come at the same time.
async fn writes_of_answers(together: usize) -> u64 {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let writes = Arc::new(AtomicU64::new(0));
    let registry = Arc::new(Registry::new(patient(), Arc::default()));
    let Ok(registered) = registry.admit(AddressKey::of(IpAddr::V4(Ipv4Addr::LOCALHOST))) else {
        panic!("there is room for one");
    };
    let service = service_fn(|_: Request<Incoming>| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello"))))
    });
    let socket = Counted { pipe: ours, writes: Arc::clone(&writes) };
    let protocols = Arc::new(task::protocols(&patient()));
    let door = tokio::spawn(task::serve(protocols, socket, None, registered, service, 100));

    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(theirs)).await.unwrap();
    let client = tokio::spawn(connection);
    let ask = async |count: usize| {
        let mut answers = JoinSet::new();
        for _ in 0..count {
            let mut sender = sender.clone();
            answers.spawn(async move {
                let request = Request::get("http://t/").body(Empty::<Bytes>::new()).unwrap();
                sender.send_request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes()
            });
        }
        for answer in timeout(PATIENCE, answers.join_all()).await.expect("answers") {
            assert_eq!(answer, "hello");
        }
    };
    ask(1).await;
    let before = value(&writes);
    ask(together).await;
    let gathered = value(&writes) - before;

    drop(sender);
    timeout(PATIENCE, client).await.expect("the connection ends").unwrap().unwrap();
    timeout(PATIENCE, door).await.expect("the door is done with it").unwrap();
    gathered
}
