//! The processes: a coordinator or a broker on each host, and what can be done to them.

#![allow(
    clippy::disallowed_methods,
    reason = "real processes live in real time"
)]

use std::fmt::Write as _;
use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::hosts::Hosts;

const ZWEIG: &str = env!("CARGO_BIN_EXE_zweig");
/// How long anything may take once the faults have ended: the stated bound of liveness, generous for a machine that
/// does other things too.
const PATIENCE: Duration = Duration::from_secs(90);
/// Partitions of the topic.
pub const PARTITIONS: usize = 3;
/// Its name.
pub const TOPIC: &str = "numbers";

/// What runs on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Coordinator,
    Broker,
}

/// See the module. Hosts are numbered from 1: first the coordinators', then the brokers'.
pub struct Cluster {
    pub hosts: Hosts,
    roles: Vec<Role>,
    running: Vec<Option<Child>>,
}

impl Cluster {
    /// Starts everything, waits until it is whole, and makes the topic.
    pub fn start(coordinators: usize, brokers: usize) -> Self {
        let mut roles = vec![Role::Coordinator; coordinators];
        roles.extend(vec![Role::Broker; brokers]);
        let count = roles.len();
        let mut cluster = Self {
            hosts: Hosts::new(count),
            roles,
            running: (0..count).map(|_| None).collect(),
        };
        for host in 1..=count {
            cluster.configure(host);
            cluster.start_process(host);
        }
        cluster.wait_until_whole();
        let replicas = brokers.min(3).to_string();
        let created = cluster.zweig(&[
            "topic",
            "create",
            TOPIC,
            "--partitions",
            &PARTITIONS.to_string(),
            "--replication-factor",
            &replicas,
        ]);
        assert!(
            created.status.success(),
            "{}",
            String::from_utf8_lossy(&created.stderr)
        );
        cluster
    }

    fn configure(&self, host: usize) {
        let (disk, address) = (self.hosts.disk(host), self.hosts.address(host));
        let data = disk.join("data");
        fs::create_dir_all(&data).expect("a data folder");
        let text = match self.roles[host - 1] {
            Role::Coordinator => {
                fs::write(data.join("myid"), host.to_string()).expect("myid written");
                let mut text = format!(
                    "tickTime=1000\ninitLimit=10\nsyncLimit=5\ndataDir={}\nclientPort=2181\nclientPortAddress={address}\n",
                    data.display()
                );
                for other in self.of(Role::Coordinator) {
                    let _ = writeln!(
                        text,
                        "server.{other}={0}:2888:3888;{0}:2181",
                        self.hosts.address(other)
                    );
                }
                text
            }
            Role::Broker => format!(
                "broker.id={host}\nlisteners=PLAINTEXT://{address}:9092\nlog.dirs={}\nzookeeper.connect={}/kafka\n\
                 zookeeper.session.timeout.ms=4000\nmin.insync.replicas=2\nreplica.lag.time.max.ms=5000\n",
                data.display(),
                self.connect_string()
            ),
        };
        fs::write(disk.join("config"), text).expect("a configuration");
    }

    /// Hosts of a role.
    pub fn of(&self, role: Role) -> Vec<usize> {
        let hosts = 1..=self.roles.len();
        hosts.filter(|host| self.roles[host - 1] == role).collect()
    }

    /// Every coordinator's client address, separated by commas.
    pub fn connect_string(&self) -> String {
        self.addresses(Role::Coordinator, 2181)
    }

    /// Every broker's address, separated by commas.
    pub fn bootstrap(&self) -> String {
        self.addresses(Role::Broker, 9092)
    }

    fn addresses(&self, role: Role, port: u16) -> String {
        let hosts = self.of(role).into_iter();
        let all: Vec<_> = hosts
            .map(|host| format!("{}:{port}", self.hosts.address(host)))
            .collect();
        all.join(",")
    }

