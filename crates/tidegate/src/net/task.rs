//! The task of one connection: hyper's connection, and obedience to the sweep's commands.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;

use super::connection::{Command, Connection, Waiting};
use super::limits::ConnectionLimits;
use super::registry::Registered;
use super::service::{DoorService, track};
use super::stats::add_one;
use super::stream::WatchedStream;
use super::streams::Socket;
use super::tls::Tls;

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
    socket: impl Socket,
    tls: Option<Tls>,
    registered: Registered,
    service: S,
    max_headers: usize,
) {
    let state = Arc::clone(registered.connection());
    let service = track(service, Arc::clone(&state), max_headers);
    match tls {
        None => {
            let socket = WatchedStream::new(socket, Arc::clone(&state));
            talk(&protocols, socket, service, &state).await;
        }
        // Apart, so that connections without it are no larger for it.
        Some(tls) => {
            let socket = WatchedStream::plain(socket, Arc::clone(&state));
            Box::pin(talk_encrypted(&protocols, socket, &tls, service, &state)).await;
        }
    }
}

/// The handshake is the head of the first request: it is timed like one, and gives way like one.
async fn talk_encrypted<S: DoorService>(
    protocols: &auto::Builder<TokioExecutor>,
    socket: impl Socket,
    tls: &Tls,
    service: S,
    state: &Connection,
) {
    // Whoever fails here learns why from TLS itself.
    let Some(Ok(socket)) = under_watch(tls.accept_http2(socket), state).await else { return };
    state.speaks_http2();
    talk(protocols, socket, service, state).await;
}

async fn talk<S: DoorService, T: Socket>(
    protocols: &auto::Builder<TokioExecutor>,
    socket: T,
    service: S,
    state: &Connection,
) {
    let mut http = pin!(protocols.serve_connection(TokioIo::new(socket), service));
    let mut driver = Driver { state, waker: None, says_goodbye: false, gave_way: false };
    poll_fn(|cx| driver.poll(http.as_mut(), cx)).await;
}

/// Runs work of a connection to its end; nothing where the sweep says before that the connection is over.
pub(super) async fn under_watch<R>(work: impl Future<Output = R>, state: &Connection) -> Option<R> {
    let mut waker: Option<Waker> = None;
    let mut work = pin!(work);
    poll_fn(|cx| {
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            waker = Some(cx.waker().clone());
            state.wake_with(cx.waker());
        }
        // First, so that bytes that are already here count as asked before a command is obeyed.
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        match obey(state, false) {
            Next::Close => Poll::Ready(None),
            Next::SayGoodbye if !state.has_requests() => Poll::Ready(None),
            Next::SayGoodbye | Next::Continue => Poll::Pending,
        }
    })
    .await
}

struct Driver<'a> {
    state: &'a Connection,
    /// The waker commands use now.
    waker: Option<Waker>,
    /// hyper was told to close when it can.
    says_goodbye: bool,
    /// The last poll left the turn to the connection's requests.
    gave_way: bool,
}

type Http<'a, S, T> = auto::Connection<'a, TokioIo<T>, S, TokioExecutor>;

impl Driver<'_> {
    /// Ready when the connection is over. hyper's errors are the client's doing and end it as well.
    fn poll<S: DoorService, T: Socket>(
        &mut self,
        mut http: Pin<&mut Http<'_, S, T>>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
            self.state.wake_with(cx.waker());
        }
        // Each answer of HTTP/2 wakes the connection at once, before the next request has had its turn, and would be written
        // by itself. Behind the requests that are ready to go on, one write takes the answers of all.
        self.gave_way = !self.gave_way && self.state.is_http2() && self.state.has_several_requests();
        if self.gave_way {
            cx.waker().wake_by_ref();
            return Poll::Pending;
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
