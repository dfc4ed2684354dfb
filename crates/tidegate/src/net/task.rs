//! The task of one connection: hyper's connection, and obedience to the sweep's commands.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;

use super::connection::{Command, Connection, Waiting};
use super::limits::ConnectionLimits;
use super::registry::Registered;
use super::service::{DoorService, track};
use super::stats::add_one;
use super::stream::WatchedStream;

/// hyper's settings for `limits`.
pub(super) fn protocols(limits: &ConnectionLimits) -> auto::Builder<TokioExecutor> {
    let mut protocols = auto::Builder::new(TokioExecutor::new());
    protocols
        .http1()
        // The sweep times heads; see the module's documentation.
        .header_read_timeout(None)
        .half_close(false)
        // The buffer bounds the head: the builder for both protocols has no setting of its own for it.
        .max_buf_size(limits.max_header_bytes);
    let h2 = &limits.http2;
    protocols
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(h2.max_concurrent_streams)
        .initial_stream_window_size(h2.stream_window_bytes)
        .initial_connection_window_size(h2.connection_window_bytes)
        .max_send_buf_size(h2.max_send_buffer_bytes)
        .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(h2.max_pending_reset_streams)
        .max_local_error_reset_streams(h2.max_local_error_resets)
        .keep_alive_interval(Duration::from_millis(h2.keep_alive_interval_ms))
        .keep_alive_timeout(Duration::from_millis(h2.keep_alive_timeout_ms));
    protocols
}

/// Serves one connection to its end.
pub(super) async fn serve<S: DoorService>(
    protocols: Arc<auto::Builder<TokioExecutor>>,
    socket: TcpStream,
    registered: Registered,
    service: S,
    max_headers: usize,
) {
    let state = Arc::clone(registered.connection());
    let io = TokioIo::new(WatchedStream::new(socket, Arc::clone(&state)));
    let service = track(service, Arc::clone(&state), max_headers);
    let mut http = pin!(protocols.serve_connection(io, service));
    let mut driver = Driver { state: &state, waker: None, says_goodbye: false };
    poll_fn(|cx| driver.poll(http.as_mut(), cx)).await;
}

struct Driver<'a> {
    state: &'a Connection,
    /// The waker commands use now.
    waker: Option<Waker>,
    /// hyper was told to close when it can.
    says_goodbye: bool,
}

type Http<'a, S> = auto::Connection<'a, TokioIo<WatchedStream<TcpStream>>, S, TokioExecutor>;

impl Driver<'_> {
    /// Ready when the connection is over. hyper's errors are the client's doing and end it as well.
    fn poll<S: DoorService>(&mut self, mut http: Pin<&mut Http<'_, S>>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
            self.state.wake_with(cx.waker());
        }
        // First, so that bytes that are already here count as a request before a command is obeyed.
        if http.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        match obey(self.state, self.says_goodbye) {
            Next::Continue => Poll::Pending,
            Next::Close => Poll::Ready(()),
            Next::SayGoodbye => {
                self.says_goodbye = true;
                http.as_mut().graceful_shutdown();
                http.poll(cx).map(|_| ())
            }
        }
    }
}

/// What the command that a connection was given means now. Goodbye is said once.
pub(super) fn obey(state: &Connection, says_goodbye: bool) -> Next {
    let stats = state.registry.stats();
    let command = state.command();
    match command {
        Command::None => Next::Continue,
        Command::Evict if state.evictable_since().is_some() => {
            add_one(&stats.idle_evicted);
            Next::Close
        }
        Command::HeadTooSlow if !state.has_requests() && state.waits_for().0 != Waiting::Next => {
            add_one(&stats.header_timeouts);
            Next::Close
        }
        Command::IdleTooLong | Command::Finish if says_goodbye => Next::Continue,
        Command::IdleTooLong if !state.has_requests() && state.waits_for().0 == Waiting::Next => {
            add_one(&stats.idle_timeouts);
            Next::SayGoodbye
        }
        Command::Evict | Command::HeadTooSlow | Command::IdleTooLong => {
            state.decline(command);
            Next::Continue
        }
        // hyper would close between requests even with part of a head in its buffer. The rest
        // is awaited instead; the answer will say `Connection: close`.
        Command::Finish if !state.has_requests() && state.waits_for().0 == Waiting::Head => Next::Continue,
        Command::Finish => Next::SayGoodbye,
        Command::WriteStalled => {
            add_one(&stats.write_stalls);
            Next::Close
        }
        Command::Abort => Next::Close,
    }
}

/// What a connection's task does next.
pub(super) enum Next {
    Continue,
    Close,
    SayGoodbye,
}