    /// Starts the process of a host, unless it runs.
    pub fn start_process(&mut self, host: usize) {
        if self.has_ended(host).is_none() && self.running[host - 1].is_some() {
            return;
        }
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.hosts.folder().join(format!("host-{host}.log")))
            .expect("a log file");
        let role = match self.roles[host - 1] {
            Role::Coordinator => "coordinator",
            Role::Broker => "broker",
        };
        let child = self
            .hosts
            .command(host, ZWEIG)
            .args([role, "--config"])
            .arg(self.hosts.disk(host).join("config"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log file twice"))
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        self.running[host - 1] = Some(child);
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self, hosts: &[usize]) {
        for host in hosts {
            if let Some(child) = &mut self.running[host - 1] {
                child.kill().expect("SIGKILL sent");
            }
        }
        for host in hosts {
            if let Some(mut child) = self.running[host - 1].take() {
                child.wait().expect("the killed process ends");
            }
        }
    }

    /// Sends a signal, if it runs.
    pub fn signal(&self, host: usize, signal: Signal) {
        if let Some(child) = &self.running[host - 1] {
            kill_process(Pid::from_child(child), signal).expect("a signal sent");
        }
    }

    fn has_ended(&mut self, host: usize) -> Option<std::process::ExitStatus> {
        let child = self.running[host - 1].as_mut()?;
        child.try_wait().expect("its status")
    }

    /// No process may end by itself, except where a fault says that it may.
    pub fn nobody_died(&mut self) {
        for host in 1..=self.roles.len() {
            if let Some(status) = self.has_ended(host) {
                self.fail(&format!(
                    "{:?} on host {host} ended by itself: {status}",
                    self.roles[host - 1]
                ));
            }
        }
    }

    /// Until every coordinator knows a leader, every broker is registered, and all replicas are in sync.
    pub fn wait_until_whole(&mut self) {
        let count = self.of(Role::Coordinator).len();
        self.wait_until("one coordinator leads, the others follow", || {
            let modes: Vec<_> = (1..=count).map(|host| self.mode(host)).collect();
            let of = |mode: &str| modes.iter().filter(|is| is.as_str() == mode).count();
            of("leader") == 1 && of("follower") == count - 1
        });
        let brokers = self.of(Role::Broker).len();
        self.wait_until("every broker is registered", || {
            let output = self.zweig(&["ls", "/kafka/brokers/ids"]);
            String::from_utf8_lossy(&output.stdout).lines().count() == brokers
        });
        self.wait_until("every replica is in sync", || {
            (0..PARTITIONS).all(|partition| matches!(self.in_sync(partition), None | Some(3)))
        });
    }

    /// What `srvr` calls this node; empty if it does not answer.
    fn mode(&self, host: usize) -> String {
        let word = "import socket,sys\ns=socket.create_connection((sys.argv[1],2181),2);s.settimeout(2);s.sendall(b'srvr')\nd=b''\nwhile True:\n  b=s.recv(4096)\n  if not b: break\n  d+=b\nprint(d.decode())";
        let output = self
            .hosts
            .command(0, "python3")
            .args(["-c", word, &self.hosts.address(host)])
            .output()
            .expect("python3 runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mode = text.lines().find_map(|line| line.strip_prefix("Mode: "));
        mode.unwrap_or_default().to_owned()
    }

    /// Which coordinator leads.
    pub fn leader(&self) -> Option<usize> {
        let hosts = self.of(Role::Coordinator);
        hosts.into_iter().find(|host| self.mode(*host) == "leader")
    }

    /// How many replicas of a partition are in sync; `None` if it does not exist.
    fn in_sync(&self, partition: usize) -> Option<usize> {
        let path = format!("/kafka/brokers/topics/{TOPIC}/partitions/{partition}/state");
        let output = self.zweig(&["get", &path]);
        let state: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        Some(state.get("isr")?.as_array()?.len())
    }

    /// Runs `zweig` on the clients' host.
    pub fn zweig(&self, arguments: &[&str]) -> Output {
        let mut command = self.client(ZWEIG);
        command.args(arguments).output().expect("zweig runs")
    }

    /// A program on the clients' host, with the addresses in its environment.
    pub fn client(&self, program: &str) -> Command {
        let mut command = self.hosts.command(0, program);
        command
            .env("ZWEIG_SERVER", self.connect_string())
            .env("ZWEIG_BOOTSTRAP", self.bootstrap())
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null());
        command
    }

    /// Asks `what` every 200 ms until it says yes, or the patience is at its end.
    pub fn is_soon(&self, mut what: impl FnMut() -> bool) -> bool {
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
    pub fn wait_until(&self, name: &str, what: impl FnMut() -> bool) {
        if !self.is_soon(what) {
            self.fail(&format!("waited {PATIENCE:?} in vain until {name}"));
        }
    }

    /// Ends the test, with the end of every process's log.
    pub fn fail(&self, why: &str) -> ! {
        for host in 1..=self.roles.len() {
            let path = self.hosts.folder().join(format!("host-{host}.log"));
            let text = fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            eprintln!(
                "--- host {host}, {:?}, its last lines",
                self.roles[host - 1]
            );
            for line in &lines[lines.len().saturating_sub(80)..] {
                eprintln!("{line}");
            }
        }
        panic!("{why}");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let all: Vec<_> = (1..=self.roles.len()).collect();
        self.kill(&all);
    }
}
