//! What stands before every request and every reply.

use super::error_code::ErrorCode;
use super::jute::record;

record! {
    /// The header of a request.
    pub struct RequestHeader {
        /// Chosen by the client and echoed; see [`xid`] for the reserved ones.
        pub xid: i32,
        /// The operation: [`super::OpCode`] as a number.
        pub op: i32,
    }
}

record! {
    /// The header of a reply, or of a watch event. A body follows only if `err` is 0.
    pub struct ReplyHeader {
        /// Of the request; [`xid::EVENT`] for an event.
        pub xid: i32,
        /// The last change applied by the node when it answered.
        pub zxid: i64,
        /// 0, or why the request failed.
        pub err: ErrorCode,
    }
}

/// Reserved values of [`RequestHeader::xid`].
pub mod xid {
    /// A watch event, which no request asked for.
    pub const EVENT: i32 = -1;
    /// A ping and its answer.
    pub const PING: i32 = -2;
    /// `auth` (addauth).
    pub const AUTH: i32 = -4;
    /// `setWatches` and `setWatches2`, sent by the client by itself after it reconnected.
    pub const SET_WATCHES: i32 = -8;
}
