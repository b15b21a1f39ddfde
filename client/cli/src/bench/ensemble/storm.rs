//! A storm of sessions: clients come, each creates an ephemeral node, and stay until all are there; then they go.

use std::time::{Duration, Instant};

use futures::future::{join_all, try_join_all};
use zweig_proto::zk::op::CreateRequest;
use zweig_proto::zk::op::create::flags;
use zweig_proto::zk::{Acl, ErrorCode, OpCode, xid};

use super::load::Failed;
use super::nodes::{create, delete, wrong};
use super::wire::Connection;
use crate::bench::recorder::Recorder;
use crate::clock;

/// The longest that ZooKeeper grants by default.
const SESSION_TIMEOUT: Duration = Duration::from_secs(40);
/// How often sessions that are there already are kept alive.
const KEPT_ALIVE: Duration = Duration::from_secs(8);

/// Opens `sessions` of them, `lanes` at a time; records how long each took until its ephemeral node was there.
///
/// # Errors
/// [`Failed`].
pub async fn run(
    servers: &[String],
    sessions: usize,
    lanes: usize,
    root: &str,
    patience: Duration,
) -> Result<(Recorder, Duration), Failed> {
    let mut first = Connection::open(&servers[0], SESSION_TIMEOUT, patience).await?;
    create(&mut first, root.to_owned(), Vec::new().into()).await?;
    let start = clock::now();
    let opened = try_join_all((0..lanes).map(|lane| async move {
        let mut recorder = Recorder::default();
        let mut held: Vec<Connection> = Vec::new();
        let mut kept = clock::now();
        for number in (lane..sessions).step_by(lanes) {
            let began = clock::now();
            let server = &servers[number % servers.len()];
            held.push(come(server, format!("{root}/s{number}"), patience).await?);
            recorder.record("session", clock::elapsed(start), clock::elapsed(began));
            if clock::elapsed(kept) > KEPT_ALIVE {
                kept = clock::now();
                keep_alive(&mut held).await?;
            }
        }
        Ok::<_, Failed>((recorder, held, clock::now()))
    }))
    .await?;
    let mut all = Recorder::default();
    let mut last: Instant = start;
    let mut held = Vec::with_capacity(sessions);
    for (recorder, connections, at) in opened {
        all.merge(&recorder);
        held.extend(connections);
        last = last.max(at);
    }
    join_all(held.iter_mut().map(go)).await;
    delete(&mut first, root.to_owned()).await?;
    Ok((all, last.saturating_duration_since(start)))
}

async fn come(server: &str, path: String, patience: Duration) -> Result<Connection, Failed> {
    let mut connection = Connection::open(server, SESSION_TIMEOUT, patience).await?;
    let (acl, flags) = (vec![Acl::open()], flags::EPHEMERAL);
    connection.queue(
        OpCode::Create,
        &CreateRequest {
            path,
            data: None,
            acl,
            flags,
        },
    );
    let reply = connection.next().await?;
    match reply.header.err {
        ErrorCode::OK => Ok(connection),
        _ => Err(wrong(&connection, "create", format!("{:?}", reply.header))),
    }
}

async fn keep_alive(held: &mut [Connection]) -> Result<(), Failed> {
    for connection in &mut *held {
        connection.queue_bare(OpCode::Ping, xid::PING);
        connection.push()?;
    }
    for connection in held {
        connection.next().await?;
    }
    Ok(())
}

/// Closes the session; whatever comes of it, the node goes with it.
async fn go(connection: &mut Connection) {
    connection.queue_bare(OpCode::CloseSession, 1);
    if connection.push().is_ok() {
        // Until the server has closed it, so that the nodes are gone when their parent goes.
        while connection.next().await.is_ok() {}
    }
}
