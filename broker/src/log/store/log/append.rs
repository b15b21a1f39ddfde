//! Appending, as leader and as follower, and rolling over to a new segment.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::super::super::config::TimestampType;
use super::super::super::error::{AppendError, FileError, LogError};
use super::super::super::format::time_index::TimestampEntry;
use super::super::super::producer_state::{Prepared, Source, Update};
use super::super::super::validator::{self, CheckedBatch};
use super::super::super::{AppendOrigin, Appended};
use super::super::dir::Checkpoint;
use super::super::segment::{NO_TIMESTAMP, Piece, Segment};
use super::{Log, Writer};

const NO_APPEND_TIME: i64 = -1;

/// Records that passed the checks, ready to be appended by a leader.
#[derive(Debug)]
pub struct Checked {
    records: BytesMut,
    batches: Vec<CheckedBatch>,
    append_time_ms: Option<i64>,
    source: Source,
    now_ms: i64,
}

impl Log {
    /// Checks records, gives them offsets and this leader's epoch, and appends them.
    pub fn append_as_leader(
        &self,
        records: Bytes,
        leader_epoch: i32,
        origin: AppendOrigin,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        let checked = self.check_records(records, origin, now_ms)?;
        self.append_checked(checked, leader_epoch)
    }

    /// Looks at records that shall be appended. Unpacking them may take a while, so no lock is held.
    pub fn check_records(
        &self,
        records: Bytes,
        origin: AppendOrigin,
        now_ms: i64,
    ) -> Result<Checked, AppendError> {
        let config = self.config();
        let mut batches = validator::check_for_leader(&records, &config, origin, now_ms)?;
        let append_time_ms = match config.timestamp_type {
            TimestampType::LogAppendTime => Some(now_ms),
            TimestampType::CreateTime => None,
        };
        let mut records = owned(records);
        validator::stamp(&mut records, &mut batches, append_time_ms);
        let source = match origin {
            AppendOrigin::Client => Source::Client,
            AppendOrigin::Coordinator => Source::Coordinator,
        };
        Ok(Checked {
            records,
            batches,
            append_time_ms,
            source,
            now_ms,
        })
    }

    /// Gives checked records offsets and this leader's epoch, and appends them.
    pub fn append_checked(
        &self,
        checked: Checked,
        leader_epoch: i32,
    ) -> Result<Appended, AppendError> {
        let Checked {
            mut records,
            mut batches,
            append_time_ms,
            source,
            now_ms,
        } = checked;
        let mut writer = self.writer.lock();
        self.check_open(&writer).map_err(AppendError::Log)?;
        if let Some(latest) = self.latest_epoch().filter(|&latest| leader_epoch < latest) {
            let found = leader_epoch;
            return Err(AppendError::StaleLeaderEpoch { found, latest });
        }
        let first_offset = self.log_end_offset();
        let sent = batches.iter().map(|batch| &batch.header);
        let taken: i64 = sent.map(|sent| sent.next_offset() - sent.base_offset).sum();
        if first_offset.checked_add(taken).is_none() {
            // No log that was only appended to gets there.
            let reason = format!("there is no offset left behind {first_offset}");
            return Err(AppendError::InvalidRecord(reason));
        }
        let next = validator::assign(&mut records, &mut batches, first_offset, leader_epoch);
        let update = match prepare(&writer, &batches, source)? {
            Prepared::Fresh(update) => update,
            Prepared::Duplicate(batch) => {
                let stamped = append_time_ms.map(|_| batch.timestamp_ms);
                return Ok(Appended {
                    first_offset: batch.first_offset(),
                    last_offset: batch.last_offset,
                    log_append_time_ms: stamped.unwrap_or(NO_APPEND_TIME),
                    log_start_offset: self.log_start_offset(),
                    duplicate: true,
                });
            }
        };
        self.write(&mut writer, &records, &batches, update, now_ms)?;
        Ok(Appended {
            first_offset,
            last_offset: next - 1,
            log_append_time_ms: append_time_ms.unwrap_or(NO_APPEND_TIME),
            log_start_offset: self.log_start_offset(),
            duplicate: false,
        })
    }

