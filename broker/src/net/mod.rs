//! Sockets: accepts Kafka clients and brokers, cuts their bytes into requests, writes answers back.
//!
//! Called by `server` (one [`listener::serve`] per configured listener); calls `handlers` for each
//! request and knows nothing of what a request means.
//!
//! Invariants:
//! - Answers leave a connection in the order of its requests, as Kafka's clients rely on.
//! - The first step of a request (decoding, an append) runs before the next request of the same
//!   connection takes its first step; what waits after that (for acks, for bytes) waits side by side.
//!   An idempotent producer with several requests in flight depends on this.
//! - No more than `limits::MAX_REQUESTS_IN_FLIGHT` requests of one connection are held; beyond that its
//!   socket is not read. A frame is at most `socket.request.max.bytes`.
//! - What can't be understood closes the connection, with one log line that says why.
//!
//! Threads: log appends and reads are plain file calls (page cache) made on the threads that run these
//! connections, as Kafka does on its request threads; they should be a runtime of their own, apart from
//! the one that keeps the ensemble's session alive. `fsync` never runs here.

pub mod connection;
pub mod listener;
