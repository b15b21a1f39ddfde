//! Opening a partition's folder: after a clean stop, a crash, or Kafka.
//!
//! After an unclean stop every batch from the segment that holds the recovery point on is read and
//! its checksum compared, the indexes are written anew, and what is kept is written again and synced
//! (`secure`) before anyone relies on it. What ends the log is decided by the recovery point (`check`):
//!
//! - below it everything was on the disk once: a batch cut off or garbled, a segment missing, or an end
//!   there is damage. Cutting could lose acknowledged records, so the log is not opened: the answer is
//!   `OpenError::Damaged`, until someone who knows a peer with the rest asks for the cut;
//! - at or above it a loss of power leaves any part of what was written: the log is cut at the first batch
//!   or segment that isn't there, as at a torn end, whatever stands behind;
//! - where no power was lost, or nobody knows how far the log was flushed, only what has no good batch
//!   behind it is a torn write. Else it is damage, there too.
//!
//! A hole between two segments that is not cut is told in `Recovered`: compaction leaves such holes too, so
//! whoever knows the topic's settings judges it.
//!
//! What is cut is said in `Recovered` and in the broker's own log, loudly where the high watermark's
//! checkpoint says that others had it. `scan` passes over one segment, `sweep` tidies up the files.

mod check;
mod scan;
mod sweep;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::super::TopicPartition;
use super::super::config::LogConfig;
use super::super::error::{FileError, OpenError, ReadError};
use super::super::format::{leader_epoch_checkpoint, names, partition_metadata};
use super::super::leader_epoch::{EpochEntry, LeaderEpochs};
use super::dir::LogDir;
use super::file;
use super::log::rebuild;
use super::log::{Log, Parts};
use super::segment::{Found, Segment};
use crate::disk::Disk;

/// What the caller knows of the log from the directory's checkpoints.
#[derive(Debug, Clone, Copy)]
pub struct Hints {
    /// The last stop flushed and closed everything.
    pub clean: bool,
    /// Up to this offset the log was on disk; 0 when unknown.
    pub recovery_point: i64,
    /// Any part of what lies above the recovery point may be gone: power was lost or may have been, and the
    /// recovery point is known.
    pub unsynced_lost: bool,
    /// First offset that may be read.
    pub log_start: i64,
    /// No segment above the recovery point was deleted since `log_start` was noted, and none at all before a clean
    /// stop: a first segment behind it means that one is missing.
    pub log_start_exact: bool,
    /// The high watermark's checkpoint, if there is one.
    pub high_watermark: Option<i64>,
    /// Cut damage away too: a peer has what is lost, or an operator accepts the loss.
    pub cut_damage: bool,
}

/// What opening a log had to mend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Segments whose batches were all read.
    pub segments_checked: usize,
    /// Segments that were opened with their indexes written anew though the stop was clean.
    pub indexes_rebuilt: usize,
    /// Bytes that were cut off.
    pub bytes_cut: u64,
    /// What was cut off began with a batch that was all there, and garbled: no killed process leaves that.
    pub garbled_end: bool,
    /// Offsets from the first that was not there to the last good batch behind it: cut away, for having been above the
    /// recovery point when power was lost.
    pub cut_behind_hole: Option<(i64, i64)>,
    /// Offsets that were flushed and that no segment holds, in front of the first one. Retention on a full disk leaves
    /// that, or damage.
    pub front_gone: Option<(i64, i64)>,
    /// The log's end was below the high watermark's checkpoint: records that others may have.
    pub below_high_watermark: bool,
    /// The first range of offsets between two segments that no segment holds.
    pub hole: Option<(i64, i64)>,
}

impl Recovered {
    /// What of a log that was opened may be missing, in words.
    pub fn loss(&self, same_boot: bool) -> Option<String> {
        if self.below_high_watermark {
            return Some("it ends below its high watermark".to_owned());
        }
        if let Some((from, to)) = self.hole {
            return Some(format!("no segment holds the offsets {from}..{to}"));
        }
        if let Some((from, to)) = self.front_gone {
            return Some(format!(
                "nothing says that the offsets {from}..{to} were deleted"
            ));
        }
        if let Some((from, to)) = self.cut_behind_hole {
            // Most likely they were never synced. But the recovery point's checkpoint lags behind, so they may have been.
            return Some(format!(
                "the offsets {from}..{to}, with a hole in them, were cut"
            ));
        }
        // After a power cut a garbled end is a torn write.
        (self.garbled_end && same_boot).then(|| "its last batch was garbled".to_owned())
    }
}

type Segments = BTreeMap<i64, Arc<Segment>>;

