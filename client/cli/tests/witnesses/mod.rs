//! Clients that nobody here wrote, what they saw of a cluster that was broken under them, and whether a correct one
//! could have shown it. Used by `chaos` (hosts of their own) and `power_loss` (disks that forget).
//!
//! | file | what it does |
//! | --- | --- |
//! | `drivers` | kazoo on znodes, librdkafka with records |
//! | `verdict` | what their histories must fulfil |

#![allow(
    dead_code,
    clippy::disallowed_methods,
    reason = "each test binary uses a part of this; real processes live in real time"
)]

pub mod drivers;
pub mod verdict;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The binary under test.
pub const ZWEIG: &str = env!("CARGO_BIN_EXE_zweig");
/// How long anything may take once the faults have ended: the stated bound of liveness, generous for a machine that
/// does other things too.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// Partitions of the topic.
pub const PARTITIONS: usize = 3;
/// Its name.
pub const TOPIC: &str = "numbers";

/// By partition: the numbers acknowledged, with their offsets where the producer was told.
pub type Acknowledged = BTreeMap<usize, Vec<(u64, Option<i64>)>>;

/// Whether what is stored is what was acknowledged, where that was said to be.
pub fn agree(stored: &(u64, i64), said: &(u64, Option<i64>)) -> bool {
    stored.0 == said.0 && said.1.is_none_or(|offset| offset == stored.1)
}

/// The clock of the clients' histories.
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Where the cluster under test is, for its clients.
pub trait Site {
    /// A program where the clients are.
    fn at_clients(&self, program: &str) -> Command;
    /// A folder that has no bounds and no faults.
    fn folder(&self) -> &Path;
    /// Each coordinator's client address.
    fn coordinators(&self) -> Vec<String>;
    /// Every broker's address, separated by commas.
    fn bootstrap(&self) -> String;
    /// When it began, as the clients' histories have it.
    fn begin_ns(&self) -> u64;
    /// Ends the test, with all that may explain why.
    fn fail(&self, why: &str) -> !;

    /// A program at the clients, with the addresses in its environment.
    fn client(&self, program: &str) -> Command {
        let mut command = self.at_clients(program);
        command
            .env("ZWEIG_SERVER", self.coordinators().join(","))
            .env("ZWEIG_BOOTSTRAP", self.bootstrap())
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null());
        command
    }

    /// Runs `zweig` at the clients.
    fn ask(&self, arguments: &[&str]) -> Output {
        let mut command = self.client(ZWEIG);
        command.args(arguments).output().expect("zweig runs")
    }

    /// As [`Self::ask`]; what it printed.
    fn must(&self, arguments: &[&str]) -> String {
        let output = self.ask(arguments);
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            self.fail(&format!("zweig {arguments:?}: {why}"));
        }
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Asks `what` every 200 ms until it says yes, or the patience is at its end.
    fn is_soon(&self, mut what: impl FnMut() -> bool) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while !what() {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        true
    }

    /// As [`Self::is_soon`]; fails if it is not.
    fn expect_soon(&self, name: &str, what: impl FnMut() -> bool) {
        if !self.is_soon(what) {
            self.fail(&format!("waited {PATIENCE:?} in vain until {name}"));
        }
    }

    /// Makes the topic of the records.
    fn make_topic(&self, replicas: usize) {
        let (partitions, replicas) = (PARTITIONS.to_string(), replicas.to_string());
        let partitions = ["--partitions", &partitions];
        let replicas = ["--replication-factor", &replicas];
        self.must(&[&["topic", "create", TOPIC], &partitions[..], &replicas].concat());
    }

    /// How many replicas of a partition are in sync; `None` if it does not exist.
    fn in_sync(&self, partition: usize) -> Option<usize> {
        let path = format!("/kafka/brokers/topics/{TOPIC}/partitions/{partition}/state");
        let output = self.ask(&["get", &path]);
        let state: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        Some(state.get("isr")?.as_array()?.len())
    }
}
