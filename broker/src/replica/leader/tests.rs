//! Scripts for single rules, then a seeded model of a leader, its followers and the state's znode.

use super::*;
use proptest::prelude::*;

const LAG: i64 = 100;

fn state(isr: &[(i32, i64)], partition_epoch: i32) -> PartitionState {
    PartitionState {
        replicas: vec![1, 2, 3],
        leader: Some(1),
        leader_broker_epoch: 11,
        leader_epoch: 5,
        partition_epoch,
        isr: Isr::new(isr.iter().copied()),
    }
}

const ALL: &[(i32, i64)] = &[(1, 11), (2, 22), (3, 33)];

fn leader(isr: &[(i32, i64)], log_end: i64, high_watermark: i64) -> Leader {
    let with = Beginning {
        me: 1,
        log_end,
        counted_end: log_end,
        high_watermark,
        lag_max_ms: LAG,
    };
    let mut leader = Leader::begin(&state(isr, 7), with, 0);
    leader.on_brokers(|id| Some(i64::from(id) * 11), |_| false);
    leader
}

fn fetch(broker: i32, fetch_offset: i64) -> FollowerFetch {
    FollowerFetch {
        broker,
        broker_epoch: Some(i64::from(broker) * 11),
        fetch_offset,
    }
}

#[test]
fn a_change_of_the_isr_has_its_reasons() {
    let mut leader = leader(&[(1, 11), (2, 22)], 10, 10);
    leader.on_fetch(fetch(3, 10), 1).unwrap();
    leader.on_log_end(20, 20, 1);
    leader.on_fetch(fetch(3, 20), 2).unwrap();
    let proposal = leader
        .propose(2 * LAG)
        .expect("one left behind, one caught up");
    let expected = [(2, "did not keep up"), (3, "caught up")];
    assert_eq!(leader.reasons(&proposal), expected);
}

#[test]
fn alone_in_the_isr_commits_at_once() {
    let mut leader = leader(&[(1, 11)], 4, 0);
    assert_eq!(leader.high_watermark(), 4);
    assert!(leader.on_log_end(6, 6, 0));
    assert_eq!(
        (leader.acks(6, 1), leader.acks(6, 2), leader.acks(7, 1)),
        (Acks::Enough, Acks::TooFew, Acks::Pending)
    );
}

#[test]
fn the_slowest_in_sync_replica_decides() {
    let mut leader = leader(ALL, 10, 2);
    assert_eq!(
        (leader.high_watermark(), leader.settled_high_watermark()),
        (2, None)
    );
    assert!(!leader.on_fetch(fetch(2, 10), 1).unwrap());
    assert!(leader.on_fetch(fetch(3, 6), 1).unwrap());
    assert_eq!(
        (leader.high_watermark(), leader.settled_high_watermark()),
        (6, None)
    );
    assert!(leader.on_fetch(fetch(3, 10), 2).unwrap());
    assert_eq!(leader.settled_high_watermark(), Some(10));
}

#[test]
fn flushed_ends_count_in_fsync_mode() {
    let with = Beginning {
        me: 1,
        log_end: 10,
        counted_end: 3,
        high_watermark: 5,
        lag_max_ms: LAG,
    };
    let mut leader = Leader::begin(&state(&[(1, 11)], 7), with, 0);
    assert_eq!(leader.high_watermark(), 3);
    assert!(!leader.on_log_end(12, 3, 0));
    assert!(leader.on_log_end(12, 12, 0));
    assert_eq!(leader.high_watermark(), 12);
}

#[test]
fn one_about_to_join_that_falls_silent_is_waited_for_no_longer_than_the_lag_time() {
    let mut leader = leader(&[(1, 11)], 4, 4);
    leader.on_fetch(fetch(2, 4), 0).unwrap();
    assert!(!leader.on_log_end(5, 5, 1), "2 is about to join with it");
    assert!(!leader.on_log_end(5, 5, LAG + 1));
    // Nothing happens but time.
    assert!(leader.on_log_end(5, 5, LAG + 2));
    assert_eq!(leader.acks(5, 1), Acks::Enough);
}

#[test]
fn one_that_held_everything_was_caught_up_until_more_came() {
    let mut leader = leader(ALL, 4, 4);
    leader.on_fetch(fetch(2, 4), 0).unwrap();
    leader.on_fetch(fetch(3, 4), 0).unwrap();
    // In a fetch session nobody asks while nothing comes.
    let append = 100 * LAG;
    leader.on_log_end(5, 5, append);
    assert_eq!(leader.propose(append + LAG), None);
    leader.on_fetch(fetch(3, 5), append + LAG).unwrap();
    let proposal = leader.propose(append + LAG + 1).unwrap();
    assert_eq!(proposal.isr.ids(), [1, 3]);
}

