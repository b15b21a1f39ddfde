//! A whole cluster of real processes for tests: started from configuration files as an operator
//! would write them, on free ports, in a temporary folder; killed with SIGKILL, started again.
//!
//! One cluster runs at a time (two cores, timeouts that mean something): [`Cluster::start`] waits
//! for its turn. Nothing here sleeps for luck: [`wait_until`] asks until a deadline. When a test
//! fails, the logs of every process are printed.

#![allow(
    dead_code,
    clippy::disallowed_methods,
    reason = "each test binary uses a part of this; tests of real processes live in real time"
)]

use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The binary under test.
pub const ZWEIG: &str = env!("CARGO_BIN_EXE_zweig");

/// Patience for anything a cluster does by itself; generous, since CI shares its machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A process of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `zweig coordinator`, from 1.
    Coordinator(usize),
    /// `zweig broker`, from 1.
    Broker(usize),
}

/// The processes, their ports and their folder.
pub struct Cluster {
    folder: tempfile::TempDir,
    clients: Vec<u16>,
    brokers: Vec<u16>,
    running: Vec<(Role, Child)>,
    _turn: MutexGuard<'static, ()>,
}

/// Asks `what` every 50 ms until it says yes.
///
/// # Panics
/// After `patience`, with `name`.
pub fn wait_until(name: &str, patience: Duration, mut what: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !what() {
        assert!(
            Instant::now() < deadline,
            "waited {patience:?} in vain until {name}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<_> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"))
        .collect();
    held.iter()
        .map(|listener| listener.local_addr().expect("its address").port())
        .collect()
}

impl Cluster {
    /// Starts the processes and waits until every coordinator knows a leader and every broker is
    /// registered.
    pub fn start(coordinators: usize, brokers: usize) -> Self {
        Self::start_with(coordinators, brokers, "")
    }

