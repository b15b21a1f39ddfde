//! A run of transactions in the history, stored together: its key is the zxid of the first, i64 big-endian.
//!
//! Value, version 3: u8 version, then, to the end, the transactions in order, each i64 zxid, i64 time_ms, i64 session, u8 cause (0
//! asked, 1 session closed, 2 session expired), u32 count, then the mutations:
//! ```text
//! 1 created   str path, znode, parent's numbers before (i64 pzxid, i32 creates, i32 count)
//! 2 data      str path, znode before, znode after
//! 3 acl       str path, znode before, znode after
//! 4 deleted   str path, znode before, parent's numbers before
//! 5 set       str path, znode before, data after (u32 length or `u32::MAX` for absent, bytes); the rest of the znode
//!             after follows: one version more, mzxid and mtime_ms of the transaction
//! ```
//! Versions 2 and 1 are still read: one transaction, its zxid only in the key; version 1 also without session and cause.
use std::sync::Arc;

use bytes::{BufMut, Bytes};

use super::node;
use crate::octets::{DecodeError, Reader, put_bytes, put_count, put_optional_bytes};
use crate::session::SessionId;
use crate::tree::{Cause, ChildNumbers, Mutation, Node, Transaction, Zxid};

const VERSION: u8 = 3;
const ALONE: u8 = 2;
const WITHOUT_SESSION: u8 = 1;
const CREATED: u8 = 1;
const DATA: u8 = 2;
const ACL: u8 = 3;
const DELETED: u8 = 4;
const SET: u8 = 5;

/// The key of the run that begins with a transaction.
pub fn key(zxid: Zxid) -> [u8; 8] {
    zxid.0.to_be_bytes()
}

/// A run of these transactions.
#[cfg(any(test, feature = "fuzz"))]
pub fn encode(transactions: &[Transaction]) -> Vec<u8> {
    let mut out = Vec::new();
    begin(&mut out);
    for transaction in transactions {
        put(transaction, &mut out);
    }
    out
}

/// Begins a run's value.
pub fn begin(out: &mut Vec<u8>) {
    out.put_u8(VERSION);
}

/// Appends a transaction to a run's value.
pub fn put(transaction: &Transaction, out: &mut Vec<u8>) {
    let &Transaction { zxid, time_ms, .. } = transaction;
    out.put_i64(zxid.0);
    out.put_i64(time_ms);
    out.put_i64(transaction.session.0);
    out.put_u8(match transaction.cause {
        Cause::Asked => 0,
        Cause::SessionClosed => 1,
        Cause::SessionExpired => 2,
    });
    put_count(out, transaction.mutations.len());
    for mutation in &transaction.mutations {
        put_mutation(out, mutation, (zxid, time_ms));
    }
}

/// Reads the transactions of a run from its key and value: one at least, in order.
pub fn decode(key: Bytes, value: Bytes) -> Result<Vec<Transaction>, DecodeError> {
    let mut reader = Reader::new(key);
    let first = Zxid(reader.i64("history key")?);
    reader.end()?;
    let mut reader = Reader::new(value);
    let version = reader.u8("history version")?;
    match version {
        VERSION => {}
        WITHOUT_SESSION..=ALONE => {
            let transaction = read_transaction(&mut reader, first, version)?;
            reader.end()?;
            return Ok(vec![transaction]);
        }
        _ => {
            return Err(DecodeError::Unknown {
                field: "history version",
                value: version.into(),
            });
        }
    }
    let mut transactions: Vec<Transaction> = Vec::new();
    loop {
        let zxid = Zxid(reader.i64("history zxid")?);
        let fits = match transactions.last() {
            None => zxid == first,
            Some(last) => zxid > last.zxid,
        };
        if !fits {
            return Err(DecodeError::Misplaced {
                field: "history zxid",
            });
        }
        transactions.push(read_transaction(&mut reader, zxid, version)?);
        if reader.remaining() == 0 {
            return Ok(transactions);
        }
    }
}

fn read_transaction(
    reader: &mut Reader,
    zxid: Zxid,
    version: u8,
) -> Result<Transaction, DecodeError> {
    let time_ms = reader.i64("history time")?;
    let (session, cause) = match version {
        WITHOUT_SESSION => Default::default(),
        _ => (
            SessionId(reader.i64("history session")?),
            read_cause(reader)?,
        ),
    };
    let count = reader.count("mutations", 5)?;
    let mut mutations = Vec::new();
    for _ in 0..count {
        mutations.push(read_mutation(reader, (zxid, time_ms))?);
    }
    Ok(Transaction {
        zxid,
        time_ms,
        session,
        cause,
        mutations,
    })
}

/// Whether nothing changed but what every write of data changes.
fn is_set(before: &Node, after: &Node, at: (Zxid, i64)) -> bool {
    let Node {
        data: _,
        acl,
        czxid,
        mzxid,
        ctime_ms,
        mtime_ms,
        version,
        aversion,
        ephemeral_owner,
        children,
    } = after;
    (*mzxid, *mtime_ms) == at
        && *version == before.version.wrapping_add(1)
        && (*czxid, *ctime_ms) == (before.czxid, before.ctime_ms)
        && (*aversion, *ephemeral_owner) == (before.aversion, before.ephemeral_owner)
        && *children == before.children
        && (Arc::ptr_eq(acl, &before.acl) || *acl == before.acl)
}

