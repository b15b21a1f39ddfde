//! A node that was away for longer than the log reaches gets the state itself, and so does one that lost its
//! disk: real consensus, real state on disk, over loopback in one process.

#![allow(clippy::unwrap_used)] // a test: what fails, panics

mod rejoin;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use zweig_coordinator::clock;
use zweig_coordinator::consensus::{
    Consensus, ConsensusConfig, Fatal, Listeners, Member, Unanswered,
};
use zweig_coordinator::request::Published;
use zweig_coordinator::request::applier::PublishedApplier;
use zweig_coordinator::request::flush::{FlushedIndex, Flusher};
use zweig_coordinator::session::SessionId;
use zweig_coordinator::state_machine::{Command, Create, Op, Origin, StateMachine};
use zweig_coordinator::storage::raft_log::LogOptions;
use zweig_coordinator::storage::{Applied, HistoryBounds, OverlayStore, StateFolder};
use zweig_coordinator::tree::{Acl, acl};

const DEADLINE: Duration = Duration::from_secs(30);
const SEGMENT_BYTES: u64 = 64 << 10;

struct Node {
    runtime: Runtime,
    consensus: Consensus,
    published: Arc<Published>,
    flushed: FlushedIndex,
    flusher: Option<Flusher>,
    boot: u64,
    requests: u64,
}

impl Node {
    fn applied(&self) -> Applied {
        *self.published.progress().borrow()
    }

    fn submit(&mut self, ops: impl Iterator<Item = Op>) {
        let node = self.consensus.status().node;
        let commands = ops.map(|op| {
            self.requests += 1;
            Command {
                origin: Origin {
                    node,
                    boot: self.boot,
                    request: self.requests,
                },
                session: SessionId::NONE,
                attach: 0,
                auth: Vec::new(),
                deadline_ms: 0,
                trace: [0; 16],
                op,
            }
        });
        self.consensus.submit(commands.collect()).unwrap();
    }

    /// The state is on the disk now, as it is every few seconds anyway.
    fn persist(&mut self) {
        self.flusher.take().unwrap().stop();
        let flusher = Flusher::start(
            Arc::clone(&self.published),
            self.flushed.clone(),
            std::env::temp_dir(),
        );
        self.flusher = Some(flusher.unwrap());
    }
}

struct Ensemble {
    temp: TempDir,
    members: BTreeMap<u64, Member>,
    nodes: BTreeMap<u64, Node>,
    boots: u64,
    /// Nodes that had to end, and why.
    fatals: Arc<Mutex<Vec<(u64, String)>>>,
}

impl Ensemble {
    fn start() -> Ensemble {
        Self::start_only(&[1, 2, 3])
    }

    /// Three nodes, of which only these run.
    fn start_only(running: &[u64]) -> Ensemble {
        let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
        let listeners = (1..=3).map(|node| {
            let (quorum, bulk) = (bind(), bind());
            (node, Listeners { quorum, bulk })
        });
        let listeners: BTreeMap<u64, Listeners> = listeners.collect();
        let address = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
        let member = |listeners: &Listeners| Member {
            quorum: address(&listeners.quorum),
            bulk: address(&listeners.bulk),
            learner: false,
        };
        let members = listeners.iter().map(|(node, at)| (*node, member(at)));
        let mut ensemble = Ensemble {
            temp: tempfile::tempdir().unwrap(),
            members: members.collect(),
            nodes: BTreeMap::new(),
            boots: 0,
            fatals: Arc::default(),
        };
        for (node, listeners) in listeners {
            if running.contains(&node) {
                ensemble.start_node(node, listeners);
            }
        }
        ensemble
    }

    fn folder(&self, node: u64) -> PathBuf {
        self.temp.path().join(node.to_string())
    }

