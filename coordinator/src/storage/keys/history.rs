//! A transaction in the history: its key is its zxid, i64 big-endian.
//!
//! Value, version 2: u8 version, i64 time_ms, i64 session, u8 cause (0 asked, 1 session closed, 2 session expired), u32 count,
//! then the mutations; version 1, without session and cause, is still read:
//! ```text
//! 1 created   str path, znode, parent's numbers before (i64 pzxid, i32 creates, i32 count)
//! 2 data      str path, znode before, znode after
//! 3 acl       str path, znode before, znode after
//! 4 deleted   str path, znode before, parent's numbers before
//! ```
use std::sync::Arc;

use bytes::{BufMut, Bytes};

use super::node;
use crate::octets::{DecodeError, Reader, put_bytes, put_count};
use crate::session::SessionId;
use crate::tree::{Cause, ChildNumbers, Mutation, Transaction, Zxid};

const VERSION: u8 = 2;
const WITHOUT_SESSION: u8 = 1;
const CREATED: u8 = 1;
const DATA: u8 = 2;
const ACL: u8 = 3;
const DELETED: u8 = 4;

/// The key of a transaction.
pub fn key(zxid: Zxid) -> [u8; 8] {
    zxid.0.to_be_bytes()
}

/// A transaction's value.
#[cfg(any(test, feature = "fuzz"))]
pub fn encode(transaction: &Transaction) -> Vec<u8> {
    let mut out = Vec::new();
    put(transaction, &mut out);
    out
}

/// Appends a transaction's value.
pub fn put(transaction: &Transaction, out: &mut Vec<u8>) {
    out.put_u8(VERSION);
    out.put_i64(transaction.time_ms);
    out.put_i64(transaction.session.0);
    out.put_u8(match transaction.cause {
        Cause::Asked => 0,
        Cause::SessionClosed => 1,
        Cause::SessionExpired => 2,
    });
    put_count(out, transaction.mutations.len());
    for mutation in &transaction.mutations {
        put_mutation(out, mutation);
    }
}

/// Reads a transaction from its key and value.
pub fn decode(key: Bytes, value: Bytes) -> Result<Transaction, DecodeError> {
    let mut reader = Reader::new(key);
    let zxid = Zxid(reader.i64("history key")?);
    reader.end()?;
    let mut reader = Reader::new(value);
    let version = reader.u8("history version")?;
    if !(WITHOUT_SESSION..=VERSION).contains(&version) {
        return Err(DecodeError::Unknown {
            field: "history version",
            value: version.into(),
        });
    }
    let time_ms = reader.i64("history time")?;
    let (session, cause) = match version {
        WITHOUT_SESSION => Default::default(),
        _ => (
            SessionId(reader.i64("history session")?),
            read_cause(&mut reader)?,
        ),
    };
    let count = reader.count("mutations", 5)?;
    let mut mutations = Vec::new();
    for _ in 0..count {
        mutations.push(read_mutation(&mut reader)?);
    }
    reader.end()?;
    Ok(Transaction {
        zxid,
        time_ms,
        session,
        cause,
        mutations,
    })
}

fn read_cause(reader: &mut Reader) -> Result<Cause, DecodeError> {
    Ok(match reader.u8("history cause")? {
        0 => Cause::Asked,
        1 => Cause::SessionClosed,
        2 => Cause::SessionExpired,
        value => {
            return Err(DecodeError::Unknown {
                field: "history cause",
                value: value.into(),
            });
        }
    })
}

fn put_mutation(out: &mut Vec<u8>, mutation: &Mutation) {
    out.put_u8(match mutation {
        Mutation::Created { .. } => CREATED,
        Mutation::Data { .. } => DATA,
        Mutation::Acl { .. } => ACL,
        Mutation::Deleted { .. } => DELETED,
    });
    put_bytes(out, mutation.path().as_bytes());
    match mutation {
        Mutation::Created {
            node,
            parent_before,
            ..
        }
        | Mutation::Deleted {
            node,
            parent_before,
            ..
        } => {
            node::encode(node, out);
            out.put_i64(parent_before.pzxid.0);
            out.put_i32(parent_before.creates);
            out.put_i32(parent_before.count);
        }
        Mutation::Data { before, after, .. } | Mutation::Acl { before, after, .. } => {
            node::encode(before, out);
            node::encode(after, out);
        }
    }
}

