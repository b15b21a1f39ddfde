//! A broker as something that can be started, stopped, killed, paused, cut off.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use zweig_broker::config::Config;
use zweig_broker::disk::memory::{Fault, Loss, MemoryDisk, Operation};
use zweig_broker::replica::hosted::ReplicaManager;
use zweig_broker::server::{RunError, run_over};
use zweig_broker::sim::{Accept, Machine, Stream, World};

use crate::ensemble::{Door, SESSION_TIMEOUT, SimEnsemble};
use crate::net::{Host, Net};
use crate::trace::Trace;

/// Where a broker listens: `b1:9092`.
pub fn host_of(address: &str) -> Option<Host> {
    let name = address.split(':').next()?;
    name.strip_prefix('b')?.parse().ok()
}

/// What stays with a broker over its lives.
pub struct Hardware {
    /// Its number.
    pub id: i32,
    net: Net,
    chance: Mutex<StdRng>,
    begun: Instant,
    wall_offset_ms: AtomicI64,
    /// How much faster it runs, in millionths.
    drift_ppm: AtomicI64,
    disk: MemoryDisk,
    disk_slow_ms: AtomicU64,
    serving: Mutex<Weak<ReplicaManager>>,
    exits: Mutex<Vec<String>>,
    trace: Trace,
}

struct Life(Arc<Hardware>);

impl World for Life {
    fn name(&self) -> String {
        format!("b{}", self.0.id)
    }

    fn wall_ms(&self) -> i64 {
        let passed = i64::try_from(self.0.begun.elapsed().as_millis()).unwrap_or(i64::MAX);
        let drift = passed * self.0.drift_ppm.load(Ordering::Relaxed) / 1_000_000;
        1_700_000_000_000 + passed + drift + self.0.wall_offset_ms.load(Ordering::Relaxed)
    }

    fn since_boot(&self) -> Duration {
        self.0.begun.elapsed() + Duration::from_secs(1000)
    }

    fn chance(&self) -> u128 {
        self.0.chance.lock().random()
    }

    fn disk_delay(&self) -> (Duration, Duration) {
        let slow = self.0.disk_slow_ms.load(Ordering::Relaxed);
        let mut chance = self.0.chance.lock();
        let mut ms = || match chance.random_range(0..20) {
            0..15 => 0,
            15..19 => 1,
            _ => chance.random_range(1..10),
        };
        let (before, after) = (ms(), ms());
        let slow = if slow > 0 {
            chance.random_range(0..slow)
        } else {
            0
        };
        (
            Duration::from_millis(before + slow),
            Duration::from_millis(after),
        )
    }

    fn listen(&self, _host: &str, _port: u16) -> std::io::Result<Box<dyn Accept>> {
        Ok(self.0.net.listen(host_number(self.0.id)))
    }

    fn connect(&self, address: String) -> BoxFuture<'static, std::io::Result<Box<dyn Stream>>> {
        let (net, from) = (self.0.net.clone(), host_number(self.0.id));
        async move {
            match host_of(&address) {
                Some(to) => net.connect(from, to).await,
                None => Err(std::io::ErrorKind::NotFound.into()),
            }
        }
        .boxed()
    }

    fn serving(&self, replicas: &Arc<ReplicaManager>) {
        *self.0.serving.lock() = Arc::downgrade(replicas);
    }

    fn served(&self) {
        *self.0.serving.lock() = Weak::new();
    }

    fn exited(&self, reason: &str) {
        self.0
            .trace
            .line(|| format!("b{}: ends itself: {reason}", self.0.id));
        self.0.exits.lock().push(reason.to_owned());
    }
}

/// The host of a broker.
pub fn host_number(id: i32) -> Host {
    usize::try_from(id).unwrap_or(0)
}

/// One broker of the cluster.
pub struct Node {
    /// What stays.
    pub hardware: Arc<Hardware>,
    ensemble: SimEnsemble,
    settings: Vec<(String, String)>,
    life: Option<Running>,
    /// Lives begun.
    pub lives: u32,
    paused: bool,
}

struct Running {
    machine: Arc<Machine>,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), RunError>>,
}

/// What a broker is made of.
pub struct Parts {
    /// Its number.
    pub id: i32,
    /// Settings over the usual ones.
    pub settings: Vec<(String, String)>,
    /// Chance of its own.
    pub seed: u64,
}

impl Node {
    /// A broker that never ran.
    pub fn new(parts: Parts, ensemble: &SimEnsemble, net: &Net, trace: &Trace) -> Node {
        let id = parts.id;
        let mut chance = StdRng::seed_from_u64(parts.seed ^ (0x6272 + id as u64) << 7);
        let drift = chance.random_range(-200..200);
        let hardware = Hardware {
            id,
            net: net.clone(),
            chance: Mutex::new(chance),
            begun: Instant::now(),
            wall_offset_ms: AtomicI64::new(0),
            drift_ppm: AtomicI64::new(drift),
            disk: MemoryDisk::new(parts.seed ^ (id as u64) << 33),
            disk_slow_ms: AtomicU64::new(0),
            serving: Mutex::default(),
            exits: Mutex::default(),
            trace: trace.clone(),
        };
        Node {
            hardware: Arc::new(hardware),
            ensemble: ensemble.clone(),
            settings: parts.settings,
            life: None,
            lives: 0,
            paused: false,
        }
    }

