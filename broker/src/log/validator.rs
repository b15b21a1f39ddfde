//! May these bytes enter the log? Checks before an append, and the leader's patches.
//!
//! Pure; called by `store::log`. For a client everything is checked that consumers or this log rely
//! on: lengths, magic, checksum, codec, counts, offsets, timestamps, size, and each record (structure,
//! offset, key where the topic is compacted, timestamp). Compressed records are unpacked for that, as
//! a stream and up to a bound, and never packed again: what enters the log is what the client sent.
//!
//! As in Kafka a client sends exactly one batch per partition, its base offset 0.

use std::ops::Range;

use super::AppendOrigin;
use super::config::{LogConfig, TimestampType};
use super::error::AppendError;
use super::format::record::{self, EndMarker};
use super::format::record_batch::{self, BatchError, HEADER_SIZE, Header};
use super::format::record_stream::{self, StreamError};

const HIGHEST_CODEC: u8 = 4;
const NO_TIMESTAMP: i64 = -1;

/// A batch that passed, and where it lies in the buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedBatch {
    /// The header as it will be in the log.
    pub header: Header,
    /// Its bytes.
    pub range: Range<usize>,
    /// What it says when it ends a transaction.
    pub end_marker: Option<EndMarker>,
}

impl From<BatchError> for AppendError {
    fn from(error: BatchError) -> AppendError {
        match error {
            BatchError::Magic(_) | BatchError::LastOffsetDelta(_) => {
                AppendError::InvalidRecord(error.to_string())
            }
            _ => AppendError::Corrupt(error.to_string()),
        }
    }
}

impl From<StreamError> for AppendError {
    fn from(error: StreamError) -> AppendError {
        match error {
            // Too large, so that a producer splits the batch.
            StreamError::TooLarge(too_large) => {
                let max = usize::try_from(too_large.0).unwrap_or(usize::MAX);
                let size = max.saturating_add(1);
                AppendError::RecordTooLarge { size, max }
            }
            _ => invalid(error.to_string()),
        }
    }
}

fn invalid(reason: impl Into<String>) -> AppendError {
    AppendError::InvalidRecord(reason.into())
}

/// Checks what a client or our own coordinator wants to append on the leader. The largest timestamp
/// in each returned header is the true one.
pub fn check_for_leader(
    records: &[u8],
    config: &LogConfig,
    origin: AppendOrigin,
    now_ms: i64,
) -> Result<Vec<CheckedBatch>, AppendError> {
    if records.len() > config.segment_bytes as usize {
        let (size, max) = (records.len(), config.segment_bytes as usize);
        return Err(AppendError::RecordBatchTooLarge { size, max });
    }
    let mut batches = Vec::with_capacity(1);
    for item in record_batch::headers(records) {
        let (header, range) = item?;
        if header.size() > config.max_message_bytes as usize {
            let (size, max) = (header.size(), config.max_message_bytes as usize);
            return Err(AppendError::RecordTooLarge { size, max });
        }
        let batch = &records[range.clone()];
        record_batch::parse_whole(batch)?;
        check_header(&header, origin)?;
        check_timestamp_type(&header, config)?;
        let mut checked = check_batch(batch, range, header)?;
        if !header.is_control() {
            checked.header.max_timestamp_ms = check_records(batch, &header, config, now_ms)?;
        }
        batches.push(checked);
    }
    match (batches.len(), origin) {
        (0, _) => Err(invalid("no record batch")),
        (1, _) | (_, AppendOrigin::Coordinator) => Ok(batches),
        (count, AppendOrigin::Client) => Err(invalid(format!(
            "{count} batches, one per partition is allowed"
        ))),
    }
}

/// Checks what a follower fetched, and says how many of the bytes are whole batches: a fetch may cut
/// the last one.
pub fn check_for_follower(records: &[u8]) -> Result<(Vec<CheckedBatch>, usize), AppendError> {
    let mut batches: Vec<CheckedBatch> = Vec::new();
    let mut valid = 0;
    for item in record_batch::headers(records) {
        let (header, range) = match item {
            Ok(item) => item,
            Err(BatchError::Cut { .. }) => break,
            Err(error) => return Err(error.into()),
        };
        let batch = &records[range.clone()];
        record_batch::parse_whole(batch)?;
        if let Some(last) = batches.last()
            && header.base_offset < last.header.next_offset()
        {
            return Err(AppendError::UnexpectedOffset {
                found: header.base_offset,
                log_end: last.header.next_offset(),
            });
        }
        valid = range.end;
        batches.push(check_batch(batch, range, header)?);
    }
    Ok((batches, valid))
}

/// Sets the timestamps: the leader's clock where the topic says so, else the largest of the records.
/// `records` is the buffer that was checked.
pub fn stamp(records: &mut [u8], batches: &mut [CheckedBatch], append_time_ms: Option<i64>) {
    for checked in batches {
        let batch = &mut records[checked.range.clone()];
        let stored = Header::parse(batch).expect("checked before");
        if let Some(now_ms) = append_time_ms {
            record_batch::set_log_append_time(batch, now_ms);
        } else if stored.max_timestamp_ms != checked.header.max_timestamp_ms {
            record_batch::set_create_time(batch, checked.header.max_timestamp_ms);
        }
        checked.header = Header::parse(batch).expect("checked before");
    }
}

