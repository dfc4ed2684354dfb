//! One client: read what has come, answer all of it, write once.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tidegate_engine::Clock;
use tidegate_store::BucketStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Shared;
use super::client::{After, Client};
use super::turn::{self, Turn};
use crate::net::{Session, Socket};

/// What is read at once, in bytes: at first, and where more came.
const FEW_BYTES: usize = 4 * 1024;
const MANY_BYTES: usize = 16 * 1024;
/// Buffers above this are given back when they are empty, in bytes.
const KEPT_BYTES: usize = 32 * 1024;
/// What is read while answers are awaited: at once, and at most, in bytes.
const AHEAD_BYTES: usize = 512;
const MAX_AHEAD_BYTES: usize = 4 * 1024;
/// How long the answers may take that are awaited when a client has ended its side: some do so once they have asked everything.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Talks with a client until it leaves, is told to, or makes no sense.
pub(super) async fn talk<S: BucketStore, C: Clock, T: Socket>(
    shared: &Shared<S, C>,
    mut socket: T,
    session: &Session,
) {
    let mut client = Client::new(shared, session.id());
    let (mut input, mut ahead, mut output) = (BytesMut::new(), BytesMut::new(), Vec::new());
    let (mut room, mut wanted) = (FEW_BYTES, 1);
    loop {
        input.reserve(room);
        match socket.read_buf(&mut input).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
        room = if input.len() == input.capacity() { MANY_BYTES } else { FEW_BYTES };
        if input.len() < wanted {
            continue;
        }
        let busy = session.begin();
        loop {
            let answering = turn::answer(shared, &mut client, &input, &mut output);
            let Some(turn) = while_it_stays(answering, &mut socket, &mut ahead).await else { return };
            input.advance(turn.taken);
            input.extend_from_slice(&ahead);
            ahead.clear();
            if !output.is_empty()
                && (socket.write_all(&output).await.is_err() || socket.flush().await.is_err())
            {
                return;
            }
            output.clear();
            if turn.after == After::Close {
                // The client reads the last reply and then the end; what it sent after that is of no interest.
                let _ = socket.shutdown().await;
                return;
            }
            if let Some(bytes) = turn.wanted.filter(|bytes| input.len() < *bytes) {
                wanted = bytes;
                break;
            }
        }
        drop(busy);
        if !input.is_empty() {
            session.waits_for_rest();
        } else if input.capacity() > KEPT_BYTES {
            input = BytesMut::new();
        }
        if output.capacity() > KEPT_BYTES {
            output = Vec::new();
        }
    }
}

/// The turn, unless the client leaves before: for nobody it is not decided, nor waited in a queue. To see it leave, what it
/// sends meanwhile has to be read.
async fn while_it_stays<T: Socket>(
    answering: impl Future<Output = Turn>,
    socket: &mut T,
    ahead: &mut BytesMut,
) -> Option<Turn> {
    let mut answering = pin!(answering);
    let turn_or_end = poll_fn(|cx| {
        if let Poll::Ready(turn) = answering.as_mut().poll(cx) {
            return Poll::Ready(Ok(Some(turn)));
        }
        while ahead.len() < MAX_AHEAD_BYTES {
            ahead.reserve(AHEAD_BYTES);
            match pin!(socket.read_buf(ahead)).poll(cx) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(None)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err::<_, io::Error>(error)),
                Poll::Pending => break,
            }
        }
        Poll::Pending
    });
    match turn_or_end.await {
        Ok(Some(turn)) => Some(turn),
        Ok(None) => tokio::time::timeout(LAST_ANSWERS, answering).await.ok(),
        Err(_) => None,
    }
}
