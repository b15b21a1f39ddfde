//! Where spans go: into a queue, and from there, by a thread of its own, to a collector.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use opentelemetry::trace::SpanKind;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanExporter, SpanProcessor,
};
use tonic::transport::Endpoint;

use super::context::TraceContext;
use super::settings::TraceSettings;
use super::span::Span;

/// Spans that wait; more are dropped.
const QUEUE: usize = 2_048;

/// How long one delivery may take.
const DELIVERY: Duration = Duration::from_secs(5);

/// How long the last one may take, when the process stops.
const LAST_DELIVERY: Duration = Duration::from_secs(1);

/// How long a connection may take, and a silent one is believed in.
const SILENCE: Duration = Duration::from_secs(3);

/// Why spans cannot be sent.
#[derive(Debug, thiserror::Error)]
#[error("spans cannot go to {endpoint}: {reason}")]
pub struct TracerError {
    endpoint: String,
    reason: String,
}

/// Who tells: the resource of OpenTelemetry.
#[derive(Clone, Debug)]
pub struct Service {
    /// `service.name`.
    pub name: &'static str,
    /// `service.instance.id`: the node's, the broker's.
    pub instance: String,
    /// `service.version`.
    pub version: &'static str,
}

/// Makes spans and hands them on; or does nothing, at the cost of one look. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<Exporting>>);

#[derive(Debug)]
struct Exporting {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
    queue: Arc<Queue>,
    /// Of 2^63.
    sampled_below: u64,
}

/// How full the library's queue is: it drops without a word.
#[derive(Debug, Default)]
struct Queue {
    waiting: AtomicUsize,
    dropping: AtomicBool,
}

impl Queue {
    fn has_room(&self) -> bool {
        if self.waiting.fetch_add(1, Ordering::Relaxed) < QUEUE {
            return true;
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        if !self.dropping.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                queue = QUEUE,
                "spans of traces are lost: there are more than the collector takes"
            );
        }
        false
    }

    fn taken(&self, spans: usize) {
        let before = self.waiting.fetch_sub(spans, Ordering::Relaxed);
        if before - spans < QUEUE / 2 {
            self.dropping.store(false, Ordering::Relaxed);
        }
    }
}

impl Tracer {
    /// Follows nothing.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    /// Sends spans to the collector of the settings (OTLP over gRPC); nowhere without one. To be called in the runtime that
    /// is to hold the connection. Whether the collector is there does not matter.
    ///
    /// # Errors
    /// When the library makes nothing of the address.
    pub fn otlp(settings: &TraceSettings, service: &Service) -> Result<Self, TracerError> {
        let Some(endpoint) = settings.endpoint() else {
            if settings.sample() > 0.0 {
                tracing::warn!(
                    "a share of requests is to be followed, and there is nobody to tell: no collector is named"
                );
            }
            return Ok(Self::off());
        };
        let error = |reason: String| TracerError {
            endpoint: endpoint.to_owned(),
            reason,
        };
        let channel = Endpoint::from_shared(endpoint.to_owned())
            .map_err(|failed| error(failed.to_string()))?
            .timeout(DELIVERY)
            // The library's own channel would wait for the kernel, minutes, and never notice a collector that vanished.
            .connect_timeout(SILENCE)
            .http2_keep_alive_interval(SILENCE)
            .keep_alive_timeout(SILENCE)
            .connect_lazy();
        let exporter = OtlpExporter::builder()
            .with_tonic()
            .with_channel(channel)
            .with_timeout(DELIVERY)
            .build()
            .map_err(|failed| error(failed.to_string()))?;
        tracing::info!(
            endpoint,
            sample = settings.sample(),
            "spans of traces are sent"
        );
        let telling = Telling {
            exporter,
            endpoint: endpoint.to_owned(),
            failing: AtomicBool::new(false),
        };
        Ok(Self::over(telling, service, settings.sample()))
    }

