//! What the fuzzer feeds bytes to: what clients, other nodes and disks hand to a coordinator.
//!
//! A target is a function that panics when bytes break a promise. A fuzzer looks for such bytes; `fuzz/NAME.hex`
//! keeps those worth keeping, one per line, and the tests run each of them. A new one is a function and a row here.
//!
//! The targets of a room stand in its own `fuzz.rs`; here is the list of all.

use crate::consensus::fuzz as consensus;
use crate::state_machine::fuzz as state_machine;
use crate::storage::fuzz as storage;
use crate::wire::grpc::fuzz as grpc;
use crate::wire::zk::connection::fuzz as zk;

/// Name, what to run, and inputs to begin with.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// The targets of this package.
pub const TARGETS: &[Target] = &[
    (
        "coordinator-zk-connection",
        zk::connection,
        zk::connection_seeds,
    ),
    ("coordinator-words", zk::words, zk::word_seeds),
    ("coordinator-grpc-session", grpc::session, grpc::seeds),
    (
        "coordinator-entries",
        state_machine::entries,
        state_machine::entry_seeds,
    ),
    (
        "coordinator-apply",
        state_machine::apply,
        state_machine::apply_seeds,
    ),
    (
        "coordinator-peer-frames",
        consensus::frames,
        consensus::frame_seeds,
    ),
    (
        "coordinator-checkpoint-transfer",
        consensus::transfer,
        consensus::transfer_seeds,
    ),
    (
        "coordinator-raft-log",
        storage::raft_log,
        storage::raft_log_seeds,
    ),
    ("coordinator-stored", storage::stored, storage::stored_seeds),
    (
        "coordinator-manifest",
        storage::manifest,
        storage::manifest_seeds,
    ),
    (
        "coordinator-identity",
        storage::identity,
        storage::identity_seeds,
    ),
    ("coordinator-config", config, config_seeds),
];

/// What most of them hold.
pub(crate) const ROUND_TRIP: &str = "what was decoded and encoded decodes to itself";

/// Decisions read from the front of bytes; zeros when they run out.
pub(crate) struct Choices<'a>(pub &'a [u8]);

impl<'a> Choices<'a> {
    /// Whether there are any left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        first
    }

    /// One of `list`.
    pub fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[usize::from(self.byte()) % list.len()]
    }

    /// At most `most` bytes.
    pub fn take(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Eight bytes as a number.
    pub fn number(&mut self) -> u64 {
        self.take(8)
            .iter()
            .fold(0, |number, &byte| number << 8 | u64::from(byte))
    }
}

/// A `zoo.cfg`.
fn config(bytes: &[u8]) {
    let path = std::path::Path::new("zoo.cfg");
    for node in [None, Some(1)] {
        if let Ok(config) =
            crate::Config::parse(path, bytes, &[("dataDir".into(), "/nowhere".into())], node)
        {
            config.own_server();
            config.folders();
            config.four_letter_words.allows("ruok");
        }
    }
}

fn config_seeds() -> Vec<Vec<u8>> {
    let full = "tickTime=2000\ninitLimit=10\nsyncLimit=5\nclientPort=2181\nserver.1=a:2888:3888;2181\n\
        server.2=[::1]:2888:3888:observer;127.0.0.1:2182\npeerType=participant\n4lw.commands.whitelist=*, !dump\n\
        maxClientCnxns=0\njute.maxbuffer=4194304\nminSessionTimeout=4000\nmaxSessionTimeout=40000\n# c\npreAllocSize=1000\n";
    vec![
        full.as_bytes().to_vec(),
        b"clientPortAddress=::1\n".to_vec(),
    ]
}

#[cfg(test)]
#[path = "../../proto/fuzz/replay.rs"]
mod replay;

#[test]
fn inputs_that_were_kept() {
    replay::all(TARGETS, env!("CARGO_MANIFEST_DIR"));
}
