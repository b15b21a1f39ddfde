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

/// The broker's session, 4 s, and then some.
const LONG: Duration = Duration::from_secs(7);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Fault {
    Kill(Vec<usize>),
    Pause(usize),
    PullOut(usize),
    LoseOneWay { from: usize, to: usize },
    Split(usize, usize),
    SlowDown(usize),
    FillDisk(usize),
}

impl Fault {
    fn begin(&self, cluster: &mut Cluster) {
        match self {
            Self::Kill(hosts) => cluster.kill(hosts),
            Self::Pause(host) => cluster.signal(*host, Signal::STOP),
            Self::PullOut(host) => cluster.hosts.pull_out(*host),
            Self::LoseOneWay { from, to } => cluster.hosts.lose(*from, *to),
            Self::Split(one, other) => {
                cluster.hosts.lose(*one, *other);
                cluster.hosts.lose(*other, *one);
            }
            Self::SlowDown(host) => {
                if let Err(why) = cluster.hosts.slow_down(*host, "512kbit") {
                    println!("chaos: links can't be slowed down here: {why}");
                }
            }
            Self::FillDisk(host) => cluster.hosts.fill_disk(*host),
        }
    }

    fn end(&self, cluster: &mut Cluster) {
        match self {
            Self::Kill(hosts) => hosts.iter().for_each(|host| cluster.start_process(*host)),
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
                // A log that could not be written ends its process: the one fault that may.
                cluster.start_process(*host);
            }
        }
    }
}

/// See the module.
pub struct Faults {
    chance: StdRng,
    count: usize,
}

impl Faults {
    /// All choices follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            chance: StdRng::seed_from_u64(seed),
            count: 0,
        }
    }

    /// How many there were.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Lets something go wrong, and heals it. What it was.
    pub fn one(&mut self, cluster: &mut Cluster) -> String {
        let (coordinators, brokers) = (cluster.of(Role::Coordinator), cluster.of(Role::Broker));
        let faults = match self.chance.random_range(0..10) {
            0 => vec![Fault::Kill([coordinators, brokers].concat())],
            1 => vec![Fault::Kill(brokers)],
            2 => vec![Fault::Kill(coordinators)],
            3 => vec![
                self.fault(cluster, &coordinators),
                self.fault(cluster, &brokers),
            ],
            4..=6 => vec![self.fault(cluster, &coordinators)],
            _ => vec![self.fault(cluster, &brokers)],
        };
        let held = match self.chance.random_bool(0.3) {
            true => LONG,
            false => Duration::from_millis(self.chance.random_range(300..3_000)),
        };
        let name = format!("{faults:?} for {held:?}");
        println!("chaos:         {name}");
        self.count += faults.len();
        faults.iter().for_each(|fault| fault.begin(cluster));
        std::thread::sleep(held);
        faults.iter().for_each(|fault| fault.end(cluster));
        name
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
        match self.chance.random_range(0..14) {
            0..=2 => Fault::Kill(vec![host]),
            3..=5 => Fault::Pause(host),
            6..=7 => Fault::PullOut(host),
            8 => Fault::LoseOneWay {
                from: host,
                to: other,
            },
            9 => Fault::LoseOneWay {
                from: other,
                to: host,
            },
            10..=11 => Fault::Split(host, other),
            12 => Fault::SlowDown(host),
            _ => Fault::FillDisk(host),
        }
    }
}
