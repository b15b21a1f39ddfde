//! A watch event, sent behind a [`super::ReplyHeader`] with xid -1.

use super::jute::record;

record! {
    /// What a watch saw.
    pub struct WatcherEvent {
        /// Of the constants in [`kind`].
        pub kind: i32,
        /// Of the constants in [`state`].
        pub state: i32,
        /// The node.
        pub path: String,
    }
}

/// Values of [`WatcherEvent::kind`].
pub mod kind {
    /// Only the session's state changed.
    pub const NONE: i32 = -1;
    /// The node was created.
    pub const NODE_CREATED: i32 = 1;
    /// The node was deleted.
    pub const NODE_DELETED: i32 = 2;
    /// Its data was set.
    pub const NODE_DATA_CHANGED: i32 = 3;
    /// A child came or went.
    pub const NODE_CHILDREN_CHANGED: i32 = 4;
}

/// Values of [`WatcherEvent::state`].
pub mod state {
    /// The only one that a server sends with a node's event.
    pub const SYNC_CONNECTED: i32 = 3;
}
