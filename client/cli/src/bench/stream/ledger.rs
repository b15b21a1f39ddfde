//! What was sent and what has to be read again: every batch, once, where it was said to be, in the order of its lane.
//!
//! A batch is known by its checksum, which covers its records, their number and their time, and which brokers leave as it is where a
//! topic keeps the producers' timestamps and codec. So what is fetched is compared with what was sent byte by byte, without
//! unpacking a record.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use zweig_client::kafka::records::BatchHeader;

/// A batch that was sent.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// CRC-32C, as it stands in the batch.
    pub checksum: u32,
    /// Records in it.
    pub records: u32,
    /// When its first record should have gone.
    pub due: Instant,
    /// Time between two of its records.
    pub spacing: Duration,
    fate: Fate,
    /// Where it is, once somebody said so.
    offset: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It has to be there.
    Due,
    /// It may be there: the connection was lost before the answer.
    Unknown,
    /// It may not be there: the broker refused it.
    Refused,
}

impl Sent {
    /// A batch on its way.
    pub fn new(checksum: u32, records: u32, due: Instant, spacing: Duration) -> Self {
        Self {
            checksum,
            records,
            due,
            spacing,
            fate: Fate::Due,
            offset: None,
        }
    }

    /// When each of its records should have gone.
    pub fn dues(&self) -> impl Iterator<Item = Instant> + use<> {
        let (due, spacing) = (self.due, self.spacing);
        (0..self.records).map(move |nth| due + spacing * nth)
    }

    /// It is at `offset`, says one; somebody else may have said something else.
    fn place(&mut self, offset: i64) -> Result<(), String> {
        match self.offset {
            Some(other) if other != offset => Err(format!(
                "a batch was acknowledged at offset {other} and is at {offset}, or the other way round"
            )),
            _ => {
                self.offset = Some(offset);
                Ok(())
            }
        }
    }
}

/// Where a batch stands in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Of the ledger.
    pub partition: usize,
    /// Of the partition.
    pub lane: usize,
    number: usize,
}

/// How far a reader has come in a partition.
#[derive(Debug, Clone)]
pub struct Cursor {
    /// Of the ledger.
    pub partition: usize,
    /// The next record to read.
    pub offset: i64,
    /// Per lane: the next of its batches.
    next: Vec<usize>,
}

impl Cursor {
    /// At the beginning of a partition.
    pub fn new(partition: usize) -> Self {
        Self {
            partition,
            offset: 0,
            next: Vec::new(),
        }
    }

    /// Begins again.
    pub fn rewind(&mut self) {
        *self = Self::new(self.partition);
    }
}

/// Per partition and lane, what was sent in order.
#[derive(Debug)]
pub struct Ledger {
    partitions: Vec<Mutex<Vec<Vec<Sent>>>>,
    /// Lanes that still send.
    sending: AtomicUsize,
}

impl Ledger {
    /// Of so many partitions, with nothing in them.
    pub fn new(partitions: usize) -> Self {
        let mut empty = Vec::new();
        empty.resize_with(partitions, Mutex::default);
        Self {
            partitions: empty,
            sending: AtomicUsize::new(0),
        }
    }

    fn lanes(&self, partition: usize) -> MutexGuard<'_, Vec<Vec<Sent>>> {
        self.partitions[partition]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A further lane of a partition.
    pub fn lane(&self, partition: usize) -> usize {
        let mut lanes = self.lanes(partition);
        lanes.push(Vec::new());
        lanes.len() - 1
    }

    /// A sender begins.
    pub fn begin_sending(&self) {
        self.sending.fetch_add(1, Ordering::AcqRel);
    }

    /// A sender has ended: what it sent is all there will be.
    pub fn end_sending(&self) {
        self.sending.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether nobody sends any more.
    pub fn all_sent(&self) -> bool {
        self.sending.load(Ordering::Acquire) == 0
    }

    /// Notes a batch before it goes.
    pub fn sent(&self, partition: usize, lane: usize, sent: Sent) -> Entry {
        let mut lanes = self.lanes(partition);
        let number = lanes[lane].len();
        lanes[lane].push(sent);
        Entry {
            partition,
            lane,
            number,
        }
    }

    /// A batch was acknowledged at this offset; returns it.
    ///
    /// # Errors
    /// If it was read elsewhere.
    pub fn acknowledged(&self, entry: Entry, offset: i64) -> Result<Sent, String> {
        let sent = &mut self.lanes(entry.partition)[entry.lane][entry.number];
        sent.place(offset)?;
        Ok(*sent)
    }

    /// As it was sent.
    pub fn get(&self, entry: Entry) -> Sent {
        self.lanes(entry.partition)[entry.lane][entry.number]
    }

    /// Nobody knows whether a batch is there.
    pub fn unknown(&self, entry: Entry) {
        self.lanes(entry.partition)[entry.lane][entry.number].fate = Fate::Unknown;
    }

    /// A batch was refused; returns it.
    pub fn refused(&self, entry: Entry) -> Sent {
        let sent = &mut self.lanes(entry.partition)[entry.lane][entry.number];
        sent.fate = Fate::Refused;
        *sent
    }

    /// A batch that was read, its checksum right: it has to be the next one of a lane, at the next offset.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn take(&self, cursor: &mut Cursor, header: &BatchHeader) -> Result<Sent, String> {
        if header.base_offset != cursor.offset {
            return Err(format!(
                "offset {} where {} is next",
                header.base_offset, cursor.offset
            ));
        }
        let mut lanes = self.lanes(cursor.partition);
        cursor.next.resize(lanes.len(), 0);
        for (lane, next) in lanes.iter_mut().zip(&mut cursor.next) {
            let Some(number) = find(lane, *next, header.checksum) else {
                continue;
            };
            let sent = &mut lane[number];
            let count = header.last_offset - header.base_offset + 1;
            if count != i64::from(sent.records) || header.count.cast_unsigned() != sent.records {
                return Err(format!(
                    "offset {}: {count} records where {} were sent",
                    header.base_offset, sent.records
                ));
            }
            sent.place(header.base_offset)?;
            *next = number + 1;
            cursor.offset = header.last_offset + 1;
            return Ok(*sent);
        }
        Err(diagnosis(&lanes, cursor, header))
    }

