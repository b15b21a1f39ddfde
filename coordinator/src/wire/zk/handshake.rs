//! The first frame of a connection: opens a session, or attaches one.

use bytes::BytesMut;
use zweig_proto::zk::frame::put_frame;
use zweig_proto::zk::{ConnectRequest, ConnectResponse, Jute};

use crate::request::{Connection, OpenError};
use crate::session::SessionId;
use crate::state_machine::SessionGrant;
use crate::tree::Zxid;

/// What the handshake came to.
pub enum Handshake {
    /// The session is open: write this, then serve.
    Open(BytesMut, SessionGrant),
    /// Write this, then close: the client learns that its session has expired.
    Expired(BytesMut),
    /// Close without a word: the client tries another node.
    Refused(OpenError),
}

/// Opens what `request` asks for on `connection`.
pub async fn open(connection: &Connection, request: ConnectRequest) -> Handshake {
    let timeout_ms = u32::try_from(request.timeout_ms).unwrap_or(0);
    let resume = match (request.session, request.password.as_deref()) {
        (0, _) => None,
        (session, password) => match password.and_then(|bytes| bytes.try_into().ok()) {
            Some(password) => Some((SessionId(session), password)),
            None => return Handshake::Expired(expired(request.read_only)),
        },
    };
    let seen = Zxid(request.last_zxid_seen);
    match connection.open(timeout_ms, resume, seen).await {
        Ok(grant) => {
            let response = ConnectResponse {
                protocol_version: 0,
                timeout_ms: i32::try_from(grant.timeout_ms).unwrap_or(i32::MAX),
                session: grant.id.0,
                password: Some(bytes::Bytes::copy_from_slice(&grant.password)),
                read_only: request.read_only.map(|_| false),
            };
            Handshake::Open(framed(&response), grant)
        }
        Err(OpenError::Expired) => Handshake::Expired(expired(request.read_only)),
        Err(error) => Handshake::Refused(error),
    }
}

fn expired(read_only: Option<bool>) -> BytesMut {
    framed(&ConnectResponse::expired(read_only.map(|_| false)))
}

fn framed(response: &ConnectResponse) -> BytesMut {
    let mut out = BytesMut::new();
    put_frame(&mut out, |out| response.write(out));
    out
}
