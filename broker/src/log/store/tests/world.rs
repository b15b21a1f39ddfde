//! Log directories in use: random steps, and what they should leave.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::super::config::LogConfig;
use super::super::super::error::{LogError, ManagerError, OpenError};
use super::super::super::format::record_batch::tests::Batch;
use super::super::super::{AppendOrigin, TopicId, TopicPartition};
use super::super::log::Log;
use super::super::manager::{LogManager, Stop};
use super::check;
use super::model::{Content, Kept, Model};
use crate::disk::memory::Loss;
use crate::disk::{Disk, MemoryDisk};

/// Why a step was not done.
#[allow(dead_code, reason = "what the disk said is shown when a test fails")]
#[derive(Debug)]
pub enum Refused {
    /// The disk is full.
    NoSpace(String),
    /// The disk failed: the process ends.
    Fatal(String),
}

macro_rules! refused {
    ($($error:ty),*) => {$(
        impl From<$error> for Refused {
            fn from(error: $error) -> Refused {
                match error.no_space() {
                    Some(_) => Refused::NoSpace(error.to_string()),
                    None => {
                        assert!(error.is_fatal(), "{error}");
                        Refused::Fatal(error.to_string())
                    }
                }
            }
        }
    )*};
}
refused!(
    LogError,
    ManagerError,
    super::super::super::error::AppendError
);

impl From<OpenError> for Refused {
    fn from(error: OpenError) -> Refused {
        match error {
            OpenError::Log(error) => error.into(),
            other => panic!("{other}"),
        }
    }
}

/// One thing a broker does.
#[derive(Debug, Clone)]
pub enum Step {
    Lead { at: i32, batches: Vec<(i32, usize)> },
    Follow { at: i32, batches: Vec<(i32, usize)> },
    NewEpoch { at: i32 },
    Truncate { at: i32, share: u8 },
    StartOver { at: i32, ahead: i64 },
    AdvanceStart { at: i32, share: u8 },
    Retention { share: u8 },
    RemoveDue,
    Flush { at: i32 },
    FlushDirty,
    Checkpoint,
    HighWatermarks { share: u8 },
    Delete { at: i32 },
    SetAside { at: i32 },
    Create { at: i32 },
    CleanStop,
}

/// See the module.
pub struct World {
    pub seed: u64,
    pub disk: MemoryDisk,
    /// The disk's, when its logs were opened last.
    boot: String,
    pub manager: Option<LogManager>,
    pub models: BTreeMap<TopicPartition, Model>,
    /// Deleted, or set aside.
    pub absent: BTreeSet<TopicPartition>,
    config: LogConfig,
    chance: StdRng,
    now_ms: i64,
    next_id: u128,
    /// A clean stop was begun, or done.
    clean_stop: bool,
    must_be_clean: bool,
    in_flight: bool,
    /// A log that is begun anew has nothing in between.
    starting_over: bool,
    lost_power: bool,
}

pub fn dirs() -> Vec<PathBuf> {
    vec![PathBuf::from("/broker/a")]
}

pub fn partition(at: i32) -> TopicPartition {
    TopicPartition::new("t", at)
}

const PARTITIONS: i32 = 2;

impl World {
    pub fn new(seed: u64) -> World {
        let mut chance = StdRng::seed_from_u64(seed);
        let config = LogConfig {
            segment_bytes: chance.random_range(1100..3000),
            index_interval_bytes: chance.random_range(0..400),
            retention_ms: -1,
            retention_bytes: [-1, 1000, 3000][chance.random_range(0..3)],
            file_delete_delay_ms: [0, 60_000][chance.random_range(0..2)],
            ..LogConfig::default()
        };
        let mut world = World {
            seed,
            disk: MemoryDisk::new(seed),
            boot: String::new(),
            manager: None,
            models: BTreeMap::new(),
            absent: BTreeSet::new(),
            config,
            chance,
            now_ms: 1_000_000,
            next_id: 1,
            clean_stop: false,
            must_be_clean: false,
            in_flight: false,
            starting_over: false,
            lost_power: false,
        };
        world.manager = Some(world.open().unwrap());
        world.boot = world.disk.boot_id();
        world
    }

