//! Opcode 104, `getAllChildrenNumber`.

use crate::zk::jute::record;

record! {
    /// How many nodes lie below a path, at any depth.
    pub struct GetAllChildrenNumberRequest {
        /// The node, which is not counted.
        pub path: String,
    }
}

record! {
    /// The count.
    pub struct GetAllChildrenNumberResponse {
        /// Nodes.
        pub total: i32,
    }
}
