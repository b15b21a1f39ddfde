//! A watch stream while a checkpoint takes the place of the state under it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use zweig_coordinator::clock::SystemClock;
use zweig_coordinator::consensus::{Applier, Committed, CommittedData, NotDone, Status};
use zweig_coordinator::request::applier::PublishedApplier;
use zweig_coordinator::request::flush::FlushedIndex;
use zweig_coordinator::request::{FrontDoor, FrontDoorConfig, Published, ReadIndex, Replicator};
use zweig_coordinator::session::SessionId;
use zweig_coordinator::session::report::Left;
use zweig_coordinator::state_machine::{Command, Create, Entry, Op, Origin, StateMachine};
use zweig_coordinator::storage::{HistoryBounds, StateFolder};
use zweig_coordinator::tree::Acl;
use zweig_coordinator::wire::grpc;
use zweig_coordinator::wire::listener::Listener;
use zweig_coordinator::wire::zk::Services;
use zweig_coordinator::{Config, clock};
use zweig_proto::grpc::ensemble_client::EnsembleClient;

use crate::node::{Ended, Seen, watch};

/// Longer than a checkpoint takes to open, and the pause between two marks.
const HELD_UP: Duration = Duration::from_millis(600);

/// A node's real state, driven by hand.
struct Node {
    applier: PublishedApplier,
    published: Arc<Published>,
    /// Between two entries, milliseconds.
    step_ms: i64,
    temporary: tempfile::TempDir,
}

impl Node {
    fn new(bounds: HistoryBounds) -> Self {
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = StateFolder::new(&temporary.path().join("state"), bounds).expect("a folder");
        let state = StateMachine::open(folder.open().expect("a store")).expect("a state");
        let published = Published::new(state, 1, 1, Box::new(|fatal| panic!("{fatal}")));
        let flushed = FlushedIndex::default();
        let applier = PublishedApplier::new(Arc::clone(&published), folder, flushed);
        Self {
            applier,
            published,
            step_ms: 1,
            temporary,
        }
    }

    fn apply(&mut self, op: Op) {
        let command = Command {
            origin: Origin::default(),
            session: SessionId::NONE,
            attach: 0,
            auth: Vec::new(),
            deadline_ms: 0,
            trace: [0; 16],
            op,
        };
        let index = self.applier.applied().index + 1;
        let entry = Entry {
            term: 1,
            time_ms: index as i64 * self.step_ms,
            commands: vec![command],
        };
        let data = CommittedData::Normal(entry.encode());
        let term = 1;
        let applied = self.applier.apply(vec![Committed { index, term, data }]);
        applied.expect("the entry applies");
    }

    fn create(&mut self) {
        self.apply(Op::Create(Create {
            path: "/w".to_owned(),
            data: None,
            acl: vec![Acl::anyone(31)],
            ephemeral: false,
            sequential: false,
            want_stat: false,
        }));
    }

    fn set(&mut self) {
        self.apply(Op::SetData {
            path: "/w".to_owned(),
            data: Some("new".into()),
            version: -1,
        });
    }

    fn zxid(&self) -> i64 {
        self.published.progress().borrow().zxid.0
    }

    fn give_state_to(&mut self, other: &mut Node) {
        let folder = other.temporary.path().join("checkpoint");
        self.applier.checkpoint(&folder).expect("a checkpoint");
        other.applier.install(&folder).expect("it is installed");
    }

    async fn serve(&self, stop: &CancellationToken) -> (EnsembleClient<Channel>, FrontDoor) {
        let data_dir = self.temporary.path().display().to_string();
        let settings = [("dataDir".to_owned(), data_dir)];
        let config = Config::from_overrides(&settings, None).expect("a configuration");
        let door_config = FrontDoorConfig {
            node: 1,
            boot: 1,
            session_timeout_ms: (4_000, 40_000),
            forward_deadline: Duration::from_secs(10),
            catch_up: Duration::from_secs(2),
        };
        let (published, chance) = (Arc::clone(&self.published), StdRng::seed_from_u64(1));
        let alone = Arc::new(Alone(Arc::clone(&self.published)));
        let clock = Arc::new(SystemClock);
        let (door, driver) = FrontDoor::new(door_config, published, alone, clock, chance);
        tokio::spawn(driver.run());
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address: SocketAddr = socket.local_addr().expect("its address");
        let (connections, incoming) = mpsc::channel(4);
        let listener = Listener {
            socket,
            services: Services::new(door.clone(), config.clone()),
            grpc: connections,
            max_client_cnxns: 0,
        };
        tokio::spawn(listener.run(stop.clone()));
        tokio::spawn(grpc::serve(door.clone(), &config, incoming, stop.clone()));
        let client = EnsembleClient::connect(format!("http://{address}")).await;
        (client.expect("it listens"), door)
    }
}