    /// The same, on a copy of the disk that may lose other things.
    pub fn fork(&self, seed: u64) -> World {
        World {
            seed: self.seed,
            disk: self.disk.fork(seed),
            boot: self.boot.clone(),
            manager: None,
            models: self.models.clone(),
            absent: self.absent.clone(),
            config: self.config.clone(),
            chance: StdRng::seed_from_u64(seed),
            ..*self
        }
    }

    /// The last step, or the one that was refused, begins a log anew.
    pub fn starting_over(&self) -> bool {
        self.starting_over
    }

    pub fn manager(&self) -> &LogManager {
        self.manager.as_ref().expect("running")
    }

    pub fn log(&self, at: i32) -> Option<Arc<Log>> {
        self.manager().get(&partition(at))
    }

    fn open(&self) -> Result<LogManager, ManagerError> {
        LogManager::open(
            self.disk.shared(),
            &dirs(),
            self.config.clone(),
            &self.boot,
            self.now_ms,
        )
    }

    /// A step that makes sense now.
    pub fn random_step(&mut self) -> Step {
        let chance = &mut self.chance;
        let at = chance.random_range(0..PARTITIONS);
        if !self.models.contains_key(&partition(at)) {
            return Step::Create { at };
        }
        let share = chance.random();
        let batches = |chance: &mut StdRng| {
            let one = |chance: &mut StdRng| {
                let size = [0, 30, 120, 300][chance.random_range(0..4)];
                (chance.random_range(1..4), chance.random_range(0..=size))
            };
            (0..chance.random_range(1..4))
                .map(|_| one(chance))
                .collect()
        };
        match chance.random_range(0..60) {
            0..16 => Step::Lead {
                at,
                batches: batches(chance),
            },
            16..24 => Step::Follow {
                at,
                batches: batches(chance),
            },
            24..27 => Step::NewEpoch { at },
            27..31 => Step::Truncate { at, share },
            31..33 => Step::StartOver {
                at,
                ahead: chance.random_range(-5..20),
            },
            33..35 => Step::AdvanceStart { at, share },
            35..38 => Step::Retention { share },
            38..39 => Step::RemoveDue,
            39..44 => Step::Flush { at },
            44..48 => Step::FlushDirty,
            48..51 => Step::Checkpoint,
            51..53 => Step::HighWatermarks { share },
            53..55 => Step::Delete { at },
            55..56 => Step::SetAside { at },
            _ => Step::CleanStop,
        }
    }

    fn time(&mut self) -> i64 {
        self.now_ms += self.chance.random_range(1..50);
        self.disk.set_time_ms(self.now_ms);
        self.now_ms
    }

    /// Takes a step: the model goes first. On an error both the content before and the one after may be there.
    pub fn take(&mut self, step: &Step) -> Result<(), Refused> {
        self.time();
        self.in_flight = true;
        self.starting_over = false;
        match *step {
            Step::Lead { at, ref batches } => self.lead(at, batches)?,
            Step::Follow { at, ref batches } => self.follow(at, batches)?,
            Step::NewEpoch { at } => {
                let model = self.model(at);
                model.leader_epoch += 1;
                let epoch = model.leader_epoch;
                self.existing(at).assign_epoch(epoch)?;
            }
            Step::Truncate { at, share } => {
                let model = self.model(at);
                let span = model.now.end - model.now.start + 4;
                let offset = (model.now.start - 2).max(0) + span * i64::from(share) / 255;
                let offset = offset.max(model.high_watermark);
                self.truncate(at, offset)?;
            }
            Step::StartOver { at, ahead } => {
                let model = self.model(at);
                // What others may count on is not thrown away.
                let offset = (model.now.end + ahead).max(model.high_watermark);
                self.starting_over = true;
                self.change(at, |content| *content = Content::empty(offset));
                self.existing(at).truncate_fully_and_start_at(offset)?;
            }
            Step::AdvanceStart { at, share } => {
                let now = &self.model(at).now;
                let offset = now.start + (now.end - now.start) * i64::from(share) / 255;
                self.change(at, |content| {
                    content.start = offset;
                    content.deleted = content.deleted.max(offset);
                });
                self.existing(at).advance_log_start(offset)?;
            }
            Step::Retention { share } => self.retention(share)?,
            Step::RemoveDue => {
                self.manager().remove_due(self.now_ms)?;
            }
            Step::Flush { at } => {
                let log = self.existing(at);
                log.flush()?;
                assert!(log.flushed_end_offset() >= self.model(at).now.end);
                self.model(at).may_be_absent = false;
            }
            Step::FlushDirty => self.manager().flush_dirty(self.now_ms)?,
            Step::Checkpoint => self.manager().checkpoint_offsets()?,
            Step::HighWatermarks { share } => self.high_watermarks(share)?,
            Step::Delete { at } => {
                self.model(at).leaves = true;
                assert!(self.manager().delete(&partition(at), self.now_ms)?);
                self.gone(at);
            }
            Step::SetAside { at } => {
                self.model(at).leaves = true;
                assert!(
                    self.manager()
                        .set_aside(&partition(at), self.now_ms)?
                        .is_some()
                );
                self.gone(at);
            }
            Step::Create { at } => self.create(at)?,
            Step::CleanStop => self.stop_cleanly()?,
        }
        self.in_flight = false;
        self.note_flushed();
        Ok(())
    }

