//! Log directories in use: random steps, and what they should leave ([`steps`]).

mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::super::TopicPartition;
use super::super::super::config::LogConfig;
use super::super::super::error::{LogError, ManagerError, OpenError};
use super::super::log::Log;
use super::super::manager::LogManager;
use super::model::{Content, Model};
use crate::disk::{Disk as _, MemoryDisk};

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
}
