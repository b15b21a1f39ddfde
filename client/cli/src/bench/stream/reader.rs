//! The reading half of a load, on one connection: one fetch under way, whose answer is compared with what was sent.

use std::sync::Arc;
use std::time::Instant;

use zweig_client::kafka::ErrorCode;
use zweig_client::kafka::error::is_stale_metadata;
use zweig_client::kafka::raw::{self, Fetched};
use zweig_client::kafka::records::BatchHeader;

use super::CLIENT_ID;
use super::ledger::{Cursor, Sent};
use super::plan::Plan;
use super::wire::{Connection, Failed, Misread};
use crate::bench::recorder::Recorder;
use crate::clock;

/// What is read, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Everything from the beginning, again and again, until the plan's end.
    Again,
    /// The tail, until nobody sends any more and everything is there; latency counts from when records were due.
    Tail,
    /// The same, for its answers only.
    Check,
}

/// The reading half of a lane.
#[derive(Debug)]
pub struct Reader {
    plan: Arc<Plan>,
    reading: Reading,
    cursors: Vec<Cursor>,
    /// The partition that is first in the next request, so that each gets its turn.
    first: usize,
    /// When something that was waited for came last.
    came: Instant,
    moved: bool,
}

impl Reader {
    /// A lane for these partitions.
    pub fn new(plan: Arc<Plan>, reading: Reading, partitions: &[usize]) -> Self {
        Self::go_on(
            plan,
            reading,
            partitions.iter().copied().map(Cursor::new).collect(),
        )
    }

    fn go_on(plan: Arc<Plan>, reading: Reading, cursors: Vec<Cursor>) -> Self {
        Self {
            plan,
            reading,
            cursors,
            first: 0,
            came: clock::now(),
            moved: false,
        }
    }

    /// Reads until the end of what it has to; whether that is so, and not a partition has moved.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn drive(
        &mut self,
        connection: &mut Connection,
        recorder: &mut Recorder,
    ) -> Result<bool, Failed> {
        while !self.is_over(connection)? {
            let sent = clock::now();
            let correlation = self.queue(connection);
            let server = Arc::clone(connection.server());
            let waited = tokio::time::timeout(self.plan.patience, connection.wait(correlation));
            let Ok(answer) = waited.await else {
                return Err(connection.late());
            };
            self.take(answer?, sent, recorder)
                .map_err(|misread| misread.by(&server, "fetch"))?;
            if self.moved {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_over(&mut self, connection: &Connection) -> Result<bool, Failed> {
        let now = clock::now();
        let ledger = &self.plan.ledger;
        if self.reading == Reading::Again {
            return Ok(now >= self.plan.measured.1);
        }
        if !ledger.all_sent() {
            self.came = now;
            return Ok(false);
        }
        self.cursors.retain(|cursor| !ledger.complete(cursor));
        if now.saturating_duration_since(self.came) > self.plan.patience {
            let missing: usize = self.cursors.iter().map(|c| ledger.missing(c)).sum();
            let why = format!("{missing} batches that were sent cannot be read");
            return Err(connection.wrong("fetch", why));
        }
        Ok(self.cursors.is_empty())
    }

    fn queue(&mut self, connection: &mut Connection) -> i32 {
        let (correlation, out) = connection.queue();
        self.first = (self.first + 1) % self.cursors.len();
        let (before, from) = self.cursors.split_at(self.first);
        let asked = from.iter().chain(before).map(|cursor| {
            let partition = &self.plan.field.partitions[cursor.partition];
            (&*partition.topic, partition.index, cursor.offset)
        });
        raw::put_fetch(out, correlation, CLIENT_ID, &self.plan.limits, asked);
        correlation
    }

    fn take(
        &mut self,
        answer: &[u8],
        sent: Instant,
        recorder: &mut Recorder,
    ) -> Result<(), Misread> {
        let now = clock::now();
        let mut records = 0;
        let mut place = self.first;
        let whole = raw::fetched(answer, |fetched| {
            let cursor = self.whose(&mut place, &fetched)?;
            match ErrorCode::try_from_code(fetched.error) {
                None => {}
                Some(code)
                    if self.plan.reconnect && (code.is_retriable() || is_stale_metadata(code)) =>
                {
                    self.moved = true;
                    return Ok(());
                }
                Some(code) => {
                    let of = self.plan.field.partitions[self.cursors[cursor].partition].to_string();
                    return Err(Misread::Refused(of, code));
                }
            }
            records += self.read(cursor, fetched.records, now, recorder)?;
            Ok(())
        })?;
        if let Some(code) = ErrorCode::try_from_code(whole) {
            return Err(Misread::Refused("all partitions".to_owned(), code));
        }
        if records > 0 {
            self.came = now;
            self.plan.count(recorder, now, records);
            if self.reading == Reading::Again && self.plan.counts(now) {
                recorder.latencies("fetch", [now.saturating_duration_since(sent)]);
            }
        }
        Ok(())
    }

    /// The cursor of a partition: as a rule the next one of the request, whose order brokers keep.
    fn whose(&self, place: &mut usize, fetched: &Fetched<'_>) -> Result<usize, Misread> {
        for nth in 0..self.cursors.len() {
            let at = (*place + nth) % self.cursors.len();
            let partition = &self.plan.field.partitions[self.cursors[at].partition];
            if partition.index == fetched.partition && *partition.topic == *fetched.topic {
                *place = at + 1;
                return Ok(at);
            }
        }
        let (topic, partition) = (fetched.topic, fetched.partition);
        Err(Misread::Wrong(format!(
            "{topic}-{partition} was not in the request"
        )))
    }

    /// Takes in the batches of a partition; how many records are in them.
    fn read(
        &mut self,
        cursor: usize,
        mut batches: &[u8],
        now: Instant,
        recorder: &mut Recorder,
    ) -> Result<u64, Misread> {
        let cursor = &mut self.cursors[cursor];
        let partition = &self.plan.field.partitions[cursor.partition];
        let wrong = |why: String| Misread::Wrong(format!("{partition}: {why}"));
        let mut records = 0;
        while let Some(header) = BatchHeader::read(batches).map_err(|e| wrong(e.to_string()))? {
            batches = &batches[header.size..];
            let sent = self.plan.ledger.take(cursor, &header).map_err(wrong)?;
            records += u64::from(sent.records);
            if self.reading == Reading::Tail && self.plan.counts(now) {
                recorder.latencies("received", latencies(&sent, now));
            }
        }
        if self.reading == Reading::Again && self.plan.ledger.complete(cursor) {
            cursor.rewind();
        }
        Ok(records)
    }

    /// The partitions it reads.
    pub fn partitions(&self) -> Vec<usize> {
        self.cursors.iter().map(|cursor| cursor.partition).collect()
    }

    /// One lane for each of these sets of partitions, which are its own.
    pub fn split(self, sets: &[&Vec<usize>]) -> Vec<Self> {
        let of = |set: &&Vec<usize>| {
            let own = self.cursors.iter();
            let own = own.filter(|cursor| set.contains(&cursor.partition));
            Self::go_on(Arc::clone(&self.plan), self.reading, own.cloned().collect())
        };
        sets.iter().map(of).collect()
    }

    /// What it follows.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }
}

fn latencies(sent: &Sent, now: Instant) -> impl Iterator<Item = std::time::Duration> + use<> {
    sent.dues()
        .map(move |due| now.saturating_duration_since(due))
}