    /// Whether everything that has to be there was read.
    pub fn complete(&self, cursor: &Cursor) -> bool {
        let lanes = self.lanes(cursor.partition);
        !left(&lanes, cursor).any(|sent| sent.fate == Fate::Due)
    }

    /// How many batches that have to be there were not read.
    pub fn missing(&self, cursor: &Cursor) -> usize {
        let lanes = self.lanes(cursor.partition);
        left(&lanes, cursor)
            .filter(|sent| sent.fate == Fate::Due)
            .count()
    }
}

/// What a reader has before it.
fn left<'a>(lanes: &'a [Vec<Sent>], cursor: &Cursor) -> impl Iterator<Item = &'a Sent> {
    let next = cursor.next.iter().copied().chain(std::iter::repeat(0));
    lanes
        .iter()
        .zip(next)
        .flat_map(|(lane, next)| lane.get(next..).unwrap_or_default())
}

/// The batch of this checksum, if no batch that has to be there comes before it.
fn find(lane: &[Sent], next: usize, checksum: u32) -> Option<usize> {
    for (number, sent) in lane.iter().enumerate().skip(next) {
        match sent.fate {
            Fate::Due | Fate::Unknown if sent.checksum == checksum => return Some(number),
            Fate::Due => return None,
            Fate::Unknown | Fate::Refused => {}
        }
    }
    None
}

/// What a batch is that was not expected.
fn diagnosis(lanes: &[Vec<Sent>], cursor: &Cursor, header: &BatchHeader) -> String {
    let at = header.base_offset;
    for (lane, next) in lanes.iter().zip(&cursor.next) {
        let found = lane
            .iter()
            .rposition(|sent| sent.checksum == header.checksum);
        match found {
            Some(number) if lane[number].fate == Fate::Refused => {
                return format!("offset {at}: a batch that was refused");
            }
            Some(number) if number < *next => {
                return format!("offset {at}: a batch for the second time");
            }
            Some(number) => {
                let lost = number - next;
                return format!("offset {at}: {lost} batches before this one are not there");
            }
            None => {}
        }
    }
    format!("offset {at}: records that nobody sent there")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn ledger(checksums: &[u32]) -> (Ledger, Vec<Entry>) {
        let ledger = Ledger::new(1);
        let lane = ledger.lane(0);
        let now = clock::now();
        let entries = checksums
            .iter()
            .map(|checksum| ledger.sent(0, lane, Sent::new(*checksum, 10, now, Duration::ZERO)))
            .collect();
        (ledger, entries)
    }

    fn header(base_offset: i64, checksum: u32) -> BatchHeader {
        BatchHeader {
            base_offset,
            size: 100,
            leader_epoch: 0,
            checksum,
            attributes: 0,
            last_offset: base_offset + 9,
            base_timestamp: 0,
            max_timestamp: 0,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            count: 10,
        }
    }

    #[test]
    fn what_was_sent_is_read_once_and_in_order() {
        let (ledger, entries) = ledger(&[1, 2, 3]);
        let mut cursor = Cursor::new(0);
        ledger.acknowledged(entries[0], 0).expect("it is there");
        for (offset, checksum) in [(0, 1), (10, 2)] {
            ledger
                .take(&mut cursor, &header(offset, checksum))
                .expect("right");
        }
        assert_eq!(ledger.missing(&cursor), 1);
        assert!(ledger.take(&mut cursor.clone(), &header(30, 3)).is_err());
        ledger.take(&mut cursor, &header(20, 3)).expect("right");
        assert!(ledger.complete(&cursor));
        ledger
            .acknowledged(entries[2], 30)
            .expect_err("it was read elsewhere");
    }

    #[test]
    fn what_is_wrong_is_told() {
        let told = |checksum, part: &str| {
            let (ledger, entries) = ledger(&[1, 2, 3, 4]);
            let mut cursor = Cursor::new(0);
            ledger.refused(entries[3]);
            ledger.take(&mut cursor, &header(0, 1)).expect("right");
            let why = ledger
                .take(&mut cursor, &header(10, checksum))
                .expect_err(part);
            assert!(why.contains(part), "{why}");
        };
        told(1, "second time");
        told(3, "1 batches before");
        told(4, "was refused");
        told(9, "nobody sent");
        let (ledger, _) = ledger(&[1]);
        let mut short = header(0, 1);
        short.last_offset = 8;
        let why = ledger.take(&mut Cursor::new(0), &short).expect_err("short");
        assert!(why.contains("9 records where 10"), "{why}");
    }

    #[test]
    fn what_nobody_knows_may_be_there_or_not() {
        let (ledger, entries) = ledger(&[1, 2, 3]);
        ledger.unknown(entries[0]);
        ledger.unknown(entries[2]);
        let mut cursor = Cursor::new(0);
        ledger
            .take(&mut cursor.clone(), &header(0, 1))
            .expect("there");
        ledger.take(&mut cursor, &header(0, 2)).expect("not there");
        assert!(ledger.complete(&cursor));
        ledger.take(&mut cursor, &header(10, 3)).expect("there");
    }
}
