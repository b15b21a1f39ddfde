//! What is in a log against what should be.

use super::super::super::format::record_batch::{self, Header};
use super::super::log::Log;
use super::super::log::tests::{Insight, insight};
use super::model::{Content, Kept};

/// All batches that can be read, each with its checksum compared.
pub fn read_all(log: &Log) -> Vec<Kept> {
    let mut all = Vec::new();
    let mut offset = log.log_start_offset();
    while offset < log.log_end_offset() {
        let records = log.read(offset, 1, i64::MAX, true).unwrap();
        assert!(
            !records.bytes.is_empty(),
            "nothing at {offset}, the end is {}",
            log.log_end_offset()
        );
        let batch = Kept::new(records.bytes.to_vec());
        offset = batch.header.next_offset();
        all.push(batch);
    }
    all
}

/// Fails unless the log holds a first part of `content`, with everything that is flushed; returns its end.
pub fn is_part_of(log: &Log, content: &Content) -> Result<i64, String> {
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    if end < content.flushed || end > content.end {
        return Err(format!(
            "ends at {end}, not in {}..={}",
            content.flushed, content.end
        ));
    }
    if start > content.start.max(content.first) && start != end {
        return Err(format!("starts at {start}, behind {}", content.start));
    }
    // A log that begins anew at its start lacks the batch that the start lies in, too: its leader has it.
    let expected: Vec<&Kept> = content
        .batches
        .iter()
        .filter(|_| start < end)
        .filter(|one| one.header.last_offset() >= start && one.header.base_offset < end)
        .collect();
    let found = read_all(log);
    for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
        if found != *expected {
            let (found, expected) = (found.header, expected.header);
            return Err(format!("batch {at} is {found:?}, not {expected:?}"));
        }
    }
    if found.len() != expected.len() {
        return Err(format!("{} batches, not {}", found.len(), expected.len()));
    }
    if let Some(last) = expected.last()
        && last.header.next_offset() != end
    {
        return Err(format!("ends at {end}, within a batch"));
    }
    Ok(end)
}

/// Fails where indexes, leader epochs, producers or times do not agree with the batches, which are those of `content`.
pub fn agrees_with_itself(log: &Log, content: &Content) {
    let insight = insight(log);
    epochs(log, content);
    producers(log, content, &insight);
    times(log, content);
    indexes(&insight);
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    let flushed = log.flushed_end_offset();
    assert!(
        start <= flushed && flushed <= end,
        "{start}, {flushed}, {end}"
    );
}

fn visible<'a>(log: &Log, content: &'a Content) -> impl Iterator<Item = &'a Header> {
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    let headers = content.batches.iter().map(|one| &one.header);
    headers.filter(move |header| header.last_offset() >= start && header.base_offset < end)
}

fn epochs(log: &Log, content: &Content) {
    let start = log.log_start_offset();
    for header in visible(log, content) {
        let epoch = header.leader_epoch;
        assert_eq!(
            log.epoch_at(header.base_offset.max(start)),
            Some(epoch),
            "at {header:?}"
        );
        let next = visible(log, content).find(|next| next.leader_epoch > epoch);
        let end = next.map_or(log.log_end_offset(), |next| next.base_offset);
        let told = log
            .end_offset_for_epoch(epoch)
            .map(|told| (told.leader_epoch, told.end_offset));
        assert_eq!(told, Some((epoch, end)), "end of an epoch");
    }
}

fn producers(log: &Log, content: &Content, insight: &Insight) {
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    let mut there = content.clone();
    there.batches.retain(|one| one.header.base_offset < end);
    let expected = there.producers();
    for entry in &insight.producers {
        let found = (entry.producer_epoch, entry.last_sequence, entry.last_offset);
        let id = entry.producer_id;
        assert_eq!(
            expected.get(&id),
            Some(&found),
            "producer {id}, start {start}, end {end}"
        );
    }
    for (id, last) in expected {
        let known = insight
            .producers
            .iter()
            .any(|entry| entry.producer_id == id);
        assert!(
            known || last.2 < start.max(content.deleted),
            "producer {id} is forgotten, its last is {last:?}"
        );
    }
}

fn times(log: &Log, content: &Content) {
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    let mut there = content.clone();
    there.batches.retain(|one| one.header.base_offset < end);
    for header in visible(log, content) {
        for timestamp_ms in [header.base_timestamp_ms, header.max_timestamp_ms + 1] {
            let found = log.offset_for_timestamp(timestamp_ms, i64::MAX).unwrap();
            let found = found.map(|found| found.offset);
            assert_eq!(
                found,
                there.at_time(timestamp_ms, start),
                "at {timestamp_ms} ms"
            );
        }
    }
}

/// Index entries name batches of their segment, in order.
fn indexes(insight: &Insight) {
    for segment in &insight.segments {
        let base = segment.base_offset;
        let headers: Vec<Header> = record_batch::headers(&segment.bytes)
            .map(|header| header.unwrap().0)
            .collect();
        let mut places = std::collections::BTreeMap::new();
        let mut position = 0;
        for header in &headers {
            places.insert(position, *header);
            position += header.size() as u64;
        }
        assert_eq!(
            position,
            segment.bytes.len() as u64,
            "segment {base} holds whole batches"
        );
        for pair in segment.offsets.windows(2) {
            assert!(pair[0].offset < pair[1].offset && pair[0].position < pair[1].position);
        }
        for entry in &segment.offsets {
            let header = places.get(&u64::from(entry.position));
            let header =
                header.unwrap_or_else(|| panic!("segment {base}: {entry:?} is no batch's place"));
            assert!(
                header.base_offset <= entry.offset,
                "segment {base}: {entry:?}, {header:?}"
            );
            let ends = headers
                .iter()
                .any(|header| header.last_offset() == entry.offset);
            assert!(ends, "segment {base}: {entry:?} is no batch's end");
        }
        for pair in segment.times.windows(2) {
            assert!(
                pair[0].timestamp_ms < pair[1].timestamp_ms,
                "segment {base}"
            );
        }
        for entry in &segment.times {
            let of = headers
                .iter()
                .find(|header| header.last_offset() == entry.offset);
            let timestamp_ms = of.map(|header| header.max_timestamp_ms);
            assert_eq!(
                timestamp_ms,
                Some(entry.timestamp_ms),
                "segment {base}: {entry:?}"
            );
        }
        let largest = headers.iter().map(|header| header.max_timestamp_ms).max();
        assert_eq!(
            segment.largest_timestamp_ms,
            largest.unwrap_or(-1),
            "segment {base}"
        );
    }
}
