//! What may not be inside of the brokers. A look is taken every few milliseconds of virtual time, and at the end.
//!
//! The *committed log* of a partition is what a leader has shown below its high watermark: from then on no leader
//! may lack it, and no replica in sync may differ from it.

use std::collections::BTreeMap;

use uuid::Uuid;
use zweig_broker::log::Log;
use zweig_client::kafka::records::Batches;

use crate::history::Part;

/// One batch, as far as it matters whether it is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// First offset.
    pub base: i64,
    /// Offset behind the last.
    pub next: i64,
    /// Leader epoch it was appended in.
    pub epoch: i32,
    /// Of all its bytes.
    pub hash: u64,
}

/// What one broker says of one partition.
#[derive(Clone, Debug)]
pub struct Look {
    /// The broker, and which of its lives.
    pub broker: (i32, u32),
    /// The topic's id.
    pub topic_id: Uuid,
    /// Epoch it leads in.
    pub leads: Option<i32>,
    /// Offsets, lowest first if all is well.
    pub log_start: i64,
    /// Last stable offset.
    pub last_stable: i64,
    /// High watermark.
    pub high_watermark: i64,
    /// Log end.
    pub log_end: i64,
    /// Whether the tree names it as in sync, and nothing excuses it from holding what is committed.
    pub vouches: bool,
    /// Time, in milliseconds since the start.
    pub now: u64,
    /// When the broker was last told that its session has ended.
    pub told_of_end: Option<u64>,
}

/// Who was seen to lead in an epoch.
struct Leading {
    broker: (i32, u32),
    since: u64,
    high_watermark: i64,
    /// Its log was held against the committed one.
    compared: bool,
}

#[derive(Default)]
struct Known {
    /// Each with the leader epoch under which it was first shown as committed.
    committed: Vec<(Stored, i32)>,
    /// By leader epoch.
    leaders: BTreeMap<i32, Leading>,
    /// What leaders of epochs up to this one show is not relied on: those in sync lost their page caches.
    forgotten: Option<i32>,
    /// By broker and life: how far its log was held against the committed one, and was not cut since.
    compared: BTreeMap<(i32, u32), i64>,
}

impl Known {
    fn end(&self) -> i64 {
        self.committed.last().map_or(0, |(batch, _)| batch.next)
    }
}

/// See the module.
#[derive(Default)]
pub struct Inspector {
    known: BTreeMap<Part, BTreeMap<Uuid, Known>>,
    /// Looks taken.
    pub looks: u64,
}

/// The whole batches of a log between two offsets.
pub fn batches(log: &Log, from: i64, upto: i64) -> Result<Vec<Stored>, String> {
    let mut stored = Vec::new();
    let mut at = from;
    while at < upto {
        let read = log.read(at, 1 << 20, upto, true);
        let bytes = read.map_err(|error| error.to_string())?.bytes;
        if bytes.is_empty() {
            break;
        }
        stored.extend(parse(&bytes).into_iter().filter(|batch| batch.next > from));
        at = stored
            .last()
            .map_or(upto, |batch: &Stored| batch.next)
            .max(at + 1);
    }
    Ok(stored)
}

fn parse(bytes: &[u8]) -> Vec<Stored> {
    use std::hash::{DefaultHasher, Hasher as _};
    let mut stored = Vec::new();
    let mut rest = bytes;
    while rest.len() >= 61 {
        let number = |at: usize, len: usize| {
            let bytes = &rest[at..at + len];
            bytes
                .iter()
                .fold(0_i64, |n, byte| n << 8 | i64::from(*byte))
        };
        let base = number(0, 8);
        let size = 12 + usize::try_from(number(8, 4)).unwrap_or(0);
        if size > rest.len() {
            break;
        }
        let mut hash = DefaultHasher::new();
        hash.write(&rest[..size]);
        stored.push(Stored {
            base,
            next: base + number(23, 4) + 1,
            epoch: i32::try_from(number(12, 4)).unwrap_or(-1),
            hash: hash.finish(),
        });
        rest = &rest[size..];
    }
    stored
}