/// Opens the log in a folder.
pub(super) fn load(
    folder: &Path,
    partition: &TopicPartition,
    config: LogConfig,
    dir: Arc<LogDir>,
    hints: Hints,
    now_ms: i64,
) -> Result<Log, OpenError> {
    let disk = Arc::clone(dir.disk());
    let swept = sweep::sweep(&*disk, folder)?;
    let mut loader = Loader {
        disk: &disk,
        folder,
        partition,
        config: &config,
        hints,
        segments: open_segments(&disk, folder, now_ms)?,
        epochs: None,
        epochs_on_disk: None,
        recovered: Recovered::default(),
    };
    loader.read_epochs()?;
    let end = loader.check_segments()?;
    let (start, end) = loader.settle(end, now_ms)?;
    let epochs = loader.settle_epochs(start, end)?;
    let ahead = rebuild::snapshots(&*disk, folder)?;
    let ahead = ahead.into_iter().filter(|&offset| offset > end);
    let ahead: Vec<i64> = ahead.collect();
    for &offset in &ahead {
        let path = folder.join(names::segment_file(offset, names::SNAPSHOT));
        file::remove(&*disk, &path)?;
    }
    if swept || !ahead.is_empty() {
        // A snapshot that comes back once the log has grown past it would tell of producers that never wrote.
        file::sync_folder(&*disk, folder)?;
    }
    let producers = rebuild::producers(&*disk, folder, &loader.segments, start, end)
        .map_err(|error| loader.unreadable(start, error))?;
    let flushed = if hints.clean {
        end
    } else {
        // As the checkpoint says, though the hints may say less where damage is to be cut.
        let flushed = dir.recovery_point(partition).max(hints.recovery_point);
        loader.secure(flushed.min(end))?;
        hints.recovery_point.min(end)
    };
    let parts = Parts {
        partition: partition.clone(),
        topic_id: read_topic_id(&*disk, folder)?,
        folder: folder.to_owned(),
        epochs_changed: loader.epochs_on_disk.as_ref() != Some(&epochs),
        epochs,
        producers,
        start,
        end,
        flushed: flushed.max(start),
        recovered: loader.recovered,
        segments: loader.segments,
        config,
    };
    let log = Log::assemble(parts, dir, now_ms);
    match log.flush() {
        // The leader epochs found no room. Nothing counts as flushed until they do.
        Err(error) if error.no_space().is_some() => {
            tracing::warn!(%partition, %error, "what was recovered is not flushed yet");
        }
        flushed => flushed?,
    }
    Ok(log)
}

/// The topic id in a partition's folder, if it has one.
pub(super) fn read_topic_id(
    disk: &dyn Disk,
    folder: &Path,
) -> Result<Option<super::super::TopicId>, OpenError> {
    let path = folder.join(names::PARTITION_METADATA);
    let Some(text) = file::read_text(disk, &path)? else {
        return Ok(None);
    };
    match partition_metadata::decode(&text) {
        Ok(topic_id) => Ok(Some(topic_id)),
        Err(error) => Err(OpenError::BadFile {
            path,
            reason: error.0,
        }),
    }
}

fn open_segments(disk: &Arc<dyn Disk>, folder: &Path, now_ms: i64) -> Result<Segments, FileError> {
    let mut segments = Segments::new();
    for name in file::list(&**disk, folder)? {
        if let Some((base_offset, names::LOG)) = names::parse_segment_file(&name) {
            let segment = Segment::open(disk, folder, base_offset, now_ms)?;
            segments.insert(base_offset, Arc::new(segment));
        }
    }
    Ok(segments)
}

struct Loader<'a> {
    disk: &'a Arc<dyn Disk>,
    folder: &'a Path,
    partition: &'a TopicPartition,
    config: &'a LogConfig,
    hints: Hints,
    segments: Segments,
    /// `None` when there is no file of them that can be read.
    epochs: Option<LeaderEpochs>,
    /// As the file says.
    epochs_on_disk: Option<LeaderEpochs>,
    recovered: Recovered,
}