fn read_mutation(reader: &mut Reader) -> Result<Mutation, DecodeError> {
    let kind = reader.u8("mutation")?;
    let path: Arc<str> = reader.string("path")?.into();
    let first = Arc::new(node::read(reader)?);
    Ok(match kind {
        CREATED => Mutation::Created {
            path,
            node: first,
            parent_before: read_numbers(reader)?,
        },
        DELETED => Mutation::Deleted {
            path,
            node: first,
            parent_before: read_numbers(reader)?,
        },
        DATA => Mutation::Data {
            path,
            before: first,
            after: Arc::new(node::read(reader)?),
        },
        ACL => Mutation::Acl {
            path,
            before: first,
            after: Arc::new(node::read(reader)?),
        },
        value => {
            return Err(DecodeError::Unknown {
                field: "mutation",
                value: value.into(),
            });
        }
    })
}

fn read_numbers(reader: &mut Reader) -> Result<ChildNumbers, DecodeError> {
    Ok(ChildNumbers {
        pzxid: Zxid(reader.i64("parent's pzxid")?),
        creates: reader.i32("parent's creates")?,
        count: reader.i32("parent's children")?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::hex;
    use super::super::node::tests::any_node;
    use super::*;
    use crate::tree::{Acl, Node};

    fn any_mutation() -> impl Strategy<Value = Mutation> {
        (0..4, "/[a-z]{0,5}", any_node(), any_node()).prop_map(|(kind, path, first, second)| {
            let (path, parent_before) = (Arc::from(path), second.children);
            let (first, second) = (Arc::new(first), Arc::new(second));
            match kind {
                0 => Mutation::Created {
                    path,
                    node: first,
                    parent_before,
                },
                1 => Mutation::Deleted {
                    path,
                    node: first,
                    parent_before,
                },
                2 => Mutation::Data {
                    path,
                    before: first,
                    after: second,
                },
                _ => Mutation::Acl {
                    path,
                    before: first,
                    after: second,
                },
            }
        })
    }

    #[test]
    fn golden_bytes() {
        let node = Arc::new(Node::new(None, Acl::open(), SessionId::NONE, Zxid(1), 2));
        let mut image = Vec::new();
        node::encode(&node, &mut image);
        let parent_before = ChildNumbers {
            pzxid: Zxid(3),
            creates: 4,
            count: 5,
        };
        let mutations = vec![
            Mutation::Created {
                path: "/a".into(),
                node: Arc::clone(&node),
                parent_before,
            },
            Mutation::Data {
                path: "/a".into(),
                before: Arc::clone(&node),
                after: Arc::clone(&node),
            },
            Mutation::Acl {
                path: "/a".into(),
                before: Arc::clone(&node),
                after: Arc::clone(&node),
            },
            Mutation::Deleted {
                path: "/a".into(),
                node,
                parent_before,
            },
        ];
        let transaction = Transaction {
            zxid: Zxid(9),
            time_ms: 8,
            session: SessionId(7),
            cause: Cause::SessionExpired,
            mutations,
        };
        let (image, parent) = (hex(&image), "00000000000000030000000400000005");
        let expected = format!(
            "02000000000000000800000000000000070200000004\
             01000000022f61{image}{parent}02000000022f61{image}{image}\
             03000000022f61{image}{image}04000000022f61{image}{parent}"
        );
        assert_eq!(hex(&encode(&transaction)), expected);
        assert_eq!(hex(&key(Zxid(9))), "0000000000000009");
    }

    #[test]
    fn what_was_written_before_sessions_were_is_read() {
        let written = [1, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0];
        let read = decode(
            Bytes::copy_from_slice(&key(Zxid(9))),
            Bytes::copy_from_slice(&written),
        );
        let expected = Transaction {
            zxid: Zxid(9),
            time_ms: 8,
            session: SessionId::NONE,
            cause: Cause::Asked,
            mutations: Vec::new(),
        };
        assert_eq!(read, Ok(expected));
    }

    proptest! {
        #[test]
        fn reads_back_equal(
            zxid in 1..i64::MAX, time_ms: i64, session: i64, cause in 0..3_usize, mutations in proptest::collection::vec(any_mutation(), 0..4),
        ) {
            let cause = [Cause::Asked, Cause::SessionClosed, Cause::SessionExpired][cause];
            let transaction = Transaction { zxid: Zxid(zxid), time_ms, session: SessionId(session), cause, mutations };
            let key = Bytes::copy_from_slice(&key(transaction.zxid));
            prop_assert_eq!(decode(key, encode(&transaction).into()), Ok(transaction));
        }
    }
}
