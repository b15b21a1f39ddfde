//! What a handler may reach: the broker's rooms, and who is asking.

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

/// The broker's rooms, shared by all connections.
#[derive(Debug)]
pub struct Services {}

/// Who sent a request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// `client.id` of the request header; `None` when the client sent null.
    pub client_id: Option<String>,
    /// Address of the client's end of the connection.
    pub host: IpAddr,
    /// Name of the listener it came in by; metadata answers name the brokers' addresses on that one.
    pub listener: Arc<str>,
}

/// One request's view of the broker: dereferences to [`Services`].
#[derive(Debug, Clone)]
pub struct Context {
    /// The broker's rooms.
    pub services: Arc<Services>,
    /// Who is asking.
    pub caller: Caller,
}

impl Deref for Context {
    type Target = Services;

    fn deref(&self) -> &Services {
        &self.services
    }
}