/// The znode after a write of its data.
fn set(before: &Node, data: Option<Bytes>, (mzxid, mtime_ms): (Zxid, i64)) -> Node {
    Node {
        data,
        version: before.version.wrapping_add(1),
        mzxid,
        mtime_ms,
        ..before.clone()
    }
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

fn put_mutation(out: &mut Vec<u8>, mutation: &Mutation, at: (Zxid, i64)) {
    if let Mutation::Data {
        path,
        before,
        after,
    } = mutation
        && is_set(before, after, at)
    {
        out.put_u8(SET);
        put_bytes(out, path.as_bytes());
        node::encode(before, out);
        put_optional_bytes(out, after.data.as_deref());
        return;
    }
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

fn read_mutation(reader: &mut Reader, at: (Zxid, i64)) -> Result<Mutation, DecodeError> {
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
        SET => Mutation::Data {
            path,
            after: Arc::new(set(&first, reader.optional_bytes("data")?, at)),
            before: first,
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
        let told = format!(
            "000000000000000800000000000000070200000004\
             01000000022f61{image}{parent}02000000022f61{image}{image}\
             03000000022f61{image}{image}04000000022f61{image}{parent}"
        );
        let written = hex(&encode(std::slice::from_ref(&transaction)));
        assert_eq!(written, format!("030000000000000009{told}"));
        let alone = [&[2], &encode(std::slice::from_ref(&transaction))[9..]].concat();
        let key_of = Bytes::copy_from_slice(&key(Zxid(9)));
        assert_eq!(decode(key_of, alone.into()), Ok(vec![transaction]));
        assert_eq!(hex(&key(Zxid(9))), "0000000000000009");
    }

    #[test]
    fn a_write_of_data_keeps_the_znode_once() {
        let before = Node::new(None, Acl::open(), SessionId::NONE, Zxid(1), 2);
        let mut image = Vec::new();
        node::encode(&before, &mut image);
        let after = set(&before, Some(Bytes::from_static(b"xy")), (Zxid(9), 8));
        let written = |after: Node| {
            let mutation = Mutation::Data {
                path: "/a".into(),
                before: Arc::new(before.clone()),
                after: Arc::new(after),
            };
            let transaction = Transaction {
                zxid: Zxid(9),
                time_ms: 8,
                session: SessionId(7),
                cause: Cause::Asked,
                mutations: vec![mutation],
            };
            let value = encode(std::slice::from_ref(&transaction));
            let read = decode(key(Zxid(9)).to_vec().into(), value.clone().into());
            assert_eq!(read, Ok(vec![transaction]));
            hex(&value)
        };
        let short = written(after.clone());
        assert!(short.ends_with(&format!("05000000022f61{}000000027879", hex(&image))));
        let others = [
            Node {
                mzxid: Zxid(8),
                ..after.clone()
            },
            Node {
                mtime_ms: 9,
                ..after.clone()
            },
            Node {
                version: 2,
                ..after.clone()
            },
            Node {
                aversion: 1,
                ..after.clone()
            },
            Node {
                acl: Arc::from([Acl::anyone(1)]),
                ..after
            },
        ];
        for other in others {
            assert!(written(other).len() > short.len());
        }
    }

    #[test]
    fn the_transactions_of_a_run_follow_each_other() {
        let transaction = |zxid| Transaction {
            zxid: Zxid(zxid),
            time_ms: 8,
            session: SessionId(7),
            cause: Cause::Asked,
            mutations: Vec::new(),
        };
        let read = |first, zxids: &[i64]| {
            let run: Vec<_> = zxids.iter().map(|&zxid| transaction(zxid)).collect();
            decode(key(Zxid(first)).to_vec().into(), encode(&run).into())
        };
        assert_eq!(read(3, &[3, 5]), Ok(vec![transaction(3), transaction(5)]));
        let misplaced = Err(DecodeError::Misplaced {
            field: "history zxid",
        });
        assert_eq!(read(2, &[3, 5]), misplaced);
        assert_eq!(read(3, &[3, 3]), misplaced);
        assert!(matches!(read(3, &[]), Err(DecodeError::Truncated { .. })));
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
        assert_eq!(read, Ok(vec![expected]));
    }

    proptest! {
        #[test]
        fn reads_back_equal(
            zxid in 1..i64::MAX, time_ms: i64, session: i64, cause in 0..3_usize,
            mutations in proptest::collection::vec(any_mutation(), 0..4), others in 0..3_i64,
        ) {
            let cause = [Cause::Asked, Cause::SessionClosed, Cause::SessionExpired][cause];
            let transaction = Transaction { zxid: Zxid(zxid), time_ms, session: SessionId(session), cause, mutations };
            let behind = (1..=others).filter_map(|step| zxid.checked_add(step));
            let mut run = vec![transaction.clone()];
            run.extend(behind.map(|zxid| Transaction { zxid: Zxid(zxid), ..transaction.clone() }));
            prop_assert_eq!(decode(key(Zxid(zxid)).to_vec().into(), encode(&run).into()), Ok(run));
        }
    }
}