#[test]
fn one_that_asks_to_be_relieved_does_not_join_and_is_not_waited_for() {
    let mut leader = leader(&[(1, 11), (3, 33)], 4, 4);
    leader.on_brokers(|id| Some(i64::from(id) * 11), |id| id != 1);
    leader.on_fetch(fetch(2, 4), 0).unwrap();
    leader.on_fetch(fetch(3, 4), 0).unwrap();
    // 3 stays where the controller left it.
    assert_eq!(leader.propose(0), None);
    leader.on_fetch(fetch(3, 5), 1).unwrap();
    assert!(leader.on_log_end(5, 5, 1));
    leader.on_brokers(|id| Some(i64::from(id) * 11), |_| false);
    leader.on_fetch(fetch(2, 5), 2).unwrap();
    let proposal = leader.propose(2).unwrap();
    assert_eq!(proposal.isr.ids(), [1, 2, 3]);
}

#[test]
fn a_shrink_counts_only_when_written() {
    let mut leader = leader(ALL, 10, 0);
    for (now, offset) in [(1, 10), (LAG + 1, 12)] {
        leader.on_log_end(offset, offset, now);
        leader.on_fetch(fetch(2, offset), now).unwrap();
    }
    assert_eq!((leader.high_watermark(), leader.propose(LAG)), (0, None));
    let proposal = leader.propose(LAG + 1).unwrap();
    assert_eq!(
        (
            proposal.isr.ids(),
            proposal.expected_partition_epoch,
            proposal.leader_epoch
        ),
        (vec![1, 2], 7, 5)
    );
    assert_eq!(
        (leader.high_watermark(), leader.propose(LAG + 2)),
        (0, None)
    );
    // Perhaps written: the larger set goes on counting, and the same write is tried again.
    assert!(!leader.on_write_end(7, WriteEnd::Unknown, LAG + 3));
    assert_eq!(leader.propose(LAG + 4), Some(proposal));
    assert!(leader.on_write_end(7, WriteEnd::Written { partition_epoch: 8 }, LAG + 5));
    assert_eq!(
        (
            leader.high_watermark(),
            leader.isr().ids(),
            leader.partition_epoch()
        ),
        (12, vec![1, 2], 8)
    );
}

#[test]
fn a_stale_write_waits_for_the_image() {
    let mut leader = leader(ALL, 10, 0);
    leader.on_fetch(fetch(2, 10), 200).unwrap();
    assert!(leader.propose(200).is_some());
    leader.on_write_end(7, WriteEnd::Stale, 200);
    assert_eq!(leader.propose(1000), None);
    leader.adopt(&state(ALL, 7), 1000);
    assert_eq!(
        leader.propose(1000),
        None,
        "an image of the same version decides nothing"
    );
    leader.adopt(&state(&[(1, 11), (2, 22)], 8), 1000);
    assert_eq!((leader.high_watermark(), leader.propose(1000)), (10, None));
}

#[test]
fn joins_under_its_current_epoch_once_it_has_everything() {
    let mut leader = leader(&[(1, 11)], 10, 10);
    let at = |offset, epoch| FollowerFetch {
        broker: 2,
        broker_epoch: epoch,
        fetch_offset: offset,
    };
    for (offset, epoch) in [(9, Some(22)), (10, None), (10, Some(23))] {
        leader.on_fetch(at(offset, epoch), 1).unwrap();
        assert_eq!(leader.propose(1), None, "{offset} {epoch:?}");
    }
    let refused = leader.on_fetch(at(10, Some(22)), 1);
    assert_eq!(
        refused,
        Err(RefusedFetch::StaleBrokerEpoch {
            broker: 2,
            told: 22,
            known: 23
        })
    );
    leader.on_brokers(|id| (id == 2).then_some(23), |_| false);
    let proposal = leader.propose(1).unwrap();
    assert_eq!(proposal.isr, Isr::new([(1, 11), (2, 23)]));
    // Counts from the moment it is proposed.
    leader.on_log_end(20, 20, 2);
    assert_eq!(leader.high_watermark(), 10);
}

#[test]
fn a_replica_that_restarted_is_named_by_its_new_epoch_or_leaves() {
    let mut leader = leader(ALL, 10, 10);
    leader.on_fetch(fetch(3, 10), 1).unwrap();
    leader.on_brokers(|id| (id == 3).then_some(33), |_| false);
    assert_eq!(leader.propose(1).unwrap().isr.ids(), [1, 3]);
    leader.on_write_end(7, WriteEnd::NotDone, 2);
    leader.on_brokers(|id| Some(if id == 2 { 99 } else { 33 }), |_| false);
    leader
        .on_fetch(
            FollowerFetch {
                broker: 2,
                broker_epoch: Some(99),
                fetch_offset: 10,
            },
            3,
        )
        .unwrap();
    assert_eq!(
        leader.propose(3).unwrap().isr,
        Isr::new([(1, 11), (2, 99), (3, 33)])
    );
}

#[test]
fn strangers_are_refused() {
    let mut leader = leader(ALL, 10, 0);
    assert_eq!(
        leader.on_fetch(fetch(4, 10), 0),
        Err(RefusedFetch::NotAReplica(4))
    );
}

