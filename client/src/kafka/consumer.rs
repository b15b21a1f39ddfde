//! A consumer: records of partitions it was told to read, or that its group assigned to it.
//!
//! [`Consumer::poll`] does everything: joins when it must, looks up where to begin, keeps one
//! fetch per leading broker on its way, and hands out what came. Between polls the fetches on
//! their way bring the next records. Only heartbeats run beside it (`consumer/group.rs`).
//!
//! Offsets are committed for what `poll` has *returned before* its latest call, so a record is
//! committed only after the caller came back for more: at least once, never lost.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::client::Client;
use super::error::{KafkaError, is_stale_metadata};
use crate::clock;

pub mod assignor;
mod fetcher;
mod group;
mod offsets;
mod options;

use fetcher::{Fetched, Wanted};
pub use group::GroupOptions;
use group::Membership;
pub use options::{ConsumedRecord, ConsumerOptions, Position, TopicPartition};

/// A partition being read.
#[derive(Debug)]
struct Reading {
    /// Next offset to hand out; `None` until it is looked up.
    position: Option<i64>,
    /// Where to look it up.
    begin: Option<Position>,
    /// Behind what is buffered: where the next fetch begins.
    fetch_from: i64,
    /// Records fetched and not handed out.
    buffered: VecDeque<ConsumedRecord>,
    /// End of what is readable, as the last fetch said.
    high_watermark: Option<i64>,
    /// Not asked before this time, after an error.
    not_before: Option<Instant>,
}

/// Reads records.
pub struct Consumer {
    client: Client,
    options: ConsumerOptions,
    membership: Option<Membership>,
    reading: BTreeMap<TopicPartition, Reading>,
    /// Positions the last poll left behind: what may be committed.
    returned: BTreeMap<TopicPartition, i64>,
    committed: BTreeMap<TopicPartition, i64>,
    last_commit: Instant,
    /// Raised by every assignment, so that fetches begun before it are known as stale.
    epoch: u64,
    /// Brokers with a fetch on its way.
    fetching: HashSet<i32>,
    arrived: mpsc::UnboundedReceiver<(u64, Fetched)>,
    arrivals: mpsc::UnboundedSender<(u64, Fetched)>,
}

impl Consumer {
    /// A consumer on `client`'s cluster that reads nothing yet.
    pub fn new(client: Client, options: ConsumerOptions) -> Self {
        let (arrivals, arrived) = mpsc::unbounded_channel();
        Self {
            client,
            options,
            membership: None,
            reading: BTreeMap::new(),
            returned: BTreeMap::new(),
            committed: BTreeMap::new(),
            last_commit: clock::now(),
            epoch: 0,
            fetching: HashSet::new(),
            arrived,
            arrivals,
        }
    }

    /// Reads what the group assigns of `topics`.
    ///
    /// # Errors
    /// [`KafkaError::Invalid`] without [`ConsumerOptions::group`].
    pub fn subscribe(&mut self, topics: Vec<String>) -> Result<(), KafkaError> {
        let Some(group) = self.options.group.clone() else {
            return Err(KafkaError::Invalid("subscribing needs a group".into()));
        };
        self.membership = Some(Membership::new(self.client.clone(), group, topics));
        self.read(BTreeMap::new());
        Ok(())
    }

    /// Reads exactly these partitions, without a group's management.
    pub fn assign(&mut self, partitions: BTreeMap<TopicPartition, Position>) {
        self.membership = None;
        self.read(
            partitions
                .into_iter()
                .map(|(p, begin)| (p, Some(begin)))
                .collect(),
        );
    }

    fn read(&mut self, partitions: BTreeMap<TopicPartition, Option<Position>>) {
        self.epoch += 1;
        self.fetching.clear();
        self.returned.clear();
        self.committed.clear();
        self.reading = partitions
            .into_iter()
            .map(|(partition, begin)| {
                let reading = Reading {
                    position: None,
                    begin,
                    fetch_from: 0,
                    buffered: VecDeque::new(),
                    high_watermark: None,
                    not_before: None,
                };
                (partition, reading)
            })
            .collect();
    }