/// Takes no writes, and always leads.
struct Alone(Arc<Published>);

impl Replicator for Alone {
    fn submit(&self, _: Vec<Command>) -> Result<(), NotDone> {
        Err(NotDone::NoQuorum)
    }

    fn touch(&self, _: SessionId, _: u64) {}

    fn left(&self, _: Left) {}

    fn in_touch(&self, _: Instant) -> bool {
        true
    }

    fn read_index(&self) -> ReadIndex {
        let index = self.0.progress().borrow().index;
        Box::pin(async move { Ok(index) })
    }

    fn status(&self) -> Arc<Status> {
        Arc::default()
    }
}

/// Holds up whoever looks at the state for a while, so that installing and the next mark are due at once.
fn hold_up(door: &FrontDoor) -> std::thread::JoinHandle<()> {
    let door = door.clone();
    let (holds, held) = std::sync::mpsc::channel();
    let holding = std::thread::spawn(move || {
        door.read(|_| {
            holds.send(()).expect("it is waited for");
            let until = clock::now() + HELD_UP;
            while clock::now() < until {
                std::thread::park_timeout(until.saturating_duration_since(clock::now()));
            }
        });
    });
    held.recv().expect("it begins");
    holding
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_watch_goes_on_without_a_gap_when_a_checkpoint_is_installed() {
    let (mut leader, mut node) = (
        Node::new(HistoryBounds::default()),
        Node::new(HistoryBounds::default()),
    );
    leader.create();
    node.create();
    let stop = CancellationToken::new();
    let (client, door) = node.serve(&stop).await;
    let mut seen = Seen::default();
    let mut stream = watch(&client, "/w", 0).await;
    // Whether a mark or the end comes first is chance: often enough for both.
    for _ in 0..6 {
        leader.set();
        node.set();
        assert_eq!(seen.read(&mut stream, node.zxid()).await, Ended::NotYet);
        // The node misses three entries and gets the state in their place.
        (0..3).for_each(|_| leader.set());
        let holding = hold_up(&door);
        tokio::task::block_in_place(|| leader.give_state_to(&mut node));
        holding.join().expect("it ends");
        assert_eq!(seen.read(&mut stream, i64::MAX).await, Ended::Unavailable);
        stream = watch(&client, "/w", seen.mark).await;
        assert_eq!(seen.read(&mut stream, leader.zxid()).await, Ended::NotYet);
    }
    // The subtree was sent behind the creation and, perhaps, the first write.
    let first = seen.zxids[0];
    assert!((2..=3).contains(&first), "{first}");
    let all: Vec<i64> = (first..=leader.zxid()).collect();
    assert_eq!(seen.zxids, all);
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_is_too_old_when_the_checkpoint_no_longer_has_its_changes() {
    let hardly_any = HistoryBounds {
        max_age_ms: 1,
        max_bytes: 1,
    };
    let (mut leader, mut node) = (Node::new(hardly_any), Node::new(HistoryBounds::default()));
    // So that each is old when the next comes.
    leader.step_ms = 60_000;
    node.step_ms = 60_000;
    leader.create();
    node.create();
    let stop = CancellationToken::new();
    let (client, _) = node.serve(&stop).await;
    let mut seen = Seen::default();
    let mut stream = watch(&client, "/w", 0).await;
    leader.set();
    node.set();
    assert_eq!(seen.read(&mut stream, node.zxid()).await, Ended::NotYet);
    (0..10).for_each(|_| leader.set());
    leader.give_state_to(&mut node);
    assert_eq!(seen.read(&mut stream, i64::MAX).await, Ended::Unavailable);
    let mut stream = watch(&client, "/w", seen.mark).await;
    assert_eq!(seen.read(&mut stream, i64::MAX).await, Ended::TooOld);
    // From the beginning it goes on.
    let mut anew = Seen::default();
    let mut stream = watch(&client, "/w", 0).await;
    leader.set();
    node.set();
    assert_eq!(anew.read(&mut stream, leader.zxid()).await, Ended::NotYet);
    stop.cancel();
}