    /// Appends what was fetched from the leader, as it is. A batch cut off at the end is dropped;
    /// the answer's offsets are those of the whole ones (an empty range where there is none).
    #[expect(
        clippy::needless_pass_by_value,
        reason = "one signature for both kinds of append"
    )]
    pub fn append_as_follower(&self, records: Bytes, now_ms: i64) -> Result<Appended, AppendError> {
        let (batches, _) = validator::check_for_follower(&records)?;
        let config = self.config();
        let mut writer = self.writer.lock();
        self.check_open(&writer).map_err(AppendError::Log)?;
        let log_end = self.log_end_offset();
        let first_offset = batches
            .first()
            .map_or(log_end, |batch| batch.header.base_offset);
        if first_offset < log_end {
            let found = first_offset;
            return Err(AppendError::UnexpectedOffset { found, log_end });
        }
        for group in pieces(&batches, config.segment_bytes) {
            let Prepared::Fresh(update) = prepare(&writer, group, Source::Replication)? else {
                unreachable!("duplicates are looked for in clients' batches only");
            };
            self.write(&mut writer, &records, group, update, now_ms)?;
        }
        let next = batches
            .last()
            .map_or(log_end, |batch| batch.header.next_offset());
        Ok(Appended {
            first_offset,
            last_offset: next - 1,
            log_append_time_ms: NO_APPEND_TIME,
            log_start_offset: self.log_start_offset(),
            duplicate: false,
        })
    }

    /// Writes batches that lie behind each other in `records` and fit into one segment.
    fn write(
        &self,
        writer: &mut Writer,
        records: &[u8],
        batches: &[CheckedBatch],
        update: Update,
        now_ms: i64,
    ) -> Result<(), LogError> {
        let config = self.config();
        let (Some(first), Some(last)) = (batches.first(), batches.last()) else {
            return Ok(());
        };
        let piece = Piece {
            bytes: &records[first.range.start..last.range.end],
            first_offset: first.header.base_offset,
            last_offset: last.header.last_offset(),
            largest_timestamp: largest_timestamp(batches),
        };
        let mut active = self.active();
        if active.must_roll(&piece, &config, now_ms) {
            active = self.roll(writer, piece.first_offset, now_ms)?;
        }
        active.append(&piece, &config, now_ms)?;
        for batch in batches {
            self.note_epoch(batch.header.leader_epoch, batch.header.base_offset);
        }
        writer.producers.commit(update);
        self.note_unstable(&writer.producers);
        self.publish_end(last.header.next_offset());
        Ok(())
    }

    /// Begins a new active segment at an offset. The old one is flushed by the next flush pass.
    pub(super) fn roll(
        &self,
        writer: &Writer,
        base_offset: i64,
        now_ms: i64,
    ) -> Result<Arc<Segment>, FileError> {
        let old = self.active();
        let end = self.log_end_offset();
        if old.base_offset() == base_offset {
            return Ok(old);
        }
        if self
            .dir
            .offset(Checkpoint::LogStarts, &self.partition)
            .is_none()
        {
            // From now on the first segment can be missed where a later one is there, so it has to be known where the log
            // starts.
            let start = self.log_start_offset();
            self.dir.note_start(&self.partition, start)?;
        }
        old.close_index()?;
        self.folder_dirty
            .store(true, std::sync::atomic::Ordering::Release);
        if old.size() == 0 {
            // Nothing was ever written to it, so the new one replaces it.
            let segment = Arc::new(Segment::create(
                self.dir.disk(),
                &self.folder,
                base_offset,
                now_ms,
            )?);
            let mut segments = self.segments.write();
            segments.remove(&old.base_offset());
            segments.insert(base_offset, Arc::clone(&segment));
            drop(segments);
            self.publish_end(end);
            old.remove()?;
            return Ok(segment);
        }
        self.write_snapshot(&writer.producers, base_offset)?;
        let segment = Arc::new(Segment::create(
            self.dir.disk(),
            &self.folder,
            base_offset,
            now_ms,
        )?);
        self.segments
            .write()
            .insert(base_offset, Arc::clone(&segment));
        self.folder_dirty
            .store(true, std::sync::atomic::Ordering::Release);
        self.publish_end(end);
        Ok(segment)
    }
}

/// The bytes, without a copy where nobody else holds them.
fn owned(records: Bytes) -> BytesMut {
    records
        .try_into_mut()
        .unwrap_or_else(|shared| BytesMut::from(&shared[..]))
}

fn prepare(
    writer: &Writer,
    batches: &[CheckedBatch],
    source: Source,
) -> Result<Prepared, AppendError> {
    let headers = batches
        .iter()
        .map(|batch| (&batch.header, batch.end_marker));
    writer.producers.prepare(headers, source)
}

/// Groups of batches that fit into a segment each.
fn pieces(batches: &[CheckedBatch], segment_bytes: u32) -> impl Iterator<Item = &[CheckedBatch]> {
    let mut rest = batches;
    std::iter::from_fn(move || {
        let first = rest.first()?;
        let fits = |batch: &&CheckedBatch| {
            let bytes = batch.range.end - first.range.start;
            let span = batch.header.last_offset() - first.header.base_offset;
            bytes <= segment_bytes as usize && span <= i64::from(i32::MAX)
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (group, behind) = rest.split_at(count);
        rest = behind;
        Some(group)
    })
}

fn largest_timestamp(batches: &[CheckedBatch]) -> TimestampEntry {
    let mut largest = NO_TIMESTAMP;
    for batch in batches {
        if batch.header.max_timestamp_ms > largest.timestamp_ms {
            largest = TimestampEntry {
                timestamp_ms: batch.header.max_timestamp_ms,
                offset: batch.header.last_offset(),
            };
        }
    }
    largest
}
