//! One step of a request: from when to when, where, and how it ended.

use std::borrow::Cow;
use std::time::SystemTime;

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{Key, KeyValue, Value};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SpanData, SpanEvents, SpanLinks};

use super::context::TraceContext;
use super::export::Tracer;
use crate::clock::now;

/// What a span says in one place is cut to so much.
const TEXT_BYTES: usize = 1 << 10;

/// A span that has begun. It ends, and is handed on, when it is dropped.
#[derive(Debug)]
pub struct Span {
    tracer: Tracer,
    context: TraceContext,
    parent: SpanId,
    kind: SpanKind,
    name: Cow<'static, str>,
    begun: SystemTime,
    attributes: Vec<KeyValue>,
    status: Status,
}

impl Span {
    pub(super) fn begin(
        tracer: Tracer,
        name: Cow<'static, str>,
        kind: SpanKind,
        parent: TraceContext,
    ) -> Self {
        Self {
            tracer,
            context: TraceContext {
                trace: parent.trace,
                span: RandomIdGenerator::default().new_span_id(),
            },
            parent: parent.span,
            kind,
            name,
            begun: now(),
            attributes: Vec::new(),
            status: Status::Unset,
        }
    }

    /// Under an id that others know too; see [`super::derived`].
    pub fn set_id(&mut self, id: SpanId) {
        self.context.span = id;
    }

    /// It began then, not when it was made.
    #[must_use]
    pub fn since(mut self, begun: SystemTime) -> Self {
        self.begun = begun;
        self
    }

    /// Says something of it.
    pub fn set(&mut self, key: impl Into<Key>, value: impl Into<Value>) {
        let value = match value.into() {
            Value::String(text) => Value::from(cut(text.into())),
            value => value,
        };
        self.attributes.push(KeyValue::new(key, value));
    }

    /// The same, where it is made.
    #[must_use]
    pub fn with(mut self, key: impl Into<Key>, value: impl Into<Value>) -> Self {
        self.set(key, value);
        self
    }

    /// It failed, and why.
    pub fn fail(&mut self, reason: impl Into<String>) {
        self.status = Status::error(cut(reason.into()));
    }

    /// Where its children hang.
    #[must_use]
    pub fn context(&self) -> TraceContext {
        self.context
    }

    /// What it hangs under.
    #[must_use]
    pub fn parent(&self) -> TraceContext {
        TraceContext {
            trace: self.context.trace,
            span: self.parent,
        }
    }

    /// When it began.
    #[must_use]
    pub fn begun(&self) -> SystemTime {
        self.begun
    }
}

fn cut(mut text: String) -> String {
    if text.len() > TEXT_BYTES {
        let end = (0..=TEXT_BYTES).rfind(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.shrink_to_fit();
        text.push('…');
    }
    text
}

impl Drop for Span {
    fn drop(&mut self) {
        let TraceContext { trace, span } = self.context;
        let data = SpanData {
            span_context: SpanContext::new(
                trace,
                span,
                TraceFlags::SAMPLED,
                false,
                TraceState::NONE,
            ),
            parent_span_id: self.parent,
            parent_span_is_remote: false,
            span_kind: self.kind.clone(),
            name: std::mem::take(&mut self.name),
            start_time: self.begun,
            end_time: now(),
            attributes: std::mem::take(&mut self.attributes),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: std::mem::take(&mut self.status),
            instrumentation_scope: self.tracer.scope(),
        };
        self.tracer.hand_on(data);
    }
}
