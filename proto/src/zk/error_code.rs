//! ZooKeeper's error codes, the only place where they stand.

use bytes::BytesMut;

use super::jute::{DecodeError, Jute, Reader};

/// The `err` of a reply: 0 is success. A number rather than an enum, since a server may send
/// codes that this table does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub i32);

macro_rules! error_codes {
    ($($(#[$meta:meta])* $name:ident = $number:literal,)*) => {
        impl ErrorCode {
            $($(#[$meta])* pub const $name: ErrorCode = ErrorCode($number);)*

            /// The code's name, if this table has it.
            pub fn name(self) -> Option<&'static str> {
                match self.0 { $($number => Some(stringify!($name)),)* _ => None }
            }
        }
    };
}

error_codes! {
    /// Success.
    OK = 0,
    /// A server's own trouble; also "not done, no quorum".
    SYSTEM_ERROR = -1,
    /// An operation of a multi behind the one that failed.
    RUNTIME_INCONSISTENCY = -2,
    /// The connection was lost with requests in flight. Made by clients.
    CONNECTION_LOSS = -4,
    /// A request that could not be decoded.
    MARSHALLING_ERROR = -5,
    /// An operation that this server does not have.
    UNIMPLEMENTED = -6,
    /// An operation that took too long.
    OPERATION_TIMEOUT = -7,
    /// A path or another argument that makes no sense.
    BAD_ARGUMENTS = -8,
    /// Some error of the operation; codes below are in this class.
    API_ERROR = -100,
    /// There is no such node.
    NO_NODE = -101,
    /// Not permitted by the node's ACL.
    NO_AUTH = -102,
    /// The node's version is another one.
    BAD_VERSION = -103,
    /// An ephemeral node has no children.
    NO_CHILDREN_FOR_EPHEMERALS = -108,
    /// There is such a node already.
    NODE_EXISTS = -110,
    /// The node has children.
    NOT_EMPTY = -111,
    /// The session has ended.
    SESSION_EXPIRED = -112,
    /// An ACL that makes no sense.
    INVALID_ACL = -114,
    /// An identity that was not proved.
    AUTH_FAILED = -115,
    /// The session moved to another connection.
    SESSION_MOVED = -118,
    /// A write on a read-only server.
    NOT_READ_ONLY = -119,
    /// There is no such watch.
    NO_WATCHER = -121,
    /// A quota would be exceeded.
    QUOTA_EXCEEDED = -125,
    /// The server sheds load.
    THROTTLED_OP = -127,
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => write!(f, "error {}", self.0),
        }
    }
}

impl Jute for ErrorCode {
    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        i32::read(from).map(ErrorCode)
    }
    fn write(&self, out: &mut BytesMut) {
        self.0.write(out);
    }
}
