//! A session: its key is its id, i64 big-endian.
//!
//! Value, version 1: u8 version, u32 timeout_ms, 16 bytes password, u64 attach.
use bytes::{BufMut, Bytes};

use crate::octets::{DecodeError, Reader};
use crate::session::{SessionId, SessionState};

const VERSION: u8 = 1;

/// The key of a session.
pub fn key(id: SessionId) -> [u8; 8] {
    id.0.to_be_bytes()
}

/// The session of a key.
pub fn id(key: Bytes) -> Result<SessionId, DecodeError> {
    let mut reader = Reader::new(key);
    let id = SessionId(reader.i64("session id")?);
    reader.end()?;
    Ok(id)
}

/// A session's value.
pub fn encode(state: &SessionState) -> Vec<u8> {
    let mut out = Vec::with_capacity(29);
    out.put_u8(VERSION);
    out.put_u32(state.timeout_ms);
    out.put_slice(&state.password);
    out.put_u64(state.attach);
    out
}

/// Reads a session's value.
pub fn decode(bytes: Bytes) -> Result<SessionState, DecodeError> {
    let mut reader = Reader::new(bytes);
    match reader.u8("session version")? {
        VERSION => {}
        value => {
            return Err(DecodeError::Unknown {
                field: "session version",
                value: value.into(),
            });
        }
    }
    let timeout_ms = reader.u32("timeout")?;
    let password = reader.array("password")?;
    let attach = reader.u64("attach")?;
    reader.end()?;
    Ok(SessionState {
        timeout_ms,
        password,
        attach,
    })
}

#[cfg(test)]
mod tests {
    use super::super::hex;
    use super::*;

    #[test]
    fn golden_bytes() {
        let state = SessionState {
            timeout_ms: 4000,
            password: [7; 16],
            attach: 2,
        };
        let bytes = encode(&state);
        assert_eq!(
            hex(&bytes),
            "0100000fa0070707070707070707070707070707070000000000000002"
        );
        assert_eq!(decode(bytes.into()), Ok(state));
        assert_eq!(
            hex(&key(SessionId(0x0100_0000_0000_0005))),
            "0100000000000005"
        );
        assert_eq!(
            id(Bytes::copy_from_slice(&key(SessionId(-3)))),
            Ok(SessionId(-3))
        );
        assert!(id(Bytes::from_static(b"short")).is_err());
        assert!(decode(Bytes::from_static(&[2])).is_err());
    }
}
