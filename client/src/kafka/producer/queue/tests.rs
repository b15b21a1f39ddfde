use std::sync::Arc;

use tokio::sync::Semaphore;

use super::*;
use crate::clock;
use crate::kafka::ErrorCode;
use crate::kafka::records::Batches;

const FIRST: Identity = Identity { id: 7, epoch: 0 };
const SECOND: Identity = Identity { id: 8, epoch: 0 };

struct Fixture {
    queue: PartitionQueue,
    memory: Arc<Semaphore>,
    now: Instant,
    fates: Vec<oneshot::Receiver<Result<Landed, KafkaError>>>,
}

fn fixture(max_in_flight: usize) -> Fixture {
    let limits = QueueLimits {
        batch_bytes: 1, // each record its own batch
        linger: Duration::from_millis(5),
        max_in_flight,
        delivery_timeout: Duration::from_secs(10),
        retry_backoff: Duration::from_millis(100),
        compression: Compression::None,
    };
    Fixture {
        queue: PartitionQueue::new(limits),
        memory: Arc::new(Semaphore::new(1 << 20)),
        now: clock::now(),
        fates: Vec::new(),
    }
}

impl Fixture {
    fn push(&mut self, count: usize) {
        for _ in 0..count {
            let permit = self
                .memory
                .clone()
                .try_acquire_many_owned(10)
                .expect("memory");
            match self.queue.push(Record::default(), permit, self.now).0 {
                Pushed::First(fate) => self.fates.push(fate),
                Pushed::Nth(place) => panic!("a batch of {place}"),
            }
        }
    }

    /// Number, producer id and sequence of what is sent next.
    fn take(&mut self, identity: Identity) -> Option<(u64, i64, i32)> {
        let (number, bytes) = self
            .queue
            .take(identity, self.now, true)
            .expect("encodes")?;
        let batch = Batches::new(bytes).next().expect("one").expect("whole");
        Some((number, batch.producer_id, batch.base_sequence))
    }

    fn fail(&mut self, number: u64, code: ErrorCode) {
        let outcome = Outcome::Failed(KafkaError::broker("produce", code));
        self.queue.answered(number, outcome, self.now);
    }

    fn land(&mut self, number: u64) {
        self.queue
            .answered(number, Outcome::Landed((number as i64, -1)), self.now);
    }

    fn wait(&mut self) {
        self.now += Duration::from_millis(100);
    }

    fn fate(&mut self, place: usize) -> Option<Result<Landed, KafkaError>> {
        self.fates[place].try_recv().ok()
    }
}

#[test]
fn batches_leave_in_order_with_consecutive_sequences_up_to_the_bound() {
    let mut f = fixture(2);
    f.push(3);
    assert_eq!(f.take(FIRST), Some((0, 7, 0)));
    assert_eq!(f.take(FIRST), Some((1, 7, 1)));
    assert_eq!(f.take(FIRST), None, "two are on their way");
    f.land(0);
    assert_eq!(f.take(FIRST), Some((2, 7, 2)));
    f.land(1);
    f.land(2);
    assert!(f.queue.is_idle());
    assert_eq!(f.memory.available_permits(), 1 << 20);
}

#[test]
fn a_failed_batch_and_those_behind_it_are_sent_again_one_by_one_in_order() {
    let mut f = fixture(5);
    f.push(4);
    for _ in 0..3 {
        f.take(FIRST).expect("sent");
    }
    f.fail(0, ErrorCode::NotLeaderOrFollower);
    assert_eq!(f.take(FIRST), None, "the others are still on their way");
    f.fail(1, ErrorCode::OutOfOrderSequenceNumber);
    f.fail(2, ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(f.take(FIRST), None, "it waits a little");
    f.wait();
    for number in 0..3 {
        assert_eq!(
            f.take(FIRST),
            Some((number, 7, number as i32)),
            "the same sequence"
        );
        if number < 2 {
            assert_eq!(f.take(FIRST), None, "one at a time");
        }
        f.land(number);
    }
    assert_eq!(f.take(FIRST), Some((3, 7, 3)));
}

#[test]
fn an_answer_that_got_lost_is_a_success_in_the_end() {
    let mut f = fixture(5);
    f.push(1);
    f.take(FIRST).expect("sent");
    let lost = KafkaError::Disconnected {
        address: "a".into(),
        reason: "r".into(),
    };
    f.queue.answered(0, Outcome::Failed(lost), f.now);
    f.wait();
    assert_eq!(f.take(FIRST), Some((0, 7, 0)));
    f.fail(0, ErrorCode::DuplicateSequenceNumber);
    assert!(matches!(f.fate(0), Some(Ok((-1, -1)))));
}

#[test]
fn a_gap_in_the_sequence_ends_all_that_was_sent_and_asks_for_another_id() {
    let mut f = fixture(5);
    f.push(3);
    f.take(FIRST).expect("sent");
    f.take(FIRST).expect("sent");
    f.fail(0, ErrorCode::MessageTooLarge);
    assert!(matches!(f.fate(0), Some(Err(_))));
    assert!(!f.queue.needs_other_identity(SECOND));
    assert_eq!(f.take(FIRST), None, "the second is still on its way");
    f.fail(1, ErrorCode::OutOfOrderSequenceNumber);
    assert!(matches!(f.fate(1), Some(Err(_))), "it would leave a gap");
    assert!(f.queue.needs_other_identity(FIRST));
    assert_eq!(f.take(SECOND), Some((2, 8, 0)), "a new id begins at 0");
}

#[test]
fn what_was_sent_and_never_answered_well_ends_with_its_time() {
    let mut f = fixture(5);
    f.push(2);
    f.take(FIRST).expect("sent");
    f.fail(0, ErrorCode::NotEnoughReplicas);
    f.now += Duration::from_secs(10);
    f.queue.expire(f.now);
    assert!(matches!(f.fate(0), Some(Err(KafkaError::TimedOut { .. }))));
    assert!(matches!(f.fate(1), Some(Err(KafkaError::TimedOut { .. }))));
    assert!(f.queue.is_idle());
}

#[test]
fn without_an_id_there_are_no_sequences() {
    let mut f = fixture(1);
    f.push(2);
    assert_eq!(f.take(Identity::NONE), Some((0, -1, -1)));
    assert_eq!(f.take(Identity::NONE), None);
    f.fail(0, ErrorCode::MessageTooLarge);
    assert_eq!(
        f.take(Identity::NONE),
        Some((1, -1, -1)),
        "the next one goes on"
    );
}

#[test]
fn an_open_batch_waits_for_its_linger_unless_flushed() {
    let mut f = fixture(5);
    f.queue.limits.batch_bytes = 1000;
    f.push(1);
    assert!(!f.queue.ready(f.now, false));
    assert_eq!(
        f.queue.next_deadline(),
        Some(f.now + Duration::from_millis(5))
    );
    assert!(f.queue.ready(f.now, true));
    f.now += Duration::from_millis(5);
    assert!(f.queue.ready(f.now, false));
}
