//! The nodes that a load needs: made before it, many at a time over several connections, and removed behind it.

use std::collections::VecDeque;
use std::ops::Range;

use futures::future::try_join_all;
use zweig_proto::zk::op::create::flags;
use zweig_proto::zk::op::{CreateRequest, DeleteRequest, GetChildrenRequest, GetChildrenResponse};
use zweig_proto::zk::{Acl, ErrorCode, Jute, OpCode};

use super::content;
use super::load::{Failed, Plan};
use super::mix::Kind;
use super::wire::Connection;

/// Requests under way on each connection; more bring nothing.
const DEPTH: usize = 256;

/// Creates the root, the parent of what connections create themselves, and all nodes.
///
/// # Errors
/// [`Failed`], also if the root is there already: it is somebody else's, then.
pub async fn make(plan: &Plan, connections: &mut [Connection]) -> Result<(), Failed> {
    for path in [plan.root.clone(), own_root(plan)] {
        create(&mut connections[0], path, Vec::new().into()).await?;
    }
    try_join_all(shares(plan, connections).map(|(connection, range)| {
        each(connection, range, Kind::Create, |connection, index| {
            let request = CreateRequest {
                path: plan.path(index),
                data: Some(content::write(index, 0, plan.value_size)),
                acl: vec![Acl::open()],
                flags: flags::PERSISTENT,
            };
            connection.queue(OpCode::Create, &request)
        })
    }))
    .await?;
    Ok(())
}

/// Removes them again, with whatever a broken run left.
///
/// # Errors
/// [`Failed`]; nodes that are gone already are none.
pub async fn remove(plan: &Plan, connections: &mut [Connection]) -> Result<(), Failed> {
    let own = own_root(plan);
    for left in children(&mut connections[0], &own).await? {
        delete(&mut connections[0], format!("{own}/{left}")).await?;
    }
    try_join_all(shares(plan, connections).map(|(connection, range)| {
        each(connection, range, Kind::Delete, |connection, index| {
            connection.queue(
                OpCode::Delete,
                &DeleteRequest {
                    path: plan.path(index),
                    version: -1,
                },
            )
        })
    }))
    .await?;
    for path in [own, plan.root.clone()] {
        delete(&mut connections[0], path).await?;
    }
    Ok(())
}

/// Each connection with the numbers of the nodes that it makes or removes.
fn shares<'a>(
    plan: &Plan,
    connections: &'a mut [Connection],
) -> impl Iterator<Item = (&'a mut Connection, Range<u32>)> + use<'a> {
    let znodes = plan.znodes;
    let count = u32::try_from(connections.len()).unwrap_or(u32::MAX);
    let share = znodes.div_ceil(count).max(1);
    let ranges = (0..znodes)
        .step_by(share as usize)
        .map(move |from| from..(from + share).min(znodes));
    connections.iter_mut().zip(ranges)
}

fn own_root(plan: &Plan) -> String {
    format!("{}-own", plan.root)
}

/// Sends one request per number, [`DEPTH`] at a time.
async fn each(
    connection: &mut Connection,
    numbers: Range<u32>,
    kind: Kind,
    queue: impl Fn(&mut Connection, u32) -> i32,
) -> Result<(), Failed> {
    let mut left = numbers;
    let mut sent = VecDeque::with_capacity(DEPTH);
    loop {
        while sent.len() < DEPTH
            && let Some(number) = left.next()
        {
            sent.push_back(queue(connection, number));
        }
        let Some(xid) = sent.pop_front() else {
            return Ok(());
        };
        let reply = connection.next().await?;
        let done = match reply.header.err {
            ErrorCode::OK => true,
            // A broken run may have left only some.
            ErrorCode::NO_NODE => kind == Kind::Delete,
            _ => false,
        };
        if reply.header.xid != xid || !done {
            let why = format!("{:?}", reply.header);
            return Err(wrong(connection, kind.name(), why));
        }
    }
}

/// Creates one node.
///
/// # Errors
/// [`Failed`].
pub async fn create(
    connection: &mut Connection,
    path: String,
    data: bytes::Bytes,
) -> Result<(), Failed> {
    let why = path.clone();
    let (acl, flags) = (vec![Acl::open()], flags::PERSISTENT);
    connection.queue(
        OpCode::Create,
        &CreateRequest {
            path,
            data: Some(data),
            acl,
            flags,
        },
    );
    let reply = connection.next().await?;
    match reply.header.err {
        ErrorCode::OK => Ok(()),
        err => Err(wrong(
            connection,
            "create",
            format!("{why}: {}", err.name().unwrap_or("an error")),
        )),
    }
}

/// Deletes one node, or finds it gone.
///
/// # Errors
/// [`Failed`].
pub async fn delete(connection: &mut Connection, path: String) -> Result<(), Failed> {
    let why = path.clone();
    connection.queue(OpCode::Delete, &DeleteRequest { path, version: -1 });
    let reply = connection.next().await?;
    match reply.header.err {
        ErrorCode::OK | ErrorCode::NO_NODE => Ok(()),
        err => Err(wrong(
            connection,
            "delete",
            format!("{why}: {}", err.name().unwrap_or("an error")),
        )),
    }
}

async fn children(connection: &mut Connection, path: &str) -> Result<Vec<String>, Failed> {
    connection.queue(
        OpCode::GetChildren,
        &GetChildrenRequest {
            path: path.to_owned(),
            watch: false,
        },
    );
    let mut reply = connection.next().await?;
    match reply.header.err {
        ErrorCode::OK => GetChildrenResponse::read(&mut reply.body)
            .map(|answer| answer.children)
            .map_err(|error| connection.malformed(&error).into()),
        _ => Ok(Vec::new()),
    }
}

/// A wrong answer of this connection's server.
pub fn wrong(connection: &Connection, kind: &'static str, why: String) -> Failed {
    Failed::Wrong {
        server: connection.server().to_owned(),
        kind,
        why,
    }
}
