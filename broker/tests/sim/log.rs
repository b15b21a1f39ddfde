//! The brokers' own log, among the lines of the trace.

use std::fmt::Write as _;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use zweig_broker::sim;

use crate::trace::Trace;

/// Tells the trace.
pub struct Lines {
    trace: Trace,
    level: Level,
}

impl Lines {
    /// Up to some level; `ZWEIG_SIM_LOG=debug` says which.
    pub fn new(trace: Trace) -> Lines {
        let level = std::env::var("ZWEIG_SIM_LOG").ok();
        let level = level.and_then(|level| level.parse().ok());
        Lines {
            trace,
            level: level.unwrap_or(Level::INFO),
        }
    }
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let written = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
        written.expect("text can be written to memory");
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level && metadata.target().starts_with("zweig")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        let who = sim::with(|world| world.name()).unwrap_or_default();
        let target = event
            .metadata()
            .target()
            .trim_start_matches("zweig_broker::");
        self.trace
            .aside(|| format!("{who} {} {target}:{}", event.metadata().level(), text.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
