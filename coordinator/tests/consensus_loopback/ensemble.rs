//! The harness: a recorder for a state, and an ensemble of nodes in one process.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use zweig_coordinator::clock;
use zweig_coordinator::consensus::{
    Applier, CheckpointMark, Committed, CommittedData, Consensus, ConsensusConfig, Fatal, Feedback,
    Listeners, LiveSession, Member, NotDone, Position, Unanswered,
};
use zweig_coordinator::session::SessionId;
use zweig_coordinator::state_machine::{Command, Entry, Op, Origin};
use zweig_coordinator::storage::raft_log::{LogOptions, MemoryDisk};

pub const DEADLINE: Duration = Duration::from_secs(30);
pub const BALLAST: u64 = 256 << 10;
pub const WATERMARK: u64 = 1 << 20;

pub fn log_options() -> LogOptions {
    LogOptions {
        segment_bytes: 256 << 10,
        spares: 1,
    }
}

/// What one node has applied.
#[derive(Default)]
pub struct Applied {
    pub at: Position,
    pub commands: Vec<Origin>,
    pub digest: u64,
}

impl Applied {
    fn push(&mut self, origin: Origin) {
        self.commands.push(origin);
        let word = origin.node ^ origin.boot << 8 ^ origin.request << 32;
        self.digest = (self.digest ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// Keeps every command's origin; durable at once, in the file `state`.
pub struct Recorder {
    pub node: u64,
    pub boot: u64,
    pub file: std::path::PathBuf,
    pub seen: Arc<Mutex<Applied>>,
    /// Its next command goes wrong.
    pub spoilt: Arc<AtomicBool>,
}

impl Recorder {
    fn open(node: u64, boot: u64, folder: &Path) -> Self {
        let seen = Arc::new(Mutex::new(Applied::default()));
        let file = folder.join("state");
        if let Ok(bytes) = fs::read(&file) {
            *seen.lock() = decode(&bytes);
        }
        Self {
            node,
            boot,
            file,
            seen,
            spoilt: Arc::default(),
        }
    }
}

pub fn encode(applied: &Applied) -> Vec<u8> {
    let mut words = vec![applied.at.index, applied.at.term];
    words.extend(
        applied
            .commands
            .iter()
            .flat_map(|origin| [origin.node, origin.boot, origin.request]),
    );
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

pub fn decode(bytes: &[u8]) -> Applied {
    let words: Vec<u64> = bytes
        .chunks_exact(8)
        .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
        .collect();
    let origin = |word: &[u64]| Origin {
        node: word[0],
        boot: word[1],
        request: word[2],
    };
    let mut applied = Applied {
        at: Position {
            index: words[0],
            term: words[1],
        },
        ..Applied::default()
    };
    let commands = words[2..].chunks_exact(3).map(origin);
    commands.for_each(|origin| applied.push(origin));
    applied
}

impl Applier for Recorder {
    fn applied(&self) -> Position {
        self.seen.lock().at
    }

    fn conf_state(&self) -> Option<Vec<u8>> {
        None
    }

    fn apply(&mut self, entries: Vec<Committed>) -> Result<Feedback, Fatal> {
        let mut feedback = Feedback::default();
        let mut seen = self.seen.lock();
        for committed in entries {
            assert_eq!(committed.index, seen.at.index + 1);
            seen.at = Position {
                index: committed.index,
                term: committed.term,
            };
            let CommittedData::Normal(data) = committed.data else {
                feedback.digests.push(seen.digest);
                continue;
            };
            if data.is_empty() {
                feedback.digests.push(seen.digest);
                continue;
            }
            let entry = Entry::decode(data).map_err(|e| Fatal::new(e.to_string()))?;
            assert_eq!(entry.term, committed.term);
            for command in entry.commands {
                seen.push(command.origin);
                let spoil = u64::from(self.spoilt.swap(false, Ordering::Relaxed));
                seen.digest = seen.digest.wrapping_add(spoil);
                if (command.origin.node, command.origin.boot) == (self.node, self.boot) {
                    feedback.own.push(command.origin.request);
                }
            }
            feedback.digests.push(seen.digest);
        }
        fs::write(&self.file, encode(&seen)).map_err(|e| Fatal::new(e.to_string()))?;
        Ok(feedback)
    }

    fn digest(&self) -> u64 {
        self.seen.lock().digest
    }

    fn sessions(&self) -> Vec<LiveSession> {
        Vec::new()
    }

    fn flushed_index(&self) -> u64 {
        self.seen.lock().at.index
    }

    fn checkpoint(&mut self, folder: &Path) -> Result<CheckpointMark, Fatal> {
        let seen = self.seen.lock();
        fs::create_dir(folder)
            .and_then(|()| fs::write(folder.join("state"), encode(&seen)))
            .map_err(|e| Fatal::new(e.to_string()))?;
        Ok(CheckpointMark {
            at: seen.at,
            conf_state: Vec::new(),
        })
    }

    fn install(&mut self, folder: &Path) -> Result<CheckpointMark, Fatal> {
        fs::rename(folder.join("state"), &self.file).map_err(|e| Fatal::new(e.to_string()))?;
        let applied = decode(&fs::read(&self.file).map_err(|e| Fatal::new(e.to_string()))?);
        let at = applied.at;
        *self.seen.lock() = applied;
        Ok(CheckpointMark {
            at,
            conf_state: Vec::new(),
        })
    }
}

#[derive(Default)]
pub struct Loud {
    pub not_done: Mutex<Vec<(u64, NotDone)>>,
    pub fatal: Mutex<Option<String>>,
}

impl Unanswered for Loud {
    fn not_done(&self, requests: &[u64], why: NotDone) {
        eprintln!("not done: {requests:?}: {why}");
        let requests = requests.iter().map(|&request| (request, why));
        self.not_done.lock().extend(requests);
    }

    fn unknown(&self, requests: &[u64]) {
        eprintln!("outcome unknown: {requests:?}");
    }

    fn fatal(&self, fatal: &Fatal) {
        eprintln!("a node died: {fatal}");
        *self.fatal.lock() = Some(fatal.to_string());
    }
}

pub struct Node {
    pub runtime: Option<Runtime>,
    pub consensus: Consensus,
    pub seen: Arc<Mutex<Applied>>,
    pub spoilt: Arc<AtomicBool>,
    pub loud: Arc<Loud>,
    pub boot: u64,
}

pub struct Ensemble {
    pub folder: TempDir,
    pub members: BTreeMap<u64, Member>,
    pub nodes: BTreeMap<u64, Node>,
    pub boots: AtomicU64,
    pub reserve_bytes: u64,
    /// In the place of real ones, with a watermark.
    pub disks: BTreeMap<u64, MemoryDisk>,
}

pub fn listen(address: &str) -> TcpListener {
    TcpListener::bind(address).unwrap()
}

impl Ensemble {
    pub fn start(size: u64) -> Self {
        Self::start_on(size, BTreeMap::new())
    }

    /// Raft logs in memory, on disks that can be filled.
    pub fn start_in_memory(size: u64) -> Self {
        let disks = (1..=size).map(|id| (id, MemoryDisk::new(id)));
        Self::start_on(size, disks.collect())
    }

    fn start_on(size: u64, disks: BTreeMap<u64, MemoryDisk>) -> Self {
        let mut bound = BTreeMap::new();
        let mut members = BTreeMap::new();
        for id in 1..=size {
            let listeners = Listeners {
                quorum: listen("127.0.0.1:0"),
                bulk: listen("127.0.0.1:0"),
            };
            let quorum = listeners.quorum.local_addr().unwrap().to_string();
            let bulk = listeners.bulk.local_addr().unwrap().to_string();
            members.insert(
                id,
                Member {
                    quorum,
                    bulk,
                    learner: false,
                },
            );
            bound.insert(id, listeners);
        }
        let folder = tempfile::tempdir().unwrap();
        let mut ensemble = Self {
            folder,
            members,
            nodes: BTreeMap::new(),
            boots: AtomicU64::new(100),
            reserve_bytes: 64 << 20,
            disks,
        };
        for (id, listeners) in bound {
            ensemble.start_node(id, listeners);
        }
        ensemble
    }

    pub fn start_node(&mut self, id: u64, listeners: Listeners) {
        let boot = self.boots.fetch_add(1, Ordering::Relaxed);
        let folder = self.folder.path().join(id.to_string());
        fs::create_dir_all(&folder).unwrap();
        let config = ConsensusConfig {
            log: log_options(),
            ballast_bytes: if self.disks.is_empty() { 0 } else { BALLAST },
            watermark_bytes: if self.disks.is_empty() { 0 } else { WATERMARK },
            report_period_ms: 50,
            shortest_session_timeout_ms: 1_000,
            log_reserve_bytes: self.reserve_bytes,
            ..ConsensusConfig::new(id, boot, self.members.clone(), folder.clone())
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let recorder = Recorder::open(id, boot, &folder);
        let (seen, spoilt) = (recorder.seen.clone(), recorder.spoilt.clone());
        let loud = Arc::new(Loud::default());
        let unanswered: Arc<dyn Unanswered> = loud.clone();
        let (applier, handle) = (Box::new(recorder), runtime.handle());
        let consensus = match self.disks.get(&id) {
            Some(disk) => {
                let disk = disk.clone();
                Consensus::start_on(disk, &config, listeners, applier, &unanswered, handle)
            }
            None => Consensus::start(&config, listeners, applier, &unanswered, handle),
        };
        let consensus = consensus.unwrap();
        self.nodes.insert(
            id,
            Node {
                runtime: Some(runtime),
                consensus,
                seen,
                spoilt,
                loud,
                boot,
            },
        );
    }

    /// As `kill -9` does: sockets close, nothing is said.
    pub fn kill(&mut self, id: u64) {
        let mut node = self.nodes.remove(&id).unwrap();
        let runtime = node.runtime.take().unwrap();
        drop(node.consensus);
        runtime.shutdown_timeout(Duration::from_secs(1));
    }

    pub fn restart(&mut self, id: u64) {
        let member = self.members[&id].clone();
        let deadline = clock::now() + DEADLINE;
        // The killed node's tasks may hold the port for a moment.
        let bind = |address: &str| loop {
            match TcpListener::bind(address) {
                Ok(listener) => return listener,
                Err(error) => assert!(clock::now() < deadline, "{address}: {error}"),
            }
            std::thread::yield_now();
        };
        let listeners = Listeners {
            quorum: bind(&member.quorum),
            bulk: bind(&member.bulk),
        };
        self.start_node(id, listeners);
    }

    pub fn leader(&self) -> u64 {
        let mut leader = 0;
        wait("a leader that all know", || {
            let known: Vec<_> = self
                .nodes
                .values()
                .map(|node| node.consensus.status().leader)
                .collect();
            leader = known[0].unwrap_or(0);
            known.iter().all(|&id| id == Some(leader)) && self.nodes.contains_key(&leader)
        });
        leader
    }

    pub fn submit(&self, id: u64, requests: std::ops::Range<u64>) {
        self.submit_op(id, requests, &set_data()).unwrap();
    }

    pub fn submit_op(
        &self,
        id: u64,
        requests: std::ops::Range<u64>,
        op: &Op,
    ) -> Result<(), NotDone> {
        let node = &self.nodes[&id];
        let commands = requests.map(|request| command(id, node.boot, request, op.clone()));
        node.consensus.submit(commands.collect())
    }

    /// Every node has applied exactly these requests of that life, in this order.
    pub fn wait_applied(&self, id: u64, boot: u64, requests: std::ops::Range<u64>) {
        for (at, node) in &self.nodes {
            let of = |seen: &Applied| -> Vec<u64> {
                let own = seen
                    .commands
                    .iter()
                    .filter(|origin| (origin.node, origin.boot) == (id, boot));
                own.map(|origin| origin.request).collect()
            };
            let want: Vec<u64> = requests.clone().collect();
            wait(
                &format!("node {at} to apply {requests:?} of node {id}"),
                || of(&node.seen.lock()) == want,
            );
        }
    }
}

pub fn set_data() -> Op {
    Op::SetData {
        path: "/a".to_owned(),
        data: Some(vec![7; 100].into()),
        version: -1,
    }
}

/// Allowed while space is short.
pub fn delete(path_bytes: usize) -> Op {
    Op::Delete {
        path: format!("/{}", "a".repeat(path_bytes)),
        version: -1,
    }
}

pub fn command(node: u64, boot: u64, request: u64, op: Op) -> Command {
    Command {
        origin: Origin {
            node,
            boot,
            request,
        },
        session: SessionId(1),
        attach: 1,
        auth: Vec::new(),
        deadline_ms: 0,
        trace: [0; 16],
        op,
    }
}

pub fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = clock::now() + DEADLINE;
    while !done() {
        assert!(clock::now() < deadline, "waited too long for {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

pub fn block_on<T>(ensemble: &Ensemble, id: u64, future: impl Future<Output = T>) -> T {
    ensemble.nodes[&id]
        .runtime
        .as_ref()
        .unwrap()
        .block_on(future)
}
