//! What goes wrong: one fault, or two on hosts of different roles, held for a while and healed. All of it is drawn
//! from one seed.

#![allow(
    clippy::disallowed_methods,
    reason = "a fault lasts for a while of real time"
)]

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::process::Signal;

use super::cluster::{Cluster, Role};
use super::disk::Fate;

/// The broker's session, 4 s, and then some.
const LONG: Duration = Duration::from_secs(7);
/// How far a wall clock is set wrong, at most.
const CLOCK_SECONDS: i64 = 7_200;

#[derive(Debug, Clone, PartialEq)]
enum Fault {
    Kill(Vec<usize>),
    /// What was not synced is lost, as each disk's fate has it.
    CutPower(Vec<usize>, u64),
    Pause(usize),
    PullOut(usize),
    LoseOneWay {
        from: usize,
        to: usize,
    },
    Split(usize, usize),
    SlowDown(usize),
    FillDisk(usize),
    FailSync(usize),
    StepClock(usize, i64),
    /// Stopped in good order and started, one after the other.
    Roll(Vec<usize>),
    /// Its disk was lost: it joins anew.
    Wipe(usize),
}

impl Fault {
    fn begin(&self, cluster: &mut Cluster) {
        match self {
            Self::Kill(hosts) => cluster.kill(hosts),
            Self::CutPower(hosts, seed) => {
                let mut chance = StdRng::seed_from_u64(*seed);
                for host in hosts {
                    let fate = Fate::any(&mut chance);
                    let loss = cluster.hosts.cut_power(*host, &fate, &mut chance);
                    cluster.say(&format!("host {host}: {fate:?}: {loss:?}"));
                }
                cluster.cut_off(hosts);
                for host in hosts {
                    cluster.hosts.boot(*host, chance.random());
                }
            }
            Self::Pause(host) => cluster.signal(*host, Signal::STOP),
            Self::PullOut(host) => cluster.hosts.pull_out(*host),
            Self::LoseOneWay { from, to } => cluster.hosts.lose(*from, *to),
            Self::Split(one, other) => {
                cluster.hosts.lose(*one, *other);
                cluster.hosts.lose(*other, *one);
            }
            Self::SlowDown(host) => {
                if let Err(why) = cluster.hosts.slow_down(*host, "512kbit") {
                    cluster.say(&format!("links can't be slowed down here: {why}"));
                }
            }
            // A log that could not be written or synced ends its process.
            Self::FillDisk(host) => {
                cluster.excuse(*host);
                cluster.hosts.fill_disk(*host);
            }
            Self::FailSync(host) => {
                cluster.excuse(*host);
                let log = cluster.log_name(*host);
                cluster.hosts.fail_a_sync(*host, log);
            }
            Self::StepClock(host, seconds) => {
                if !cluster.hosts.step_clock(*host, *seconds) {
                    cluster.say("clocks can't be set wrong here: there is no C compiler");
                }
            }
            Self::Roll(hosts) => {
                for host in hosts {
                    cluster.stop(*host);
                    cluster.start_process(*host);
                }
            }
            Self::Wipe(host) => {
                cluster.kill(&[*host]);
                cluster.wipe(*host);
                cluster.start_process(*host);
            }
        }
    }

    fn end(&self, cluster: &mut Cluster) {
        match self {
            Self::Kill(hosts) => hosts.iter().for_each(|host| cluster.start_process(*host)),
            Self::CutPower(hosts, _) => {
                for host in hosts {
                    cluster.hosts.power_on(*host);
                    cluster.start_process(*host);
                }
            }
            Self::Pause(host) => cluster.signal(*host, Signal::CONT),
            Self::PullOut(host) => cluster.hosts.plug_in(*host),
            Self::LoseOneWay { from, to } => cluster.hosts.find(*from, *to),
            Self::Split(one, other) => {
                cluster.hosts.find(*one, *other);
                cluster.hosts.find(*other, *one);
            }
            Self::SlowDown(host) => cluster.hosts.speed_up(*host),
            Self::FillDisk(host) => {
                cluster.hosts.free_disk(*host);
                cluster.start_process(*host);
            }
            Self::FailSync(host) => {
                cluster.hosts.fail_no_sync(*host);
                cluster.start_process(*host);
            }
            Self::StepClock(host, _) => {
                cluster.hosts.step_clock(*host, 0);
            }
            Self::Roll(_) | Self::Wipe(_) => {}
        }
    }

