//! Shards over a log in memory, whose commits the test lets through one by one, and under a clock that
//! stands still unless the test moves it.

use std::sync::atomic::AtomicI64;
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::*;
use crate::group::offsets::StoredOffset;
use crate::group::{
    CommitRequest, GroupState, JoinRequest, LogRecord, OffsetToCommit, PartitionName, SyncRequest,
    record,
};
use zweig_client::kafka::records::{BatchSpec, Record, encode_batch};

/// What becomes of a commit, told by the test.
type Verdict = oneshot::Sender<Result<(), AppendFailure>>;

struct Memory {
    batches: Mutex<Vec<Bytes>>,
    /// What was read counts as committed below this offset.
    high_watermark: watch::Sender<i64>,
    /// Commits not let through yet; `None` lets everything through at once.
    held: Mutex<Option<Vec<Verdict>>>,
}

impl Backing for Memory {
    fn partitions(&self) -> Option<i32> {
        Some(1)
    }

    fn is_gone(&self, topic: &str) -> bool {
        topic == "gone"
    }

    fn append(
        &self,
        _partition: i32,
        _leader_epoch: i32,
        batch: Bytes,
    ) -> BoxFuture<'static, Result<(), AppendFailure>> {
        let mut batches = self.batches.lock();
        // Offsets as a leader assigns them: here one batch, one offset, its records share it.
        let mut bytes = batch.to_vec();
        bytes[..8].copy_from_slice(&next_offset(&batches).to_be_bytes());
        batches.push(bytes.into());
        match &mut *self.held.lock() {
            None => futures::future::ready(Ok(())).boxed(),
            Some(held) => {
                let (sender, receiver) = oneshot::channel();
                held.push(sender);
                receiver
                    .map(|told| told.unwrap_or(Err(AppendFailure::Unavailable)))
                    .boxed()
            }
        }
    }

    fn bounds(&self, _partition: i32, _leader_epoch: i32) -> Result<(i64, i64), LoadError> {
        Ok((0, next_offset(&self.batches.lock())))
    }

    fn committed(
        &self,
        _partition: i32,
        _leader_epoch: i32,
        offset: i64,
    ) -> BoxFuture<'static, Result<(), LoadError>> {
        let mut high_watermark = self.high_watermark.subscribe();
        let reached = async move {
            let reached = high_watermark.wait_for(|at| *at >= offset).await;
            reached.map(|_| ()).map_err(|_| LoadError::NotLeader)
        };
        reached.boxed()
    }

    fn read(&self, _partition: i32, offset: i64) -> Result<Bytes, LoadError> {
        let batches = self.batches.lock();
        let found = batches.iter().find(|b| last_offset(b) >= offset);
        // A batch and a piece of the next, as a log gives byte ranges.
        let mut bytes = found.cloned().unwrap_or_default().to_vec();
        bytes.extend_from_slice(&[0; 7]);
        Ok(bytes.into())
    }
}

fn last_offset(batch: &Bytes) -> i64 {
    let base = i64::from_be_bytes(batch[..8].try_into().expect("8 bytes"));
    base + i64::from(i32::from_be_bytes(
        batch[23..27].try_into().expect("4 bytes"),
    ))
}

fn next_offset(batches: &[Bytes]) -> i64 {
    batches.last().map_or(0, |b| last_offset(b) + 1)
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            batches: Mutex::default(),
            high_watermark: watch::Sender::new(i64::MAX),
            held: Mutex::default(),
        }
    }
}

impl Memory {
    fn hold(&self) {
        *self.held.lock() = Some(Vec::new());
    }

    fn let_through(&self, result: Result<(), AppendFailure>) {
        let sender = self.held.lock().as_mut().expect("held").remove(0);
        let _ = sender.send(result);
    }

    fn held(&self) -> usize {
        self.held.lock().as_ref().map_or(0, Vec::len)
    }
}

struct Fixture {
    memory: Arc<Memory>,
    now_ms: Arc<AtomicI64>,
    shards: Shards,
    led: watch::Sender<Led>,
    shutdown: CancellationToken,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn start() -> Fixture {
    let memory = Arc::new(Memory::default());
    let config = GroupConfig {
        initial_rebalance_delay_ms: 0,
        min_session_timeout_ms: 50,
        ..GroupConfig::default()
    };
    let now_ms = Arc::new(AtomicI64::new(0));
    let clock = now_ms.clone();
    let check = Duration::from_secs(600);
    let shards = Shards::with_clock(config, check, memory.clone(), move || Now {
        mono_ms: clock.load(Ordering::SeqCst),
        wall_ms: 1_000_000 + clock.load(Ordering::SeqCst),
    });
    let (led, watched) = watch::channel(Led::new());
    let shutdown = CancellationToken::new();
    tokio::spawn(shards.clone().run(watched, shutdown.clone()));
    Fixture {
        memory,
        now_ms,
        shards,
        led,
        shutdown,
    }
}

/// Waits until something holds.
async fn until(what: &str, holds: impl Fn() -> bool) {
    const DEADLINE: Duration = Duration::from_secs(60);
    let search = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let found = tokio::time::timeout(DEADLINE, search).await;
    assert!(found.is_ok(), "not within {DEADLINE:?}: {what}");
}

impl Fixture {
    async fn lead(&self, epoch: i32) {
        self.led.send_replace(Led::from([(0, epoch)]));
        let served_in = || {
            let led = self.shards.shared.led.read();
            led.get(&0).map(|shard| shard.leader_epoch())
        };
        // The shard of a former epoch serves until it hears of its end.
        until("loaded", || {
            served_in() == Some(epoch) && self.shards.describe("any").is_ok()
        })
        .await;
    }

