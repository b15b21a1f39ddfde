//! Logs on disk: the part of `log` that reads, writes and fsyncs.
//!
//! `manager` owns the log directories and hands out `log::Log`s; a log owns its segments; a segment
//! is a log file with an offset index and a time index. `recovery` opens what a stop left behind.
//! Synchronous throughout, on the disk that `manager` was given: async callers decide where to block. No clock here either.
//!
//! Locks are taken in this order and never across a callback: `flushing`, `writer`, `segments`,
//! `epochs`, `tail`. Readers take the last three only, each for a moment.

mod buffers;
pub mod dir;
pub mod file;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
pub mod index_file;
pub mod log;
pub mod manager;
pub mod offset_index;
pub mod recovery;
pub mod segment;
#[cfg(test)]
mod tests;
pub mod time_index;
pub mod window;