    /// Hands spans to any exporter.
    #[must_use]
    pub fn over(exporter: impl SpanExporter + 'static, service: &Service, sample: f64) -> Self {
        let resource = Resource::builder()
            .with_service_name(service.name)
            .with_attributes([
                KeyValue::new("service.instance.id", service.instance.clone()),
                KeyValue::new("service.version", service.version),
            ])
            .build();
        let queue = Arc::new(Queue::default());
        let counted = Counted {
            exporter,
            queue: queue.clone(),
        };
        // Twice as many: what is on its way counts as waiting here, and not there.
        let config = BatchConfigBuilder::default().with_max_queue_size(2 * QUEUE);
        let mut processor = BatchSpanProcessor::builder(counted)
            .with_batch_config(config.build())
            .build();
        processor.set_resource(&resource);
        let scope = InstrumentationScope::builder("zweig")
            .with_version(service.version)
            .build();
        let sampled_below = (sample.clamp(0.0, 1.0) * (1_u64 << 63) as f64) as u64;
        Self(Some(Arc::new(Exporting {
            processor,
            scope,
            queue,
            sampled_below,
        })))
    }

    /// Whether anything is followed.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// A trace for a request whose client says nothing of one, if this is one of the share to be followed.
    #[must_use]
    pub fn sample(&self) -> Option<TraceContext> {
        let exporting = self.0.as_ref()?;
        if exporting.sampled_below == 0 {
            return None;
        }
        let begun = TraceContext::begin();
        let id = u128::from_be_bytes(begun.trace.to_bytes());
        ((id as u64 >> 1) < exporting.sampled_below).then_some(begun)
    }

    /// Begins a span.
    #[must_use]
    pub fn span(
        &self,
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        parent: TraceContext,
    ) -> Span {
        Span::begin(self.clone(), name.into(), kind, parent)
    }

    /// Runs a future as a span, if there is something to follow; what it asks of the ensemble hangs under it. `failed` says
    /// why, if what came of it is a failure.
    pub async fn within<F: Future>(
        &self,
        parent: Option<TraceContext>,
        name: impl FnOnce() -> Cow<'static, str>,
        future: F,
        failed: impl FnOnce(&F::Output) -> Option<String>,
    ) -> F::Output {
        let Some(parent) = parent.filter(|_| self.is_on()) else {
            return future.await;
        };
        let mut span = self.span(name(), SpanKind::Internal, parent);
        let output = span.context().scope(future).await;
        if let Some(reason) = failed(&output) {
            span.fail(reason);
        }
        output
    }

    /// Delivers what is queued, for a second at most. Blocks.
    pub fn stop(&self) {
        self.stop_within(LAST_DELIVERY);
    }

    /// The same, for somebody who has more time.
    pub fn stop_within(&self, limit: Duration) {
        if let Some(exporting) = &self.0
            && let Err(error) = exporting.processor.shutdown_with_timeout(limit)
        {
            tracing::debug!(%error, "the last spans may be missing");
        }
    }

    pub(super) fn scope(&self) -> InstrumentationScope {
        let scope = self.0.as_ref().map(|exporting| exporting.scope.clone());
        scope.unwrap_or_default()
    }

    pub(super) fn hand_on(&self, span: SpanData) {
        if let Some(exporting) = &self.0
            && exporting.queue.has_room()
        {
            exporting.processor.on_end(span);
        }
    }
}

/// Counts what leaves the queue.
#[derive(Debug)]
struct Counted<E> {
    exporter: E,
    queue: Arc<Queue>,
}

/// Tells the log when deliveries begin to fail and when they go well again; the library would at each one.
#[derive(Debug)]
struct Telling<E> {
    exporter: E,
    endpoint: String,
    failing: AtomicBool,
}

macro_rules! as_the_inner_one {
    () => {
        fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
            self.exporter.shutdown_with_timeout(timeout)
        }

        fn force_flush(&self) -> OTelSdkResult {
            self.exporter.force_flush()
        }

        fn set_resource(&mut self, resource: &Resource) {
            self.exporter.set_resource(resource);
        }
    };
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.queue.taken(batch.len());
        self.exporter.export(batch).await
    }

    as_the_inner_one!();
}

impl<E: SpanExporter> SpanExporter for Telling<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let delivered = self.exporter.export(batch).await;
        let was_failing = self.failing.swap(delivered.is_err(), Ordering::Relaxed);
        let endpoint = &self.endpoint;
        match &delivered {
            Err(error) if !was_failing => {
                tracing::warn!(endpoint, %error, "spans of traces are lost: nobody takes them");
            }
            Ok(()) if was_failing => tracing::info!(endpoint, "spans of traces are taken again"),
            _ => {}
        }
        delivered
    }

    as_the_inner_one!();
}

