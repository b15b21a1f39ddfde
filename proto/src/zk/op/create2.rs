//! Opcode 15, `create2`: a [`super::CreateRequest`], answered with the stat as well.

use crate::zk::Stat;
use crate::zk::jute::record;

record! {
    /// The node's path and stat.
    pub struct Create2Response {
        /// As created.
        pub path: String,
        /// Of the new node.
        pub stat: Stat,
    }
}
