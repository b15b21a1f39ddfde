//! A front door over an ensemble of one, for targets: what is submitted is applied when they say so.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use rand::SeedableRng;

use super::applier::PublishedApplier;
use super::flush::FlushedIndex;
use super::*;
use crate::clock::{self, Sleep};
use crate::consensus::{Applier, Committed, CommittedData, Fatal};
use crate::session::Password;
use crate::state_machine::{Entry, StateMachine};
use crate::storage::{HistoryBounds, MemoryDb, MemoryFolders, MemoryStates};
use crate::tree::Zxid;

const NODE: u64 = 3;
const BOOT: u64 = 77;

/// An ensemble of one that answers when it is told to.
struct Alone {
    applier: Mutex<PublishedApplier>,
    held: Mutex<VecDeque<Command>>,
    index: AtomicU64,
}

impl Replicator for Alone {
    fn submit(&self, commands: Vec<Command>) -> Result<(), NotDone> {
        self.held.lock().extend(commands);
        Ok(())
    }
    fn touch(&self, _: SessionId, _: u64) {}

    fn left(&self, _: Left) {}
    fn in_touch(&self, _: Instant) -> bool {
        true
    }
    fn read_index(&self) -> ReadIndex {
        let index = self.index.load(Ordering::Relaxed);
        Box::pin(async move { Ok(index) })
    }
    fn status(&self) -> Arc<Status> {
        Arc::default()
    }
}

/// A clock that stands: nobody waits for it.
struct Still(Instant);

impl Clock for Still {
    fn now(&self) -> Instant {
        self.0
    }
    fn wall_clock_ms(&self) -> i64 {
        1_000
    }
    fn sleep(&self, _: Duration) -> Sleep {
        Box::pin(std::future::pending())
    }
}

/// See the module.
pub(crate) struct Door {
    pub door: FrontDoor,
    alone: Arc<Alone>,
    driver: Mutex<Driver>,
}

impl Door {
    /// Of an ensemble in which nothing has happened yet.
    pub fn new() -> Self {
        let database = MemoryDb::new(HistoryBounds::default(), MemoryFolders::default());
        let states = MemoryStates::new(database);
        let state = StateMachine::open(states.open().expect("an empty store"));
        let on_fatal = Box::new(|fatal: &Fatal| panic!("{fatal}"));
        let published = Published::new(state.expect("an empty state"), NODE, BOOT, on_fatal);
        let flushed = FlushedIndex::default();
        let applier = PublishedApplier::new(Arc::clone(&published), states, flushed);
        let alone = Arc::new(Alone {
            applier: Mutex::new(applier),
            held: Mutex::default(),
            index: AtomicU64::new(0),
        });
        let config = FrontDoorConfig {
            node: NODE,
            boot: BOOT,
            session_timeout_ms: (1_000, 10_000),
            forward_deadline: Duration::from_secs(1),
            catch_up: Duration::ZERO,
        };
        let chance = StdRng::seed_from_u64(1);
        let (door, driver) = FrontDoor::new(
            config,
            published,
            alone.clone(),
            Arc::new(Still(clock::now())),
            chance,
        );
        Self {
            door,
            alone,
            driver: Mutex::new(driver),
        }
    }

    /// Applies what was submitted, and lets go on what waited for it; again, until nothing is left to do.
    pub fn settle(&self) {
        while self.driver.lock().run_once() | self.apply_held() {}
    }

    /// Applies what was submitted, as one entry. False if there is nothing.
    fn apply_held(&self) -> bool {
        let commands: Vec<Command> = self.alone.held.lock().drain(..).collect();
        if commands.is_empty() {
            return false;
        }
        let entry = Entry {
            term: 1,
            time_ms: 1_000,
            commands,
        };
        let bytes = entry.encode();
        assert_eq!(
            Entry::decode(bytes.clone()),
            Ok(entry),
            "what is submitted can be read"
        );
        let committed = Committed {
            index: self.alone.index.fetch_add(1, Ordering::Relaxed) + 1,
            term: 1,
            data: CommittedData::Normal(bytes),
        };
        let applied = self.alone.applier.lock().apply(vec![committed]);
        applied.expect("what can be submitted can be applied");
        true
    }

    /// Opens a session on a new connection.
    pub fn open(
        &self,
        sink: Arc<dyn EventSink>,
        resume: Option<(SessionId, Password)>,
    ) -> Option<Connection> {
        let connection = self.door.connect(sink);
        let mut opening = Box::pin(connection.open(5_000, resume, Zxid(0)));
        let mut context = Context::from_waker(Waker::noop());
        let opened = loop {
            if let Poll::Ready(opened) = opening.as_mut().poll(&mut context) {
                break opened;
            }
            assert!(self.apply_held(), "an opening waits for its command alone");
        };
        drop(opening);
        opened.is_ok().then_some(connection)
    }

    /// The state is what its numbers say.
    pub fn audit(&self) {
        self.door.read(|state| {
            let (digest, counts) = state.audit().expect("a sound state");
            assert_eq!((digest, counts), (state.applied().digest, state.counts()));
        });
    }
}