/// Offsets and values of all records in some batches.
pub fn values(log: &Log) -> Result<Vec<(i64, String)>, String> {
    let mut values = Vec::new();
    let mut at = log.log_start_offset();
    while at < log.log_end_offset() {
        let read = log.read(at, 1 << 20, i64::MAX, true);
        let bytes = read.map_err(|error| error.to_string())?.bytes;
        let before = at;
        for batch in Batches::new(bytes) {
            let batch = batch.map_err(|error| error.to_string())?;
            at = batch.last_offset + 1;
            for (offset, record) in batch.records().map_err(|error| error.to_string())? {
                let value = record.value.unwrap_or_default();
                values.push((offset, String::from_utf8_lossy(&value).into_owned()));
            }
        }
        if at == before {
            return Err(format!("nothing can be read at {at}"));
        }
    }
    Ok(values)
}

impl Inspector {
    /// Takes one look: offsets and leadership.
    pub fn look(&mut self, part: &Part, look: &Look) -> Vec<String> {
        self.looks += 1;
        let mut wrong = Vec::new();
        let offsets = [
            look.log_start,
            look.last_stable,
            look.high_watermark,
            look.log_end,
        ];
        if !offsets.is_sorted() {
            wrong.push(format!(
                "{part:?} on b{}: log start, last stable, high watermark, end: {offsets:?}",
                look.broker.0
            ));
        }
        let known = self.known(part, look.topic_id);
        if let Some(upto) = known.compared.get_mut(&look.broker) {
            *upto = look.log_end.min(*upto);
        }
        let committed = known.end();
        if look.vouches && look.log_end < committed {
            wrong.push(format!(
                "{part:?}: b{} is in sync by the tree with a log that ends at {}, before the committed {committed}",
                look.broker.0, look.log_end
            ));
        }
        if let Some(epoch) = look.leads {
            let leading = known.leaders.entry(epoch).or_insert(Leading {
                broker: look.broker,
                since: look.now,
                high_watermark: look.high_watermark,
                compared: false,
            });
            wrong.extend(leading.look(part, epoch, look));
        }
        wrong
    }

    fn known(&mut self, part: &Part, id: Uuid) -> &mut Known {
        if !self.known.contains_key(part) {
            self.known.insert(part.clone(), BTreeMap::new());
        }
        let lives = self.known.get_mut(part).expect("it was just put there");
        lives.entry(id).or_default()
    }

    fn of(&self, part: &Part, id: Uuid) -> Option<&Known> {
        self.known.get(part)?.get(&id)
    }

    /// How far the committed log of a partition is known.
    pub fn committed_end(&self, part: &Part, id: Uuid) -> i64 {
        self.of(part, id).map_or(0, Known::end)
    }

    /// Whether a leader's log is still to be held against the committed one, in this epoch.
    pub fn is_new_leader(&self, part: &Part, id: Uuid, epoch: i32) -> bool {
        let leading = self
            .of(part, id)
            .and_then(|known| known.leaders.get(&epoch));
        leading.is_none_or(|leading| !leading.compared)
    }

    /// From where on a replica's log is to be held against the committed one.
    pub fn compared_upto(&self, part: &Part, id: Uuid, broker: (i32, u32)) -> i64 {
        let known = self.of(part, id);
        let upto = known.and_then(|known| known.compared.get(&broker));
        upto.copied().unwrap_or(0)
    }

    /// Holds a replica's batches, from some offset on, against the committed log. A replica that is not the leader may
    /// end before the committed log does; a leader that has not heard of its successor need not have what was committed
    /// under that one.
    pub fn compare(
        &mut self,
        part: &Part,
        (id, leads): (Uuid, Option<i32>),
        broker: (i32, u32),
        stored: &[Stored],
    ) -> Option<String> {
        let known = self.known(part, id);
        if let Some(leading) = leads.and_then(|epoch| known.leaders.get_mut(&epoch)) {
            leading.compared = true;
        }
        let first = stored.first().map_or(0, |batch| batch.base);
        let end = stored.last().map_or(first, |batch| batch.next);
        let begin = known
            .committed
            .partition_point(|(batch, _)| batch.base < first);
        let mut own = stored.iter();
        let mut upto = first;
        for (committed, shown_in) in &known.committed[begin..] {
            if leads.is_some_and(|epoch| epoch < *shown_in) {
                break;
            }
            match own.next() {
                Some(batch) if batch == committed => upto = batch.next,
                Some(batch) => {
                    return Some(format!(
                        "{part:?} on b{}: {batch:?} in place of the committed {committed:?}",
                        broker.0
                    ));
                }
                None if leads.is_some() => {
                    return Some(format!(
                        "{part:?}: b{} leads in epoch {leads:?} with a log that ends at {end}, \
                         and lacks the committed {committed:?}",
                        broker.0
                    ));
                }
                None => break,
            }
        }
        if !stored.is_empty() {
            known.compared.insert(broker, upto);
        }
        None
    }