    /// The partitions being read.
    pub fn assignment(&self) -> impl Iterator<Item = &TopicPartition> {
        self.reading.keys()
    }

    /// The next offset of a partition that poll returns, once it is known.
    pub fn position(&self, partition: &TopicPartition) -> Option<i64> {
        self.reading.get(partition)?.position
    }

    /// The end of what was readable of a partition when it was last fetched.
    pub fn high_watermark(&self, partition: &TopicPartition) -> Option<i64> {
        self.reading.get(partition)?.high_watermark
    }

    /// The next records; none if none came within `timeout`.
    ///
    /// # Errors
    /// [`KafkaError`] that trying again would not mend.
    pub async fn poll(&mut self, timeout: Duration) -> Result<Vec<ConsumedRecord>, KafkaError> {
        self.poll_up_to(self.options.max_poll_records, timeout)
            .await
    }

    /// As [`Consumer::poll`], but at most `most` records; those left over come next time.
    ///
    /// # Errors
    /// As [`Consumer::poll`].
    pub async fn poll_up_to(
        &mut self,
        most: usize,
        timeout: Duration,
    ) -> Result<Vec<ConsumedRecord>, KafkaError> {
        let most = most.min(self.options.max_poll_records);
        let deadline = clock::now() + timeout;
        // The caller came back: it is done with what it was given.
        self.returned = self
            .reading
            .iter()
            .filter_map(|(p, r)| Some((p.clone(), r.position?)))
            .collect();
        self.auto_commit(false).await?;
        loop {
            self.rejoin().await?;
            self.find_positions().await?;
            let records = self.hand_out(most);
            self.fetch().await;
            if !records.is_empty() || clock::now() >= deadline {
                return Ok(records);
            }
            self.wait(deadline).await?;
        }
    }

    /// Until something arrived, the group rebalances, or `deadline`.
    async fn wait(&mut self, deadline: Instant) -> Result<(), KafkaError> {
        let left = deadline.saturating_duration_since(clock::now());
        let pause = left.min(Duration::from_millis(200)); // partitions that wait after an error
        let rejoin = async {
            match &self.membership {
                Some(membership) => membership.must_join_again().await,
                None => std::future::pending().await,
            }
        };
        let arrived = tokio::select! {
            fetched = self.arrived.recv() => fetched,
            () = rejoin => None,
            () = tokio::time::sleep(pause) => None,
        };
        if let Some((epoch, fetched)) = arrived {
            self.take_in(epoch, fetched)?;
        }
        while let Ok((epoch, fetched)) = self.arrived.try_recv() {
            self.take_in(epoch, fetched)?;
        }
        Ok(())
    }

    /// Joins the group if it must; commits first, while the partitions are still its own.
    async fn rejoin(&mut self) -> Result<(), KafkaError> {
        if !self.membership.as_ref().is_some_and(Membership::must_join) {
            return Ok(());
        }
        if let Err(error) = self.auto_commit(true).await {
            tracing::debug!(%error, "not committed before the rebalance");
        }
        let Some(membership) = &mut self.membership else {
            return Ok(());
        };
        let assignment = membership.join().await?;
        let partitions: Vec<TopicPartition> = assignment
            .into_iter()
            .flat_map(|(topic, numbers)| {
                numbers
                    .into_iter()
                    .map(move |n| TopicPartition::new(topic.clone(), n))
            })
            .collect();
        let committed = membership.committed(&partitions).await?;
        tracing::debug!(?partitions, "assigned");
        let begins = partitions.into_iter().map(|p| {
            let begin = committed.get(&p).map(|&offset| Position::Offset(offset));
            (p, begin)
        });
        let begins: BTreeMap<_, _> = begins.collect();
        self.read(begins);
        self.committed = committed;
        Ok(())
    }

