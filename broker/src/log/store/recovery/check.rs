//! Which segments and batches the log consists of: where it ends, and what is damage. The rules are in `recovery`.

use std::sync::Arc;

use super::super::super::error::{LogError, OpenError};
use super::super::file;
use super::super::segment::Segment;
use super::scan::{self, Behind, Pass};
use super::{Loader, note};

impl Loader<'_> {
    /// Looks at every segment, at its batches where need be; returns the end of the log.
    pub(super) fn check_segments(&mut self) -> Result<i64, OpenError> {
        let all: Vec<Arc<Segment>> = self.segments.values().cloned().collect();
        let unflushed = all
            .iter()
            .rposition(|segment| segment.base_offset() <= self.hints.recovery_point)
            .unwrap_or(0);
        let mut end = self.hints.log_start;
        for (at, segment) in all.iter().enumerate() {
            let known = at > 0 || self.hints.log_start_exact;
            // What lies before the start may be gone in parts: a deletion that was interrupted.
            let hole = known && segment.base_offset() > end.max(self.hints.log_start);
            if hole && self.is_cut_at_hole(end, &all[at..], at == 0)? {
                break;
            }
            if at > 0 && segment.base_offset() < end && self.is_cut_at_overlap(end, &all[at..])? {
                break;
            }
            let next = all.get(at + 1).map(|next| next.base_offset());
            let unclean = !self.hints.clean && at >= unflushed;
            if unclean && at == unflushed {
                let base = segment.base_offset();
                self.epochs.iter_mut().for_each(|epochs| {
                    epochs.truncate_end(base);
                });
            }
            let pass = match scan::glance(segment, next)? {
                Some(glance) if !unclean => {
                    end = glance;
                    continue;
                }
                _ => scan::pass(segment, self.config.index_interval_bytes)?,
            };
            self.recovered.segments_checked += usize::from(unclean);
            self.recovered.indexes_rebuilt += usize::from(!unclean);
            end = pass.next_offset;
            if pass.damage.is_some() {
                self.judge(segment, &pass, &all[at + 1..])?;
            }
            self.adopt(segment, &pass)?;
            if !unclean {
                // What is below the recovery point is only glanced at, next time too.
                segment.sync().map_err(LogError::Fatal)?;
            }
            if pass.damage.is_some() {
                self.cut(segment, &pass, &all[at + 1..])?;
                break;
            }
        }
        Ok(end)
    }

    /// Segments are missing before `behind`. True when those are removed for that; else it is noted, for whoever knows
    /// whether compaction left the hole.
    fn is_cut_at_hole(
        &mut self,
        end: i64,
        behind: &[Arc<Segment>],
        first: bool,
    ) -> Result<bool, OpenError> {
        let to = behind[0].base_offset();
        let point = self.hints.recovery_point;
        if first && !self.hints.clean && !self.hints.cut_damage && point >= to {
            self.recovered.front_gone = Some((end, to));
            return Ok(false);
        }
        let good = Behind::default().and_segments(behind)?;
        let unsynced = !self.hints.clean && end >= point;
        let torn = unsynced && (self.hints.unsynced_lost || good.end.is_none());
        if !torn && !self.hints.cut_damage {
            self.recovered.hole.get_or_insert((end, to));
            return Ok(false);
        }
        self.note_cut(end, &good);
        self.cut_segments(end, behind, "log was cut where segments are missing")?;
        Ok(true)
    }

    /// A segment that begins before the one before it ends: one of them is from before a truncation.
    fn is_cut_at_overlap(&mut self, end: i64, behind: &[Arc<Segment>]) -> Result<bool, OpenError> {
        let base = behind[0].base_offset();
        if !self.hints.cut_damage {
            let reason = format!("a segment begins at {base}, before the end of the one before it");
            return Err(self.damaged(end, &reason));
        }
        self.cut_segments(end, behind, "log was cut where segments overlap")?;
        Ok(true)
    }

    fn cut_segments(
        &mut self,
        end: i64,
        behind: &[Arc<Segment>],
        what: &str,
    ) -> Result<(), OpenError> {
        self.recovered.bytes_cut = self.remove(behind)?;
        let bytes_cut = self.recovered.bytes_cut;
        tracing::warn!(partition = %self.partition, end_offset = end, bytes_cut, "{what}");
        Ok(())
    }

    /// Removes segments, the last one first, durably: what comes back would be taken for a part of what is written
    /// since. Returns their bytes.
    pub(super) fn remove(&mut self, segments: &[Arc<Segment>]) -> Result<u64, OpenError> {
        let mut bytes = 0;
        for segment in segments.iter().rev() {
            bytes += segment.size();
            segment.remove()?;
            self.segments.remove(&segment.base_offset());
        }
        if !segments.is_empty() {
            file::sync_folder(&**self.disk, self.folder)?;
        }
        Ok(bytes)
    }

    /// May the log be cut at this damage?
    fn judge(
        &mut self,
        segment: &Segment,
        pass: &Pass,
        behind: &[Arc<Segment>],
    ) -> Result<(), OpenError> {
        let Some(damage) = pass.damage.as_ref().filter(|_| !self.hints.cut_damage) else {
            return Ok(());
        };
        let reason = &damage.reason;
        // What was flushed below the start offset was all deleted since.
        let flushed_any = self.hints.recovery_point > self.hints.log_start;
        let flushed =
            self.hints.clean || (flushed_any && pass.next_offset < self.hints.recovery_point);
        if flushed {
            let point = self.hints.recovery_point;
            let reason = format!("{reason}, but all up to {point} was flushed");
            return Err(self.damaged(pass.next_offset, &reason));
        }
        let good = scan::behind(segment, pass)?.and_segments(behind)?;
        if good.end.is_some() && !self.hints.unsynced_lost {
            let reason = format!("{reason}, with good batches behind it");
            return Err(self.damaged(pass.next_offset, &reason));
        }
        self.note_cut(pass.next_offset, &good);
        Ok(())
    }

    /// What is about to be cut, from an offset on, may hold records that others will ask for.
    fn note_cut(&mut self, from: i64, good: &Behind) {
        let Some(end) = good.end.filter(|_| !self.hints.cut_damage) else {
            return;
        };
        self.recovered.cut_behind_hole = Some((from, end));
        tracing::error!(
            partition = %self.partition, from, to = end, recovery_point = self.hints.recovery_point,
            "what was not synced when power was lost has a hole: the log is cut there, with good batches behind it"
        );
    }

    fn adopt(&mut self, segment: &Segment, pass: &Pass) -> Result<(), OpenError> {
        segment.rebuild_indexes(
            &pass.offsets,
            &pass.timestamps,
            pass.largest_timestamp,
            pass.first_timestamp_ms,
        )?;
        for epoch in &pass.epochs {
            if let Some(epochs) = &mut self.epochs {
                note(epochs, *epoch);
            }
        }
        Ok(())
    }

    fn cut(
        &mut self,
        segment: &Segment,
        pass: &Pass,
        behind: &[Arc<Segment>],
    ) -> Result<(), OpenError> {
        let bytes_cut = segment.size() - pass.end_position + self.remove(behind)?;
        self.recovered.garbled_end = pass.damage.as_ref().is_some_and(|damage| !damage.cut_off);
        segment.cut(pass.end_position, pass.next_offset)?;
        segment.sync().map_err(LogError::Fatal)?;
        segment.set_timestamps(pass.first_timestamp_ms, pass.largest_timestamp);
        self.recovered.bytes_cut = bytes_cut;
        tracing::warn!(
            partition = %self.partition,
            end_offset = pass.next_offset,
            bytes_cut,
            damage = ?pass.damage,
            "torn end of the log was cut away"
        );
        Ok(())
    }
}
