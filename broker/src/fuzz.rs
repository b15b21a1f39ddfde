//! What the fuzzer feeds bytes to: what clients, other brokers, the ensemble and disks hand to a broker.
//!
//! A target is a function that panics when bytes break a promise. A fuzzer looks for such bytes; `fuzz/NAME.hex`
//! keeps those worth keeping, one per line, and the tests run each of them. A new one is a function and a row here.
//!
//! - `requests`: frames, headers and messages; `batches`: what producers send, and what becomes of it;
//! - `files`: the small files of a log directory; `znodes`: the tree's content, settings, group records;
//! - folders of logs stand with `log::store`.

mod batches;
mod files;
mod requests;
mod znodes;

use crate::log::store::fuzz as store;

/// Name, what to run, and inputs to begin with.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// The targets of this package.
pub const TARGETS: &[Target] = &[
    ("broker-frames", requests::frames, requests::frame_seeds),
    ("broker-requests", requests::requests, requests::seeds),
    ("broker-fetched", requests::fetched, requests::fetched_seeds),
    ("broker-batches", batches::batches, batches::seeds),
    ("broker-producers", batches::producers, batches::seeds),
    ("broker-texts", files::texts, files::text_seeds),
    ("broker-indexes", files::indexes, files::index_seeds),
    ("broker-snapshots", files::snapshots, files::snapshot_seeds),
    ("broker-log-folder", store::folder, store::seeds),
    (
        "broker-group-records",
        znodes::group_records,
        znodes::group_record_seeds,
    ),
    ("broker-znodes", znodes::znodes, znodes::seeds),
    ("broker-config", znodes::config, znodes::config_seeds),
];

/// What most of them hold.
const ROUND_TRIP: &str = "what was decoded and encoded decodes to itself";

#[cfg(test)]
#[path = "../../proto/fuzz/replay.rs"]
mod replay;

#[test]
fn inputs_that_were_kept() {
    replay::all(TARGETS, env!("CARGO_MANIFEST_DIR"));
}
