//! The handshake: the first frame of each direction.
//!
//! Old clients leave out the last byte (read-only); the answer has it if the request had it:
//! 44 or 45 bytes are answered with 36 or 37.

use bytes::{Bytes, BytesMut};

use super::jute::{DecodeError, Jute, Reader};

/// Opens a session (`session` 0), or re-attaches one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectRequest {
    /// 0.
    pub protocol_version: i32,
    /// The highest zxid the client has seen; a server that is behind refuses it.
    pub last_zxid_seen: i64,
    /// The session timeout asked for, in milliseconds.
    pub timeout_ms: i32,
    /// 0 for a new session.
    pub session: i64,
    /// 16 bytes; zeros for a new session.
    pub password: Option<Bytes>,
    /// Would a server without quorum do? `None` if the client is too old to say.
    pub read_only: Option<bool>,
}

/// The answer; `timeout_ms` 0 means that the session has expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectResponse {
    /// 0.
    pub protocol_version: i32,
    /// The timeout as granted, in milliseconds.
    pub timeout_ms: i32,
    /// The session's id.
    pub session: i64,
    /// 16 bytes, needed to re-attach.
    pub password: Option<Bytes>,
    /// Is the server read-only? Only for clients that sent this byte too.
    pub read_only: Option<bool>,
}

fn read_last_byte(from: &mut Reader) -> Result<Option<bool>, DecodeError> {
    match from.left() {
        0 => Ok(None),
        _ => bool::read(from).map(Some),
    }
}

impl ConnectResponse {
    /// The answer to a session that has ended, or to a wrong password.
    pub fn expired(read_only: Option<bool>) -> Self {
        Self {
            protocol_version: 0,
            timeout_ms: 0,
            session: 0,
            password: Some(Bytes::from_static(&[0; 16])),
            read_only,
        }
    }
}

impl Jute for ConnectRequest {
    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            protocol_version: Jute::read(from)?,
            last_zxid_seen: Jute::read(from)?,
            timeout_ms: Jute::read(from)?,
            session: Jute::read(from)?,
            password: Jute::read(from)?,
            read_only: read_last_byte(from)?,
        })
    }
    fn write(&self, out: &mut BytesMut) {
        self.protocol_version.write(out);
        self.last_zxid_seen.write(out);
        self.timeout_ms.write(out);
        self.session.write(out);
        self.password.write(out);
        if let Some(read_only) = self.read_only {
            read_only.write(out);
        }
    }
}

impl Jute for ConnectResponse {
    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            protocol_version: Jute::read(from)?,
            timeout_ms: Jute::read(from)?,
            session: Jute::read(from)?,
            password: Jute::read(from)?,
            read_only: read_last_byte(from)?,
        })
    }
    fn write(&self, out: &mut BytesMut) {
        self.protocol_version.write(out);
        self.timeout_ms.write(out);
        self.session.write(out);
        self.password.write(out);
        if let Some(read_only) = self.read_only {
            read_only.write(out);
        }
    }
}
