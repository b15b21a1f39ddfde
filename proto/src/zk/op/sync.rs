//! Opcode 9, `sync`.

use crate::zk::jute::record;

record! {
    /// Catch up with the leader. The path means nothing and is echoed.
    pub struct SyncRequest {
        /// Echoed.
        pub path: String,
    }
}

record! {
    /// Caught up.
    pub struct SyncResponse {
        /// Of the request.
        pub path: String,
    }
}
