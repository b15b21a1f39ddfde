//! A cluster each of whose processes has a disk that forgets, and a kernel that is booted anew with the power.

#![allow(
    clippy::disallowed_methods,
    reason = "real processes live in real time"
)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::disk::{self, Disk, Fate};
use super::support::{Cluster, Role, print_logs};
use super::witnesses::drivers::{Consensus, Records};
use super::witnesses::{Site, monotonic_ns};

/// Room for a raft log, its reserve, and a state; or for many records.
const DISK_BYTES: u64 = 1 << 30;
/// Small files of the raft log, so that it begins new ones and reuses old ones all the time.
const ZOO: &str = "preAllocSize=64\n";

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// How often the power is cut in each test.
pub fn rounds(usual: u64) -> u64 {
    number("ZWEIG_POWER_LOSS_ROUNDS").unwrap_or(usual)
}

/// See the module.
pub struct Machines {
    pub cluster: Cluster,
    pub disks: Vec<(Role, Disk)>,
    pub chance: StdRng,
    seed: u64,
    begin: Instant,
    begin_ns: u64,
    story: Vec<String>,
}

impl Machines {
    /// Starts everything and waits until it is whole. `None`, said aloud, where there can be no such disks.
    pub fn start(coordinators: usize, brokers: usize, properties: &str) -> Option<Self> {
        if let Err(why) = allowed() {
            println!("SKIPPED: disks that forget can't be made here: {why}");
            return None;
        }
        let seed = number("ZWEIG_POWER_LOSS_SEED").unwrap_or(1);
        println!("power loss: seed {seed}");
        let mut disks = Vec::new();
        let mut chance = StdRng::seed_from_u64(seed);
        let prepare = |role, data: &Path| {
            let boot_id = format!("{:032x}\n", chance.random::<u128>());
            fs::write(data.with_file_name("boot_id"), boot_id).expect("a boot id");
            disks.push((role, Disk::mount(data, DISK_BYTES).expect("a disk")));
        };
        let cluster = Cluster::start_prepared((coordinators, ZOO), (brokers, properties), prepare);
        let mut machines = Self {
            cluster,
            disks,
            chance,
            seed,
            begin: Instant::now(),
            begin_ns: monotonic_ns(),
            story: Vec::new(),
        };
        machines.say("all is whole");
        Some(machines)
    }

    /// Every role, coordinators first.
    pub fn all(&self) -> Vec<Role> {
        self.disks.iter().map(|(role, _)| *role).collect()
    }

    /// Those that are coordinators, or not.
    pub fn of(&self, coordinators: bool) -> Vec<Role> {
        let of = |role: &Role| matches!(role, Role::Coordinator(_)) == coordinators;
        self.all().into_iter().filter(of).collect()
    }

    /// The disk of one.
    pub fn disk(&mut self, role: Role) -> &mut Disk {
        let found = self.disks.iter_mut().find(|(other, _)| *other == role);
        &mut found.expect("everybody has a disk").1
    }

    /// A line of what happened when.
    pub fn say(&mut self, what: &str) {
        let line = format!("{:>7.2} s  {what}", self.begin.elapsed().as_secs_f64());
        println!("power loss: {line}");
        self.story.push(line);
    }

    fn boot(&mut self, role: Role) {
        let id = format!("{:032x}", self.chance.random::<u128>());
        self.cluster.set_boot_id(role, &id);
    }

    /// Cuts the power of some, at once: the disk of each takes a fate of its own.
    pub fn cut_power(&mut self, roles: &[Role]) {
        let fates: Vec<_> = roles.iter().map(|_| Fate::any(&mut self.chance)).collect();
        self.cut_power_with(roles, &fates);
    }

    /// As [`Self::cut_power`], with the fate of each.
    pub fn cut_power_with(&mut self, roles: &[Role], fates: &[Fate]) {
        let mut told = Vec::new();
        for (role, fate) in roles.iter().zip(fates) {
            let mut chance = StdRng::seed_from_u64(self.chance.random());
            let disk = self.disk(*role);
            told.push(format!(
                "{role:?}: {fate:?}: {:?}",
                disk.cut(fate, &mut chance)
            ));
        }
        let disks = &self.disks;
        self.cluster.kill_together(roles, || {
            for (role, disk) in disks {
                if roles.contains(role) {
                    disk.release();
                }
            }
        });
        for line in told {
            self.say(&format!("power cut: {line}"));
        }
        for role in roles {
            self.disk(*role).unmount();
            self.boot(*role);
        }
    }

    /// The power is back.
    pub fn power_on(&mut self, roles: &[Role]) {
        for role in roles {
            self.disk(*role)
                .power_on()
                .expect("the disk is mounted again");
            self.cluster.start_process(*role);
        }
        self.say(&format!("power on: {roles:?}"));
    }

    /// A while, by chance.
    pub fn pause(&mut self, milliseconds: std::ops::Range<u64>) {
        let while_ = self.chance.random_range(milliseconds);
        std::thread::sleep(Duration::from_millis(while_));
    }

    /// Until every client of znodes has had answers that it did not have before.
    pub fn znodes_go_on(&self, znodes: &mut Consensus, when: &str) {
        let before = znodes.progress();
        let more = |znodes: &Consensus| {
            let now = znodes.progress();
            now.iter()
                .zip(&before)
                .all(|(now, before)| *now > before + 10)
        };
        let mut ended = false;
        let go_on = self.is_soon(|| {
            ended = znodes.has_ended();
            ended || more(znodes)
        });
        if ended || !go_on {
            self.fail(&format!("no progress {when}: {}", znodes.explain()));
        }
    }

    /// Until many further records are acknowledged.
    pub fn records_go_on(&self, records: &mut Records, when: &str) {
        let before = records.progress();
        let mut ended = false;
        let go_on = self.is_soon(|| {
            ended = records.has_ended();
            ended || records.progress() > before + 600
        });
        if ended || !go_on {
            let why = format!("the producer: {before} before, {} now", records.progress());
            self.fail(&format!("no progress {when}: {why}: {}", records.explain()));
        }
    }

    /// Until each replica of the topic is in sync.
    pub fn all_in_sync(&self) {
        let all = || {
            (0..super::witnesses::PARTITIONS).all(|partition| self.in_sync(partition) == Some(3))
        };
        self.expect_soon("every replica is in sync", all);
    }
}

impl Site for Machines {
    fn at_clients(&self, program: &str) -> Command {
        Command::new(program)
    }

    fn folder(&self) -> &Path {
        self.cluster.folder()
    }

    fn coordinators(&self) -> Vec<String> {
        let all = self.cluster.connect_string();
        all.split(',').map(str::to_owned).collect()
    }

    fn bootstrap(&self) -> String {
        self.cluster.bootstrap()
    }

    fn begin_ns(&self) -> u64 {
        self.begin_ns
    }

    fn fail(&self, why: &str) -> ! {
        panic!("{why}");
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}; what happened:", self.seed);
            self.story.iter().for_each(|line| eprintln!("{line}"));
            print_logs(self.cluster.folder());
        }
        self.cluster.kill_everything();
        self.disks.clear();
    }
}

/// Whether disks and mount namespaces can be made here.
fn allowed() -> Result<(), String> {
    disk::allowed()?;
    let tried = Command::new("unshare")
        .args(["--mount", "--propagation", "slave", "true"])
        .output();
    let tried = tried.map_err(|e| format!("unshare: {e}"))?;
    match tried.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&tried.stderr).into_owned()),
    }
}
