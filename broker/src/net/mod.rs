//! Sockets: accepts Kafka clients and brokers, cuts their bytes into requests, writes answers back.
//!
//! Called by `server` (one [`listener::serve`] per configured listener); calls `handlers` for each
//! request and knows nothing of what a request means.
//!
//! Invariants:
//! - Answers leave a connection in the order of its requests, as Kafka's clients rely on.
//! - A request begins when those before it on its connection are answered, so it sees what they did. Produces alone
//!   wait side by side for their acks, each appended before the next begins: an idempotent producer with
//!   several requests in flight depends on this.
//! - What one connection can make the broker hold is bounded: one request that waits for its turn, of at most
//!   `socket.request.max.bytes`, and what `limits` says of produces and of answers. A peer that does not
//!   read its answers is left after `connections.max.idle.ms`, and at a stop within a second.
//! - What can't be understood closes the connection, with one log line that says why.
//!
//! Threads: log appends and reads are plain file calls (page cache) made on the threads that run these
//! connections, as Kafka does on its request threads; they should be a runtime of their own, apart from
//! the one that keeps the ensemble's session alive. `fsync` never runs here.

pub mod connection;
pub mod listener;
pub mod socket;
