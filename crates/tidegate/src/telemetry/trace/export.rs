//! The thread that sends spans. It has a runtime of its own: what it waits for holds up nothing else.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::FLUSH_TIMEOUT;
use super::convert::Origin;
use super::queue::{Fate, Queue};
use super::settings::TraceSettings;
use super::transport::{ExportError, Transport};

/// How long to rest before a batch is sent again that the collector could not take just then. After the last, it is lost.
const PAUSES: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// Takes batches from the queue until it is closed.
pub(super) struct Exporting {
    queue: Arc<Queue>,
    transport: Transport,
    origin: Origin,
    delay: Duration,
    /// Whether the last batch was lost; it is logged when that changes.
    is_failing: bool,
}

/// Spans that are being sent. Dropped without a word, they are lost.
struct InFlight<'a> {
    queue: &'a Queue,
    spans: usize,
}

impl Exporting {
    /// Starts the thread. What it returns resolves when the thread has ended.
    pub(super) fn start(
        settings: &TraceSettings,
        queue: Arc<Queue>,
    ) -> anyhow::Result<oneshot::Receiver<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("the runtime for traces cannot be started")?;
        // Connections are made when there is something to send; they only need to know where they will live.
        let transport = {
            let _inside = runtime.enter();
            Transport::new(settings)?
        };
        let exporting = Self {
            queue,
            transport,
            origin: Origin::new(settings),
            delay: settings.delay,
            is_failing: false,
        };
        let (end, ended) = oneshot::channel();
        let run = move || {
            runtime.block_on(exporting.run());
            // A name that is being resolved cannot be called off, and is not waited for.
            runtime.shutdown_background();
            let _ = end.send(());
        };
        thread::Builder::new()
            .name("tidegate-traces".to_owned())
            .spawn(run)
            .context("the thread for traces cannot be started")?;
        Ok(ended)
    }

    async fn run(mut self) {
        let queue = Arc::clone(&self.queue);
        let overtime = async {
            queue.closed.notified().await;
            sleep(FLUSH_TIMEOUT).await;
        };
        tokio::select! {
            () = self.send_all() => {}
            () = overtime => {}
        }
        queue.abandon();
        let stats = queue.stats();
        if stats.failed + stats.dropped > 0 {
            tracing::warn!(
                exported = stats.exported,
                failed = stats.failed,
                dropped = stats.dropped,
                "not all spans reached the collector"
            );
        }
    }

    /// Sends batches until the queue is closed and empty.
    async fn send_all(&mut self) {
        loop {
            let was_closed = self.queue.is_closed();
            if !was_closed && !self.queue.has_batch() {
                let _ = timeout(self.delay, self.queue.worth_looking.notified()).await;
            }
            let batch = self.queue.take();
            if !batch.is_empty() {
                let (request, spans) = self.origin.request(&batch);
                drop(batch);
                self.send(request, spans).await;
            } else if was_closed {
                return;
            }
        }
    }

    async fn send(&mut self, request: ExportTraceServiceRequest, spans: usize) {
        let queue = Arc::clone(&self.queue);
        let mut in_flight = InFlight { queue: &queue, spans };
        let result = self.send_again_and_again(request).await;
        match result {
            Ok(rejected) => {
                let rejected = usize::try_from(rejected).unwrap_or(spans).min(spans);
                in_flight.settle(spans - rejected);
                if self.is_failing {
                    tracing::info!("the collector takes traces again");
                }
                self.is_failing = false;
                if rejected > 0 {
                    tracing::debug!(rejected, "the collector refused some spans of a batch");
                }
            }
            Err(error) => {
                if !self.is_failing {
                    tracing::warn!(%error, "the collector takes no traces: spans are dropped until it does");
                }
                self.is_failing = true;
            }
        }
    }

    /// How many spans the collector refused.
    async fn send_again_and_again(&mut self, request: ExportTraceServiceRequest) -> Result<i64, ExportError> {
        let mut pauses = PAUSES.iter();
        loop {
            let error = match self.transport.send(request.clone()).await {
                Ok(rejected) => return Ok(rejected),
                Err(error) => error,
            };
            let Some(pause) = pauses.next().filter(|_| error.may_pass() && !self.queue.is_closed()) else {
                return Err(error);
            };
            tokio::select! {
                () = sleep(*pause) => {}
                () = self.queue.closed.notified() => return Err(error),
            }
        }
    }
}

impl InFlight<'_> {
    /// The collector took so many of them.
    fn settle(&mut self, taken: usize) {
        self.queue.count(Fate::Exported, taken);
        self.spans -= taken;
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if self.spans > 0 {
            self.queue.count(Fate::Failed, self.spans);
        }
    }
}