    /// As [`Cluster::start`], with more lines for each `server.properties`.
    pub fn start_with(coordinators: usize, brokers: usize, properties: &str) -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ports = free_ports(coordinators * 3 + brokers);
        let (clients, rest) = ports.split_at(coordinators);
        let (quorum, rest) = rest.split_at(coordinators);
        let (election, listeners) = rest.split_at(coordinators);
        let mut cluster = Self {
            folder,
            clients: clients.to_vec(),
            brokers: listeners.to_vec(),
            running: Vec::new(),
            _turn: turn,
        };
        let mut servers = String::new();
        for node in 0..coordinators {
            let (q, e, c) = (quorum[node], election[node], clients[node]);
            let _ = writeln!(
                servers,
                "server.{}=127.0.0.1:{q}:{e};127.0.0.1:{c}",
                node + 1
            );
        }
        for node in 1..=coordinators {
            cluster.write_zoo_cfg(node, &servers);
        }
        for id in 1..=brokers {
            cluster.write_server_properties(id, properties);
        }
        let coordinators = (1..=coordinators).map(Role::Coordinator);
        for role in coordinators.chain((1..=brokers).map(Role::Broker)) {
            cluster.start_process(role);
        }
        cluster.wait_until_whole();
        cluster
    }

    fn write_zoo_cfg(&self, node: usize, servers: &str) {
        let data = self.folder_of(Role::Coordinator(node)).join("data");
        fs::create_dir_all(&data).expect("a data folder");
        fs::write(data.join("myid"), format!("{node}\n")).expect("myid written");
        let text = format!(
            "tickTime=1000\ninitLimit=10\nsyncLimit=5\ndataDir={}\nclientPortAddress=127.0.0.1\nclientPort={}\n{servers}",
            data.display(),
            self.clients[node - 1],
        );
        fs::write(self.config_of(Role::Coordinator(node)), text).expect("zoo.cfg written");
    }

    fn write_server_properties(&self, id: usize, more: &str) {
        let logs = self.folder_of(Role::Broker(id)).join("logs");
        fs::create_dir_all(&logs).expect("a log folder");
        let replicas = self.brokers.len().min(3);
        let text = format!(
            "broker.id={id}\nlisteners=PLAINTEXT://127.0.0.1:{}\nlog.dirs={}\nzookeeper.connect={}/kafka\n\
             zookeeper.session.timeout.ms=4000\ndefault.replication.factor={replicas}\nmin.insync.replicas={}\n\
             offsets.topic.replication.factor={replicas}\noffsets.topic.num.partitions=5\n\
             group.initial.rebalance.delay.ms=0\nreplica.lag.time.max.ms=5000\n{more}\n",
            self.brokers[id - 1],
            logs.display(),
            self.connect_string(),
            replicas.min(2),
        );
        fs::write(self.config_of(Role::Broker(id)), text).expect("server.properties written");
    }

    /// The folder of everything of one process.
    pub fn folder_of(&self, role: Role) -> PathBuf {
        self.folder.path().join(match role {
            Role::Coordinator(node) => format!("coordinator-{node}"),
            Role::Broker(id) => format!("broker-{id}"),
        })
    }

    fn config_of(&self, role: Role) -> PathBuf {
        self.folder_of(role).join(match role {
            Role::Coordinator(_) => "zoo.cfg",
            Role::Broker(_) => "server.properties",
        })
    }

    /// Every coordinator's client address, separated by commas.
    pub fn connect_string(&self) -> String {
        addresses(&self.clients)
    }

    /// Every broker's address, separated by commas.
    pub fn bootstrap(&self) -> String {
        addresses(&self.brokers)
    }

    /// The client address of one coordinator.
    pub fn coordinator(&self, node: usize) -> String {
        format!("127.0.0.1:{}", self.clients[node - 1])
    }

    /// The address of one broker.
    pub fn broker(&self, id: usize) -> String {
        format!("127.0.0.1:{}", self.brokers[id - 1])
    }

    /// Starts a process; its output goes to `log.txt` in its folder.
    pub fn start_process(&mut self, role: Role) {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder_of(role).join("log.txt"))
            .expect("a log file");
        let child = Command::new(ZWEIG)
            .arg(match role {
                Role::Coordinator(_) => "coordinator",
                Role::Broker(_) => "broker",
            })
            .arg("--config")
            .arg(self.config_of(role))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log file twice"))
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        self.running.push((role, child));
    }

    /// `kill -9`, and waits until the process is gone.
    pub fn kill(&mut self, role: Role) {
        let at = self.position(role);
        let (_, mut child) = self.running.swap_remove(at);
        child.kill().expect("SIGKILL sent");
        child.wait().expect("the killed process ends");
    }

    /// `kill -9` of everything, all signals sent before the first wait.
    pub fn kill_everything(&mut self) -> Vec<Role> {
        let mut all = std::mem::take(&mut self.running);
        for (_, child) in &mut all {
            child.kill().expect("SIGKILL sent");
        }
        all.into_iter()
            .map(|(role, mut child)| {
                child.wait().expect("the killed process ends");
                role
            })
            .collect()
    }

    /// SIGTERM, and waits for a clean end.
    pub fn stop(&mut self, role: Role) {
        let at = self.position(role);
        let (_, mut child) = self.running.swap_remove(at);
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("SIGTERM sent");
        wait_until("a process stops at SIGTERM", PATIENCE, || {
            child.try_wait().expect("its status").is_some()
        });
    }

    fn position(&self, role: Role) -> usize {
        let found = self.running.iter().position(|(other, _)| *other == role);
        found.unwrap_or_else(|| panic!("{role:?} runs"))
    }

    /// Until every coordinator that runs knows a leader, every broker that runs is registered, and
    /// one of them is controller.
    pub fn wait_until_whole(&self) {
        let nodes: Vec<_> = self.running_coordinators();
        wait_until("one coordinator leads, the others follow", PATIENCE, || {
            let mode = |node: &usize| four_letter_word(&self.coordinator(*node), "srvr");
            let modes: Vec<_> = nodes.iter().map(mode).collect();
            let leads =
                |mode: &&String| mode.contains("Mode: leader") || mode.contains("Mode: standalone");
            modes.iter().all(|mode| mode.contains("Mode: "))
                && modes.iter().filter(leads).count() == 1
        });
        let brokers = self
            .running
            .iter()
            .filter(|(role, _)| matches!(role, Role::Broker(_)));
        let mut expected: Vec<_> = brokers
            .map(|(role, _)| match role {
                Role::Broker(id) | Role::Coordinator(id) => id.to_string(),
            })
            .collect();
        expected.sort();
        if expected.is_empty() {
            return;
        }
        wait_until(
            "every broker is registered, one is controller",
            PATIENCE,
            || {
                let mut there: Vec<_> = self.ls("/kafka/brokers/ids");
                there.sort();
                there == expected && self.controller().is_some()
            },
        );
    }

    fn running_coordinators(&self) -> Vec<usize> {
        let nodes = self.running.iter().filter_map(|(role, _)| match role {
            Role::Coordinator(node) => Some(*node),
            Role::Broker(_) => None,
        });
        nodes.collect()
    }

    /// The children of a znode; none if it does not exist.
    pub fn ls(&self, path: &str) -> Vec<String> {
        let output = self.zweig(&["ls", path]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().map(str::to_owned).collect()
    }

    /// The content of a znode as JSON.
    pub fn json(&self, path: &str) -> Option<serde_json::Value> {
        let output = self.zweig(&["get", path]);
        serde_json::from_slice(&output.stdout).ok()
    }

    /// Which broker is controller.
    pub fn controller(&self) -> Option<usize> {
        let id = self.json("/kafka/controller")?.get("brokerid")?.as_u64()?;
        usize::try_from(id).ok()
    }

    /// The `state` of a partition.
    pub fn partition(&self, topic: &str, index: usize) -> Option<serde_json::Value> {
        self.json(&format!(
            "/kafka/brokers/topics/{topic}/partitions/{index}/state"
        ))
    }

    /// Which broker leads a partition.
    pub fn leader_of(&self, topic: &str, index: usize) -> Option<usize> {
        let leader = self.partition(topic, index)?.get("leader")?.as_i64()?;
        usize::try_from(leader).ok()
    }

    /// How many replicas of a partition are in sync.
    pub fn in_sync(&self, topic: &str, index: usize) -> usize {
        let state = self.partition(topic, index);
        let isr = state.as_ref().and_then(|state| state.get("isr"));
        isr.and_then(|isr| isr.as_array()).map_or(0, Vec::len)
    }

    /// Which coordinator leads the ensemble.
    pub fn ensemble_leader(&self) -> Option<usize> {
        self.running_coordinators().into_iter().find(|node| {
            let answer = four_letter_word(&self.coordinator(*node), "srvr");
            answer.contains("Mode: leader")
        })
    }

    /// Runs `zweig` with the addresses of this cluster in the environment.
    pub fn zweig(&self, arguments: &[&str]) -> Output {
        self.command(ZWEIG)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("zweig runs")
    }

    /// As [`Cluster::zweig`]; its standard output.
    ///
    /// # Panics
    /// If it does not succeed.
    pub fn zweig_ok(&self, arguments: &[&str]) -> String {
        succeeded(&format!("zweig {arguments:?}"), &self.zweig(arguments))
    }

    /// A command with the addresses of this cluster in its environment.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env("ZWEIG_SERVER", self.connect_string())
            .env("ZWEIG_BOOTSTRAP", self.bootstrap())
            .env("RUST_LOG", "warn");
        command
    }

    /// A Python program of `tests/peers` under the interpreter that has the foreign clients.
    pub fn python(&self, script: &str) -> Command {
        let python = std::env::var_os("ZWEIG_TEST_PYTHON")
            .expect("ZWEIG_TEST_PYTHON names a Python with kazoo, kafka-python and confluent-kafka: run scripts/test, or scripts/setup --test");
        let mut command = self.command(python);
        command.arg(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tests/peers")
                .join(script),
        );
        command
    }

    /// A Java class out of the peers' jars.
    pub fn java(&self, class: &str) -> Command {
        let jars = std::env::var("ZWEIG_TEST_JAVA")
            .expect("ZWEIG_TEST_JAVA names the folder of Kafka's and ZooKeeper's jars: run scripts/test, or scripts/setup --test");
        let mut command = self.command("java");
        command.arg("-cp").arg(format!("{jars}/*")).arg(class);
        command
    }

    /// A fresh file name in the cluster's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for (_, child) in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            print_logs(self.folder.path());
        }
    }
}

fn print_logs(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(text) = fs::read_to_string(entry.path().join("log.txt")) else {
            continue;
        };
        let lines: Vec<_> = text.lines().collect();
        eprintln!("--- {}, its last lines", entry.path().display());
        for line in &lines[lines.len().saturating_sub(60)..] {
            eprintln!("{line}");
        }
    }
}

fn addresses(ports: &[u16]) -> String {
    let all: Vec<_> = ports
        .iter()
        .map(|port| format!("127.0.0.1:{port}"))
        .collect();
    all.join(",")
}

/// What a command printed.
///
/// # Panics
/// If it did not succeed, with both its outputs.
pub fn succeeded(name: &str, output: &Output) -> String {
    assert!(
        output.status.success(),
        "{name}: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The answer to a four-letter word; empty if there is none.
pub fn four_letter_word(address: &str, word: &str) -> String {
    use std::io::Write as _;
    let mut answer = String::new();
    if let Ok(mut stream) = std::net::TcpStream::connect(address) {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
        let _ = stream.write_all(word.as_bytes());
        let _ = stream.read_to_string(&mut answer);
    }
    answer
}
