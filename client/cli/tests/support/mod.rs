//! A whole cluster of real processes for tests: started from configuration files as an operator
//! would write them, on ports of its own, in a temporary folder; killed with SIGKILL, started again.
//!
//! One cluster runs at a time (two cores, timeouts that mean something): [`Cluster::start`] waits
//! for its turn. Nothing here sleeps for luck: [`wait_until`] asks until a deadline. Every process
//! ends with its cluster, or with the test program when that is killed. When a test fails, the logs
//! of every process are printed.

#![allow(
    dead_code,
    unused_imports,
    clippy::disallowed_methods,
    reason = "each test binary uses a part of this; tests of real processes live in real time"
)]

pub mod kafka;
mod look;
pub mod numbers;
mod ports;
mod process;
mod words;

use std::fmt::Write as _;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use ports::Ports;
pub use process::{
    Owned, PATIENCE, Talk, Timed, print_logs, run, send_signal, succeeded, wait_for, wait_until,
};
pub use words::four_letter_word;

/// The binary under test.
pub const ZWEIG: &str = env!("CARGO_BIN_EXE_zweig");

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
    running: Vec<(Role, Owned)>,
    _ports: Ports,
    _turn: MutexGuard<'static, ()>,
}

impl Cluster {
    /// Starts the processes and waits until every coordinator knows a leader and every broker is
    /// registered.
    pub fn start(coordinators: usize, brokers: usize) -> Self {
        Self::start_with(coordinators, brokers, "")
    }

    /// As [`Cluster::start`], with more lines for each `server.properties`.
    pub fn start_with(coordinators: usize, brokers: usize, properties: &str) -> Self {
        Self::start_prepared((coordinators, ""), (brokers, properties), |_, _| {})
    }

    /// As [`Cluster::start`], with more lines for each `zoo.cfg` and `server.properties`; `prepare` is given the
    /// data folder of each process, empty, before anything is put there.
    pub fn start_prepared(
        (coordinators, zoo): (usize, &str),
        (brokers, properties): (usize, &str),
        mut prepare: impl FnMut(Role, &Path),
    ) -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut ports = Ports::reserve();
        let (quorum, election) = (ports.take(coordinators), ports.take(coordinators));
        let mut cluster = Self {
            folder,
            clients: ports.take(coordinators),
            brokers: ports.take(brokers),
            running: Vec::new(),
            _ports: ports,
            _turn: turn,
        };
        let mut servers = String::new();
        for node in 0..coordinators {
            let (q, e, c) = (quorum[node], election[node], cluster.clients[node]);
            let _ = writeln!(
                servers,
                "server.{}=127.0.0.1:{q}:{e};127.0.0.1:{c}",
                node + 1
            );
        }
        for node in 1..=coordinators {
            prepare(
                Role::Coordinator(node),
                &cluster.data_of(Role::Coordinator(node)),
            );
            cluster.write_zoo_cfg(node, &format!("{servers}{zoo}"));
        }
        for id in 1..=brokers {
            prepare(Role::Broker(id), &cluster.data_of(Role::Broker(id)));
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
        let data = self.data_of(Role::Coordinator(node));
        fs::write(data.join("myid"), format!("{node}\n")).expect("myid written");
        // An operator's file was there long before anything went wrong.
        for path in [data.join("myid"), data.clone()] {
            let synced = fs::File::open(path).and_then(|file| file.sync_all());
            synced.expect("myid is on the disk");
        }
        let text = format!(
            "tickTime=1000\ninitLimit=10\nsyncLimit=5\ndataDir={}\nclientPortAddress=127.0.0.1\nclientPort={}\n{servers}",
            data.display(),
            self.clients[node - 1],
        );
        fs::write(self.config_of(Role::Coordinator(node)), text).expect("zoo.cfg written");
    }

