//! Fetch sessions (KIP-227): partitions that a reader names once, and of which it is told what changed.
//!
//! ```text
//!            a request: partitions that are new, elsewhere, or no longer wanted
//!                                        |
//!                                        v
//!  quiet (registered with its partition) -- changed --> due (in line) --> read: told, back of the line
//!                    ^                                                     |
//!                    +---------------- nothing is left to read ------------+
//! ```
//! A quiet partition costs a request nothing: its own changes put it in line. In line stands what is new, what has
//! records for the reader, what failed, and what changed since it was looked at; the line is the order of an answer, and
//! who brought records goes to its back, so that a busy partition can't keep the others waiting.
//!
//! What a reader said of a partition holds until it says otherwise: each request of a session says it anew of all that it
//! does not name. So a follower that is told nothing holds all there is, and its leader knows it
//! ([`crate::replica::leader`]).
//!
//! Invariants: a partition registers before it is read, and once (`armed`); a number is never given twice.

mod cache;

pub use cache::{FetchSessions, InUse, NoSession};

use super::fetch::{Bounds, within};
use crate::mutants::{self, Mutant};
use crate::replica::hosted::wake::Inbox;
use crate::replica::hosted::{FetchedRecords, Partition, PartitionError, ReadFrom, Reader};
use kafka_protocol::messages::TopicName;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use uuid::Uuid;

/// A partition as the reader names it: by the topic's name, or by its id, the other one being empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Named {
    /// The topic's name.
    pub topic: TopicName,
    /// The topic's id.
    pub topic_id: Uuid,
    /// The partition's number.
    pub partition: i32,
}

/// What an answer tells of a partition.
#[derive(Debug)]
pub struct Told {
    /// Which.
    pub named: Named,
    /// What was read, or why it can't be.
    pub outcome: Result<FetchedRecords, PartitionError>,
}

/// High watermark and log start, as the reader was told them.
type Marks = (i64, i64);

struct Slot {
    named: Named,
    /// Weak, so that no session keeps the files of what was deleted.
    partition: Result<Weak<Partition>, PartitionError>,
    from: ReadFrom,
    told: Option<Marks>,
    /// Its place in the line, if it is due.
    place: Option<u64>,
    /// Registered with its partition, which has not changed since.
    armed: bool,
    /// Could not be read.
    failed: bool,
    /// No longer wanted, and kept only as long as it is registered.
    forgotten: bool,
}

/// See the module.
pub struct Session {
    reader: Reader,
    by_id: bool,
    slots: HashMap<u64, Slot>,
    numbers: HashMap<Named, u64>,
    /// Numbers of slots that are due, by their place.
    line: BTreeMap<u64, u64>,
    /// The next number, and the next place.
    next: u64,
    /// How many are not forgotten.
    wanted: usize,
    inbox: Arc<Inbox>,
}

impl Session {
    /// A session without partitions, whose reader names topics by id or by name.
    #[must_use]
    pub fn new(reader: Reader, by_id: bool) -> Session {
        Session {
            reader,
            by_id,
            slots: HashMap::new(),
            numbers: HashMap::new(),
            line: BTreeMap::new(),
            next: 0,
            wanted: 0,
            inbox: Arc::default(),
        }
    }

