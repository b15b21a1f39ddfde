//! One request, followed through the processes that it goes through.
//!
//! ```text
//!  traceparent of a record, or of a call ─▶ TraceContext ─▶ Span, Span, … ─▶ Tracer ─▶ queue ─▶ collector (OTLP, gRPC)
//!                                               └─▶ the next process
//! ```
//! Off by default; then no span is made and no record looked into. Which requests are followed is decided where they
//! begin: by the client, or, for a share of those whose client says nothing, by the process that takes them. A
//! [`TraceContext`] that exists is one that is followed.
//!
//! Nothing waits for the collector: spans go into a bounded queue of a thread of their own, and are dropped when it is
//! full or nobody takes them. What a span says is cut, so that the queue is bounded in bytes too.

mod context;
mod export;
mod settings;
mod span;

pub use crate::clock::now;
pub use context::{Said, TraceContext, derived};
pub use export::{Kept, Service, Tracer, TracerError};
pub use opentelemetry::trace::{SpanId, SpanKind, TraceId};
pub use opentelemetry_sdk::trace::SpanData;
pub use settings::{BadAddress, TraceSettings};
pub use span::Span;
