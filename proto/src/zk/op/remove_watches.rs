//! Opcodes 18, `removeWatches`, and 17, `checkWatches`; their answers have no body.

use crate::zk::jute::record;

record! {
    /// Remove this session's watches from a path.
    pub struct RemoveWatchesRequest {
        /// The node.
        pub path: String,
        /// Of the constants in [`kind`].
        pub kind: i32,
    }
}

record! {
    /// Has this session such a watch?
    pub struct CheckWatchesRequest {
        /// The node.
        pub path: String,
        /// Of the constants in [`kind`].
        pub kind: i32,
    }
}

/// Which watches: `WatcherType` of ZooKeeper.
pub mod kind {
    /// Child watches.
    pub const CHILDREN: i32 = 1;
    /// Data and exists watches.
    pub const DATA: i32 = 2;
    /// Every kind.
    pub const ANY: i32 = 3;
    /// Persistent ones.
    pub const PERSISTENT: i32 = 4;
    /// Persistent recursive ones.
    pub const PERSISTENT_RECURSIVE: i32 = 5;
}
