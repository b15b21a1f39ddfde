//! One log on a real file system, opened and closed as a broker would.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use kafka_protocol::records::{
    Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType as RecordTime,
};
use tempfile::TempDir;

use super::super::super::config::TimestampType;
use super::super::super::error::{AppendError, OpenError, ReadError};
use super::super::super::format::offset_index::OffsetPosition;
use super::super::super::format::producer_snapshot::SnapshotEntry;
use super::super::super::format::record_batch::tests::Batch;
use super::super::super::format::record_batch::{self, Header};
use super::super::super::format::record_stream::tests::claiming;
use super::super::super::format::time_index::TimestampEntry;
use super::super::super::{AppendOrigin, Appended};
use super::super::dir::Checkpoint;
use super::super::recovery::{self, Hints};
use super::*;
use crate::disk::{self as disks, FileDisk};

mod append;
mod crash;
mod disk;
mod model;
mod read;
mod retention;

pub(crate) const NOW: i64 = 1_000_000;

/// Settings under which a few batches fill a segment.
pub(crate) fn small() -> LogConfig {
    LogConfig {
        segment_bytes: 500,
        index_interval_bytes: 100,
        retention_ms: -1,
        ..LogConfig::default()
    }
}

/// A log in a directory of its own.
pub(crate) struct TestLog {
    pub folder: TempDir,
    pub config: LogConfig,
    log: Option<Log>,
}

impl std::ops::Deref for TestLog {
    type Target = Log;
    fn deref(&self) -> &Log {
        self.log.as_ref().expect("open")
    }
}

impl TestLog {
    pub fn new(config: LogConfig) -> TestLog {
        let mut log = TestLog {
            folder: tempfile::tempdir().unwrap(),
            config,
            log: None,
        };
        log.reopen(hints(false)).unwrap();
        log
    }

    pub fn partition_folder(&self) -> PathBuf {
        self.folder.path().join("t-0")
    }

    /// Drops the log without closing it.
    pub fn crash(&mut self) {
        self.log = None;
    }

    /// Opens the log again, after a crash or a clean stop.
    pub fn reopen(&mut self, hints: Hints) -> Result<(), OpenError> {
        self.log = None;
        let dir = Arc::new(LogDir::open(disks::real(), self.folder.path()).unwrap());
        fs::create_dir_all(self.partition_folder()).unwrap();
        let partition = TopicPartition::new("t", 0);
        let hints = Hints {
            recovery_point: hints.recovery_point.max(dir.recovery_point(&partition)),
            ..hints
        };
        let folder = self.partition_folder();
        let log = recovery::load(&folder, &partition, self.config.clone(), dir, hints, NOW)?;
        self.log = Some(log);
        Ok(())
    }

    pub fn append(&self, batch: &Batch) -> Result<Appended, AppendError> {
        self.append_as_leader(batch.bytes().into(), 0, AppendOrigin::Client, NOW)
    }

    pub fn file_names(&self) -> Vec<String> {
        file::list(&FileDisk, &self.partition_folder()).unwrap()
    }
}

pub(crate) fn hints(clean: bool) -> Hints {
    Hints {
        clean,
        recovery_point: 0,
        unsynced_lost: false,
        log_start: 0,
        log_start_exact: false,
        high_watermark: None,
        cut_damage: false,
    }
}

/// Base offset, last offset and leader epoch of every batch that can be read.
pub(crate) fn batches(log: &Log) -> Vec<(i64, i64, i32)> {
    let mut all = Vec::new();
    let mut offset = log.log_start_offset();
    loop {
        let records = log.read(offset, 1, i64::MAX, true).unwrap();
        let Some(header) = record_batch::headers(&records.bytes).next() else {
            return all;
        };
        let header = header.unwrap().0;
        record_batch::parse_whole(&records.bytes).unwrap();
        all.push((
            header.base_offset,
            header.last_offset(),
            header.leader_epoch,
        ));
        offset = header.next_offset();
    }
}

/// Bytes of each log file, by base offset.
pub(crate) fn log_files(folder: &Path) -> BTreeMap<i64, Vec<u8>> {
    let names = file::list(&FileDisk, folder).unwrap();
    let logs = names
        .iter()
        .filter_map(|name| match names::parse_segment_file(name) {
            Some((base, names::LOG)) => Some((base, fs::read(folder.join(name)).unwrap())),
            _ => None,
        });
    logs.collect()
}

/// What a log knows besides its records.
pub(crate) struct Insight {
    pub producers: Vec<SnapshotEntry>,
    pub segments: Vec<SegmentInsight>,
}

/// A segment, from inside.
pub(crate) struct SegmentInsight {
    pub base_offset: i64,
    pub bytes: Vec<u8>,
    pub offsets: Vec<OffsetPosition>,
    pub times: Vec<TimestampEntry>,
    pub largest_timestamp_ms: i64,
}

pub(crate) fn insight(log: &Log) -> Insight {
    let segments = log.segments.read();
    let look = |segment: &Arc<Segment>| {
        let mut bytes = vec![0; segment.size() as usize];
        segment.file().read_exact_at(&mut bytes, 0).unwrap();
        SegmentInsight {
            base_offset: segment.base_offset(),
            bytes,
            offsets: segment.offset_index().entries(),
            times: segment.time_index().entries(),
            largest_timestamp_ms: segment.largest_timestamp().timestamp_ms,
        }
    };
    Insight {
        producers: log.writer.lock().producers.snapshot(),
        segments: segments.values().map(look).collect(),
    }
}