    fn stop_cleanly(&mut self) -> Result<(), Refused> {
        self.clean_stop = true;
        self.manager().shutdown_clean(self.now_ms)?;
        for (partition, model) in &mut self.models {
            let log = self.manager.as_ref().expect("running").get(partition);
            assert_eq!(log.unwrap().flushed_end_offset(), model.now.end);
            (model.now.flushed, model.may_be_absent) = (model.now.end, false);
        }
        self.must_be_clean = true;
        Ok(())
    }

    /// What logs say is flushed has to survive from now on.
    fn note_flushed(&mut self) {
        let manager = self.manager.as_ref().expect("running");
        for (partition, model) in &mut self.models {
            model.before = None;
            let log = manager.get(partition).unwrap();
            assert_eq!(
                (log.log_end_offset(), log.log_start_offset()),
                (model.now.end, model.now.start),
                "{partition}"
            );
            let claimed = log.recovery_point();
            assert!(claimed <= model.now.end);
            model.now.flushed = model.now.flushed.max(claimed);
        }
    }

    fn model(&mut self, at: i32) -> &mut Model {
        self.models.get_mut(&partition(at)).expect("there")
    }

    fn existing(&self, at: i32) -> Arc<Log> {
        self.log(at).expect("there")
    }

    fn change(&mut self, at: i32, change: impl FnOnce(&mut Content)) {
        let model = self.model(at);
        model.before = Some(model.now.clone());
        change(&mut model.now);
    }

    fn gone(&mut self, at: i32) {
        self.models.remove(&partition(at));
        self.absent.insert(partition(at));
    }

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

    fn lead(&mut self, at: i32, batches: &[(i32, usize)]) -> Result<(), Refused> {
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

    fn follow(&mut self, at: i32, batches: &[(i32, usize)]) -> Result<(), Refused> {
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

    fn truncate(&mut self, at: i32, offset: i64) -> Result<(), Refused> {
        let log = self.existing(at);
        // Below the first segment there is nothing to keep.
        let first = super::super::log::tests::insight(&log).segments[0].base_offset;
        self.starting_over = offset < first;
        self.change(at, |content| match offset < first {
            true => *content = Content::empty(offset),
            false => content.cut(offset),
        });
        log.truncate_to(offset)?;
        Ok(())
    }

    fn retention(&mut self, share: u8) -> Result<(), Refused> {
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

    fn high_watermarks(&mut self, share: u8) -> Result<(), Refused> {
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

    fn create(&mut self, at: i32) -> Result<(), Refused> {
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
    fn finish_departures(&mut self, manager: &LogManager) -> Result<(), Refused> {
        let left = self.models.iter().filter(|(_, model)| model.leaves);
        let left: Vec<TopicPartition> = left.map(|(name, _)| name.clone()).collect();
        for name in left {
            manager.delete(&name, self.now_ms)?;
            self.models.remove(&name);
            self.absent.insert(name);
        }
        Ok(())
    }

    fn open_log(
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
    fn adopt(&self, log: &Log, model: &mut Model) {
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
