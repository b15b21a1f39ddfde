//! Opcode 103, `getEphemerals`.

use crate::zk::jute::record;

record! {
    /// The ephemeral nodes of this session.
    pub struct GetEphemeralsRequest {
        /// Only paths that begin with it.
        pub prefix: String,
    }
}

record! {
    /// Their paths.
    pub struct GetEphemeralsResponse {
        /// In no particular order.
        pub ephemerals: Vec<String>,
    }
}
