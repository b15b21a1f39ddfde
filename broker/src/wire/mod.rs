//! Kafka's bytes: frames on a stream, and messages in them, both ways.
//!
//! Used by `net` and `handlers` as the server's side and by `replica::hosted` as a follower's. The messages
//! themselves are generated in the `kafka-protocol` crate; what is here makes them safe to decode from
//! bytes of anyone and puts headers round them.

pub mod codec;
pub mod frame;
pub mod pieces;
pub mod skim;
