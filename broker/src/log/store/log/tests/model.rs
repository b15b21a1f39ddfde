//! A log against a list: any sequence of appends, cuts and crashes leaves the same batches.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Append {
        records: i32,
        value_size: usize,
    },
    NewLeader,
    TruncateTo(u8),
    StartOver(u8),
    AdvanceStart(u8),
    Retention,
    Flush,
    /// Everything written survives.
    Kill,
    /// Unflushed bytes of the last segment survive up to that share in 256.
    PowerLoss(u8),
    CleanStop,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (1..4i32, 0..120usize)
            .prop_map(|(records, value_size)| Step::Append { records, value_size }),
        2 => Just(Step::NewLeader),
        2 => any::<u8>().prop_map(Step::TruncateTo),
        1 => any::<u8>().prop_map(Step::StartOver),
        1 => any::<u8>().prop_map(Step::AdvanceStart),
        1 => Just(Step::Retention),
        2 => Just(Step::Flush),
        2 => Just(Step::Kill),
        2 => any::<u8>().prop_map(Step::PowerLoss),
        1 => Just(Step::CleanStop),
    ]
}

/// What the log should hold.
#[derive(Debug, Default)]
struct Model {
    batches: Vec<(i64, i64, i32)>,
    start: i64,
    end: i64,
    epoch: i32,
    sequence: BTreeMap<i64, i32>,
}

impl Model {
    fn visible(&self) -> Vec<(i64, i64, i32)> {
        let all = self.batches.iter().copied();
        all.filter(|(_, last, _)| *last >= self.start).collect()
    }

    fn cut(&mut self, end: i64) {
        if let Some(at) = self.batches.iter().position(|(_, last, _)| *last >= end) {
            self.end = end.min(self.batches[at].0);
            self.batches.truncate(at);
        } else {
            self.end = end;
        }
        self.start = self.start.min(self.end);
        self.sequence.retain(|&offset, _| offset < self.end);
    }
}

struct Run {
    log: TestLog,
    model: Model,
}

impl Run {
    fn offset(&self, share: u8) -> i64 {
        let span = self.model.end - self.model.start;
        self.model.start + span * i64::from(share) / 255
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Append {
                records,
                value_size,
            } => self.append(records, value_size),
            Step::NewLeader => {
                self.model.epoch += 1;
                self.log.assign_epoch(self.model.epoch).unwrap();
            }
            Step::TruncateTo(share) => {
                let offset = self.offset(share);
                let expected = offset < self.model.end;
                assert_eq!(self.log.truncate_to(offset).unwrap(), expected);
                if expected {
                    self.model.cut(offset);
                    self.model.start = self.log.log_start_offset();
                }
            }
            Step::StartOver(share) => {
                let offset = self.model.end + i64::from(share);
                self.log.truncate_fully_and_start_at(offset).unwrap();
                self.model.batches.clear();
                self.model.sequence.clear();
                (self.model.start, self.model.end) = (offset, offset);
            }
            Step::AdvanceStart(share) => {
                let offset = self.offset(share);
                self.log.advance_log_start(offset).unwrap();
                self.model.start = self.model.start.max(offset);
            }
            Step::Retention => {
                self.log.apply_retention(NOW, self.model.end).unwrap();
                self.log.delete_passed(NOW).unwrap();
                self.log.remove_due(i64::MAX).unwrap();
                self.model.start = self.log.log_start_offset();
            }
            Step::Flush => {
                self.log.flush().unwrap();
                let partition = TopicPartition::new("t", 0);
                let points = BTreeMap::from([(partition, self.log.flushed_end_offset())]);
                self.log
                    .dir
                    .write(Checkpoint::RecoveryPoints, |_| points)
                    .unwrap();
            }
            Step::Kill => self.restart(false),
            Step::PowerLoss(share) => self.power_loss(share),
            Step::CleanStop => {
                self.log.close().unwrap();
                self.restart(true);
            }
        }
    }

    fn append(&mut self, records: i32, value_size: usize) {
        let batch = Batch {
            producer_id: 3,
            producer_epoch: 0,
            base_sequence: self
                .model
                .sequence
                .values()
                .next_back()
                .copied()
                .unwrap_or(0),
            value_size,
            ..Batch::of(records)
        };
        let bytes = batch.bytes().into();
        let epoch = self.model.epoch;
        let appended = self
            .log
            .append_as_leader(bytes, epoch, AppendOrigin::Client, NOW);
        let appended = appended.unwrap();
        assert!(!appended.duplicate);
        assert_eq!(appended.first_offset, self.model.end);
        let next = batch.base_sequence + records;
        self.model.sequence.insert(appended.last_offset, next);
        self.model
            .batches
            .push((appended.first_offset, appended.last_offset, epoch));
        self.model.end = appended.last_offset + 1;
    }

    fn power_loss(&mut self, share: u8) {
        let flushed = self.log.flushed_end_offset();
        let active = self.log.active();
        let at_risk = match active.find(flushed.max(active.base_offset())).unwrap() {
            Some(found) => found.position,
            None => active.size(),
        };
        let keep = at_risk + (active.size() - at_risk) * u64::from(share) / 255;
        let mut window = active.window(keep, 1 << 16);
        let mut end = active.base_offset().max(flushed);
        let mut position = at_risk;
        while let Ok(Some(header)) = window.header(position) {
            position += header.size() as u64;
            end = header.next_offset();
        }
        drop(window);
        let path = self.log.partition_folder();
        let path = path.join(names::segment_file(active.base_offset(), names::LOG));
        drop(active);
        self.log.crash();
        fs::OpenOptions::new()
            .write(true)
            .open(path)
            .unwrap()
            .set_len(keep)
            .unwrap();
        if end < self.model.end {
            self.model.cut(end);
        }
        self.restart(false);
    }

    fn restart(&mut self, clean: bool) {
        self.log.crash();
        let log_start = self.model.start;
        self.log
            .reopen(Hints {
                log_start,
                ..hints(clean)
            })
            .unwrap();
    }

    fn check(&self) {
        assert_eq!(self.log.log_end_offset(), self.model.end);
        assert_eq!(self.log.log_start_offset(), self.model.start);
        assert_eq!(batches(&self.log), self.model.visible());
        for &(base, last, epoch) in &self.model.visible() {
            assert_eq!(
                self.log.epoch_at(base.max(self.model.start)),
                Some(epoch),
                "at {base}"
            );
            let records = self.log.read(last, 1, i64::MAX, true).unwrap();
            assert_eq!(records.first_offset, base);
        }
        assert!(self.log.flushed_end_offset() <= self.model.end);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]
    #[test]
    fn any_history_leaves_the_batches_of_the_model(
        steps in proptest::collection::vec(step(), 1..40),
    ) {
        let config = LogConfig { segment_bytes: 700, retention_bytes: 1_500, ..small() };
        let mut run = Run { log: TestLog::new(config), model: Model::default() };
        for step in &steps {
            run.take(step);
            run.check();
        }
    }
}
