//! The sending half of a load, on one connection: closed (as many requests under way as may be) or open (records are due at fixed
//! times, however long answers take; latency counts from these: "coordinated omission", Gil Tene).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zweig_client::kafka::ErrorCode;
use zweig_client::kafka::error::is_stale_metadata;
use zweig_client::kafka::raw::{self, Produce, Produced};
use zweig_client::kafka::records::{Seal, seal};

use super::CLIENT_ID;
use super::batches::Batches;
use super::ledger::{Entry, Sent};
use super::plan::Plan;
use super::wire::{Connection, Failed, Misread};
use crate::bench::recorder::Recorder;
use crate::bench::ticks::{Alarm, interval, share};
use crate::clock;

/// How long a broker may take for acknowledgements, in milliseconds.
const PRODUCE_TIMEOUT_MS: i32 = 30_000;
/// Bytes that may wait for the socket where nothing is acknowledged.
const UNACKNOWLEDGED: usize = 1 << 20;

/// When records of an open load are due.
#[derive(Debug, Clone)]
pub struct Schedule {
    next: Instant,
    interval: Duration,
}

impl Schedule {
    /// `rate` records per second; lanes do not begin all at once, but by their `number`.
    pub fn new(rate: f64, number: usize, from: Instant) -> Self {
        let interval = interval(rate);
        Self {
            next: from + interval.mul_f64(share(number)),
            interval,
        }
    }

    /// Takes the records of the next batch: when the first one was due, and how many. If the batch is to wait for more
    /// records (until it is full, or its first one has lingered), when it is to be asked for again.
    fn due(
        &mut self,
        now: Instant,
        linger: Duration,
        most: usize,
    ) -> Result<(Instant, u32), Instant> {
        let most = u32::try_from(most).unwrap_or(u32::MAX).max(1);
        let full = self.next + self.interval * (most - 1);
        let closes = full.min(self.next + linger);
        if now < closes {
            return Err(closes);
        }
        let behind = now.saturating_duration_since(self.next).as_nanos();
        let due = behind / self.interval.as_nanos().max(1) + 1;
        let count = u32::try_from(due).unwrap_or(u32::MAX).min(most);
        let first = self.next;
        self.next += self.interval * count;
        Ok((first, count))
    }
}

/// A partition that a lane writes to.
#[derive(Debug, Clone)]
pub struct Own {
    /// Of the field.
    pub partition: usize,
    /// The lane's number there.
    lane: usize,
    /// Of the next record, for idempotent batches.
    sequence: i32,
}

/// A request without an answer yet.
#[derive(Debug)]
struct InFlight {
    correlation: i32,
    batches: Vec<Entry>,
}

/// The names under which a lane's answers are told.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    /// Of the latencies.
    pub kind: &'static str,
    /// Whether records are counted here, not where they are read.
    pub counted: bool,
}

/// The sending half of a lane.
#[derive(Debug)]
pub struct Writer {
    plan: Arc<Plan>,
    told: Told,
    own: Vec<Own>,
    turn: usize,
    batches: Batches,
    schedule: Option<Schedule>,
    /// Records that it sends in all, if not as many as it can.
    left: Option<u64>,
    /// Producer id and epoch.
    producer: Option<(i64, i16)>,
    in_flight: VecDeque<InFlight>,
    /// Refused for a while, to be sent again.
    again: VecDeque<Sent>,
    /// Some of its partitions have another leader by now.
    moved: bool,
}

impl Writer {
    /// A lane for these partitions; a sender of the ledger from now on.
    pub fn new(plan: Arc<Plan>, told: Told, batches: Batches, partitions: &[usize]) -> Self {
        let own = partitions
            .iter()
            .map(|&partition| Own {
                partition,
                lane: plan.ledger.lane(partition),
                sequence: 0,
            })
            .collect();
        plan.ledger.begin_sending();
        Self {
            plan,
            told,
            own,
            turn: 0,
            batches,
            schedule: None,
            left: None,
            producer: None,
            in_flight: VecDeque::new(),
            again: VecDeque::new(),
            moved: false,
        }
    }