    /// Whether nothing else may be wrong when it begins: otherwise it may take what was promised only as long as
    /// something else is left.
    fn needs_whole(&self, synced: bool) -> bool {
        match self {
            Self::CutPower(..) => !synced,
            Self::Wipe(_) => true,
            _ => false,
        }
    }
}

/// See the module.
pub struct Faults {
    chance: StdRng,
    count: usize,
    /// Whether brokers sync before they acknowledge, so that all of them may lose power.
    synced: bool,
}

impl Faults {
    /// All choices follow from `seed`.
    pub fn new(seed: u64, synced: bool) -> Self {
        Self {
            chance: StdRng::seed_from_u64(seed),
            count: 0,
            synced,
        }
    }

    /// How many there were.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Lets something go wrong, and heals it. What it was.
    pub fn one(&mut self, cluster: &mut Cluster) -> String {
        let (coordinators, brokers) = (cluster.of(Role::Coordinator), cluster.of(Role::Broker));
        let all = [&coordinators[..], &brokers].concat();
        let faults = match self.chance.random_range(0..14) {
            0 => vec![Fault::Kill(all)],
            1 => vec![Fault::Kill(brokers)],
            2 => vec![Fault::Kill(coordinators)],
            3 => vec![self.power(cluster, &coordinators)],
            4 if self.synced => vec![self.power(cluster, &all)],
            5 if self.synced => vec![self.power(cluster, &brokers)],
            6 => vec![Fault::Roll(match self.chance.random() {
                true => coordinators,
                false => brokers,
            })],
            4 | 5 | 7 => vec![
                self.fault(cluster, &coordinators),
                self.fault(cluster, &brokers),
            ],
            8..=10 => vec![self.fault(cluster, &coordinators)],
            _ => vec![self.fault(cluster, &brokers)],
        };
        let held = match self.chance.random_bool(0.3) {
            true => LONG,
            false => Duration::from_millis(self.chance.random_range(300..3_000)),
        };
        let name = format!("{faults:?} for {held:?}");
        if faults.iter().any(|fault| fault.needs_whole(self.synced)) {
            cluster.wait_until_whole();
        }
        cluster.nobody_died();
        cluster.excuse_nobody();
        cluster.say(&name);
        self.count += faults.len();
        faults.iter().for_each(|fault| fault.begin(cluster));
        std::thread::sleep(held);
        faults.iter().for_each(|fault| fault.end(cluster));
        cluster.say("healed");
        name
    }

    /// A power cut, or as much of one as this machine can make.
    fn power(&mut self, cluster: &Cluster, hosts: &[usize]) -> Fault {
        match cluster.hosts.can_cut_power() {
            true => Fault::CutPower(hosts.to_vec(), self.chance.random()),
            false => Fault::Kill(hosts.to_vec()),
        }
    }

    fn fault(&mut self, cluster: &Cluster, among: &[usize]) -> Fault {
        let mut host = among[self.chance.random_range(0..among.len())];
        // The one that leads is the most interesting.
        if among.contains(&1) && self.chance.random_bool(0.5) {
            host = cluster.leader().unwrap_or(host);
        }
        let others: Vec<_> = among
            .iter()
            .copied()
            .filter(|other| *other != host)
            .collect();
        let other = others[self.chance.random_range(0..others.len())];
        match self.chance.random_range(0..20) {
            0..=1 => Fault::Kill(vec![host]),
            2..=4 => self.power(cluster, &[host]),
            5..=7 => Fault::Pause(host),
            8..=9 => Fault::PullOut(host),
            10 => Fault::LoseOneWay {
                from: host,
                to: other,
            },
            11 => Fault::LoseOneWay {
                from: other,
                to: host,
            },
            12..=13 => Fault::Split(host, other),
            14 => Fault::SlowDown(host),
            15 => Fault::FillDisk(host),
            16 => Fault::FailSync(host),
            17 if among.contains(&1) => Fault::Wipe(host),
            _ => {
                let seconds = self.chance.random_range(-CLOCK_SECONDS..=CLOCK_SECONDS);
                Fault::StepClock(host, seconds)
            }
        }
    }
}
