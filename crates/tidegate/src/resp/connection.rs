//! One client: read what has come, answer all of it, write once.

use bytes::{Buf, BytesMut};
use tidegate_engine::Clock;
use tidegate_store::BucketStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::client::{After, Client};
use super::{Shared, turn};
use crate::net::{Session, Socket};

/// What is read at once, in bytes: at first, and where more came.
const FEW_BYTES: usize = 4 * 1024;
const MANY_BYTES: usize = 16 * 1024;
/// Buffers above this are given back when they are empty, in bytes.
const KEPT_BYTES: usize = 32 * 1024;

/// Talks with a client until it leaves, is told to, or makes no sense.
pub(super) async fn talk<S: BucketStore, C: Clock, T: Socket>(
    shared: &Shared<S, C>,
    mut socket: T,
    session: &Session,
) {
    let mut client = Client::new(shared, session.id());
    let (mut input, mut output) = (BytesMut::new(), Vec::new());
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
            let turn = turn::answer(shared, &mut client, &input, &mut output).await;
            input.advance(turn.taken);
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
            if let Some(bytes) = turn.wanted {
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
