//! Opcode 8, `getChildren`.

use crate::zk::jute::record;

record! {
    /// A node's children.
    pub struct GetChildrenRequest {
        /// The node.
        pub path: String,
        /// Leave a one-shot child watch.
        pub watch: bool,
    }
}

record! {
    /// The names, without the parent's path.
    pub struct GetChildrenResponse {
        /// In no particular order.
        pub children: Vec<String>,
    }
}
