//! Everything of the ensemble that crosses a wire: bytes to values and back.
//!
//! - [`grpc`]: the native API, generated from `grpc/ensemble.proto`.
//! - [`zk`]: ZooKeeper's own protocol (jute), client port.
//!
//! Kafka's messages are not here: they come from the `kafka-protocol` crate.
//! Nothing in this package opens a socket or knows a rule of the tree.

/// The native API: messages, client and server stubs. Source: `grpc/ensemble.proto`.
#[allow(
    missing_docs,
    clippy::all,
    clippy::too_many_lines,
    unused_qualifications
)]
pub mod grpc {
    tonic::include_proto!("zweig.ensemble.v1");
}

#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod zk;
