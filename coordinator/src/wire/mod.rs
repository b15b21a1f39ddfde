//! Bytes of clients: one port, several protocols.
//!
//! - [`listener`]: accepts connections, within their bound per address.
//! - [`detect`]: tells by the first four bytes what a connection speaks.
//! - [`zk`]: ZooKeeper's protocol, and its four-letter words.
//! - [`grpc`]: the native API.
//! - [`prometheus`]: what this node tells of itself, on a port of its own.
//!
//! All of them decode into `request`'s types and call the front door; no rule of the tree is here.

pub mod detect;
pub mod grpc;
pub mod listener;
pub mod prometheus;
pub mod zk;