    /// Sends at fixed times.
    pub fn with_schedule(mut self, schedule: Option<Schedule>) -> Self {
        self.schedule = schedule;
        self
    }

    /// Sends so many records, however long that takes.
    pub fn with_limit(mut self, records: u64) -> Self {
        self.left = Some(records);
        self
    }

    /// Marks batches as those of a producer that has just begun.
    pub fn begin_as(&mut self, producer: Option<(i64, i16)>) {
        self.producer = producer;
        for own in &mut self.own {
            own.sequence = 0;
        }
    }

    /// Sends until the plan's end, and all answers are there; whether that is so, and not a partition has moved.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn drive(
        &mut self,
        connection: &mut Connection,
        recorder: &mut Recorder,
    ) -> Result<bool, Failed> {
        let mut alarm = Alarm::new()?;
        loop {
            let now = clock::now();
            let wake = self.fill(connection, now)?;
            let answered = self.in_flight.is_empty();
            if answered && (self.moved || (wake.is_none() && self.is_over(now))) {
                return Ok(!self.moved);
            }
            if self.plan.acks == 0 {
                connection.push()?;
                if connection.unsent() == 0 && !answered {
                    self.went(recorder);
                    tokio::task::yield_now().await;
                    continue;
                }
            }
            match wake {
                Some(at) => {
                    connection.push()?;
                    tokio::select! {
                        biased;
                        went = connection.progress() => went?,
                        () = alarm.at(at) => {}
                    }
                }
                None => self.progress(connection).await?,
            }
            self.take(connection, recorder)?;
        }
    }

    async fn progress(&self, connection: &mut Connection) -> Result<(), Failed> {
        match tokio::time::timeout(self.plan.patience, connection.progress()).await {
            Ok(went) => went,
            Err(_) => Err(connection.late()),
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        self.again.is_empty()
            && match self.left {
                Some(left) => left == 0,
                None => now >= self.plan.measured.1,
            }
    }

    fn has_room(&self, connection: &Connection) -> bool {
        match self.plan.acks {
            0 => connection.unsent() < UNACKNOWLEDGED,
            _ => self.in_flight.len() < self.plan.in_flight,
        }
    }

    /// Queues what may go now; if it is to be asked again without an answer, when.
    fn fill(
        &mut self,
        connection: &mut Connection,
        now: Instant,
    ) -> Result<Option<Instant>, Failed> {
        while !self.moved && self.has_room(connection) && !self.is_over(now) {
            if let Some(sent) = self.again.pop_front() {
                self.queue(connection, 1, sent.due, sent.spacing, sent.records)?;
                continue;
            }
            let most = self.batches.most();
            match &mut self.schedule {
                None => {
                    let most = u32::try_from(most).unwrap_or(u32::MAX);
                    let batches = self.plan.batches.min(self.own.len());
                    self.queue(connection, batches, now, Duration::ZERO, most)?;
                }
                Some(schedule) => match schedule.due(now, self.plan.linger, most) {
                    Ok((due, count)) => {
                        let spacing = schedule.interval;
                        self.queue(connection, 1, due, spacing, count)?;
                    }
                    Err(at) => return Ok(Some(at)),
                },
            }
        }
        Ok(None)
    }

    /// Queues a request: a batch of `count` records for each of the next partitions.
    fn queue(
        &mut self,
        connection: &mut Connection,
        batches: usize,
        due: Instant,
        spacing: Duration,
        count: u32,
    ) -> Result<(), Failed> {
        let plan = Arc::clone(&self.plan);
        let mut turns: Vec<usize> = (0..batches.max(1))
            .map(|nth| (self.turn + nth) % self.own.len())
            .collect();
        self.turn = (self.turn + turns.len()) % self.own.len();
        turns.sort_unstable();
        let timestamp_ms = clock::unix_ms();
        let server = Arc::clone(connection.server());
        let (correlation, out) = connection.queue();
        let mut produce =
            Produce::begin(out, correlation, CLIENT_ID, plan.acks, PRODUCE_TIMEOUT_MS);
        let mut entries = Vec::with_capacity(turns.len());
        for turn in turns {
            let batch = self.batches.next(count as usize).map_err(|error| {
                Misread::Wrong(format!("cannot be made: {error}")).by(&server, "produce")
            })?;
            let own = &mut self.own[turn];
            let partition = &plan.field.partitions[own.partition];
            let place = produce.batch(&partition.topic, partition.index, &batch);
            let records = i32::try_from(count).unwrap_or(i32::MAX);
            let mut how = Seal::plain(records, timestamp_ms);
            if let Some((id, epoch)) = self.producer {
                (how.producer_id, how.producer_epoch) = (id, epoch);
                how.base_sequence = own.sequence;
                // From 0 again behind the highest one, as brokers expect it.
                own.sequence = own.sequence.wrapping_add(records) & i32::MAX;
            }
            let sent = Sent::new(seal(place, &how), count, due, spacing);
            entries.push(plan.ledger.sent(own.partition, own.lane, sent));
            if let Some(left) = &mut self.left {
                *left = left.saturating_sub(count.into());
            }
        }
        produce.finish();
        self.in_flight.push_back(InFlight {
            correlation,
            batches: entries,
        });
        Ok(())
    }

    /// Takes apart the answers that have come.
    fn take(&mut self, connection: &mut Connection, recorder: &mut Recorder) -> Result<(), Failed> {
        let now = clock::now();
        let server = Arc::clone(connection.server());
        while let Some(first) = self.in_flight.front() {
            let Some(answer) = connection.answer(first.correlation)? else {
                break;
            };
            let Some(first) = self.in_flight.pop_front() else {
                break;
            };
            let mut left = first.batches.clone();
            let settled = raw::produced(answer, |produced| {
                let entry = self.whose(&mut left, &produced)?;
                self.settle(entry, &produced, now, recorder)
            });
            let settled = settled.and_then(|()| match left.len() {
                0 => Ok(()),
                left => Err(Misread::Wrong(format!("nothing of {left} of its batches"))),
            });
            if let Err(misread) = settled {
                self.in_flight.push_front(first);
                return Err(misread.by(&server, "produce"));
            }
        }
        Ok(())
    }

    fn whose(&self, left: &mut Vec<Entry>, produced: &Produced<'_>) -> Result<Entry, Misread> {
        let found = left.iter().position(|entry| {
            let partition = &self.plan.field.partitions[entry.partition];
            partition.index == produced.partition && *partition.topic == *produced.topic
        });
        let found = found.ok_or_else(|| {
            let (topic, partition) = (produced.topic, produced.partition);
            Misread::Wrong(format!("{topic}-{partition} was not in the request"))
        })?;
        Ok(left.swap_remove(found))
    }

    fn settle(
        &mut self,
        entry: Entry,
        produced: &Produced<'_>,
        now: Instant,
        recorder: &mut Recorder,
    ) -> Result<(), Misread> {
        let ledger = &self.plan.ledger;
        match ErrorCode::try_from_code(produced.error) {
            None => {
                let sent = ledger
                    .acknowledged(entry, produced.base_offset)
                    .map_err(Misread::Wrong)?;
                self.answered(&sent, now, recorder);
            }
            Some(ErrorCode::RequestTimedOut | ErrorCode::NotEnoughReplicasAfterAppend)
                if self.plan.reconnect =>
            {
                ledger.unknown(entry);
                recorder.unknown += 1;
                self.moved = true;
            }
            Some(code)
                if self.plan.reconnect && (code.is_retriable() || is_stale_metadata(code)) =>
            {
                self.again.push_back(ledger.refused(entry));
                recorder.refused += 1;
                self.moved = true;
            }
            Some(code) => {
                let of = self.plan.field.partitions[entry.partition].to_string();
                return Err(Misread::Refused(of, code));
            }
        }
        Ok(())
    }

    fn answered(&self, sent: &Sent, now: Instant, recorder: &mut Recorder) {
        if self.told.counted {
            self.plan.count(recorder, now, sent.records.into());
        }
        if !self.plan.counts(now) {
            return;
        }
        let latency = |due: Instant| now.saturating_duration_since(due);
        if self.schedule.is_some() {
            recorder.latencies(self.told.kind, sent.dues().map(latency));
        } else {
            recorder.latencies(self.told.kind, [latency(sent.due)]);
        }
    }

    /// Without acknowledgements a batch is done when the socket has taken it.
    fn went(&mut self, recorder: &mut Recorder) {
        let now = clock::now();
        for sent in std::mem::take(&mut self.in_flight) {
            for entry in sent.batches {
                let sent = self.plan.ledger.get(entry);
                self.answered(&sent, now, recorder);
            }
        }
    }

    /// The connection is gone: nobody knows of what was under way.
    pub fn lost(&mut self, recorder: &mut Recorder) {
        for request in std::mem::take(&mut self.in_flight) {
            recorder.unknown += 1;
            for entry in request.batches {
                self.plan.ledger.unknown(entry);
            }
        }
        self.moved = true;
    }

    /// The partitions it writes to.
    pub fn partitions(&self) -> Vec<usize> {
        self.own.iter().map(|own| own.partition).collect()
    }

    /// One lane for each of these sets of partitions, which are its own, with its share of what is due.
    pub fn split(self, sets: &[&Vec<usize>]) -> Vec<Self> {
        let mut parts: Vec<Self> = Vec::new();
        for set in sets {
            let own: Vec<Own> = self
                .own
                .iter()
                .filter(|own| set.contains(&own.partition))
                .cloned()
                .collect();
            let share = self.own.len() as f64 / own.len().max(1) as f64;
            let schedule = self.schedule.as_ref().map(|schedule| Schedule {
                next: schedule.next,
                interval: schedule.interval.mul_f64(share),
            });
            let is_first = parts.is_empty();
            self.plan.ledger.begin_sending();
            parts.push(Self {
                plan: Arc::clone(&self.plan),
                told: self.told,
                own,
                turn: 0,
                batches: self.batches.clone(),
                schedule,
                // Few, and of no other partitions than any: the first one takes them.
                left: self.left.filter(|_| is_first).or(self.left.map(|_| 0)),
                again: self.again.iter().copied().filter(|_| is_first).collect(),
                producer: None,
                in_flight: VecDeque::new(),
                moved: false,
            });
        }
        parts
    }

    /// What it follows.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.plan.ledger.end_sending();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A record per millisecond.
    fn schedule(from: Instant) -> Schedule {
        Schedule::new(1_000.0, 0, from)
    }

    #[test]
    fn records_linger_until_a_batch_is_full_or_the_first_one_has_waited() {
        let from = clock::now();
        let mut lingering = schedule(from);
        assert_eq!(lingering.due(from, ms(5), 100), Err(from + ms(5)));
        assert_eq!(lingering.due(from + ms(5), ms(5), 100), Ok((from, 6)));
        assert_eq!(lingering.due(from + ms(6), ms(50), 4), Err(from + ms(9)));
        assert_eq!(
            lingering.due(from + ms(9), ms(50), 4),
            Ok((from + ms(6), 4))
        );
    }

    #[test]
    fn what_is_late_counts_from_when_it_was_due() {
        let from = clock::now();
        let mut late = schedule(from);
        let now = from + ms(25);
        assert_eq!(late.due(now, ms(0), 10), Ok((from, 10)));
        assert_eq!(late.due(now, ms(0), 10), Ok((from + ms(10), 10)));
        assert_eq!(late.due(now, ms(0), 10), Ok((from + ms(20), 6)));
        assert_eq!(late.due(now, ms(0), 10), Err(from + ms(26)));
    }
}
