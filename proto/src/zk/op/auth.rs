//! Opcode 100, `auth` (addauth); its answer has no body.

use bytes::Bytes;

use crate::zk::jute::record;

record! {
    /// Prove an identity.
    pub struct AuthRequest {
        /// 0.
        pub kind: i32,
        /// "digest".
        pub scheme: String,
        /// For "digest": `user:password`.
        pub auth: Option<Bytes>,
    }
}
