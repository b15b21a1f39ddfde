//! A node's stat, 68 bytes.

use super::jute::record;

record! {
    /// What a node says of itself. Times are milliseconds since 1970.
    #[derive(Copy, Default)]
    pub struct Stat {
        /// The change that created the node.
        pub czxid: i64,
        /// The last change of its data.
        pub mzxid: i64,
        /// When it was created.
        pub ctime: i64,
        /// When its data last changed.
        pub mtime: i64,
        /// Changes of its data.
        pub version: i32,
        /// Creations and deletions of children.
        pub cversion: i32,
        /// Changes of its ACL.
        pub aversion: i32,
        /// The session it belongs to; 0 if it is not ephemeral.
        pub ephemeral_owner: i64,
        /// Bytes of data.
        pub data_length: i32,
        /// Children now.
        pub num_children: i32,
        /// The last change of its list of children.
        pub pzxid: i64,
    }
}
