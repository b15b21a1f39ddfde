//! Watch fan-out: many sessions watch one node, and each change has to reach them all.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::future::try_join_all;
use zweig_proto::zk::op::{GetDataRequest, SetDataRequest};
use zweig_proto::zk::watcher_event::kind;
use zweig_proto::zk::{ErrorCode, Jute, OpCode, WatcherEvent, xid};

use super::load::Failed;
use super::nodes::{create, delete, wrong};
use super::wire::Connection;
use crate::bench::recorder::Recorder;
use crate::clock;

/// Tells every watcher of each of many changes; records, from the moment a change is sent, when the first was told, when each was,
/// when the last was, and when the writer was answered.
///
/// # Errors
/// [`Failed`], also if a watcher is not told, or told of something else.
pub async fn run(
    writer: &mut Connection,
    watchers: &mut [Connection],
    path: &str,
    length: Duration,
) -> anyhow::Result<(Recorder, Duration)> {
    create(writer, path.to_owned(), vec![0; 100].into()).await?;
    try_join_all(watchers.iter_mut().map(Connection::catch_up)).await?;
    let mut recorder = Recorder::default();
    let start = clock::now();
    while clock::elapsed(start) < length {
        let round = round(writer, watchers, path, start, &mut recorder);
        tokio::time::timeout(Duration::from_secs(60), round)
            .await
            .context("a watcher was not told within a minute")??;
    }
    let measured = clock::elapsed(start);
    delete(writer, path.to_owned()).await?;
    Ok((recorder, measured))
}

async fn round(
    writer: &mut Connection,
    watchers: &mut [Connection],
    path: &str,
    start: Instant,
    recorder: &mut Recorder,
) -> Result<(), Failed> {
    try_join_all(watchers.iter_mut().map(|watcher| watch(watcher, path))).await?;
    let request = SetDataRequest {
        path: path.to_owned(),
        data: Some(vec![0; 100].into()),
        version: -1,
    };
    let sent = clock::now();
    writer.queue(OpCode::SetData, &request);
    writer.push()?;
    let (answered, told) = futures::future::try_join(
        async {
            let reply = writer.next().await?;
            match reply.header.err {
                ErrorCode::OK => Ok(clock::now()),
                err => Err(wrong(writer, "write", format!("{err:?}"))),
            }
        },
        try_join_all(watchers.iter_mut().map(|watcher| told(watcher, path))),
    )
    .await?;
    let mut record = |kind, at: Instant| {
        recorder.record(
            kind,
            at.saturating_duration_since(start),
            at.saturating_duration_since(sent),
        );
    };
    record("write answered", answered);
    for at in &told {
        record("each told", *at);
    }
    if let (Some(first), Some(last)) = (told.iter().min(), told.iter().max()) {
        record("first told", *first);
        record("last told", *last);
    }
    Ok(())
}

async fn watch(watcher: &mut Connection, path: &str) -> Result<(), Failed> {
    watcher.queue(
        OpCode::GetData,
        &GetDataRequest {
            path: path.to_owned(),
            watch: true,
        },
    );
    let reply = watcher.next().await?;
    match reply.header.err {
        ErrorCode::OK if reply.header.xid != xid::EVENT => Ok(()),
        _ => Err(wrong(
            watcher,
            "read with a watch",
            format!("{:?}", reply.header),
        )),
    }
}

async fn told(watcher: &mut Connection, path: &str) -> Result<Instant, Failed> {
    let mut reply = watcher.next().await?;
    let at = clock::now();
    if reply.header.xid != xid::EVENT {
        return Err(wrong(
            watcher,
            "watch",
            format!("{:?} where an event is due", reply.header),
        ));
    }
    let event = WatcherEvent::read(&mut reply.body).map_err(|error| watcher.malformed(&error))?;
    if event.path != path || event.kind != kind::NODE_DATA_CHANGED {
        return Err(wrong(watcher, "watch", format!("{event:?}")));
    }
    Ok(at)
}
