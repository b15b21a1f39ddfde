//! Opcode 107, `whoAmI`; the request has no body.

use crate::zk::jute::record;

record! {
    /// One identity of the connection.
    pub struct ClientInfo {
        /// "ip", "digest".
        pub scheme: String,
        /// The user, without a password.
        pub user: String,
    }
}

record! {
    /// All identities of the connection.
    pub struct WhoAmIResponse {
        /// The address comes first.
        pub clients: Vec<ClientInfo>,
    }
}
