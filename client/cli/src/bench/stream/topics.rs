//! The topics that a load needs: made before it, ready to be written and read, and deleted behind it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use bytes::BytesMut;
use futures::stream::{self, StreamExt, TryStreamExt};
use zweig_client::kafka::admin::NewTopic;
use zweig_client::kafka::raw::{self, FetchLimits, FetchSession};
use zweig_client::kafka::{Admin, Client, ErrorCode, KafkaError};

use super::CLIENT_ID;
use super::wire::{Connection, Failed, Misread};
use crate::clock;
use crate::kafka::failed;

/// Topics that are made or deleted at a time.
const AT_A_TIME: usize = 8;
/// Before a cluster is asked again.
const PAUSE: Duration = Duration::from_millis(10);
/// A look, without waiting for records.
const LOOK: FetchLimits = FetchLimits {
    max_wait_ms: 0,
    min_bytes: 0,
    max_bytes: 1 << 20,
    partition_max_bytes: 1 << 10,
};

/// What a topic of a load is like.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Each begins with it.
    pub prefix: String,
    /// How many topics.
    pub topics: u32,
    /// Partitions of each.
    pub partitions: i32,
    /// Replicas; the cluster's default if not given.
    pub replication_factor: Option<i16>,
    /// Settings.
    pub configs: BTreeMap<String, String>,
}

impl Wanted {
    /// The name of a topic.
    fn name(&self, number: u32) -> String {
        format!("{}-{number}", self.prefix)
    }
}

/// A partition of a load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its number there.
    pub index: i32,
}

impl std::fmt::Display for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.index)
    }
}

/// All partitions of a load, in the order of the ledger.
#[derive(Debug, Clone)]
pub struct Field {
    /// Those of one topic one behind the other.
    pub partitions: Vec<Partition>,
    /// Topics.
    pub topics: Vec<String>,
}

impl Field {
    /// Makes the topics.
    ///
    /// # Errors
    /// If the cluster does not make one.
    pub async fn create(client: &Client, wanted: &Wanted) -> anyhow::Result<Self> {
        let admin = Admin::new(client.clone());
        let topics: Vec<String> = (0..wanted.topics).map(|nth| wanted.name(nth)).collect();
        stream::iter(&topics)
            .map(|name| create(&admin, wanted, name))
            .buffer_unordered(AT_A_TIME)
            .try_collect::<Vec<()>>()
            .await?;
        let mut partitions = Vec::new();
        for name in &topics {
            let topic: Arc<str> = name.as_str().into();
            partitions.extend((0..wanted.partitions).map(|index| Partition {
                topic: Arc::clone(&topic),
                index,
            }));
        }
        Ok(Self { partitions, topics })
    }

    /// Deletes the topics. A load may have kept the disks so busy that the cluster needs more than one try.
    ///
    /// # Errors
    /// If the cluster does not delete one.
    pub async fn delete(&self, client: &Client) -> anyhow::Result<()> {
        let admin = Admin::new(client.clone());
        let delete = async |name: &String| match admin.delete_topic(name).await {
            Err(gone) if gone.code() == Some(ErrorCode::UnknownTopicOrPartition) => Ok(()),
            done => done,
        };
        let delete = &delete;
        stream::iter(&self.topics)
            .map(|name| async move {
                let deleted = client.retry(|| delete(name)).await;
                deleted.map_err(|error| failed(&error))
            })
            .buffer_unordered(AT_A_TIME)
            .try_collect::<Vec<()>>()
            .await?;
        Ok(())
    }

    /// The address of each partition's leader, if all of these have one now.
    ///
    /// # Errors
    /// [`KafkaError`] if no broker tells.
    pub async fn leaders(
        &self,
        client: &Client,
        of: &[usize],
    ) -> Result<Option<Vec<Arc<str>>>, KafkaError> {
        let mut names: Vec<String> = of
            .iter()
            .map(|partition| self.partitions[*partition].topic.to_string())
            .collect();
        names.dedup();
        let metadata = client.metadata(Some(&names), false).await?;
        let addresses: BTreeMap<i32, Arc<str>> = metadata
            .brokers
            .iter()
            .map(|(id, broker)| (*id, broker.address().into()))
            .collect();
        let leader = |partition: &usize| {
            let partition = &self.partitions[*partition];
            let topic = metadata.topics.get(&*partition.topic)?.as_ref().ok()?;
            let leader = topic.partitions.get(&partition.index)?.leader?;
            addresses.get(&leader).cloned()
        };
        Ok(of.iter().map(leader).collect())
    }

    /// Waits until each partition has a leader that knows of it; their addresses.
    ///
    /// # Errors
    /// If that takes longer than `patience`.
    pub async fn ready(
        &self,
        client: &Client,
        patience: Duration,
    ) -> anyhow::Result<Vec<Arc<str>>> {
        let all: Vec<usize> = (0..self.partitions.len()).collect();
        let began = clock::now();
        loop {
            let why = match self.leaders(client, &all).await {
                Ok(Some(leaders)) => match self.look(&leaders, patience).await {
                    Ok(()) => return Ok(leaders),
                    Err(Failed::Wrong { .. }) => bail!("the brokers answer wrongly"),
                    Err(failed) => failed.to_string(),
                },
                Ok(None) => "a partition has no leader".to_owned(),
                Err(error) => error.to_string(),
            };
            if clock::elapsed(began) > patience {
                return Err(anyhow!("{why}")).context("the topics are not ready");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Asks each leader for each of its partitions.
    async fn look(&self, leaders: &[Arc<str>], patience: Duration) -> Result<(), Failed> {
        for (leader, partitions) in by_leader(leaders, 0..leaders.len()) {
            let mut connection = Connection::open(&leader, patience).await?;
            let (correlation, out): (i32, &mut BytesMut) = connection.queue();
            let asked = partitions.iter().map(|partition| {
                let partition = &self.partitions[*partition];
                (&*partition.topic, partition.index, 0)
            });
            raw::put_fetch(
                out,
                correlation,
                CLIENT_ID,
                &LOOK,
                FetchSession::NONE,
                asked,
            );
            let server = Arc::clone(connection.server());
            let answer = connection.wait(correlation).await?;
            raw::fetched(answer, |fetched| {
                match ErrorCode::try_from_code(fetched.error) {
                    None => Ok(()),
                    Some(code) => {
                        let of = format!("{}-{}", fetched.topic, fetched.partition);
                        Err(Misread::Refused(of, code))
                    }
                }
            })
            .map_err(|misread| misread.by(&server, "fetch"))?;
        }
        Ok(())
    }
}

async fn create(admin: &Admin, wanted: &Wanted, name: &str) -> anyhow::Result<()> {
    let topic = NewTopic {
        name: name.to_owned(),
        partitions: Some(wanted.partitions),
        replication_factor: wanted.replication_factor,
        configs: wanted.configs.clone(),
        ..NewTopic::default()
    };
    admin
        .create_topic(&topic)
        .await
        .map_err(|error| failed(&error))
}

/// Partitions by their leader; `leaders` has one of each.
pub fn by_leader(
    leaders: &[Arc<str>],
    partitions: impl IntoIterator<Item = usize>,
) -> BTreeMap<Arc<str>, Vec<usize>> {
    let mut by_leader: BTreeMap<Arc<str>, Vec<usize>> = BTreeMap::new();
    for (partition, leader) in partitions.into_iter().zip(leaders) {
        by_leader
            .entry(Arc::clone(leader))
            .or_default()
            .push(partition);
    }
    by_leader
}