    /// Who reads.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.reader
    }

    /// Whether its reader names topics by id.
    #[must_use]
    pub fn is_by_id(&self) -> bool {
        self.by_id
    }

    /// How many partitions it remembers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether nothing is wanted any more.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wanted == 0
    }

    /// Wants a partition from there on, as of now.
    pub fn want(
        &mut self,
        named: Named,
        partition: Result<&Arc<Partition>, PartitionError>,
        from: ReadFrom,
    ) {
        let partition = partition.map(Arc::downgrade);
        let known = self.numbers.get(&named).copied();
        let known = known.filter(|number| self.is_same(*number, &partition));
        let number = match known {
            Some(number) => number,
            None => {
                self.drop_slot(&named);
                self.add_slot(named, partition)
            }
        };
        if let Some(slot) = self.slots.get_mut(&number) {
            if slot.from.leader_epoch != from.leader_epoch {
                slot.told = None;
            }
            slot.from = from;
            slot.failed = false;
            if std::mem::replace(&mut slot.forgotten, false) {
                self.wanted += 1;
            }
        }
        self.line_up(number);
    }

    /// Wants a partition no more.
    pub fn forget(&mut self, named: &Named) {
        let Some(number) = self.numbers.get(named).copied() else {
            return;
        };
        self.out_of_line(number);
        match self.slots.get_mut(&number) {
            Some(slot) if slot.armed => {
                slot.told = None;
                if !std::mem::replace(&mut slot.forgotten, true) {
                    self.wanted -= 1;
                }
            }
            _ => self.drop_slot(named),
        }
    }

    /// Those that could not be read, and where from: they are looked up anew, as what they were may be replaced.
    #[must_use]
    pub fn failed(&self) -> Vec<(Named, ReadFrom)> {
        let due = self
            .line
            .values()
            .filter_map(|number| self.slots.get(number));
        let failed = due.filter(|slot| slot.failed);
        failed.map(|slot| (slot.named.clone(), slot.from)).collect()
    }

    /// The reader has been told this, in an answer that was not the session's.
    pub fn was_told(&mut self, named: &Named, found: &FetchedRecords) {
        if let Some(slot) = self
            .numbers
            .get(named)
            .and_then(|number| self.slots.get_mut(number))
        {
            slot.told = marks(found);
        }
    }

    /// Reads what is due until the bounds are met, and returns what there is to tell. An error of any partition, or a
    /// log that parts from the reader's, is told at once; marks alone are told with the rest, or at the deadline.
    pub async fn fetch(&mut self, bounds: Bounds) -> Vec<Told> {
        let mut read_before = false;
        loop {
            self.take_changes();
            if !std::mem::replace(&mut read_before, true) || self.is_worth_reading(bounds) {
                let read = self.read_due(bounds.max_bytes);
                if read.size >= bounds.min_bytes || read.urgent {
                    return self.settle(read);
                }
                self.rest(&read);
            }
            if !self.inbox.changed(bounds.deadline).await {
                break;
            }
        }
        self.take_changes();
        let read = self.read_due(bounds.max_bytes);
        self.settle(read)
    }

    /// Those that changed are due.
    fn take_changes(&mut self) {
        for number in self.inbox.take() {
            let Some(slot) = self.slots.get_mut(&number) else {
                continue;
            };
            slot.armed = false;
            match slot.forgotten {
                true => {
                    let named = slot.named.clone();
                    self.drop_slot(&named);
                }
                false if slot.place.is_none() => self.line_up(number),
                false => {}
            }
        }
    }

    /// Whether there is enough now, or something to tell at once; tells the rules nothing of a follower.
    fn is_worth_reading(&mut self, bounds: Bounds) -> bool {
        let mut size = 0;
        for number in self.line.values() {
            let Some(slot) = self.slots.get_mut(number) else {
                continue;
            };
            let Ok(partition) = slot.arm(*number, &self.inbox) else {
                return true;
            };
            let from = within(slot.from, bounds.max_bytes, size);
            match partition.available(from, self.reader) {
                Ok(Some(bytes)) => size += bytes,
                Ok(None) | Err(_) => return true,
            }
        }
        size >= bounds.min_bytes
    }

    /// Reads what is due, within what those before in the line left.
    fn read_due(&mut self, max_bytes: usize) -> Read {
        let mut read = Read::default();
        for number in self.line.values() {
            let Some(slot) = self.slots.get_mut(number) else {
                continue;
            };
            let from = within(slot.from, max_bytes, read.size);
            let outcome = slot
                .arm(*number, &self.inbox)
                .and_then(|partition| partition.read(from, self.reader));
            match &outcome {
                Ok(found) => {
                    read.size += found.records.len();
                    read.urgent |= found.diverging.is_some();
                }
                Err(_) => read.urgent = true,
            }
            read.outcomes.push((*number, outcome));
        }
        read
    }

    /// While it waits on, only what may matter stays in line.
    fn rest(&mut self, read: &Read) {
        for (number, outcome) in &read.outcomes {
            let quiet = |slot: &Slot| {
                outcome
                    .as_ref()
                    .is_ok_and(|found| slot.is_quiet(found) && slot.told == marks(found))
            };
            if self.slots.get(number).is_some_and(quiet) {
                self.out_of_line(*number);
            }
        }
    }

    /// What was read is told.
    fn settle(&mut self, read: Read) -> Vec<Told> {
        let mut told = Vec::new();
        for (number, outcome) in read.outcomes {
            let Some(slot) = self.slots.get_mut(&number) else {
                continue;
            };
            let (mut quiet, mut brought, mut changed) = (false, false, true);
            match &outcome {
                Ok(found) => {
                    quiet = slot.is_quiet(found);
                    brought = !found.records.is_empty();
                    if let Some(partition) = slot.hosted() {
                        partition.count_sent(self.reader, found.records.len());
                    }
                    let before = std::mem::replace(&mut slot.told, marks(found));
                    changed = brought || found.diverging.is_some() || before != slot.told;
                }
                Err(_) => {
                    slot.failed = true;
                    slot.told = None;
                }
            }
            if changed {
                let named = slot.named.clone();
                told.push(Told { named, outcome });
            }
            if quiet {
                self.out_of_line(number);
            } else if brought {
                self.line_up(number);
            }
        }
        told
    }

    fn is_same(&self, number: u64, partition: &Result<Weak<Partition>, PartitionError>) -> bool {
        let slot = self.slots.get(&number);
        match (slot.map(|slot| &slot.partition), partition) {
            (Some(Ok(known)), Ok(partition)) => known.ptr_eq(partition),
            _ => false,
        }
    }

    fn add_slot(
        &mut self,
        named: Named,
        partition: Result<Weak<Partition>, PartitionError>,
    ) -> u64 {
        let number = self.draw();
        self.numbers.insert(named.clone(), number);
        let nowhere = ReadFrom {
            leader_epoch: -1,
            offset: 0,
            last_fetched_epoch: -1,
            max_bytes: 0,
            min_one: false,
        };
        let slot = Slot {
            named,
            partition,
            from: nowhere,
            told: None,
            place: None,
            armed: false,
            failed: false,
            forgotten: true,
        };
        self.slots.insert(number, slot);
        number
    }

    fn drop_slot(&mut self, named: &Named) {
        if let Some(number) = self.numbers.remove(named) {
            self.out_of_line(number);
            let dropped = self.slots.remove(&number);
            if dropped.is_some_and(|slot| !slot.forgotten) {
                self.wanted -= 1;
            }
        }
    }

    fn line_up(&mut self, number: u64) {
        let place = self.draw();
        if let Some(slot) = self.slots.get_mut(&number) {
            if let Some(before) = slot.place.replace(place) {
                self.line.remove(&before);
            }
            self.line.insert(place, number);
        }
    }

    fn out_of_line(&mut self, number: u64) {
        if let Some(place) = self
            .slots
            .get_mut(&number)
            .and_then(|slot| slot.place.take())
        {
            self.line.remove(&place);
        }
    }

    fn draw(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// What a pass over the line brought.
#[derive(Default)]
struct Read {
    outcomes: Vec<(u64, Result<FetchedRecords, PartitionError>)>,
    /// Bytes of records.
    size: usize,
    /// Something is to be told at once.
    urgent: bool,
}

/// What a reader knows then. One whose log parts cuts it, and takes nothing else.
fn marks(found: &FetchedRecords) -> Option<Marks> {
    let marks = (found.high_watermark, found.log_start_offset);
    found.diverging.is_none().then_some(marks)
}

impl Slot {
    /// The partition, which tells of its next change.
    fn arm(&mut self, number: u64, inbox: &Arc<Inbox>) -> Result<Arc<Partition>, PartitionError> {
        self.partition.as_ref().map_err(Clone::clone)?;
        let partition = self.hosted().ok_or(PartitionError::Unknown)?;
        if !std::mem::replace(&mut self.armed, true) && !mutants::is(Mutant::QuietForEver) {
            partition.waiters().register_inbox(inbox, number);
        }
        Ok(partition)
    }

    fn hosted(&self) -> Option<Arc<Partition>> {
        self.partition.as_ref().ok()?.upgrade()
    }

    /// Nothing is left to read from where the reader stands.
    fn is_quiet(&self, found: &FetchedRecords) -> bool {
        found.diverging.is_none() && self.from.offset >= found.readable_end
    }
}
