//! Opcode 12, `getChildren2`.

use crate::zk::Stat;
use crate::zk::jute::record;

record! {
    /// A node's children and stat.
    pub struct GetChildren2Request {
        /// The node.
        pub path: String,
        /// Leave a one-shot child watch.
        pub watch: bool,
    }
}

record! {
    /// The names, without the parent's path, and the parent's stat.
    pub struct GetChildren2Response {
        /// In no particular order.
        pub children: Vec<String>,
        /// Of the parent.
        pub stat: Stat,
    }
}
