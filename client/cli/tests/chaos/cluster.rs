//! The processes: a coordinator or a broker on each host, and what can be done to them.

#![allow(
    clippy::disallowed_methods,
    reason = "real processes live in real time"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::hosts::Hosts;
use super::witnesses::{PARTITIONS, Site, ZWEIG, monotonic_ns};

/// How long a process that is stopped in good order may take.
const STOPPING: Duration = Duration::from_secs(20);

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
    /// More lines for each `server.properties`.
    properties: &'static str,
    begin: Instant,
    /// `CLOCK_MONOTONIC` then, as the clients' histories have it.
    begin_ns: u64,
    story: Vec<String>,
    /// Whose disk failed or was full: their processes may end by themselves.
    excused: BTreeSet<usize>,
}

impl Cluster {
    /// Starts everything, waits until it is whole, and makes the topic.
    pub fn start(coordinators: usize, brokers: usize, properties: &'static str) -> Self {
        let mut roles = vec![Role::Coordinator; coordinators];
        roles.extend(vec![Role::Broker; brokers]);
        let count = roles.len();
        let mut cluster = Self {
            hosts: Hosts::new(count),
            roles,
            running: (0..count).map(|_| None).collect(),
            properties,
            begin: Instant::now(),
            begin_ns: monotonic_ns(),
            story: Vec::new(),
            excused: BTreeSet::new(),
        };
        for host in 1..=count {
            cluster.configure(host);
            cluster.start_process(host);
        }
        cluster.wait_until_whole();
        cluster.make_topic(brokers.min(3));
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
                 zookeeper.session.timeout.ms=4000\nmin.insync.replicas=2\nreplica.lag.time.max.ms=5000\n\
                 offsets.topic.replication.factor=3\noffsets.topic.num.partitions=3\ngroup.initial.rebalance.delay.ms=0\n{}\n",
                data.display(),
                self.coordinators().join(","),
                self.properties,
            ),
        };
        fs::write(self.config(host), text).expect("a configuration");
        // An operator's files were there long before anything went wrong.
        for path in [data.join("myid"), data, disk] {
            if path.exists() {
                let synced = fs::File::open(path).and_then(|file| file.sync_all());
                synced.expect("synced");
            }
        }
    }

    fn config(&self, host: usize) -> PathBuf {
        self.hosts.folder().join(format!("config-{host}"))
    }

    /// A part of the names of the files that it syncs before it answers, and of no others.
    pub fn log_name(&self, host: usize) -> &'static str {
        match self.roles[host - 1] {
            Role::Coordinator => ".raftlog",
            Role::Broker => "0.log",
        }
    }

    /// A line of what happened when.
    pub fn say(&mut self, what: &str) {
        let line = format!("{:>8.2} s  {what}", self.begin.elapsed().as_secs_f64());
        println!("chaos: {line}");
        self.story.push(line);
    }

    /// Hosts of a role.
    pub fn of(&self, role: Role) -> Vec<usize> {
        let hosts = 1..=self.roles.len();
        hosts.filter(|host| self.roles[host - 1] == role).collect()
    }

    fn addresses(&self, role: Role, port: u16) -> Vec<String> {
        let hosts = self.of(role).into_iter();
        hosts
            .map(|host| format!("{}:{port}", self.hosts.address(host)))
            .collect()
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
            .server(host, ZWEIG)
            .args([role, "--config"])
            .arg(self.config(host))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log file twice"))
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        self.running[host - 1] = Some(child);
    }

    /// Data of a coordinator that does not run is set aside, as an operator does.
    pub fn wipe(&self, host: usize) {
        let mut wipe = self.hosts.server(host, ZWEIG);
        wipe.args(["coordinator", "wipe", "--yes", "--config"]);
        let output = wipe.arg(self.config(host)).output().expect("zweig runs");
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            self.fail(&format!("host {host} can't be wiped: {why}"));
        }
        // Its operator has looked at what was set aside: four of these fill a disk.
        let beside = self.hosts.disk(host).join("data");
        for entry in fs::read_dir(&beside).expect("the disk").flatten() {
            if entry.file_name().to_string_lossy().starts_with("lost-") {
                fs::remove_dir_all(entry.path()).expect("what was set aside goes");
            }
        }
    }

    /// Its disk has no power any more: `kill -9`, then whoever waits for the disk goes on, into nothing.
    pub fn cut_off(&mut self, hosts: &[usize]) {
        let mut taken = Vec::new();
        for host in hosts {
            taken.push(self.running[host - 1].take());
        }
        for child in taken.iter_mut().flatten() {
            child.kill().expect("SIGKILL sent");
        }
        hosts.iter().for_each(|host| self.hosts.release(*host));
        for mut child in taken.into_iter().flatten() {
            child.wait().expect("the killed process ends");
        }
    }

    /// SIGTERM, and waits for a good end; one that takes too long is killed, as an init system does.
    pub fn stop(&mut self, host: usize) {
        self.signal(host, Signal::TERM);
        let deadline = Instant::now() + STOPPING;
        while self.has_ended(host).is_none() && self.running[host - 1].is_some() {
            if Instant::now() > deadline {
                self.say(&format!("host {host} did not stop within {STOPPING:?}"));
                return self.kill(&[host]);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.running[host - 1] = None;
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
            // One that ended by itself is still a child.
            let _ = kill_process(Pid::from_child(child), signal);
        }
    }

    fn has_ended(&mut self, host: usize) -> Option<std::process::ExitStatus> {
        let child = self.running[host - 1].as_mut()?;
        child.try_wait().expect("its status")
    }

    /// The process of a host may end by itself, until [`Self::excuse_nobody`].
    pub fn excuse(&mut self, host: usize) {
        self.excused.insert(host);
    }

    /// No process may end by itself, except where a fault says that it may; then it is started again.
    pub fn nobody_died(&mut self) {
        for host in 1..=self.roles.len() {
            let Some(status) = self.has_ended(host) else {
                continue;
            };
            let what = format!(
                "{:?} on host {host} ended by itself: {status}",
                self.roles[host - 1]
            );
            if !self.excused.contains(&host) {
                self.fail(&what);
            }
            self.say(&what);
            self.start_process(host);
        }
    }

    /// No fault excuses anybody any more.
    pub fn excuse_nobody(&mut self) {
        self.excused.clear();
    }

    /// Until every coordinator knows a leader, every broker is registered, and all replicas are in sync.
    pub fn wait_until_whole(&mut self) {
        let count = self.of(Role::Coordinator).len();
        self.expect_soon("one coordinator leads, the others follow", || {
            let modes: Vec<_> = (1..=count).map(|host| self.mode(host)).collect();
            let of = |mode: &str| modes.iter().filter(|is| is.as_str() == mode).count();
            of("leader") == 1 && of("follower") == count - 1
        });
        let brokers = self.of(Role::Broker).len();
        self.expect_soon("every broker is registered", || {
            let output = self.ask(&["ls", "/kafka/brokers/ids"]);
            String::from_utf8_lossy(&output.stdout).lines().count() == brokers
        });
        self.expect_soon("every replica is in sync", || {
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
}

impl Site for Cluster {
    fn at_clients(&self, program: &str) -> Command {
        self.hosts.command(0, program)
    }

    fn folder(&self) -> &Path {
        self.hosts.folder()
    }

    fn coordinators(&self) -> Vec<String> {
        self.addresses(Role::Coordinator, 2181)
    }

    fn bootstrap(&self) -> String {
        self.addresses(Role::Broker, 9092).join(",")
    }

    fn begin_ns(&self) -> u64 {
        self.begin_ns
    }

    fn fail(&self, why: &str) -> ! {
        panic!("{:.2} s: {why}", self.begin.elapsed().as_secs_f64());
    }
}

impl Cluster {
    /// What happened, what the processes said last, and where the rest of it is.
    fn explain(&self) {
        for host in 1..=self.roles.len() {
            let path = self.hosts.folder().join(format!("host-{host}.log"));
            let text = fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            eprintln!(
                "--- host {host}, {:?}, its last lines",
                self.roles[host - 1]
            );
            for line in &lines[lines.len().saturating_sub(40)..] {
                eprintln!("{line}");
            }
        }
        eprintln!("--- what happened");
        self.story.iter().for_each(|line| eprintln!("{line}"));
        eprintln!(
            "--- logs, histories and disks are kept: {}",
            self.hosts.keep().display()
        );
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let all: Vec<_> = (1..=self.roles.len()).collect();
        self.kill(&all);
        if std::thread::panicking() {
            self.explain();
        }
    }
}
