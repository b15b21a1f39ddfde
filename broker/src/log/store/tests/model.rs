//! What a partition's log has to hold.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::super::super::TopicId;
use super::super::super::format::record_batch::{self, Header};

/// A batch, as it is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub header: Header,
    pub bytes: Bytes,
}

impl Kept {
    pub fn new(bytes: Vec<u8>) -> Kept {
        Kept {
            header: record_batch::parse_whole(&bytes).unwrap(),
            bytes: bytes.into(),
        }
    }
}

/// One content of a log, from its first batch ever on: what was deleted at the beginning stays in here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    pub batches: Vec<Kept>,
    /// Where it began.
    pub first: i64,
    pub end: i64,
    /// First offset that may be read.
    pub start: i64,
    /// All below is on disk for sure.
    pub flushed: i64,
    /// All below was deleted once. A start that was not noted may come back lower, and with it the records. The producers
    /// that wrote no other need not.
    pub deleted: i64,
}

impl Content {
    pub fn empty(at: i64) -> Content {
        Content {
            batches: Vec::new(),
            first: at,
            end: at,
            start: at,
            flushed: at,
            deleted: at,
        }
    }

    pub fn push(&mut self, batch: Kept) {
        assert_eq!(batch.header.base_offset, self.end);
        self.end = batch.header.next_offset();
        self.batches.push(batch);
    }

    /// Drops batches that do not end before `offset`.
    pub fn cut(&mut self, offset: i64) {
        let at = self
            .batches
            .partition_point(|one| one.header.last_offset() < offset);
        if let Some(first) = self.batches.get(at) {
            self.end = offset.min(first.header.base_offset);
            self.batches.truncate(at);
        }
        self.start = self.start.min(self.end);
        self.flushed = self.flushed.min(self.end);
    }

    /// The sequence that a producer has to go on with.
    pub fn next_sequence(&self, producer_id: i64) -> i32 {
        let of_it = |one: &&Kept| one.header.producer_id == producer_id;
        let last = self.batches.iter().rev().find(of_it);
        last.map_or(0, |one| one.header.last_sequence() + 1)
    }

    /// Epoch, last sequence and last offset of each producer, as of the end.
    pub fn producers(&self) -> BTreeMap<i64, (i16, i32, i64)> {
        let mut producers = BTreeMap::new();
        for Kept { header, .. } in &self.batches {
            if header.has_producer_id() {
                let last = (
                    header.producer_epoch,
                    header.last_sequence(),
                    header.last_offset(),
                );
                producers.insert(header.producer_id, last);
            }
        }
        producers
    }

    /// The first record at or behind `start` with that timestamp or a later one.
    pub fn at_time(&self, timestamp_ms: i64, start: i64) -> Option<i64> {
        let records = self.batches.iter().flat_map(|one| {
            let header = one.header;
            (0..=i64::from(header.last_offset_delta))
                .map(move |delta| (header.base_timestamp_ms + delta, header.base_offset + delta))
        });
        let mut found = records.filter(|&(time, offset)| time >= timestamp_ms && offset >= start);
        found.next().map(|(_, offset)| offset)
    }
}

/// A partition that should be there.
#[derive(Debug, Clone)]
pub struct Model {
    pub topic_id: TopicId,
    /// With every step done, the one that was interrupted too.
    pub now: Content,
    /// As it was before the step that was interrupted; either may be found.
    pub before: Option<Content>,
    /// It was made and not synced yet: it may be absent.
    pub may_be_absent: bool,
    /// A step that was interrupted takes it away.
    pub leaves: bool,
    pub leader_epoch: i32,
    /// The largest high watermark that was written for it.
    pub high_watermark: i64,
}

impl Model {
    pub fn new(topic_id: TopicId) -> Model {
        Model {
            topic_id,
            now: Content::empty(0),
            before: None,
            may_be_absent: true,
            leaves: false,
            leader_epoch: 0,
            high_watermark: 0,
        }
    }

    /// Nothing was interrupted, and nothing of it can be lost.
    pub fn is_safe(&self) -> bool {
        self.before.is_none()
            && !self.may_be_absent
            && !self.leaves
            && self.now.flushed >= self.now.end
    }
}
