//! Hard bounds: what no setting can raise.

/// Produces of one connection that have begun and are not answered; beyond that its socket is not read.
pub const MAX_REQUESTS_IN_FLIGHT: usize = 64;

/// Bytes of answers of one connection that wait for those before them; beyond that nothing begins.
pub const MAX_WAITING_ANSWER_BYTES: usize = 2 * 1024 * 1024;

/// Groups of writes in one fenced batch of the controller.
pub const CONTROLLER_BATCH_GROUPS: usize = 1000;

/// Bytes of one fenced batch of the controller; the ensemble accepts 1 MiB by default.
pub const CONTROLLER_BATCH_BYTES: usize = 512 * 1024;

/// Ids of deleted topics that an image remembers. Beyond that it begins anew: a log of a forgotten one
/// is set aside rather than deleted.
pub const DELETED_TOPICS: usize = 100_000;

/// Topics, partitions and tagged fields of one produce; decoded they take some hundred bytes each.
pub const MAX_PRODUCE_ELEMENTS: usize = 200_000;

/// Bytes in which the header of a request must end; its only text has at most 32 KiB.
pub const MAX_HEADER_BYTES: usize = 64 * 1024;

/// Bytes of any request but Produce: decoding may reserve up to about a hundred times as much.
pub const MAX_PLAIN_REQUEST_BYTES: usize = 16 * 1024 * 1024;

/// Bytes that the records of one batch may unpack to, given how many they are packed: past this they are a bomb, not
/// data. A broker only passes over them, so this bounds time rather than memory.
pub const fn unpacked_batch_bytes(packed: usize) -> u64 {
    const LEAST: u64 = 256 * 1024 * 1024;
    const RATIO: u64 = 16;
    let scaled = (packed as u64).saturating_mul(RATIO);
    if scaled > LEAST { scaled } else { LEAST }
}

/// Partitions for which one request may ask for elections.
pub const MAX_ELECTIONS: usize = 200_000;

/// Longest name of a topic in bytes, so that its folder's name fits a file system.
pub const MAX_TOPIC_NAME_BYTES: usize = 249;

/// Partitions that all fetch sessions remember together, those of followers apart; some 300 bytes each.
pub const MAX_SESSION_PARTITIONS: usize = 200_000;
