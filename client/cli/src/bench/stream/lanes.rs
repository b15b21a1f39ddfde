//! Lanes with their brokers: each is driven on a connection of its own, and where leaderships have moved, goes on with the new leaders.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{FutureExt, LocalBoxFuture, try_join_all};
use kafka_protocol::messages::InitProducerIdRequest;
use zweig_client::kafka::{Client, KafkaError};

use super::plan::Plan;
use super::reader::Reader;
use super::topics::by_leader;
use super::wire::{Connection, Failed};
use super::writer::Writer;
use crate::bench::recorder::Recorder;
use crate::bench::threads;
use crate::clock;
use crate::kafka::Brokers;

/// Before leaders are asked for again.
const PAUSE: Duration = Duration::from_millis(10);
/// For a connection, where there may be another leader to try.
const HURRY: Duration = Duration::from_secs(1);

/// One connection's part of a load.
#[derive(Debug)]
pub enum Lane {
    /// It sends.
    Write(Box<Writer>),
    /// It reads.
    Read(Reader),
}

/// A lane with the broker it begins with.
#[derive(Debug)]
pub struct Bound {
    /// `host:port`.
    pub server: Arc<str>,
    /// What is to be done there.
    pub lane: Lane,
}

impl Lane {
    fn plan(&self) -> &Arc<Plan> {
        match self {
            Self::Write(writer) => writer.plan(),
            Self::Read(reader) => reader.plan(),
        }
    }

    fn partitions(&self) -> Vec<usize> {
        match self {
            Self::Write(writer) => writer.partitions(),
            Self::Read(reader) => reader.partitions(),
        }
    }

    async fn drive(
        &mut self,
        server: &Arc<str>,
        client: &Client,
        recorder: &mut Recorder,
    ) -> Result<bool, Failed> {
        let plan = self.plan();
        let patience = match plan.reconnect {
            true => plan.patience.min(HURRY),
            false => plan.patience,
        };
        let mut connection = Connection::open(server, patience).await?;
        match self {
            Self::Read(reader) => reader.drive(&mut connection, recorder).await,
            Self::Write(writer) => {
                if writer.plan().idempotent {
                    writer.begin_as(Some(producer(client).await?));
                }
                writer.drive(&mut connection, recorder).await
            }
        }
    }

    fn lost(&mut self, recorder: &mut Recorder) {
        recorder.lost_connections += 1;
        if let Self::Write(writer) = self {
            writer.lost(recorder);
        }
    }

    fn split(self, sets: &BTreeMap<Arc<str>, Vec<usize>>) -> Vec<Bound> {
        let of: Vec<&Vec<usize>> = sets.values().collect();
        let parts: Vec<Self> = match self {
            Self::Write(writer) => {
                let parts = writer.split(&of).into_iter();
                parts.map(|part| Self::Write(Box::new(part))).collect()
            }
            Self::Read(reader) => reader.split(&of).into_iter().map(Self::Read).collect(),
        };
        let bound = sets.keys().cloned().zip(parts);
        bound.map(|(server, lane)| Bound { server, lane }).collect()
    }
}

/// Drives lanes on so many threads until all have ended.
///
/// # Errors
/// [`Failed`] of any lane.
pub async fn run(
    threads: usize,
    lanes: Vec<Bound>,
    plan: &Plan,
    brokers: &Brokers,
) -> anyhow::Result<Recorder> {
    let (brokers, patience) = (brokers.clone(), plan.patience);
    threads::run(threads, lanes, &plan.progress, move |share| async move {
        // One of the thread's own, whose connections live in its runtime.
        let client = brokers.client(patience);
        let done = try_join_all(share.into_iter().map(|bound| one(bound, &client))).await?;
        let mut all = Recorder::default();
        done.iter().for_each(|recorder| all.merge(recorder));
        Ok(all)
    })
    .await
}

/// One lane, or its parts if its partitions have come to several leaders.
fn one(bound: Bound, client: &Client) -> LocalBoxFuture<'_, Result<Recorder, Failed>> {
    async move {
        let mut recorder = Recorder::default();
        let Bound {
            mut server,
            mut lane,
        } = bound;
        loop {
            match lane.drive(&server, client, &mut recorder).await {
                Ok(true) => return Ok(recorder),
                Ok(false) => {}
                Err(Failed::Lost { .. }) if lane.plan().reconnect => lane.lost(&mut recorder),
                Err(failed) => return Err(failed),
            }
            let sets = leaders(&lane, client, &server).await?;
            let mut parts = lane.split(&sets);
            if parts.len() != 1 {
                let done = try_join_all(parts.into_iter().map(|part| one(part, client))).await?;
                done.iter().for_each(|part| recorder.merge(part));
                return Ok(recorder);
            }
            let last = parts.swap_remove(0);
            (server, lane) = (last.server, last.lane);
        }
    }
    .boxed_local()
}

/// Waits until all partitions of a lane have a leader.
async fn leaders(
    lane: &Lane,
    client: &Client,
    server: &Arc<str>,
) -> Result<BTreeMap<Arc<str>, Vec<usize>>, Failed> {
    let (plan, partitions) = (lane.plan(), lane.partitions());
    let began = clock::now();
    loop {
        tokio::time::sleep(PAUSE).await;
        match plan.field.leaders(client, &partitions).await {
            Ok(Some(leaders)) => return Ok(by_leader(&leaders, partitions)),
            Ok(None) | Err(_) if clock::elapsed(began) < plan.patience => {}
            Ok(None) => return Err(refused(server, "a partition has no leader".to_owned())),
            Err(error) => return Err(refused(server, error.to_string())),
        }
    }
}

fn refused(server: &Arc<str>, why: String) -> Failed {
    Failed::Unready {
        server: Arc::clone(server),
        why,
    }
}

/// A producer id of a lane's own.
async fn producer(client: &Client) -> Result<(i64, i16), Failed> {
    let asked = client
        .retry(|| async {
            let connection = client.any().await?;
            let answer = connection
                .call(|version| {
                    let mut request = InitProducerIdRequest::default();
                    request.transactional_id = None;
                    request.transaction_timeout_ms = i32::MAX;
                    if version >= 3 {
                        request.producer_id = (-1).into();
                        request.producer_epoch = -1;
                    }
                    request
                })
                .await?;
            zweig_client::kafka::error::check(|| "InitProducerId".into(), answer.error_code)?;
            Ok::<_, KafkaError>((answer.producer_id.0, answer.producer_epoch))
        })
        .await;
    asked.map_err(|error| refused(&"a broker".into(), error.to_string()))
}
