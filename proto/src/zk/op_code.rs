//! The operations that this protocol names, by their numbers.

macro_rules! op_codes {
    ($($(#[$meta:meta])* $name:ident = $number:literal,)*) => {
        /// An operation of ZooKeeper's protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(i32)]
        pub enum OpCode { $($(#[$meta])* $name = $number,)* }

        impl OpCode {
            /// Every operation, in the order of this table.
            pub const ALL: &[OpCode] = &[$(OpCode::$name,)*];

            /// The operation of that number, if it has a name here.
            pub fn from_number(number: i32) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
        }
    };
}

op_codes! {
    /// Close the session, and with it the connection.
    CloseSession = -11,
    /// Create a node; answers its path.
    Create = 1,
    /// Delete a node.
    Delete = 2,
    /// A node's stat; leaves a watch if asked, also where there is no node.
    Exists = 3,
    /// A node's data and stat.
    GetData = 4,
    /// Replace a node's data.
    SetData = 5,
    /// A node's ACL and stat.
    GetAcl = 6,
    /// Replace a node's ACL.
    SetAcl = 7,
    /// A node's children.
    GetChildren = 8,
    /// Answered once this node has applied what was committed when it was asked.
    Sync = 9,
    /// Keeps the session alive.
    Ping = 11,
    /// A node's children and stat.
    GetChildren2 = 12,
    /// A version check; only inside a multi.
    Check = 13,
    /// Several writes, all or nothing.
    Multi = 14,
    /// Create a node; answers its path and stat.
    Create2 = 15,
    /// Change the ensemble's members.
    Reconfig = 16,
    /// Is there a watch of mine on this path?
    CheckWatches = 17,
    /// Remove watches of mine from a path.
    RemoveWatches = 18,
    /// Create a container node.
    CreateContainer = 19,
    /// Create a node with a time to live.
    CreateTtl = 21,
    /// Several reads, answered from one state, each with its own result.
    MultiRead = 22,
    /// Prove an identity.
    Auth = 100,
    /// Re-arm one-shot watches after a reconnect, and hear what was missed.
    SetWatches = 101,
    /// SASL negotiation.
    Sasl = 102,
    /// The ephemeral nodes of this session below a prefix.
    GetEphemerals = 103,
    /// How many nodes lie below a path, at any depth.
    GetAllChildrenNumber = 104,
    /// `SetWatches`, with persistent ones.
    SetWatches2 = 105,
    /// Leave a persistent watch.
    AddWatch = 106,
    /// The identities of this connection.
    WhoAmI = 107,
}
