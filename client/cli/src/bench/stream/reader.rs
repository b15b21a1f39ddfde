//! The reading half of a load, on one connection: one fetch under way, whose answer is compared with what was sent. Fetches are those of a
//! session (KIP-227), if the broker grants one, as those of Kafka's own consumers are.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use zweig_client::kafka::ErrorCode;
use zweig_client::kafka::error::is_stale_metadata;
use zweig_client::kafka::raw::{self, FetchSession, Fetched};
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
    /// Where each partition is among the cursors.
    places: HashMap<Arc<str>, HashMap<i32, usize>>,
    session: FetchSession,
    /// Cursors that moved since the last request.
    named: Vec<usize>,
    /// The partition that is first in the next request that names all, so that each gets its turn.
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
        let mut reader = Self {
            plan,
            reading,
            cursors,
            places: HashMap::new(),
            session: FetchSession::BEGINS,
            named: Vec::new(),
            first: 0,
            came: clock::now(),
            moved: false,
        };
        reader.place();
        reader
    }

    /// The cursors are others: the broker has to hear of all of them.
    fn place(&mut self) {
        self.session = self.session.anew();
        self.places.clear();
        for (place, cursor) in self.cursors.iter().enumerate() {
            let partition = &self.plan.field.partitions[cursor.partition];
            let of_topic = self.places.entry(Arc::clone(&partition.topic)).or_default();
            of_topic.insert(partition.index, place);
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
        self.session = FetchSession::BEGINS;
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
                self.end(connection).await?;
                return Ok(false);
            }
        }
        self.end(connection).await?;
        Ok(true)
    }

    /// Ends the session, which the broker would keep for a while.
    async fn end(&mut self, connection: &mut Connection) -> Result<(), Failed> {
        if self.session.id == 0 {
            return Ok(());
        }
        let (correlation, out) = connection.queue();
        let session = FetchSession {
            epoch: FetchSession::NONE.epoch,
            ..self.session
        };
        raw::put_fetch(out, correlation, CLIENT_ID, &self.plan.limits, session, []);
        self.session = FetchSession::BEGINS;
        let answered = tokio::time::timeout(self.plan.patience, connection.wait(correlation)).await;
        match answered {
            Ok(answer) => answer.map(|_| ()),
            Err(_) => Err(connection.late()),
        }
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
        let before = self.cursors.len();
        self.cursors.retain(|cursor| !ledger.complete(cursor));
        let fewer = self.cursors.len() < before;
        if now.saturating_duration_since(self.came) > self.plan.patience {
            let missing: usize = self.cursors.iter().map(|c| ledger.missing(c)).sum();
            let why = format!("{missing} batches that were sent cannot be read");
            return Err(connection.wrong("fetch", why));
        }
        if fewer {
            self.place();
        }
        Ok(self.cursors.is_empty())
    }

    fn queue(&mut self, connection: &mut Connection) -> i32 {
        let (correlation, out) = connection.queue();
        if self.session.names_all() {
            self.first = (self.first + 1) % self.cursors.len();
            self.named = (self.first..self.cursors.len())
                .chain(0..self.first)
                .collect();
        }
        let asked = self.named.iter().map(|place| {
            let cursor = &self.cursors[*place];
            let partition = &self.plan.field.partitions[cursor.partition];
            (&*partition.topic, partition.index, cursor.offset)
        });
        let limits = &self.plan.limits;
        raw::put_fetch(out, correlation, CLIENT_ID, limits, self.session, asked);
        self.named.clear();
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
        let whole = raw::fetched(answer, |fetched| {
            let cursor = self.whose(&fetched)?;
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
            let found = self.read(cursor, fetched.records, now, recorder)?;
            if found > 0 {
                self.named.push(cursor);
            }
            records += found;
            Ok(())
        })?;
        match ErrorCode::try_from_code(whole.error) {
            None => self.session = self.session.next(whole.session),
            Some(ErrorCode::FetchSessionIdNotFound | ErrorCode::InvalidFetchSessionEpoch) => {
                self.session = FetchSession::BEGINS;
            }
            Some(code) => return Err(Misread::Refused("all partitions".to_owned(), code)),
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

    /// The cursor of a partition.
    fn whose(&self, fetched: &Fetched<'_>) -> Result<usize, Misread> {
        let (topic, partition) = (fetched.topic, fetched.partition);
        let of_topic = self.places.get(topic);
        let place = of_topic.and_then(|places| places.get(&partition));
        place
            .copied()
            .ok_or_else(|| Misread::Wrong(format!("{topic}-{partition} was not in the request")))
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