/// Keeps what it is given; for tests.
#[derive(Clone, Debug, Default)]
pub struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl Kept {
    /// What has come since the last time.
    #[must_use]
    pub fn take(&self) -> Vec<SpanData> {
        std::mem::take(&mut *self.0.lock())
    }
}

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().extend(batch);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use opentelemetry::trace::{SpanId, Status};

    use super::*;

    /// Takes nothing before it is told to.
    #[derive(Debug)]
    struct Stuck(Mutex<Receiver<()>>, Kept);

    impl SpanExporter for Stuck {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            let _ = self.0.lock().recv();
            self.1.export(batch).await
        }
    }

    fn service() -> Service {
        Service {
            name: "test",
            instance: "1".to_owned(),
            version: "0",
        }
    }

    #[test]
    fn a_span_is_handed_on_when_it_is_dropped() {
        let kept = Kept::default();
        let tracer = Tracer::over(kept.clone(), &service(), 0.0);
        let root = TraceContext::begin();
        let mut outer = tracer
            .span("outer", SpanKind::Server, root)
            .with("n", 7)
            .with("long", "ä".repeat(10_000));
        outer.fail("no".repeat(10_000));
        let inner = tracer.span("inner", SpanKind::Internal, outer.context());
        drop(inner);
        drop(outer);
        tracer.stop();
        let spans = kept.take();
        let [inner, outer] = &spans[..] else {
            panic!("{} spans", spans.len());
        };
        assert_eq!(inner.parent_span_id, outer.span_context.span_id());
        assert_eq!(outer.parent_span_id, SpanId::INVALID);
        assert_eq!(inner.span_context.trace_id(), root.trace);
        assert_eq!(outer.attributes[0], KeyValue::new("n", 7));
        // However long what it says was.
        let long = outer.attributes[1].value.as_str();
        assert!(
            long.starts_with('ä') && long.len() < 2_000,
            "{}",
            long.len()
        );
        let Status::Error { description } = &outer.status else {
            panic!("{:?}", outer.status);
        };
        assert!(description.starts_with("nono") && description.len() < 2_000);
        assert!(inner.start_time >= outer.start_time && inner.end_time <= outer.end_time);
    }

    #[test]
    fn a_collector_that_takes_nothing_costs_spans_and_no_room() {
        let kept = Kept::default();
        let (go_on, stuck) = channel();
        let exporter = Stuck(Mutex::new(stuck), kept.clone());
        let tracer = Tracer::over(exporter, &service(), 0.0);
        for _ in 0..10 * QUEUE {
            drop(tracer.span("one", SpanKind::Internal, TraceContext::begin()));
        }
        drop(go_on);
        tracer.stop();
        let count = kept.take().len();
        // One batch of 512 may have been on its way while the queue filled again.
        assert!((QUEUE..=QUEUE + 512).contains(&count), "{count}");
    }

    #[tokio::test]
    async fn a_future_that_fails_says_so_in_its_span() {
        let kept = Kept::default();
        let tracer = Tracer::over(kept.clone(), &service(), 0.0);
        let parent = Some(TraceContext::begin());
        for outcome in [Ok(()), Err("why")] {
            let failed = |output: &Result<(), &str>| output.err().map(str::to_owned);
            let ended = tracer.within(parent, || "it".into(), async { outcome }, failed);
            assert_eq!(ended.await, outcome);
        }
        tokio::task::spawn_blocking(move || tracer.stop())
            .await
            .unwrap();
        let spans = kept.take();
        let statuses: Vec<_> = spans.iter().map(|span| span.status.clone()).collect();
        assert_eq!(statuses, [Status::Unset, Status::error("why")]);
    }

    #[test]
    fn a_share_of_the_requests_is_followed() {
        let count = |sample| {
            let tracer = Tracer::over(Kept::default(), &service(), sample);
            (0..10_000).filter(|_| tracer.sample().is_some()).count()
        };
        assert_eq!((count(0.0), count(1.0)), (0, 10_000));
        // Ten standard deviations on either side.
        let half = count(0.5);
        assert!((4_500..5_500).contains(&half), "{half}");
        assert!(Tracer::off().sample().is_none());
    }

    #[test]
    fn without_a_collector_nothing_is_followed() {
        let nowhere = TraceSettings::default();
        assert!(!Tracer::otlp(&nowhere, &service()).unwrap().is_on());
    }
}
