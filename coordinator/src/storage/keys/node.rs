//! A znode: its key is its path with each '/' as byte 0, so that a subtree is one range of keys.
//!
//! Value, version 1: u8 version, i64 czxid, mzxid, pzxid, ctime_ms, mtime_ms, i32 version, aversion,
//! i64 owner, i32 creates, children, ACL (u8 0: everything for everyone; 1: a list as in commands
//! follows), data (u32 length or `u32::MAX` for absent, bytes).
use std::sync::Arc;

use bytes::{BufMut, Bytes};

use crate::octets::{DecodeError, Reader, put_optional_bytes};
use crate::session::SessionId;
use crate::state_machine::command::{put_acl, read_acl};
use crate::tree::{Acl, ChildNumbers, Node, Zxid};

const VERSION: u8 = 1;
const ACL_OPEN: u8 = 0;
const ACL_LIST: u8 = 1;

/// The key of the znode at `path`.
pub fn key(path: &str) -> Vec<u8> {
    path.bytes()
        .map(|byte| if byte == b'/' { 0 } else { byte })
        .collect()
}

/// Appends a znode.
pub fn encode(node: &Node, out: &mut Vec<u8>) {
    out.put_u8(VERSION);
    out.put_i64(node.czxid.0);
    out.put_i64(node.mzxid.0);
    out.put_i64(node.children.pzxid.0);
    out.put_i64(node.ctime_ms);
    out.put_i64(node.mtime_ms);
    out.put_i32(node.version);
    out.put_i32(node.aversion);
    out.put_i64(node.ephemeral_owner.0);
    out.put_i32(node.children.creates);
    out.put_i32(node.children.count);
    if Acl::is_open(&node.acl) {
        out.put_u8(ACL_OPEN);
    } else {
        out.put_u8(ACL_LIST);
        put_acl(out, &node.acl);
    }
    put_optional_bytes(out, node.data.as_deref());
}

/// Reads a znode that fills `bytes`; its data shares their memory.
pub fn decode(bytes: Bytes) -> Result<Node, DecodeError> {
    let mut reader = Reader::new(bytes);
    let node = read(&mut reader)?;
    reader.end()?;
    Ok(node)
}

/// Reads a znode from the front.
pub fn read(reader: &mut Reader) -> Result<Node, DecodeError> {
    match reader.u8("znode version")? {
        VERSION => {}
        value => {
            return Err(DecodeError::Unknown {
                field: "znode version",
                value: value.into(),
            });
        }
    }
    let czxid = Zxid(reader.i64("czxid")?);
    let mzxid = Zxid(reader.i64("mzxid")?);
    let pzxid = Zxid(reader.i64("pzxid")?);
    let ctime_ms = reader.i64("ctime")?;
    let mtime_ms = reader.i64("mtime")?;
    let version = reader.i32("version")?;
    let aversion = reader.i32("aversion")?;
    let ephemeral_owner = SessionId(reader.i64("owner")?);
    let creates = reader.i32("creates")?;
    let count = reader.i32("children")?;
    let acl = match reader.u8("acl")? {
        ACL_OPEN => Acl::open(),
        ACL_LIST => Arc::from(read_acl(reader)?),
        value => {
            return Err(DecodeError::Unknown {
                field: "acl",
                value: value.into(),
            });
        }
    };
    let data = reader.optional_bytes("data")?;
    let children = ChildNumbers {
        pzxid,
        creates,
        count,
    };
    Ok(Node {
        data,
        acl,
        czxid,
        mzxid,
        ctime_ms,
        mtime_ms,
        version,
        aversion,
        ephemeral_owner,
        children,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::hex;
    use super::*;

    pub fn any_node() -> impl Strategy<Value = Node> {
        let numbers = (any::<[i64; 6]>(), any::<[i32; 4]>());
        let data = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20));
        let acl = proptest::collection::vec((0..32u32).prop_map(Acl::anyone), 0..3);
        (numbers, data, acl).prop_map(|((long, short), data, acl)| Node {
            data: data.map(Bytes::from),
            acl: acl.into(),
            czxid: Zxid(long[0]),
            mzxid: Zxid(long[1]),
            ctime_ms: long[2],
            mtime_ms: long[3],
            version: short[0],
            aversion: short[1],
            ephemeral_owner: SessionId(long[4]),
            children: ChildNumbers {
                pzxid: Zxid(long[5]),
                creates: short[2],
                count: short[3],
            },
        })
    }

    #[test]
    fn golden_bytes() {
        let mut node = Node::new(
            Some(Bytes::from_static(b"xy")),
            Acl::open(),
            SessionId(3),
            Zxid(1),
            2,
        );
        node.children = ChildNumbers {
            pzxid: Zxid(4),
            creates: 5,
            count: 6,
        };
        (node.mzxid, node.mtime_ms, node.version, node.aversion) = (Zxid(7), 8, 9, 10);
        let mut bytes = Vec::new();
        encode(&node, &mut bytes);
        let expected = concat!(
            "01",
            "0000000000000001",
            "0000000000000007",
            "0000000000000004",
            "0000000000000002",
            "0000000000000008",
            "00000009",
            "0000000a",
            "0000000000000003",
            "00000005",
            "00000006",
            "00",
            "00000002",
            "7879"
        );
        assert_eq!(hex(&bytes), expected);
        assert_eq!(hex(&key("/a/b")), "00610062");
        assert_eq!(hex(&key("/")), "00");
    }

    proptest! {
        #[test]
        fn reads_back_equal(node in any_node()) {
            let mut bytes = Vec::new();
            encode(&node, &mut bytes);
            prop_assert_eq!(decode(bytes.into()), Ok(node));
        }

        #[test]
        fn damaged_bytes_never_panic(node in any_node(), place: prop::sample::Index, value: u8) {
            let mut bytes = Vec::new();
            encode(&node, &mut bytes);
            let place = place.index(bytes.len());
            let _ = decode(Bytes::copy_from_slice(&bytes[..place]));
            bytes[place] = value;
            let _ = decode(bytes.into());
        }
    }
}