    fn config(&self) -> Config {
        let id = self.hardware.id;
        let fixed = [
            ("broker.id", id.to_string()),
            ("zookeeper.connect", "nowhere:1".to_owned()),
            (
                "zookeeper.session.timeout.ms",
                SESSION_TIMEOUT.as_millis().to_string(),
            ),
            ("listeners", format!("PLAINTEXT://b{id}:9092")),
            ("log.dirs", "/data".to_owned()),
        ];
        let fixed = fixed.map(|(key, value)| (key.to_owned(), value));
        let pairs: Vec<_> = fixed.into_iter().chain(self.settings.clone()).collect();
        Config::load(None, &pairs).expect("settings that are allowed")
    }

    /// Begins a life, unless it runs.
    pub fn start(&mut self) {
        if self.runs() {
            return;
        }
        self.reap();
        self.lives += 1;
        let id = self.hardware.id;
        self.hardware.net.silence(host_number(id), false);
        self.hardware.trace.line(|| format!("b{id}: starts"));
        let machine = Machine::new(Box::new(Life(self.hardware.clone())));
        let shutdown = CancellationToken::new();
        let door = Door {
            ensemble: self.ensemble.clone(),
            broker: id,
        };
        let running = run_over(
            self.config(),
            Arc::new(door),
            self.hardware.disk.shared(),
            shutdown.clone(),
        );
        let task = tokio::spawn(machine.bind(running));
        self.life = Some(Running {
            machine,
            shutdown,
            task,
        });
    }

    /// Whether its process runs, paused or not.
    pub fn runs(&self) -> bool {
        self.life
            .as_ref()
            .is_some_and(|life| !life.machine.has_ended() && !life.task.is_finished())
    }

    /// Whether it stands still.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Clears away a process that ended by itself. Tells why it did.
    pub fn reap(&mut self) -> Option<String> {
        if self.life.is_none() || self.runs() {
            return None;
        }
        let life = self.life.take()?;
        let ended = match life.task.now_or_never() {
            Some(Ok(Ok(()))) => "stopped".to_owned(),
            Some(Ok(Err(error))) => format!("failed: {error}"),
            Some(Err(panic)) => format!("panicked: {panic}"),
            None => "ended itself".to_owned(),
        };
        self.end(&life.machine, Loss::Nothing);
        let id = self.hardware.id;
        self.hardware.trace.line(|| format!("b{id}: {ended}"));
        Some(ended)
    }

    /// Nothing runs, and nothing is written, from here on.
    fn end(&mut self, machine: &Arc<Machine>, loss: Loss) {
        // First: what the dying process drops can't write any more.
        self.hardware.disk.crash(loss);
        machine.end();
        *self.hardware.serving.lock() = Weak::new();
        self.hardware.net.close(host_number(self.hardware.id));
        self.paused = false;
    }

    /// kill -9: nothing more runs, what was written stays in the page cache.
    pub fn kill(&mut self) {
        let id = self.hardware.id;
        self.hardware.trace.line(|| format!("b{id}: killed"));
        if let Some(life) = self.life.take() {
            self.end(&life.machine, Loss::Nothing);
            life.task.abort();
        }
    }

    /// The power goes: of what was not synced, some or all is lost. Peers hear nothing.
    pub fn cut_power(&mut self, all: bool) {
        let id = self.hardware.id;
        self.hardware.trace.line(|| format!("b{id}: without power"));
        self.hardware.net.silence(host_number(id), true);
        let loss = if all { Loss::Everything } else { Loss::Some };
        match self.life.take() {
            Some(life) => {
                self.end(&life.machine, loss);
                life.task.abort();
            }
            None => self.hardware.disk.crash(loss),
        }
    }

    /// The disk has no room for another byte, or all it wants.
    pub fn fill_disk(&self, full: bool) {
        match full {
            true => self.hardware.disk.fill_after(0),
            false => self.hardware.disk.set_capacity(u64::MAX),
        }
    }

    /// The next fsync fails.
    pub fn fail_sync(&self) {
        let fault = Fault::broken(Operation::Sync, "");
        self.hardware.disk.fail(fault);
    }

    /// Tells the disk what time it is.
    pub fn tick(&self) {
        let now_ms = Life(self.hardware.clone()).wall_ms();
        self.hardware.disk.set_time_ms(now_ms);
    }

    /// Begins a clean stop.
    pub fn begin_stop(&self) {
        let id = self.hardware.id;
        self.hardware
            .trace
            .line(|| format!("b{id}: is told to stop"));
        if let Some(life) = &self.life {
            life.shutdown.cancel();
        }
    }

    /// SIGSTOP.
    pub fn pause(&mut self) {
        if let Some(life) = &self.life {
            life.machine.pause();
            self.paused = true;
            let id = self.hardware.id;
            self.hardware.trace.line(|| format!("b{id}: paused"));
        }
    }

    /// SIGCONT.
    pub fn resume(&mut self) {
        if let Some(life) = &self.life
            && std::mem::take(&mut self.paused)
        {
            let id = self.hardware.id;
            self.hardware.trace.line(|| format!("b{id}: goes on"));
            life.machine.resume();
        }
    }

    /// The wall clock jumps.
    pub fn jump_clock(&self, ms: i64) {
        self.hardware
            .wall_offset_ms
            .fetch_add(ms, Ordering::Relaxed);
    }

    /// Every piece of blocking work takes up to so much longer.
    pub fn slow_disk(&self, ms: u64) {
        self.hardware.disk_slow_ms.store(ms, Ordering::Relaxed);
    }

    /// The replicas, while it serves.
    pub fn replicas(&self) -> Option<Arc<ReplicaManager>> {
        let running = self.runs();
        running.then(|| self.hardware.serving.lock().upgrade())?
    }

    /// Why it ended itself, so far.
    pub fn exits(&self) -> Vec<String> {
        self.hardware.exits.lock().clone()
    }
}