impl Loader<'_> {
    fn read_epochs(&mut self) -> Result<(), OpenError> {
        let path = self.folder.join(names::LEADER_EPOCH_CHECKPOINT);
        if let Some(text) = file::read_text(&**self.disk, &path)? {
            match leader_epoch_checkpoint::decode(&text) {
                Ok(entries) => {
                    self.epochs = Some(LeaderEpochs::new(entries));
                    self.epochs_on_disk.clone_from(&self.epochs);
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "leader epochs are built anew");
                }
            }
        }
        Ok(())
    }

    /// Writes what was kept above the recovery point again, so that the sync which follows really writes it. It was read
    /// from the page cache, and after a sync that failed that may show as written what the disk does not have; another
    /// sync would say that all is well. In place, as it is the same bytes: whatever an interruption leaves is right.
    fn secure(&self, recovery_point: i64) -> Result<(), OpenError> {
        let floor = self.segments.range(..=recovery_point).next_back();
        let low = floor.map_or(i64::MIN, |(&base, _)| base);
        for (&base, segment) in self.segments.range(low..) {
            let from = match segment.find(recovery_point.max(base)) {
                Ok(found) => found.map(|found| found.position),
                Err(error) => return Err(self.unreadable(base, error)),
            };
            if let Some(from) = from {
                segment.write_again(from)?;
            }
        }
        Ok(())
    }

    /// Brings start and end together, and makes sure that there is an active segment.
    fn settle(&mut self, end: i64, now_ms: i64) -> Result<(i64, i64), OpenError> {
        let Hints {
            recovery_point,
            log_start,
            high_watermark,
            ..
        } = self.hints;
        let first = self.segments.first_key_value().map(|(&base, _)| base);
        let impossible = self.hints.clean && end < log_start && first.is_some();
        if impossible {
            tracing::error!(
                partition = %self.partition, log_start, end_offset = end,
                "the checkpoint of log starts can't be right, passed over"
            );
        }
        let log_start = if impossible { 0 } else { log_start };
        if end < recovery_point && recovery_point > log_start && !self.hints.cut_damage {
            let reason = format!("the log ends here, but all up to {recovery_point} was flushed");
            return Err(self.damaged(end, &reason));
        }
        self.recovered.below_high_watermark = high_watermark.is_some_and(|mark| end < mark);
        if self.recovered.below_high_watermark {
            tracing::error!(
                partition = %self.partition,
                end_offset = end,
                high_watermark,
                "the log ends below its high watermark: acknowledged records are missing here"
            );
        }
        if let Some(first) = first.filter(|_| end >= log_start) {
            return Ok((log_start.max(first), end));
        }
        // Either nothing is there yet, or all of it lies below the start offset.
        self.remove(&self.segments.values().cloned().collect::<Vec<_>>())?;
        let fresh = Segment::open(self.disk, self.folder, log_start, now_ms)?;
        self.segments.insert(log_start, Arc::new(fresh));
        Ok((log_start, log_start))
    }

    fn settle_epochs(&mut self, start: i64, end: i64) -> Result<LeaderEpochs, OpenError> {
        if let Some(mut epochs) = self.epochs.take() {
            epochs.truncate_end(end);
            epochs.truncate_start(start);
            if self.are_of_batches(&epochs, start, end) {
                return Ok(epochs);
            }
            let anew = self.epochs_from_batches(start, end).ok();
            let anew = anew.filter(|anew| self.are_of_batches(anew, start, end));
            tracing::warn!(
                partition = %self.partition, built_anew = anew.is_some(),
                "leader epochs are not those of the batches"
            );
            // Batches whose epochs do not even rise changed on the disk; they are not served.
            return Ok(anew.unwrap_or(epochs));
        }
        self.epochs_from_batches(start, end)
            .map_err(|error| self.unreadable(start, error))
    }

    /// Whether the batches at both ends of the log and of each epoch are of that epoch: the file has no checksum. What
    /// can't be read says nothing.
    fn are_of_batches(&self, epochs: &LeaderEpochs, start: i64, end: i64) -> bool {
        let bounds = epochs.entries().iter().map(|entry| entry.start_offset);
        let probes = bounds.flat_map(|bound| [bound - 1, bound]);
        let mut probes = probes
            .chain([start, end - 1])
            .filter(|at| (start..end).contains(at));
        probes.all(|at| {
            let segment = self.segments.range(..=at).next_back();
            let found = segment.and_then(|(_, segment)| segment.find(at).ok().flatten());
            found.is_none_or(|Found { header, .. }| {
                let compacted = header.base_offset > at;
                let none = header.leader_epoch < 0;
                compacted || none || epochs.epoch_at(at) == Some(header.leader_epoch)
            })
        })
    }

    fn epochs_from_batches(&self, start: i64, end: i64) -> Result<LeaderEpochs, ReadError> {
        let mut epochs = LeaderEpochs::default();
        rebuild::for_each_batch(&self.segments, start, end, |header, _| {
            let entry = EpochEntry {
                leader_epoch: header.leader_epoch,
                start_offset: header.base_offset,
            };
            note(&mut epochs, entry);
        })?;
        Ok(epochs)
    }

    /// A disk that fails says nothing of the log.
    fn unreadable(&self, offset: i64, error: ReadError) -> OpenError {
        match error {
            ReadError::Storage(error) => error.into(),
            other => self.damaged(offset, &other.to_string()),
        }
    }

    fn damaged(&self, offset: i64, reason: &str) -> OpenError {
        OpenError::Damaged {
            partition: self.partition.clone(),
            offset,
            reason: reason.to_owned(),
        }
    }
}

fn note(epochs: &mut LeaderEpochs, entry: EpochEntry) {
    if epochs.latest() != Some(entry.leader_epoch) {
        epochs.assign(entry.leader_epoch, entry.start_offset);
    }
}
