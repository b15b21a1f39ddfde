//! Each step of a world, and what it should leave.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::Rng;

use super::super::check;
use super::super::model::{Content, Kept, Model};
use super::{Refused, Step, World, partition};
use crate::disk::Disk as _;
use crate::disk::memory::Loss;
use crate::log::error::OpenError;
use crate::log::format::record_batch::tests::Batch;
use crate::log::store::log::Log;
use crate::log::store::manager::{LogManager, Stop};
use crate::log::{AppendOrigin, TopicId, TopicPartition};

impl World {
    /// The next batch of a partition; its bytes as they will be in the log.
    fn next_batch(&mut self, at: i32, records: i32, value_size: usize) -> Batch {
        let timestamp_ms = self.now_ms + self.chance.random_range(-100..100);
        let producer_id = self.chance.random_range(-1..3);
        let model = self.model(at);
        let idempotent = producer_id >= 0;
        Batch {
            base_offset: model.now.end,
            leader_epoch: model.leader_epoch,
            timestamp_ms,
            producer_id,
            producer_epoch: if idempotent { 0 } else { -1 },
            base_sequence: if idempotent {
                model.now.next_sequence(producer_id)
            } else {
                -1
            },
            records,
            value_size,
            ..Batch::default()
        }
    }

    pub(super) fn lead(&mut self, at: i32, batches: &[(i32, usize)]) -> Result<(), Refused> {
        for &(records, value_size) in batches {
            let batch = self.next_batch(at, records, value_size);
            let kept = Kept::new(batch.bytes());
            self.change(at, |content| content.push(kept));
            let epoch = self.model(at).leader_epoch;
            let sent = Batch {
                base_offset: 0,
                leader_epoch: -1,
                ..batch
            };
            let log = self.existing(at);
            let appended = log.append_as_leader(
                sent.bytes().into(),
                epoch,
                AppendOrigin::Client,
                self.now_ms,
            )?;
            assert_eq!(
                (appended.first_offset, appended.duplicate),
                (batch.base_offset, false)
            );
            self.model(at).before = None;
        }
        Ok(())
    }

    pub(super) fn follow(&mut self, at: i32, batches: &[(i32, usize)]) -> Result<(), Refused> {
        let mut before = None;
        let mut records = Vec::new();
        for &(count, value_size) in batches {
            if self.chance.random_range(0..4) == 0 {
                self.model(at).leader_epoch += 1;
            }
            let bytes = self.next_batch(at, count, value_size).bytes();
            records.extend(&bytes);
            self.change(at, |content| content.push(Kept::new(bytes)));
            let model = self.model(at);
            before = before.or_else(|| model.before.clone());
        }
        self.model(at).before = before;
        self.existing(at)
            .append_as_follower(records.into(), self.now_ms)?;
        Ok(())
    }

    pub(super) fn truncate(&mut self, at: i32, offset: i64) -> Result<(), Refused> {
        let log = self.existing(at);
        // Below the first segment there is nothing to keep.
        let first = crate::log::store::log::tests::insight(&log).segments[0].base_offset;
        self.starting_over = offset < first;
        self.change(at, |content| match offset < first {
            true => *content = Content::empty(offset),
            false => content.cut(offset),
        });
        log.truncate_to(offset)?;
        Ok(())
    }

    pub(super) fn retention(&mut self, share: u8) -> Result<(), Refused> {
        for model in self.models.values_mut() {
            model.before = Some(model.now.clone());
            // How far the start may go: to the last segment's base, or the end.
            model.now.start = model.now.end;
        }
        let marks: BTreeMap<TopicPartition, i64> = self
            .models
            .iter()
            .map(|(name, model)| (name.clone(), model.now.end * i64::from(share) / 255))
            .collect();
        let manager = self.manager.as_ref().expect("running");
        manager.retention_pass(self.now_ms, &|name| marks.get(name).copied())?;
        for (name, model) in &mut self.models {
            let start = manager.get(name).unwrap().log_start_offset();
            assert!(
                start >= model.before.as_ref().unwrap().start
                    && start <= marks[name].max(model.before.as_ref().unwrap().start)
            );
            model.now.start = start;
            model.now.deleted = model.now.deleted.max(start);
        }
        Ok(())
    }

    pub(super) fn high_watermarks(&mut self, share: u8) -> Result<(), Refused> {
        let mut marks = BTreeMap::new();
        for (name, model) in &mut self.models {
            // Never beyond what is flushed: others may have lost it as well.
            let mark = model.now.flushed * i64::from(share) / 255;
            model.high_watermark = model.high_watermark.max(mark);
            marks.insert(name.clone(), mark);
        }
        self.manager().write_high_watermarks(&marks)?;
        Ok(())
    }