/// One step of the model.
#[derive(Debug, Clone)]
enum Step {
    Append(u8),
    Fetch {
        broker: usize,
        records: u8,
    },
    Propose,
    /// The write under way reaches the znode, or does not, and its end is told, or not.
    Write {
        reaches: bool,
        told: bool,
    },
    /// The controller writes the state: it drops one follower.
    Controller {
        drops: usize,
    },
    Image,
    /// A follower restarts under a new epoch; an image will say so.
    Restart {
        broker: usize,
    },
    Wait(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => any::<u8>().prop_map(|n| Step::Append(n % 5)),
        8 => (2usize..4, any::<u8>()).prop_map(|(broker, n)| Step::Fetch { broker, records: n % 8 }),
        4 => Just(Step::Propose),
        4 => (any::<bool>(), any::<bool>()).prop_map(|(reaches, told)| Step::Write { reaches, told }),
        1 => (2usize..4).prop_map(|drops| Step::Controller { drops }),
        2 => Just(Step::Image),
        1 => (2usize..4).prop_map(|broker| Step::Restart { broker }),
        3 => any::<u8>().prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 1..120)
}

struct Model {
    leader: Leader,
    /// True ends of the logs by broker id; 0 unused.
    ends: [i64; 4],
    epochs: [i64; 4],
    znode: PartitionState,
    under_way: Option<Proposal>,
    /// Writes the leader gave up on, which may still land.
    adrift: Vec<Proposal>,
    now: i64,
}

impl Model {
    fn new() -> Self {
        let with = Beginning {
            me: 1,
            log_end: 0,
            counted_end: 0,
            high_watermark: 0,
            lag_max_ms: LAG,
        };
        let znode = state(ALL, 7);
        let mut leader = Leader::begin(&znode, with, 0);
        leader.on_brokers(|id| Some(i64::from(id) * 11), |_| false);
        Self {
            leader,
            ends: [0; 4],
            epochs: [0, 11, 22, 33],
            znode,
            under_way: None,
            adrift: Vec::new(),
            now: 0,
        }
    }

    fn write(&mut self, proposal: &Proposal) -> WriteEnd {
        if self.znode.partition_epoch != proposal.expected_partition_epoch {
            return WriteEnd::Stale;
        }
        self.znode.isr = proposal.isr.clone();
        self.znode.partition_epoch += 1;
        WriteEnd::Written {
            partition_epoch: self.znode.partition_epoch,
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Append(records) => {
                self.ends[1] += i64::from(records);
                self.leader.on_log_end(self.ends[1], self.ends[1], self.now);
            }
            Step::Fetch { broker, records } => {
                // What the last answer brought is in the log before the next fetch tells so.
                self.ends[broker] = (self.ends[broker] + i64::from(records)).min(self.ends[1]);
                let fetch_offset = self.ends[broker];
                let broker_epoch = Some(self.epochs[broker]);
                let fetch = FollowerFetch {
                    broker: broker as i32,
                    broker_epoch,
                    fetch_offset,
                };
                // Refused if its registration is known before its first fetch; that is for the next one.
                let _ = self.leader.on_fetch(fetch, self.now);
            }
            Step::Propose => {
                if let Some(proposal) = self.leader.propose(self.now) {
                    self.adrift.extend(self.under_way.replace(proposal));
                }
            }
            Step::Write { reaches, told } => {
                for proposal in std::mem::take(&mut self.adrift) {
                    self.write(&proposal);
                }
                let Some(proposal) = self.under_way.take() else {
                    return;
                };
                let end = match reaches {
                    true => self.write(&proposal),
                    false if told => WriteEnd::NotDone,
                    false => {
                        self.adrift.push(proposal.clone());
                        WriteEnd::Unknown
                    }
                };
                let end = if told { end } else { WriteEnd::Unknown };
                self.leader
                    .on_write_end(proposal.expected_partition_epoch, end, self.now);
            }
            Step::Controller { drops } => {
                self.znode.isr.remove(drops as i32);
                self.znode.partition_epoch += 1;
            }
            Step::Image => {
                let epochs = self.epochs;
                self.leader
                    .on_brokers(|id| Some(epochs[id as usize]), |_| false);
                self.leader.adopt(&self.znode, self.now);
            }
            Step::Restart { broker } => self.epochs[broker] += 100,
            Step::Wait(ms) => self.now += i64::from(ms),
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let committed = self.leader.high_watermark();
        for id in self.znode.isr.ids() {
            prop_assert!(
                self.ends[id as usize] >= committed,
                "broker {id} in sync without {committed}: {:?}",
                self.ends
            );
        }
        prop_assert!(self.znode.isr.contains(1) && committed <= self.ends[1]);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whoever the znode names as in sync holds everything committed: any of them may be elected.
    #[test]
    fn whoever_may_be_elected_holds_what_is_committed(steps in steps()) {
        let mut model = Model::new();
        for step in &steps {
            let before = model.leader.high_watermark();
            model.step(step);
            model.check()?;
            prop_assert!(model.leader.high_watermark() >= before);
        }
    }
}