/// Makes checked batches the leader's: offsets from `next_offset` on, and its epoch. Returns the next
/// free offset.
pub fn assign(
    records: &mut [u8],
    batches: &mut [CheckedBatch],
    next_offset: i64,
    leader_epoch: i32,
) -> i64 {
    let mut next = next_offset;
    for checked in batches {
        let batch = &mut records[checked.range.clone()];
        record_batch::set_offset_and_epoch(batch, next, leader_epoch);
        checked.header.base_offset = next;
        checked.header.leader_epoch = leader_epoch;
        next = checked.header.next_offset();
    }
    next
}

fn check_batch(
    batch: &[u8],
    range: Range<usize>,
    header: Header,
) -> Result<CheckedBatch, AppendError> {
    let end_marker = if header.is_control() && header.is_transactional() {
        record::end_marker(&batch[HEADER_SIZE..]).map_err(|error| invalid(error.0))?
    } else {
        None
    };
    Ok(CheckedBatch {
        header,
        range,
        end_marker,
    })
}

fn check_header(header: &Header, origin: AppendOrigin) -> Result<(), AppendError> {
    if header.compression() > HIGHEST_CODEC {
        return Err(AppendError::UnsupportedCompression(header.compression()));
    }
    if header.record_count <= 0 || header.record_count - 1 != header.last_offset_delta {
        let (count, delta) = (header.record_count, header.last_offset_delta);
        return Err(invalid(format!(
            "{count} records with last offset delta {delta}"
        )));
    }
    if origin == AppendOrigin::Coordinator {
        return Ok(());
    }
    if header.base_offset != 0 {
        return Err(invalid(format!("base offset {}", header.base_offset)));
    }
    if header.is_control() {
        return Err(invalid("clients may not write control batches"));
    }
    if header.has_producer_id() && (header.base_sequence < 0 || header.producer_epoch < 0) {
        let (sequence, epoch) = (header.base_sequence, header.producer_epoch);
        return Err(invalid(format!(
            "producer epoch {epoch}, sequence {sequence}"
        )));
    }
    // There is no transaction coordinator: it would stay open, and hold back readers of committed records, for ever.
    if header.is_transactional() {
        return Err(AppendError::Transactional);
    }
    Ok(())
}

/// A client can't know the leader's clock.
fn check_timestamp_type(header: &Header, config: &LogConfig) -> Result<(), AppendError> {
    if config.timestamp_type == TimestampType::CreateTime && header.is_log_append_time() {
        let timestamp_ms = header.max_timestamp_ms;
        return Err(AppendError::InvalidTimestamp {
            timestamp_ms,
            low_ms: NO_TIMESTAMP,
            high_ms: NO_TIMESTAMP,
        });
    }
    Ok(())
}

fn check_timestamp(timestamp_ms: i64, config: &LogConfig, now_ms: i64) -> Result<(), AppendError> {
    let low_ms = now_ms.saturating_sub(config.timestamp_before_max_ms);
    let high_ms = now_ms.saturating_add(config.timestamp_after_max_ms);
    if timestamp_ms == NO_TIMESTAMP || (low_ms..=high_ms).contains(&timestamp_ms) {
        return Ok(());
    }
    Err(AppendError::InvalidTimestamp {
        timestamp_ms,
        low_ms,
        high_ms,
    })
}

/// Passes a batch's records; returns their largest timestamp.
fn check_records(
    batch: &[u8],
    header: &Header,
    config: &LogConfig,
    now_ms: i64,
) -> Result<i64, AppendError> {
    let mut count = 0;
    let mut largest = NO_TIMESTAMP;
    for record in record_stream::places(batch, header)? {
        let record = record?;
        if record.offset_delta != count || count == header.record_count {
            let (delta, announced) = (record.offset_delta, header.record_count);
            return Err(invalid(format!(
                "offset delta {delta} in record {count} of {announced}"
            )));
        }
        if config.cleanup_policy.compact && !record.has_key {
            return Err(invalid("record without a key in a compacted topic"));
        }
        let (base_ms, delta_ms) = (header.base_timestamp_ms, record.timestamp_delta_ms);
        let timestamp_ms = base_ms
            .checked_add(delta_ms)
            .ok_or_else(|| invalid(format!("timestamp {base_ms} + {delta_ms} is none")))?;
        if config.timestamp_type == TimestampType::CreateTime {
            check_timestamp(timestamp_ms, config, now_ms)?;
        }
        largest = largest.max(timestamp_ms);
        count += 1;
    }
    if count != header.record_count {
        let announced = header.record_count;
        return Err(invalid(format!(
            "{announced} records announced, {count} found"
        )));
    }
    Ok(largest)
}

#[cfg(test)]
mod tests;