    pub(super) fn create(&mut self, at: i32) -> Result<(), Refused> {
        let id = TopicId::from_u128(self.next_id);
        self.next_id += 1;
        self.models.insert(partition(at), Model::new(id));
        self.absent.remove(&partition(at));
        let name = partition(at);
        let create = || {
            let none = BTreeMap::new();
            self.manager().get_or_create(&name, id, &none, self.now_ms)
        };
        let log = match create() {
            // A creation that was refused halfway.
            Err(OpenError::WrongTopicId { .. }) => {
                self.manager().set_aside(&name, self.now_ms)?;
                create()?
            }
            created => created?,
        };
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (0, 0));
        Ok(())
    }

    /// The process ends, and with it perhaps the power.
    pub fn crash(&mut self, loss: Loss) {
        self.manager = None;
        self.disk.crash(loss);
        self.lost_power |= loss != Loss::Nothing;
    }

    /// Opens everything again and compares it with the models, which become what is there.
    pub fn reopen(&mut self) -> Result<(), Refused> {
        self.manager = None;
        let must_be_clean = std::mem::take(&mut self.must_be_clean);
        let manager = self.open()?;
        match manager.previous_stop() {
            Stop::Clean { .. } => assert!(self.clean_stop, "taken for a clean stop"),
            stop => assert!(!must_be_clean, "{stop:?} after a clean stop"),
        }
        let safe = self.models.values().all(Model::is_safe) && !self.in_flight;
        let excused = self.lost_power && !safe || self.starting_over && self.in_flight;
        let losses = manager.losses();
        assert!(losses.is_empty() || excused, "{losses:?}");
        for name in &self.absent {
            assert!(manager.get(name).is_none(), "{name} is back");
        }
        let marks = manager.high_watermarks();
        for (name, model) in &self.models {
            let mark = marks.get(name).copied().unwrap_or(0);
            let most = model.high_watermark;
            assert!(
                mark <= most,
                "{name}: high watermark {mark}, at most {most} was written"
            );
        }
        self.finish_departures(&manager)?;
        let mut models = std::mem::take(&mut self.models);
        let result: Result<(), Refused> = models.iter_mut().try_for_each(|(name, model)| {
            let log = self.open_log(&manager, name, model)?;
            self.adopt(&log, model);
            check::agrees_with_itself(&log, &model.now);
            Ok(())
        });
        self.models = models;
        result?;
        (self.clean_stop, self.in_flight, self.lost_power) = (false, false, false);
        self.boot = self.disk.boot_id();
        self.manager = Some(manager);
        Ok(())
    }

    /// A deletion that was interrupted is asked for again, whatever is left: the checkpoints that told of the log are
    /// gone by then.
    pub(super) fn finish_departures(&mut self, manager: &LogManager) -> Result<(), Refused> {
        let left = self.models.iter().filter(|(_, model)| model.leaves);
        let left: Vec<TopicPartition> = left.map(|(name, _)| name.clone()).collect();
        for name in left {
            manager.delete(&name, self.now_ms)?;
            self.models.remove(&name);
            self.absent.insert(name);
        }
        Ok(())
    }

    pub(super) fn open_log(
        &self,
        manager: &LogManager,
        name: &TopicPartition,
        model: &Model,
    ) -> Result<Arc<Log>, Refused> {
        let open = || manager.get_or_create(name, model.topic_id, &BTreeMap::new(), self.now_ms);
        match open() {
            // Nothing rots here, so nothing may be called damaged.
            Err(OpenError::Damaged { offset, reason, .. }) => {
                panic!("{name} is offline at {offset}: {reason}")
            }
            Err(OpenError::WrongTopicId { .. }) if model.may_be_absent => {
                manager.set_aside(name, self.now_ms)?;
                Ok(open()?)
            }
            opened => Ok(opened?),
        }
    }

    /// Takes what is there for what should be, if it is.
    pub(super) fn adopt(&self, log: &Log, model: &mut Model) {
        let mut contents = vec![model.now.clone()];
        if let Some(before) = &model.before {
            let mut undone = before.clone();
            // What the step cuts or begins anew is no longer promised.
            undone.flushed = match self.starting_over {
                true => undone.first,
                false => undone.flushed.min(model.now.end),
            };
            undone.start = undone.start.max(model.now.start);
            contents.push(undone);
        }
        if model.may_be_absent || self.starting_over && self.in_flight {
            contents.push(Content::empty(log.log_start_offset()));
        }
        let whole = !self.lost_power && !self.in_flight;
        let mut why = Vec::new();
        for mut content in contents {
            match check::is_part_of(log, &content) {
                Ok(end) if whole && end < content.end => {
                    why.push(format!(
                        "ends at {end}, and nothing was lost of {}",
                        content.end
                    ));
                }
                Ok(end) => {
                    content
                        .batches
                        .retain(|one| one.header.next_offset() <= end);
                    content.deleted = content.deleted.max(content.start);
                    (content.end, content.start) = (end, log.log_start_offset());
                    // What recovery kept it says to be on the disk: from now on it has to be.
                    content.flushed = log.recovery_point();
                    model.leader_epoch = model.leader_epoch.max(log.latest_epoch().unwrap_or(0));
                    model.now = content;
                    model.before = None;
                    return;
                }
                Err(error) => why.push(error),
            }
        }
        panic!("{}: {why:?}", log.topic_partition());
    }

    /// After a step that found no room: either it was done, or nothing was.
    pub fn reconcile(&mut self) {
        let manager = self.manager.take().expect("running");
        let mut models = std::mem::take(&mut self.models);
        models.retain(|name, model| match manager.get(name) {
            Some(log) => {
                self.adopt(&log, model);
                check::agrees_with_itself(&log, &model.now);
                true
            }
            None => {
                assert!(model.may_be_absent || model.leaves, "{name} is gone");
                false
            }
        });
        self.models = models;
        self.in_flight = false;
        self.clean_stop = false;
        self.manager = Some(manager);
    }

    /// Takes so many random steps; false if the disk stood still before they were done.
    pub fn run(&mut self, steps: usize) -> bool {
        for _ in 0..steps {
            let step = self.random_step();
            if let Err(refused) = self.take(&step).and_then(|()| self.after(&step)) {
                assert!(self.disk.is_frozen(), "{step:?}: {refused:?}");
                return false;
            }
        }
        true
    }

    /// What follows a step: after a clean stop, another start.
    pub fn after(&mut self, step: &Step) -> Result<(), Refused> {
        if !matches!(step, Step::CleanStop) {
            return Ok(());
        }
        self.manager = None;
        // A machine that was switched off in good order loses nothing either.
        if self.chance.random() && !self.disk.is_frozen() {
            self.crash(Loss::Some);
        }
        self.reopen()
    }
}
