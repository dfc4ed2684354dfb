//! The socket, telling its connection's state when bytes come and when writes get stuck.
//!
//! It keeps no timer: the first refused write stores a time, the first accepted one clears it,
//! and the sweep compares.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Connection;

/// What an HTTP/2 client sends first; hyper decides between its protocols by the same bytes.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A client's socket under watch.
pub struct WatchedStream<T> {
    socket: T,
    connection: Arc<Connection>,
    protocol: Protocol,
    write_stuck: bool,
}

enum Protocol {
    /// So many bytes of the HTTP/2 preface came, and nothing else.
    Preface(usize),
    Known,
}

impl<T> WatchedStream<T> {
    /// The socket of a client that speaks HTTP, in whichever version.
    pub(super) fn new(socket: T, connection: Arc<Connection>) -> Self {
        Self { socket, connection, protocol: Protocol::Preface(0), write_stuck: false }
    }

    /// The socket of a client that speaks something else.
    pub(super) fn plain(socket: T, connection: Arc<Connection>) -> Self {
        Self { socket, connection, protocol: Protocol::Known, write_stuck: false }
    }

    fn note_read(&mut self, bytes: &[u8]) {
        if let Protocol::Preface(seen) = self.protocol {
            let rest = &HTTP2_PREFACE[seen..];
            let common = rest.len().min(bytes.len());
            self.protocol = if rest[..common] != bytes[..common] {
                Protocol::Known
            } else if common == rest.len() {
                self.connection.speaks_http2();
                Protocol::Known
            } else {
                Protocol::Preface(seen + common)
            };
        }
        self.connection.bytes_read();
    }

    fn note_write<R>(&mut self, result: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if result.is_pending() != self.write_stuck {
            self.write_stuck = !self.write_stuck;
            if self.write_stuck {
                self.connection.write_is_stuck();
            } else {
                self.connection.write_moves();
            }
        }
        result
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for WatchedStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.socket).poll_read(cx, buf);
        if let Some(bytes @ [_, ..]) = buf.filled().get(before..) {
            self.note_read(bytes);
        }
        result
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for WatchedStream<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.note_write(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.note_write(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    // A TCP socket has no buffer of its own to flush.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
