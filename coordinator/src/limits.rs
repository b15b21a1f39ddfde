//! Hard bounds of this package, in one place. Settings may lower some of them, nothing raises them.

/// The default of `jute.maxbuffer`: Kafka's clients send and accept up to 4 MiB; the rest is
/// room for the path, the ACL and the headers around that.
pub const JUTE_MAX_BUFFER_BYTES: usize = (4 << 20) + (64 << 10);

/// The largest `jute.maxbuffer` that may be set.
pub const JUTE_MAX_BUFFER_HIGHEST_BYTES: usize = 256 << 20;

/// The most data that a znode can ever be allowed: a command with it still fits in an entry.
pub const MAX_DATA_HIGHEST_BYTES: u32 = 32 << 20;

/// The largest first frame of a connection: a handshake has 45 bytes, and nothing that has not
/// shown one may make us hold more.
pub const HANDSHAKE_FRAME_BYTES: usize = 1024;

/// Requests of one connection that may wait for their answers; its socket is not read beyond.
pub const PIPELINE_DEPTH: usize = 1024;

/// What those requests may cost together: each [`REQUEST_COST`], and one more per [`COST_BYTES`] of
/// its frame. So about 64 MiB of them may wait.
pub const PIPELINE_COST: u32 = PIPELINE_DEPTH as u32 * REQUEST_COST;

/// See [`PIPELINE_COST`].
pub const REQUEST_COST: u32 = 16;

/// See [`PIPELINE_COST`].
pub const COST_BYTES: usize = 4 << 10;

/// Bytes of answers and events that may wait for a client that does not read; beyond, its
/// connection is closed.
pub const OUTBOX_BYTES: usize = 64 << 20;

/// Reads in one `multiRead`.
pub const MULTI_READS: usize = 8192;

/// Bytes of answers of one `multiRead`. Twice it still fits in the outbox.
pub const MULTI_READ_BYTES: usize = 16 << 20;

/// Bytes of answers after which a connection lets others to the state before its next read.
pub const READ_TURN_BYTES: usize = 256 << 10;

/// Identities that one connection may prove; each of its writes carries them all.
pub const IDENTITIES: usize = 32;

/// Bytes of those identities together.
pub const IDENTITIES_BYTES: usize = 8 << 10;

/// Entries of an ACL, with `auth` replaced by the caller's identities. Every node must decide the
/// same: another value here is another state machine.
pub const ACL_ENTRIES: usize = 1024;

/// Bytes of schemes and ids of an ACL; likewise the same on every node.
pub const ACL_BYTES: usize = 64 << 10;

/// Batches of changes kept for slow watch streams before they are told that they fell behind.
pub const CHANGES_KEPT: usize = 4096;

/// What one connection may watch: the lengths of the paths, and for each [`WATCH_COST_BYTES`]. More than
/// half a million usual paths.
pub const WATCH_BYTES: usize = 128 << 20;

/// About what a watch takes beside its path.
pub const WATCH_COST_BYTES: usize = 128;

const _: () = assert!(JUTE_MAX_BUFFER_BYTES > 4 << 20);
const _: () = assert!(JUTE_MAX_BUFFER_BYTES <= JUTE_MAX_BUFFER_HIGHEST_BYTES);
const _: () = assert!(OUTBOX_BYTES > JUTE_MAX_BUFFER_BYTES);
const _: () = assert!(OUTBOX_BYTES >= 2 * MULTI_READ_BYTES);
// A list of `auth` alone can always be stored.
const _: () = assert!(IDENTITIES <= ACL_ENTRIES && 2 * IDENTITIES_BYTES <= ACL_BYTES);