    fn write_server_properties(&self, id: usize, more: &str) {
        let logs = self.data_of(Role::Broker(id));
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

    /// The folder in which a process keeps its data.
    pub fn data_of(&self, role: Role) -> PathBuf {
        let data = self.folder_of(role).join(match role {
            Role::Coordinator(_) => "data",
            Role::Broker(_) => "logs",
        });
        fs::create_dir_all(&data).expect("a data folder");
        data
    }

    /// From its next start on the process sees itself on a machine that was booted anew, if `id` is new. (In a mount
    /// namespace of its own.)
    pub fn set_boot_id(&self, role: Role, id: &str) {
        fs::write(self.folder_of(role).join("boot_id"), id).expect("a boot id");
    }

    fn command_of(&self, role: Role) -> Command {
        let boot_id = self.folder_of(role).join("boot_id");
        if !boot_id.exists() {
            return Command::new(ZWEIG);
        }
        let boot = "mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\"";
        let mut command = Command::new("unshare");
        // Mounts that go elsewhere go here too; the process keeps its id through all of it.
        command.args(["--mount", "--propagation", "slave", "sh", "-c", boot]);
        command.arg(boot_id).arg(ZWEIG);
        command
    }

    /// The configuration file of one process.
    pub fn config_of(&self, role: Role) -> PathBuf {
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
        let child = self
            .command_of(role)
            .arg(match role {
                Role::Coordinator(_) => "coordinator",
                Role::Broker(_) => "broker",
            })
            .arg("--config")
            .arg(self.config_of(role))
            .args(["--parent", &std::process::id().to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log file twice"))
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        self.running.push((role, Owned(child)));
    }

    /// `kill -9`, and waits until the process is gone.
    pub fn kill(&mut self, role: Role) {
        let at = self.position(role);
        drop(self.running.swap_remove(at));
    }

    /// `kill -9` of everything, all signals sent before the first wait.
    pub fn kill_everything(&mut self) -> Vec<Role> {
        let mut all = std::mem::take(&mut self.running);
        for (_, child) in &mut all {
            let _ = child.0.kill();
        }
        all.into_iter().map(|(role, _)| role).collect()
    }

    /// `kill -9` of some, all signals sent before the first wait; in between `sent` is called.
    pub fn kill_together(&mut self, roles: &[Role], sent: impl FnOnce()) {
        let all = std::mem::take(&mut self.running).into_iter();
        let (mut dying, living): (Vec<_>, Vec<_>) = all.partition(|(role, _)| roles.contains(role));
        self.running = living;
        for (_, child) in &mut dying {
            let _ = child.0.kill();
        }
        sent();
    }

    /// SIGTERM, and waits for a clean end.
    pub fn stop(&mut self, role: Role) {
        let at = self.position(role);
        let (_, mut child) = self.running.swap_remove(at);
        send_signal(child.0.id(), rustix::process::Signal::TERM);
        let status = child.wait(PATIENCE);
        let status = status.unwrap_or_else(|| panic!("{role:?} does not stop at SIGTERM"));
        assert!(status.success(), "{role:?} stopped with {status}");
    }

    /// Sends a signal to a process that goes on afterwards.
    pub fn signal(&self, role: Role, signal: rustix::process::Signal) {
        let (_, child) = &self.running[self.position(role)];
        send_signal(child.0.id(), signal);
    }

    /// From now on a process may have so many files open.
    pub fn limit_open_files(&self, role: Role, limit: u64) {
        let (_, child) = &self.running[self.position(role)];
        let pid = i32::try_from(child.0.id()).expect("a process id");
        let pid = rustix::process::Pid::from_raw(pid);
        let limit = Some(limit);
        let limit = rustix::process::Rlimit {
            current: limit,
            maximum: limit,
        };
        rustix::process::prlimit(pid, rustix::process::Resource::Nofile, limit)
            .expect("another limit");
    }

    /// Waits until a process has ended by itself, in failure; everything it ever printed.
    pub fn wait_until_ended(&mut self, role: Role) -> String {
        let at = self.position(role);
        let (_, mut child) = self.running.swap_remove(at);
        let status = child.wait(PATIENCE);
        let told = fs::read_to_string(self.folder_of(role).join("log.txt")).expect("its log");
        let status = status.unwrap_or_else(|| panic!("{role:?} goes on:\n{told}"));
        assert!(!status.success(), "{told}");
        told
    }

    fn position(&self, role: Role) -> usize {
        let found = self.running.iter().position(|(other, _)| *other == role);
        found.unwrap_or_else(|| panic!("{role:?} runs"))
    }

    /// Until one of the coordinators that run leads and the others follow, every broker that runs is
    /// registered and takes connections, and one of them is controller.
    ///
    /// # Panics
    /// If a process has ended by itself.
    pub fn wait_until_whole(&mut self) {
        let nodes = self.running_coordinators();
        wait_until("one coordinator leads, the others follow", PATIENCE, || {
            self.nobody_has_ended();
            let mode = |node: &usize| four_letter_word(&self.coordinator(*node), "srvr");
            let modes: Vec<_> = nodes.iter().map(mode).collect();
            let leads =
                |mode: &&String| mode.contains("Mode: leader") || mode.contains("Mode: standalone");
            // Observers there are none: one that says so started late, joins, and has no vote yet.
            let votes = |mode: &String| mode.contains("Mode: ") && !mode.contains("observer");
            modes.iter().all(votes) && modes.iter().filter(leads).count() == 1
        });
        let brokers = self.running_brokers();
        if brokers.is_empty() {
            return;
        }
        let mut expected: Vec<_> = brokers.iter().map(ToString::to_string).collect();
        expected.sort();
        wait_until(
            "every broker takes part, one is controller",
            PATIENCE,
            || {
                self.nobody_has_ended();
                let mut there = self.ls("/kafka/brokers/ids");
                there.sort();
                let listens = |id: &usize| TcpStream::connect(self.broker(*id)).is_ok();
                there == expected && brokers.iter().all(listens) && self.controller().is_some()
            },
        );
    }

    fn nobody_has_ended(&mut self) {
        for (role, child) in &mut self.running {
            if let Some(status) = child.0.try_wait().expect("its status") {
                panic!("{role:?} has ended by itself: {status}");
            }
        }
    }

    fn running_brokers(&self) -> Vec<usize> {
        let ids = self.running.iter().filter_map(|(role, _)| match role {
            Role::Broker(id) => Some(*id),
            Role::Coordinator(_) => None,
        });
        ids.collect()
    }

    pub(in crate::support) fn running_coordinators(&self) -> Vec<usize> {
        let nodes = self.running.iter().filter_map(|(role, _)| match role {
            Role::Coordinator(node) => Some(*node),
            Role::Broker(_) => None,
        });
        nodes.collect()
    }

    /// Runs `zweig` with the addresses of this cluster in the environment.
    pub fn zweig(&self, arguments: &[&str]) -> Output {
        let mut zweig = self.command(ZWEIG);
        zweig.args(arguments);
        run(zweig, None, 3 * PATIENCE)
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
            .env("ZWEIG_TIMEOUT", PATIENCE.as_secs().to_string())
            .env("RUST_LOG", "warn");
        command
    }

    /// Starts a program to talk to; its standard error is shown, under `name`, when the test fails.
    pub fn talk(&self, command: Command, name: &str) -> Talk {
        Talk::start(command, self.path(&format!("{name}-log.txt")))
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

    /// The folder of everything.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A fresh file name in the cluster's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill_everything();
        if std::thread::panicking() {
            print_logs(self.folder.path());
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
