//! raft-rs logs through slog; this hands its lines to tracing. Traces and debug lines, which format every
//! message, are dropped before they cost anything, and so is whatever nobody wants to read.

use slog::{Drain, KV, Level, Logger, Never, OwnedKVList, Record, o};

struct ToTracing;

impl Drain for ToTracing {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, _values: &OwnedKVList) -> Result<(), Never> {
        if !self.is_enabled(record.level()) {
            return Ok(());
        }
        let mut pairs = Pairs(String::new());
        // A value that can't be formatted is left out; a log line is not worth more.
        let _ = record.kv().serialize(record, &mut pairs);
        match record.level() {
            Level::Critical | Level::Error => {
                tracing::error!(target: "raft", "{}{}", record.msg(), pairs.0)
            }
            Level::Warning => tracing::warn!(target: "raft", "{}{}", record.msg(), pairs.0),
            _ => tracing::debug!(target: "raft", "{}{}", record.msg(), pairs.0),
        }
        Ok(())
    }

    fn is_enabled(&self, level: Level) -> bool {
        use tracing::Level as To;
        match level {
            Level::Critical | Level::Error => tracing::enabled!(target: "raft", To::ERROR),
            Level::Warning => tracing::enabled!(target: "raft", To::WARN),
            Level::Info => tracing::enabled!(target: "raft", To::DEBUG),
            Level::Debug | Level::Trace => false,
        }
    }
}

struct Pairs(String);

impl slog::Serializer for Pairs {
    fn emit_arguments(&mut self, key: slog::Key, value: &std::fmt::Arguments<'_>) -> slog::Result {
        use std::fmt::Write;
        write!(self.0, " {key}={value}")?;
        Ok(())
    }
}

/// A logger for raft that writes to tracing.
pub fn logger() -> Logger {
    Logger::root(ToTracing, o!())
}