    fn states(&self, node: u64) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder(node).join("state")).unwrap();
        let name = |entry: std::fs::DirEntry| entry.file_name().into_string().unwrap();
        let mut names: Vec<String> = entries.map(|entry| name(entry.unwrap())).collect();
        names.sort();
        names
    }

    fn open_state(&self, node: u64) -> (StateFolder, StateMachine<OverlayStore>) {
        let folder = self.folder(node).join("state");
        let folder = StateFolder::new(&folder, HistoryBounds::default()).unwrap();
        let mut store = None;
        // A node that was stopped lets go of its database when its last thread ends.
        wait("the state's lock", || {
            store = folder.open().ok();
            store.is_some()
        });
        let state = StateMachine::open(store.unwrap()).unwrap();
        (folder, state)
    }

    fn start_node(&mut self, node: u64, listeners: Listeners) {
        self.boots += 1;
        let boot = self.boots;
        let config = ConsensusConfig {
            log: LogOptions {
                segment_bytes: SEGMENT_BYTES,
                spares: 1,
            },
            ballast_bytes: 0,
            watermark_bytes: 0,
            log_reserve_bytes: SEGMENT_BYTES,
            ..ConsensusConfig::new(node, boot, self.members.clone(), self.folder(node))
        };
        let (folder, state) = self.open_state(node);
        let fatals = Arc::clone(&self.fatals);
        let on_fatal = move |fatal: &Fatal| fatals.lock().push((node, fatal.to_string()));
        let published = Published::new(state, node, boot, Box::new(on_fatal));
        let flushed = FlushedIndex::default();
        let applier = PublishedApplier::new(Arc::clone(&published), folder, flushed.clone());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let unanswered: Arc<dyn Unanswered> = Arc::clone(&published) as _;
        let handle = runtime.handle();
        let applier = Box::new(applier);
        let consensus = Consensus::start(&config, listeners, applier, &unanswered, handle).unwrap();
        let flusher =
            Flusher::start(Arc::clone(&published), flushed.clone(), self.folder(node)).unwrap();
        let node_started = Node {
            runtime,
            consensus,
            published,
            flushed,
            flusher: Some(flusher),
            boot,
            requests: 0,
        };
        self.nodes.insert(node, node_started);
    }

    fn stop(&mut self, node: u64) {
        let node = self.nodes.remove(&node).unwrap();
        node.runtime.block_on(node.consensus.shutdown());
        node.flusher.unwrap().stop();
        node.runtime.shutdown_timeout(Duration::from_secs(5));
    }

    fn restart(&mut self, node: u64) {
        let member = self.members[&node].clone();
        let bind = |address: &str| {
            let mut bound = None;
            wait("a port to be free again", || {
                bound = TcpListener::bind(address).ok();
                bound.is_some()
            });
            bound.unwrap()
        };
        let (quorum, bulk) = (bind(&member.quorum), bind(&member.bulk));
        self.start_node(node, Listeners { quorum, bulk });
    }

    /// All nodes have come to the same state, at this zxid.
    fn wait_for(&self, zxid: i64) {
        let mut applied = Vec::new();
        wait(&format!("zxid {zxid} on every node"), || {
            applied = self.nodes.values().map(Node::applied).collect();
            applied.iter().all(|at| at.zxid.0 == zxid)
        });
        let digests = applied.iter().map(|at| at.digest);
        assert!(
            digests
                .clone()
                .all(|digest| Some(digest) == digests.clone().next())
        );
    }
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = clock::now() + DEADLINE;
    while !done() {
        assert!(clock::now() < deadline, "waited too long for {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn create(path: &str) -> Op {
    Op::Create(Create {
        path: path.to_owned(),
        data: Some(vec![7; 1000].into()),
        acl: vec![Acl::anyone(acl::ALL)],
        ephemeral: false,
        sequential: false,
        want_stat: false,
    })
}

#[test]
fn a_node_that_was_away_too_long_gets_the_state_itself() {
    let mut ensemble = Ensemble::start();
    ensemble
        .nodes
        .get_mut(&1)
        .unwrap()
        .submit([create("/a")].into_iter());
    ensemble.wait_for(1);
    ensemble.stop(3);
    // Far more than the log keeps, in several entries so that it can be cut.
    for round in 0..20 {
        let ops = (0..50).map(|n| create(&format!("/a/{round}-{n}")));
        ensemble.nodes.get_mut(&1).unwrap().submit(ops);
        ensemble.wait_for(1 + 50 * (round + 1));
    }
    for node in ensemble.nodes.values_mut() {
        node.persist();
    }
    ensemble
        .nodes
        .get_mut(&2)
        .unwrap()
        .submit([create("/b")].into_iter());
    ensemble.wait_for(1002);
    let before = ensemble.states(3).pop();
    ensemble.restart(3);
    ensemble.wait_for(1002);
    let installed = ensemble.states(3).pop();
    assert!(installed > before, "it got a checkpoint");
    // From there it goes on as a node like the others, also after a restart.
    ensemble
        .nodes
        .get_mut(&3)
        .unwrap()
        .submit([create("/c")].into_iter());
    ensemble.wait_for(1003);
    ensemble.stop(3);
    ensemble
        .nodes
        .get_mut(&1)
        .unwrap()
        .submit([create("/d")].into_iter());
    ensemble.wait_for(1004);
    ensemble.restart(3);
    ensemble.wait_for(1004);
    assert_eq!(ensemble.states(3), installed.as_slice());
    for node in 1..=3 {
        ensemble.stop(node);
        let (_, state) = ensemble.open_state(node);
        let kept = (state.applied().digest, state.counts());
        assert_eq!(state.audit().unwrap(), kept, "node {node}");
        assert_eq!(
            state.zxid().0,
            1004,
            "a clean stop leaves everything on the disk"
        );
    }
    assert_eq!(*ensemble.fatals.lock(), []);
}