    /// The leader of `epoch` shows more below its high watermark.
    pub fn commit(
        &mut self,
        part: &Part,
        (id, epoch): (Uuid, i32),
        more: &[Stored],
        high_watermark: i64,
    ) {
        let known = self.known(part, id);
        if known.forgotten.is_some_and(|upto| epoch <= upto) {
            return;
        }
        let end = known.end();
        let whole = more
            .iter()
            .filter(|b| b.base >= end && b.next <= high_watermark);
        known.committed.extend(whole.map(|batch| (*batch, epoch)));
    }

    /// From here on, records that were committed up to a leader epoch may be missing.
    pub fn forget(&mut self, part: &Part, upto: i32) {
        for known in self.known.get_mut(part).into_iter().flatten() {
            known.1.committed.clear();
            known.1.compared.clear();
            known.1.forgotten = Some(upto);
        }
    }
}

impl Leading {
    fn look(&mut self, part: &Part, epoch: i32, look: &Look) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.broker != look.broker {
            wrong.push(format!(
                "{part:?}: in leader epoch {epoch} both {:?} and {:?} lead (broker, life)",
                self.broker, look.broker
            ));
        }
        if look.high_watermark < self.high_watermark {
            wrong.push(format!(
                "{part:?} on b{}: high watermark fell from {} to {} in epoch {epoch}",
                look.broker.0, self.high_watermark, look.high_watermark
            ));
        }
        self.high_watermark = look.high_watermark;
        let over = |at: &u64| self.since < *at && *at < look.now;
        if let Some(at) = look.told_of_end.filter(over) {
            wrong.push(format!(
                "{part:?}: b{} leads in epoch {epoch}, though told at {at} ms that its session has ended",
                look.broker.0
            ));
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part() -> Part {
        ("t".to_owned(), 0)
    }

    fn look(broker: i32, leads: i32, high_watermark: i64) -> Look {
        Look {
            broker: (broker, 1),
            topic_id: Uuid::from_u128(1),
            leads: Some(leads),
            log_start: 0,
            last_stable: high_watermark,
            high_watermark,
            log_end: 10,
            vouches: false,
            now: 100,
            told_of_end: None,
        }
    }

    fn batch(base: i64, epoch: i32) -> Stored {
        Stored {
            base,
            next: base + 1,
            epoch,
            hash: 7,
        }
    }

    #[test]
    fn two_leaders_of_one_epoch_are_found() {
        let mut inspector = Inspector::default();
        assert!(inspector.look(&part(), &look(1, 3, 5)).is_empty());
        assert!(inspector.look(&part(), &look(2, 4, 5)).is_empty());
        let wrong = inspector.look(&part(), &look(2, 3, 5));
        assert!(wrong[0].contains("both"), "{wrong:?}");
        let again = Look {
            broker: (1, 2),
            ..look(1, 3, 5)
        };
        assert!(!inspector.look(&part(), &again).is_empty(), "a second life");
    }

    #[test]
    fn offsets_out_of_order_and_a_high_watermark_that_falls_are_found() {
        let mut inspector = Inspector::default();
        assert!(inspector.look(&part(), &look(1, 3, 5)).is_empty());
        let wrong = inspector.look(&part(), &look(1, 3, 4));
        assert!(wrong[0].contains("fell"), "{wrong:?}");
        let wrong = inspector.look(&part(), &look(1, 3, 11));
        assert!(wrong[0].contains("log start"), "{wrong:?}");
    }

    #[test]
    fn a_leader_that_lacks_or_changed_what_is_committed_is_found() {
        let id = Uuid::from_u128(1);
        let mut inspector = Inspector::default();
        let log = [batch(0, 1), batch(1, 1), batch(2, 1)];
        inspector.commit(&part(), (id, 1), &log, 2);
        assert_eq!(inspector.committed_end(&part(), id), 2);
        let full = inspector.compare(&part(), (id, Some(2)), (2, 1), &log);
        assert_eq!(full, None);
        let lacks = inspector.compare(&part(), (id, Some(2)), (2, 1), &log[..1]);
        assert!(lacks.expect("found").contains("lacks"));
        let behind = inspector.compare(&part(), (id, None), (2, 1), &log[..1]);
        assert_eq!(behind, None, "a follower may be behind");
        let unaware = inspector.compare(&part(), (id, Some(0)), (3, 1), &log[..1]);
        assert_eq!(unaware, None, "a former leader may be unaware");
        let other = [batch(0, 1), batch(1, 2)];
        let differs = inspector.compare(&part(), (id, None), (2, 1), &other);
        assert!(differs.expect("found").contains("in place of"));
    }

    #[test]
    fn what_a_leader_of_before_a_loss_still_shows_is_not_relied_on() {
        let id = Uuid::from_u128(1);
        let mut inspector = Inspector::default();
        inspector.commit(&part(), (id, 1), &[batch(0, 1)], 1);
        inspector.forget(&part(), 1);
        inspector.commit(&part(), (id, 1), &[batch(0, 1)], 1);
        assert_eq!(inspector.committed_end(&part(), id), 0);
        inspector.commit(&part(), (id, 2), &[batch(0, 2)], 1);
        assert_eq!(inspector.committed_end(&part(), id), 1);
    }

    #[test]
    fn a_replica_in_sync_that_lacks_what_is_committed_is_found() {
        let mut inspector = Inspector::default();
        inspector.commit(
            &part(),
            (Uuid::from_u128(1), 1),
            &[batch(0, 1), batch(1, 1)],
            2,
        );
        let follower = |log_end, vouches| Look {
            leads: None,
            log_end,
            vouches,
            ..look(2, 0, 1)
        };
        assert!(inspector.look(&part(), &follower(2, true)).is_empty());
        assert!(inspector.look(&part(), &follower(1, false)).is_empty());
        let wrong = inspector.look(&part(), &follower(1, true));
        assert!(wrong[0].contains("in sync by the tree"), "{wrong:?}");
    }

    #[test]
    fn a_leader_that_was_told_of_its_end_is_found() {
        let mut inspector = Inspector::default();
        let told = |leads, now, told| Look {
            now,
            told_of_end: Some(told),
            ..look(1, leads, 5)
        };
        assert!(
            inspector.look(&part(), &told(3, 100, 50)).is_empty(),
            "before"
        );
        assert!(
            inspector.look(&part(), &told(4, 125, 125)).is_empty(),
            "just now"
        );
        let wrong = inspector.look(&part(), &told(3, 150, 125));
        assert!(wrong[0].contains("told at 125"), "{wrong:?}");
    }

    #[test]
    fn what_was_compared_counts_until_it_is_cut() {
        let id = Uuid::from_u128(1);
        let mut inspector = Inspector::default();
        let log = [batch(0, 1), batch(1, 1), batch(2, 1)];
        inspector.commit(&part(), (id, 1), &log, 3);
        assert_eq!(inspector.compare(&part(), (id, None), (1, 1), &log), None);
        assert_eq!(inspector.compared_upto(&part(), id, (1, 1)), 3);
        let cut = Look {
            leads: None,
            log_end: 1,
            high_watermark: 1,
            ..look(1, 0, 1)
        };
        assert!(inspector.look(&part(), &cut).is_empty());
        assert_eq!(inspector.compared_upto(&part(), id, (1, 1)), 1);
        let other = [batch(1, 2)];
        let differs = inspector.compare(&part(), (id, None), (1, 1), &other);
        assert!(differs.expect("found").contains("in place of"));
    }
}
