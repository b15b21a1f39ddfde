//! Kafka's wire protocol, from the client's side.
//!
//! Used by `zweig`'s own commands, by brokers (records in `__consumer_offsets`) and by any program
//! that wants a producer, a consumer or an admin client without a JVM or a C library. It speaks to
//! Zweig's brokers and to Kafka's alike: nothing here knows which one is at the other end.
//!
//! From the socket upwards, each file uses those above it in this list only:
//! - [`error`]: what can go wrong, and whether trying again can help;
//! - [`records`]: record batches (format v2), bytes to values and back, with all five codecs;
//! - [`guarded`]: messages from bytes of anyone;
//! - [`api`]: which versions of which request this client speaks;
//! - [`raw`]: Produce and Fetch into and out of buffers that are used again, for programs that make load;
//! - [`connection`]: one pipelined TCP connection;
//! - [`client`]: cluster metadata, a connection per broker, finding leaders and group coordinators;
//! - [`admin`], [`producer`], [`consumer`]: what programs call.
//!
//! Invariant: replies on a connection come in the order of their requests, so a connection whose
//! reply is missing is closed rather than waited for; whoever retries does it on a new one.

pub mod admin;
pub mod api;
pub mod client;
pub mod connection;
pub mod consumer;
pub mod error;
pub mod guarded;
pub mod producer;
pub mod raw;
pub mod records;

pub use admin::Admin;
pub use client::{Client, ClientOptions};
pub use consumer::{Consumer, ConsumerOptions};
pub use error::KafkaError;
pub use kafka_protocol::ResponseError as ErrorCode;
pub use producer::{Producer, ProducerOptions, ProducerRecord};