    async fn commit(&self, offset: i64) -> Result<(), GroupError> {
        let answers = self.shards.commit("g", commit(offset)).await;
        answers[0].result
    }

    fn committed(&self) -> Option<i64> {
        let found = self.shards.offsets("g", &[partition()]).expect("served");
        found[0].as_ref().map(|o| o.offset)
    }
}

fn partition() -> PartitionName {
    PartitionName {
        topic: "t".into(),
        partition: 0,
    }
}

fn commit(offset: i64) -> CommitRequest {
    CommitRequest {
        member_id: String::new(),
        instance_id: None,
        generation: -1,
        offsets: vec![OffsetToCommit {
            partition: partition(),
            stored: StoredOffset {
                offset,
                leader_epoch: -1,
                metadata: String::new(),
                commit_ms: 0,
                expire_ms: None,
            },
        }],
    }
}

fn join(member: &str) -> JoinRequest {
    JoinRequest {
        member_id: member.to_owned(),
        instance_id: None,
        client_id: "c".into(),
        client_host: "/h".into(),
        session_timeout_ms: 100,
        rebalance_timeout_ms: 10_000,
        protocol_type: "consumer".into(),
        protocols: vec![("range".into(), Bytes::new())],
        requires_known_id: false,
        can_skip_assignment: false,
        fresh_id: "c-1".into(),
    }
}

#[tokio::test]
async fn nothing_is_served_without_leadership() {
    let fixture = start();
    assert_eq!(fixture.commit(1).await, Err(GroupError::NotCoordinator));
    fixture.lead(1).await;
    assert_eq!(fixture.commit(1).await, Ok(()));
    fixture.led.send_replace(Led::new());
    until("given up", || fixture.shards.describe("g").is_err()).await;
    assert_eq!(fixture.commit(2).await, Err(GroupError::NotCoordinator));
}

#[tokio::test]
async fn what_was_read_is_served_once_it_is_committed_and_never_by_who_no_longer_leads() {
    let fixture = start();
    fixture.lead(1).await;
    assert_eq!(fixture.commit(1).await, Ok(()));
    assert_eq!(fixture.commit(2).await, Ok(()));
    // Another leader has both, the replicas in sync the first only.
    fixture.memory.high_watermark.send_replace(1);
    fixture.led.send_replace(Led::from([(0, 2)]));
    until("waiting", || {
        fixture.memory.high_watermark.receiver_count() == 1
    })
    .await;
    assert_eq!(fixture.commit(3).await, Err(GroupError::LoadInProgress));
    let asked = fixture.shards.offsets("g", &[partition()]);
    assert_eq!(asked.map(|_| ()), Err(GroupError::LoadInProgress));
    // It goes before they have: nobody hears of the second.
    fixture.led.send_replace(Led::from([(0, 3)]));
    until("waiting again", || {
        fixture.memory.high_watermark.receiver_count() == 2
    })
    .await;
    fixture.memory.high_watermark.send_replace(2);
    fixture.lead(3).await;
    assert_eq!(fixture.committed(), Some(2));
}

#[tokio::test]
async fn a_commit_holds_once_its_record_is_committed_and_in_the_order_of_the_log() {
    let fixture = start();
    fixture.lead(1).await;
    fixture.memory.hold();
    let (first, second) = (fixture.shards.clone(), fixture.shards.clone());
    let first = tokio::spawn(async move { first.commit("g", commit(1)).await[0].result });
    until("first append", || fixture.memory.held() == 1).await;
    let second = tokio::spawn(async move { second.commit("g", commit(2)).await[0].result });
    until("second append", || fixture.memory.held() == 2).await;
    assert_eq!(fixture.committed(), None);
    // The second is committed first, but must not hold before the first does.
    let later = fixture.memory.held.lock().as_mut().expect("held").remove(1);
    let _ = later.send(Ok(()));
    fixture.memory.let_through(Ok(()));
    assert_eq!(first.await.expect("task"), Ok(()));
    assert_eq!(second.await.expect("task"), Ok(()));
    assert_eq!(fixture.committed(), Some(2));
}

#[tokio::test]
async fn a_failed_append_changes_nothing() {
    let fixture = start();
    fixture.lead(1).await;
    assert_eq!(fixture.commit(1).await, Ok(()));
    fixture.memory.hold();
    let shards = fixture.shards.clone();
    let waiting = tokio::spawn(async move { shards.commit("g", commit(2)).await[0].result });
    until("append", || fixture.memory.held() == 1).await;
    fixture.memory.let_through(Err(AppendFailure::Unavailable));
    assert_eq!(waiting.await.expect("task"), Err(GroupError::NotAvailable));
    assert_eq!(fixture.committed(), Some(1));
}

#[tokio::test]
async fn groups_and_offsets_survive_a_change_of_leader_and_silent_members_go() {
    let fixture = start();
    fixture.lead(1).await;
    let joined = fixture.shards.join("g", join("")).await;
    assert_eq!((joined.error, joined.generation), (None, 1));
    let sync = SyncRequest {
        member_id: "c-1".into(),
        instance_id: None,
        generation: 1,
        protocol_type: None,
        protocol: None,
        assignments: vec![("c-1".into(), Bytes::from_static(b"all"))],
    };
    let synced = fixture.shards.sync("g", sync).await.expect("synced");
    assert_eq!(synced.assignment, Bytes::from_static(b"all"));
    let mut mine = commit(5);
    mine.member_id = "c-1".into();
    mine.generation = 1;
    assert_eq!(fixture.shards.commit("g", mine).await[0].result, Ok(()));

    // Another leader epoch: everything is read again.
    fixture.lead(2).await;
    let state = || fixture.shards.describe("g").map(|d| d.state);
    assert_eq!(state(), Ok(GroupState::Stable));
    assert_eq!(fixture.committed(), Some(5));
    assert_eq!(fixture.shards.heartbeat("g", "c-1", None, 1), Ok(()));
    // Its session ends by silence, and the timer finds out by itself.
    fixture.now_ms.fetch_add(101, Ordering::SeqCst);
    until("expired", || state() == Ok(GroupState::Empty)).await;
    assert_eq!(fixture.shards.delete("g").await, Ok(()));
    assert_eq!(fixture.shards.list().expect("served"), Vec::new());
}

#[tokio::test]
async fn offsets_of_topics_that_went_while_nobody_served_are_dropped_at_loading() {
    let fixture = start();
    fixture.lead(1).await;
    let of = |topic: &str| PartitionName {
        topic: topic.to_owned(),
        partition: 0,
    };
    let mut both = commit(5);
    both.offsets.extend(commit(7).offsets);
    both.offsets[1].partition = of("gone");
    fixture.shards.commit("g", both).await;
    fixture.lead(2).await;
    let committed =
        |topic: &str| fixture.shards.offsets("g", &[of(topic)]).expect("served")[0].is_some();
    until("dropped", || !committed("gone")).await;
    assert!(committed("t"));
    fixture
        .shards
        .forget_topics(&BTreeSet::from(["t".to_owned()]));
    assert!(!committed("t"));
    until("the tombstones are in the log", || {
        fixture.memory.batches.lock().len() >= 3
    })
    .await;
    fixture.lead(3).await;
    assert!(!committed("t") && !committed("gone"));
}

/// A batch of producer `producer_id` with these attributes.
fn batch_of(producer_id: i64, attributes: i16, key: Bytes, value: Option<Bytes>) -> Bytes {
    let spec = BatchSpec {
        producer_id,
        producer_epoch: 0,
        ..BatchSpec::default()
    };
    let record = Record {
        key: Some(key),
        value,
        headers: Vec::new(),
        timestamp_ms: 1,
    };
    let mut batch = encode_batch(&spec, &[record]).expect("a batch").to_vec();
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch.into()
}

#[tokio::test]
async fn offsets_of_transactions_count_once_they_are_committed() {
    const TRANSACTIONAL: i16 = 0x10;
    const CONTROL: i16 = 0x30;
    let fixture = start();
    let topics = ["aborted", "committed", "open"];
    let named = |topic: &str| PartitionName {
        topic: topic.to_owned(),
        partition: 0,
    };
    for (producer_id, topic) in (7..).zip(topics) {
        let mut offset = commit(5).offsets.remove(0);
        offset.partition = named(topic);
        let LogRecord { key, value } = record::offset("g", &offset);
        let batch = batch_of(producer_id, TRANSACTIONAL, key, value);
        let _ = fixture.memory.append(0, 0, batch).await;
    }
    for (producer_id, marker) in [(7, b"\0\0\0\0"), (8, b"\0\0\0\x01")] {
        let batch = batch_of(producer_id, CONTROL, Bytes::from_static(marker), None);
        let _ = fixture.memory.append(0, 0, batch).await;
    }
    fixture.lead(1).await;
    let names = topics.map(named);
    let found = fixture.shards.offsets("g", &names).expect("served");
    let found: Vec<bool> = found.iter().map(Option::is_some).collect();
    assert_eq!(found, [false, true, false]);
}
