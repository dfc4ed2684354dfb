//! Traces: one span for a request, with a child for the store's answer and one for its turn in a queue, sent by OTLP.
//!
//! ```text
//! traceparent  what a caller says of its own trace (W3C Trace Context)
//! sampler      whether a request is traced at all
//! request      what is written down of a request that is
//! queue        finished requests, bounded; more are dropped and counted
//! export       a thread with a runtime of its own takes batches from there
//! convert      to OTLP's messages
//! transport    over gRPC, or protobuf over HTTP
//! ```
//!
//! A request that is not sampled costs the look at its header and a comparison. One that is costs a few allocations and a short
//! lock; messages are made on the thread that sends them, and nothing ever waits for it (docs/adr/0018-traces-of-our-own.md).

mod convert;
mod export;
mod queue;
mod request;
mod sampler;
mod settings;
mod traceparent;
mod transport;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tidegate_engine::Clock;
use tokio::sync::oneshot;

use export::Exporting;
use queue::Queue;
use request::Record;

pub use request::{Call, GrpcCall, HttpCall, Reply, RequestTrace, method_name};
pub use sampler::{ParentSays, Sampler};
pub use settings::{
    MAX_HEADERS, MAX_RESOURCE_ATTRIBUTES, OtlpEndpoint, OtlpProtocol, PairsError, TraceSettings, pairs,
};
pub use traceparent::{MAX_TRACESTATE_BYTES, SpanId, TraceId, TraceParent};

/// How long what is left may take to be sent when the server ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Traces the requests of a door. Clones share everything.
#[derive(Clone, Debug)]
pub struct Tracer {
    shared: Arc<Shared>,
    /// Where the door listens.
    serving: SocketAddr,
}

struct Shared {
    sampler: Sampler,
    clock: Box<dyn Clock>,
    queue: Arc<Queue>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("sampler", &self.sampler).finish_non_exhaustive()
    }
}

/// What became of spans since the start. A span is in one of them when its fate is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceStats {
    /// The collector took them.
    pub exported: u64,
    /// The collector refused them, or could not be reached in time.
    pub failed: u64,
    /// They never left: the queue was full, or the server ended.
    pub dropped: u64,
}

/// The thread that sends spans.
#[derive(Debug)]
pub struct TraceExport {
    queue: Arc<Queue>,
    ended: oneshot::Receiver<()>,
}

impl Tracer {
    /// Starts the thread that sends spans. `serving` is the address of the door; `clock` should be the engine's, so that the parts
    /// of a request lie within it.
    ///
    /// # Errors
    /// The thread cannot be started, or the roots of trust that TLS needs cannot be had.
    pub fn start(
        settings: &TraceSettings,
        serving: SocketAddr,
        clock: impl Clock,
    ) -> anyhow::Result<(Self, TraceExport)> {
        let queue = Arc::new(Queue::new(settings.queue_spans, settings.batch_spans));
        let ended = Exporting::start(settings, Arc::clone(&queue))?;
        let shared = Shared { sampler: settings.sampler, clock: Box::new(clock), queue: Arc::clone(&queue) };
        Ok((Self { shared: Arc::new(shared), serving }, TraceExport { queue, ended }))
    }

    /// The same for a door that listens elsewhere.
    #[must_use]
    pub fn serving(&self, serving: SocketAddr) -> Self {
        Self { shared: Arc::clone(&self.shared), serving }
    }

    /// Begins the trace of a request, if it is to be traced; `call` is asked for only then, and may still say no. The request's
    /// span is finished when the last clone of what this returns is dropped.
    #[must_use]
    pub fn begin(
        &self,
        parent: Option<&TraceParent>,
        headers: &HeaderMap,
        call: impl FnOnce() -> Option<Call>,
        correlation: &HeaderValue,
    ) -> Option<RequestTrace> {
        let trace_id = parent.map_or_else(TraceId::random, |parent| parent.trace_id);
        if !self.shared.sampler.samples(parent, trace_id) {
            return None;
        }
        let state = parent.and_then(|_| traceparent::tracestate(headers));
        let began = self.shared.clock.now();
        let record =
            Record::new(trace_id, parent, state, (call()?, self.serving), correlation.clone(), began);
        Some(RequestTrace::new(self.clone(), record))
    }

    /// What became of spans so far.
    #[must_use]
    pub fn stats(&self) -> TraceStats {
        self.shared.queue.stats()
    }
}

impl TraceExport {
    /// Sends what is left, and ends. Takes at most two seconds, whatever the collector does.
    pub async fn stop(self) -> TraceStats {
        self.queue.close();
        // The thread keeps to the time itself; where it hangs all the same, nobody waits for it.
        let _ = tokio::time::timeout(FLUSH_TIMEOUT + Duration::from_millis(500), self.ended).await;
        self.queue.stats()
    }
}
