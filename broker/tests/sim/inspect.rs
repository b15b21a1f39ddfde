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
}

#[derive(Default)]
struct Known {
    committed: Vec<Stored>,
    /// By leader epoch: who led, and how far its high watermark was.
    leaders: BTreeMap<i32, ((i32, u32), i64)>,
    /// Leader epochs whose log was held against the committed one.
    compared: BTreeMap<i32, i64>,
}

/// See the module.
#[derive(Default)]
pub struct Inspector {
    known: BTreeMap<(Part, Uuid), Known>,
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
        let Some(epoch) = look.leads else {
            return wrong;
        };
        let known = self.known.entry((part.clone(), look.topic_id)).or_default();
        let (leader, high_watermark) = known
            .leaders
            .entry(epoch)
            .or_insert((look.broker, look.high_watermark));
        if *leader != look.broker {
            wrong.push(format!(
                "{part:?}: in leader epoch {epoch} both {leader:?} and {:?} lead (broker, life)",
                look.broker
            ));
        }
        if look.high_watermark < *high_watermark {
            wrong.push(format!(
                "{part:?} on b{}: high watermark fell from {high_watermark} to {} in epoch {epoch}",
                look.broker.0, look.high_watermark
            ));
        }
        *high_watermark = look.high_watermark;
        wrong
    }

    /// How far the committed log of a partition is known.
    pub fn committed_end(&self, part: &Part, id: Uuid) -> i64 {
        let known = self.known.get(&(part.clone(), id));
        known
            .and_then(|known| known.committed.last())
            .map_or(0, |batch| batch.next)
    }

    /// Whether a leader's log is still to be held against the committed one, in this epoch.
    pub fn is_new_leader(&self, part: &Part, id: Uuid, epoch: i32) -> bool {
        let known = self.known.get(&(part.clone(), id));
        !known.is_some_and(|known| known.compared.contains_key(&epoch))
    }

    /// Holds a replica's batches, from its log start on, against the committed log. `end` is where its log ends:
    /// a replica that is not the leader may end before the committed log does.
    pub fn compare(
        &mut self,
        part: &Part,
        (id, leads): (Uuid, Option<i32>),
        broker: i32,
        stored: &[Stored],
    ) -> Option<String> {
        let known = self.known.entry((part.clone(), id)).or_default();
        if let Some(epoch) = leads {
            known.compared.insert(epoch, 0);
        }
        let first = stored.first().map_or(0, |batch| batch.base);
        let end = stored.last().map_or(first, |batch| batch.next);
        let mut own = stored.iter();
        for committed in known.committed.iter().filter(|batch| batch.base >= first) {
            match own.next() {
                Some(batch) if batch == committed => {}
                Some(batch) => {
                    return Some(format!(
                        "{part:?} on b{broker}: {batch:?} in place of the committed {committed:?}"
                    ));
                }
                None if leads.is_some() => {
                    return Some(format!(
                        "{part:?}: b{broker} leads in epoch {leads:?} with a log that ends at {end}, \
                         and lacks the committed {committed:?}"
                    ));
                }
                None => return None,
            }
        }
        None
    }

    /// A leader shows more below its high watermark.
    pub fn commit(&mut self, part: &Part, id: Uuid, more: &[Stored], high_watermark: i64) {
        let known = self.known.entry((part.clone(), id)).or_default();
        let end = known.committed.last().map_or(0, |batch| batch.next);
        let whole = more
            .iter()
            .filter(|b| b.base >= end && b.next <= high_watermark);
        known.committed.extend(whole);
    }

    /// From here on, records that were committed may be missing.
    pub fn forget(&mut self, part: &Part) {
        for ((known, _), was) in &mut self.known {
            if known == part {
                was.committed.clear();
            }
        }
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
        inspector.commit(&part(), id, &log, 2);
        assert_eq!(inspector.committed_end(&part(), id), 2);
        let full = inspector.compare(&part(), (id, Some(2)), 2, &log);
        assert_eq!(full, None);
        let lacks = inspector.compare(&part(), (id, Some(2)), 2, &log[..1]);
        assert!(lacks.expect("found").contains("lacks"));
        let behind = inspector.compare(&part(), (id, None), 2, &log[..1]);
        assert_eq!(behind, None, "a follower may be behind");
        let other = [batch(0, 1), batch(1, 2)];
        let differs = inspector.compare(&part(), (id, None), 2, &other);
        assert!(differs.expect("found").contains("in place of"));
    }
}