    async fn find_positions(&mut self) -> Result<(), KafkaError> {
        let now = clock::now();
        let mut lookups = BTreeMap::new();
        for (partition, reading) in &mut self.reading {
            if reading.position.is_some() || reading.not_before.is_some_and(|at| now < at) {
                continue;
            }
            match reading.begin.or(self.options.reset) {
                Some(Position::Offset(offset)) => {
                    reading.position = Some(offset);
                    reading.fetch_from = offset;
                }
                Some(position) => {
                    lookups.insert(partition.clone(), position);
                }
                None => {
                    return Err(KafkaError::broker(
                        format!(
                            "finding where to begin in {}-{}",
                            partition.topic, partition.partition
                        ),
                        super::ErrorCode::OffsetOutOfRange,
                    ));
                }
            }
        }
        for (partition, found) in offsets::look_up(&self.client, &lookups).await {
            let Some(reading) = self.reading.get_mut(&partition) else {
                continue;
            };
            match found {
                Ok(offset) => {
                    reading.position = Some(offset);
                    reading.fetch_from = offset;
                }
                Err(error) if error.retriable() => {
                    self.client.forget_topic(&partition.topic);
                    reading.not_before = Some(now + self.client.options().retry_backoff);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Buffered records, up to the bound, partition by partition.
    fn hand_out(&mut self, most: usize) -> Vec<ConsumedRecord> {
        let mut records = Vec::new();
        for reading in self.reading.values_mut() {
            let room = most - records.len();
            let count = reading.buffered.len().min(room);
            records.extend(reading.buffered.drain(..count));
            if reading.buffered.is_empty() {
                if reading.position.is_some() {
                    reading.position = Some(reading.fetch_from);
                }
            } else {
                reading.position = reading.buffered.front().map(|r| r.offset);
            }
        }
        records
    }

    /// Sends a fetch to each leader that has none on its way, for partitions with nothing buffered.
    async fn fetch(&mut self) {
        let now = clock::now();
        let mut wanted: HashMap<i32, Vec<Wanted>> = HashMap::new();
        let mut unknown = HashSet::new();
        // A leader some of whose partitions are still being handed out must not hold the fetch of
        // the others back: it would hold back the next fetch of all.
        let mut busy = HashSet::new();
        for (partition, reading) in &mut self.reading {
            let waits = reading.not_before.is_some_and(|at| now < at);
            if !reading.buffered.is_empty() {
                busy.extend(
                    self.client
                        .cached_leader(&partition.topic, partition.partition),
                );
            }
            if reading.position.is_none() || waits || !reading.buffered.is_empty() {
                continue;
            }
            reading.not_before = None;
            match self
                .client
                .cached_leader(&partition.topic, partition.partition)
            {
                Some(leader) if self.fetching.contains(&leader) => {}
                Some(leader) => wanted.entry(leader).or_default().push(Wanted {
                    partition: partition.clone(),
                    from: reading.fetch_from,
                }),
                None => {
                    reading.not_before = Some(now + self.client.options().retry_backoff);
                    unknown.insert(partition.topic.clone());
                }
            }
        }
        for topic in unknown {
            self.client.forget_topic(&topic);
            if let Err(error) = self.client.topic(&topic, false).await {
                tracing::debug!(%topic, %error, "no metadata");
            }
        }
        for (leader, wanted) in wanted {
            self.fetching.insert(leader);
            let (client, mut options) = (self.client.clone(), self.options.clone());
            if busy.contains(&leader) {
                options.fetch_max_wait = Duration::ZERO;
            }
            let (arrivals, epoch) = (self.arrivals.clone(), self.epoch);
            tokio::spawn(async move {
                let fetched = fetcher::fetch(&client, leader, wanted, &options).await;
                let _ = arrivals.send((epoch, fetched));
            });
        }
    }

    /// Takes in what a fetch brought.
    fn take_in(&mut self, epoch: u64, fetched: Fetched) -> Result<(), KafkaError> {
        if epoch != self.epoch {
            return Ok(());
        }
        self.fetching.remove(&fetched.leader);
        let retry_at = clock::now() + self.client.options().retry_backoff;
        for (partition, from, outcome) in fetched.partitions {
            let Some(reading) = self.reading.get_mut(&partition) else {
                continue;
            };
            if reading.fetch_from != from {
                continue;
            }
            match outcome {
                Ok(data) => {
                    reading.high_watermark = Some(data.high_watermark);
                    reading.fetch_from = data.next;
                    if data.records.is_empty() && reading.buffered.is_empty() {
                        reading.position = Some(data.next);
                    }
                    reading.buffered.extend(data.records);
                }
                Err(error) if error.code() == Some(super::ErrorCode::OffsetOutOfRange) => {
                    tracing::info!(?partition, from, "offset not kept, beginning anew");
                    reading.position = None;
                    reading.begin = None;
                    if self.options.reset.is_none() {
                        return Err(error);
                    }
                }
                Err(error) if error.retriable() || error.code().is_some_and(is_stale_metadata) => {
                    tracing::debug!(?partition, %error, "fetch");
                    self.client.forget_topic(&partition.topic);
                    reading.not_before = Some(retry_at);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn auto_commit(&mut self, now: bool) -> Result<(), KafkaError> {
        let Some(interval) = self.options.auto_commit else {
            return Ok(());
        };
        if self.membership.is_none() || (!now && clock::now() - self.last_commit < interval) {
            return Ok(());
        }
        self.last_commit = clock::now();
        match self.commit_once().await {
            // The next poll joins again; what is not committed is read again by whoever has it.
            Err(error) if error.code().is_some_and(group_moved_on) => Ok(()),
            // The coordinator is away for a while: the next commit covers this one too.
            Err(error) if error.retriable() => {
                tracing::warn!(%error, "not committed yet");
                Ok(())
            }
            other => other,
        }
    }

    /// Commits the position of every partition: everything polls before the latest one returned.
    ///
    /// # Errors
    /// [`KafkaError`]; ILLEGAL_GENERATION and the like if the group went on without this member.
    pub async fn commit(&mut self) -> Result<(), KafkaError> {
        let Some(membership) = &self.membership else {
            return Err(KafkaError::Invalid("committing needs a group".into()));
        };
        let changed = self.changed();
        membership.commit(&changed).await?;
        self.committed.extend(changed);
        Ok(())
    }

    /// What was returned since the last commit.
    fn changed(&self) -> BTreeMap<TopicPartition, i64> {
        let returned = self.returned.iter();
        returned
            .filter(|(p, offset)| self.committed.get(*p) != Some(*offset))
            .map(|(p, &offset)| (p.clone(), offset))
            .collect()
    }

    async fn commit_once(&mut self) -> Result<(), KafkaError> {
        let Some(membership) = &self.membership else {
            return Ok(());
        };
        let changed = self.changed();
        membership.try_commit(&changed).await?;
        self.committed.extend(changed);
        Ok(())
    }

    /// Says that everything returned so far is done with, so that the next commit covers it.
    pub fn done_with_all(&mut self) {
        self.returned = self
            .reading
            .iter()
            .filter_map(|(p, r)| Some((p.clone(), r.position?)))
            .collect();
    }

    /// Commits if it does so by itself, and leaves the group.
    ///
    /// # Errors
    /// [`KafkaError`] of the commit or of leaving.
    pub async fn close(mut self) -> Result<(), KafkaError> {
        let commits = self.options.auto_commit.is_some() && self.membership.is_some();
        let committed = if commits { self.commit().await } else { Ok(()) };
        let left = match self.membership.take() {
            Some(membership) => membership.leave().await,
            None => Ok(()),
        };
        committed.and(left)
    }
}

fn group_moved_on(code: super::ErrorCode) -> bool {
    use super::ErrorCode;
    matches!(
        code,
        ErrorCode::RebalanceInProgress
            | ErrorCode::IllegalGeneration
            | ErrorCode::UnknownMemberId
            | ErrorCode::FencedInstanceId
    )
}
