//! The front door over a consensus of one that answers when it is told to.

mod sessions;

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use rand::SeedableRng;

use super::applier::PublishedApplier;
use super::flush::FlushedIndex;
use super::*;
use crate::clock;
use crate::consensus::{Applier, Committed, CommittedData, Unanswered};
use crate::state_machine::{Create, Entry, StateMachine};
use crate::storage::{HistoryBounds, StateFolder};
use crate::tree::Acl;
use crate::watch::{EventKind, Rearm};

const NODE: u64 = 3;
const BOOT: u64 = 77;

/// Holds commands back until [`Fake::apply`].
struct Fake {
    applier: Mutex<PublishedApplier>,
    held: Mutex<VecDeque<Command>>,
    index: AtomicU64,
    in_touch: AtomicBool,
    refusing: AtomicBool,
}

impl Replicator for Fake {
    fn submit(&self, commands: Vec<Command>) -> Result<(), NotDone> {
        if self.refusing.load(Ordering::Relaxed) {
            return Err(NotDone::NoQuorum);
        }
        self.held.lock().extend(commands);
        Ok(())
    }
    fn touch(&self, _: SessionId, _: u64) {}

    fn left(&self, _: Left) {}
    fn in_touch(&self, _: Instant) -> bool {
        self.in_touch.load(Ordering::Relaxed)
    }
    fn read_index(&self) -> ReadIndex {
        let index = self.index.load(Ordering::Relaxed);
        Box::pin(async move { Ok(index) })
    }
    fn status(&self) -> Arc<Status> {
        Arc::default()
    }
}

impl Fake {
    /// Applies everything that was submitted, as one entry.
    fn apply(&self) {
        let commands: Vec<Command> = self.held.lock().drain(..).collect();
        self.apply_commands(commands);
    }

    fn apply_commands(&self, commands: Vec<Command>) {
        let entry = Entry {
            term: 1,
            time_ms: 1_000,
            commands,
        };
        let committed = Committed {
            index: self.index.fetch_add(1, Ordering::Relaxed) + 1,
            term: 1,
            data: CommittedData::Normal(entry.encode()),
        };
        let feedback = self.applier.lock().apply(vec![committed]);
        feedback.expect("the entry applies");
    }

    /// A command of another node.
    fn apply_foreign(&self, session: SessionId, attach: u64, op: Op) {
        let command = Command {
            origin: crate::state_machine::Origin {
                node: NODE + 1,
                boot: BOOT,
                request: 1,
            },
            session,
            attach,
            auth: vec![],
            deadline_ms: 0,
            trace: [0; 16],
            op,
        };
        self.apply_commands(vec![command]);
    }
}

struct Node {
    door: FrontDoor,
    fake: Arc<Fake>,
    published: Arc<Published>,
    _temporary: tempfile::TempDir,
}

fn node() -> Node {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let folder = StateFolder::new(temporary.path(), HistoryBounds::default());
    let folder = folder.expect("a folder for the state");
    let store = folder.open().expect("an empty store");
    let state = StateMachine::open(store).expect("an empty state opens");
    let on_fatal = Box::new(|fatal: &crate::consensus::Fatal| panic!("{fatal}"));
    let published = Published::new(state, NODE, BOOT, on_fatal);
    let fake = Arc::new(Fake {
        applier: Mutex::new(PublishedApplier::new(
            Arc::clone(&published),
            folder,
            FlushedIndex::default(),
        )),
        held: Mutex::new(VecDeque::new()),
        index: AtomicU64::new(0),
        in_touch: AtomicBool::new(true),
        refusing: AtomicBool::new(false),
    });
    let config = FrontDoorConfig {
        node: NODE,
        boot: BOOT,
        session_timeout_ms: (1_000, 10_000),
        forward_deadline: Duration::from_secs(1),
        catch_up: Duration::from_millis(50),
    };
    let (door, driver) = FrontDoor::new(
        config,
        Arc::clone(&published),
        fake.clone(),
        Arc::new(clock::SystemClock),
        StdRng::seed_from_u64(1),
    );
    tokio::spawn(driver.run());
    Node {
        door,
        fake,
        published,
        _temporary: temporary,
    }
}

/// What a client saw, in order.
#[derive(Debug, Clone, PartialEq)]
enum Seen {
    Event(EventKind, String),
    /// The number given to the request, its zxid, and whether it had a response.
    Answer(u32, i64, Result<(), RequestError>),
    Closed(Closed),
}

#[derive(Default)]
struct Recorder {
    seen: Mutex<Vec<Seen>>,
    in_order: AtomicBool,
}

impl EventSink for Recorder {
    fn event(&self, event: Event) {
        let seen = Seen::Event(event.kind, event.path.to_string());
        self.seen.lock().push(seen);
    }
    fn closed(&self, why: Closed) {
        self.seen.lock().push(Seen::Closed(why));
    }
    fn writes_in_order_or_not_at_all(&self) -> bool {
        self.in_order.load(Ordering::Relaxed)
    }
}

struct Client {
    connection: Connection,
    recorder: Arc<Recorder>,
    grant: crate::state_machine::SessionGrant,
}

impl Client {
    fn send(&self, number: u32, request: Request) {
        let recorder = Arc::clone(&self.recorder);
        let reply: ReplyTo = Box::new(move |answer| {
            let result = answer.result.map(|_| ());
            recorder
                .seen
                .lock()
                .push(Seen::Answer(number, answer.zxid.0, result));
        });
        self.connection.send([(request, reply)]);
    }

    fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.recorder.seen.lock())
    }

    /// Waits until `count` things were seen: what waited behind a write goes on in another task.
    async fn wait_for(&self, count: usize) -> Vec<Seen> {
        let deadline = clock::now() + Duration::from_secs(10);
        while self.recorder.seen.lock().len() < count {
            assert!(clock::now() < deadline, "only {:?}", self.seen());
            tokio::task::yield_now().await;
        }
        self.seen()
    }
}

impl Node {
    async fn open(&self, resume: Option<(SessionId, [u8; 16])>) -> Result<Client, OpenError> {
        let recorder = Arc::new(Recorder::default());
        let connection = self.door.connect(recorder.clone());
        let opening = connection.open(5_000, resume, Zxid(0));
        let applying = async {
            while self.fake.held.lock().is_empty() {
                tokio::task::yield_now().await;
            }
            self.fake.apply();
        };
        let (grant, ()) = tokio::join!(opening, applying);
        Ok(Client {
            grant: grant?,
            connection,
            recorder,
        })
    }

    async fn client(&self) -> Client {
        self.open(None).await.expect("a session")
    }
}

fn create(path: &str, ephemeral: bool) -> Request {
    Request::Write(Op::Create(Create {
        path: path.to_owned(),
        data: Some(Bytes::from_static(b"x")),
        acl: Acl::open().to_vec(),
        ephemeral,
        sequential: false,
        want_stat: false,
    }))
}

fn get(path: &str, watch: bool) -> Request {
    let path = path.to_owned();
    Request::Read(ReadOp::Get { path, watch })
}

fn set(path: &str) -> Request {
    Request::Write(Op::SetData {
        path: path.to_owned(),
        data: None,
        version: -1,
    })
}

#[tokio::test]
async fn a_read_waits_for_the_write_before_it_and_others_do_not() {
    let node = node();
    let (one, other) = (node.client().await, node.client().await);
    one.send(1, create("/a", false));
    one.send(2, get("/a", false));
    other.send(1, get("/a", false));
    assert!(matches!(other.seen()[..], [Seen::Answer(1, _, Err(_))]));
    assert_eq!(one.seen(), [], "nothing before the write is applied");
    node.fake.apply();
    let seen = one.wait_for(2).await;
    assert!(matches!(seen[0], Seen::Answer(1, 3, Ok(()))), "{seen:?}");
    assert!(matches!(seen[1], Seen::Answer(2, 3, Ok(()))), "{seen:?}");
}

#[tokio::test]
async fn an_event_comes_before_the_answer_of_the_write_that_caused_it() {
    let node = node();
    let client = node.client().await;
    client.send(1, create("/a", false));
    client.send(2, get("/a", true));
    node.fake.apply();
    client.wait_for(2).await;
    client.send(3, set("/a"));
    client.send(4, set("/a"));
    node.fake.apply();
    let seen = client.wait_for(3).await;
    assert_eq!(
        seen,
        [
            Seen::Event(EventKind::NodeDataChanged, "/a".to_owned()),
            Seen::Answer(3, 3, Ok(())),
            Seen::Answer(4, 4, Ok(())),
        ]
    );
}

#[tokio::test]
async fn one_entry_answers_each_write_with_its_own_zxid() {
    let node = node();
    let (one, other) = (node.client().await, node.client().await);
    one.send(1, create("/a", false));
    other.send(1, create("/b", false));
    one.send(2, create("/c", false));
    node.fake.apply();
    let zxids = |seen: Vec<Seen>| -> Vec<i64> {
        let zxid = |seen: &Seen| match seen {
            Seen::Answer(_, zxid, Ok(())) => *zxid,
            other => panic!("{other:?}"),
        };
        seen.iter().map(zxid).collect()
    };
    assert_eq!(zxids(one.seen()), [3, 5]);
    assert_eq!(zxids(other.seen()), [4]);
}

#[tokio::test]
async fn what_is_refused_is_not_done_and_what_follows_goes_on() {
    let node = node();
    let client = node.client().await;
    node.fake.refusing.store(true, Ordering::Relaxed);
    client.send(1, create("/a", false));
    client.send(2, get("/a", false));
    let seen = client.wait_for(2).await;
    let not_done = RequestError::NotDone(NotDone::NoQuorum);
    assert_eq!(seen[0], Seen::Answer(1, 1, Err(not_done)));
    assert!(matches!(
        seen[1],
        Seen::Answer(2, 1, Err(RequestError::Op(OpError::NoNode { .. })))
    ));
}

#[tokio::test]
async fn nothing_is_done_behind_a_write_that_was_not_where_order_is_all() {
    let node = node();
    let client = node.client().await;
    client.recorder.in_order.store(true, Ordering::Relaxed);
    client.send(1, create("/a", false));
    let first = node.fake.held.lock().pop_back().expect("a write");
    // Waits behind the first, and so would what comes behind it.
    client.send(2, get("/a", false));
    client.send(3, create("/b", false));
    node.published
        .not_done(&[first.origin.request], NotDone::Deadline);
    let seen = client.wait_for(4).await;
    let not_done = |why: NotDone| Err(RequestError::NotDone(why));
    assert_eq!(
        seen,
        [
            Seen::Answer(1, 1, not_done(NotDone::Deadline)),
            Seen::Answer(2, 1, not_done(NotDone::Stopping)),
            Seen::Answer(3, 1, not_done(NotDone::Stopping)),
            Seen::Closed(Closed::NotDone),
        ]
    );
    assert!(node.fake.held.lock().is_empty(), "nothing was submitted");
    // Overload is told when a write is submitted, no space for it by the leader.
    for (why, closes) in [(true, true), (false, false)] {
        let client = node.client().await;
        client.recorder.in_order.store(true, Ordering::Relaxed);
        node.fake.refusing.store(why, Ordering::Relaxed);
        client.send(1, create("/c", false));
        let held = node.fake.held.lock().pop_back();
        if let Some(held) = held {
            node.published
                .not_done(&[held.origin.request], NotDone::NoSpace);
        }
        let mut seen = client.wait_for(1).await;
        node.fake.refusing.store(false, Ordering::Relaxed);
        client.send(2, get("/", false));
        seen.extend(client.wait_for(1).await);
        let closed = seen.contains(&Seen::Closed(Closed::NotDone));
        assert_eq!(closed, closes, "{seen:?}");
    }
}

#[tokio::test]
async fn answers_keep_their_order_when_a_later_write_is_not_done() {
    let node = node();
    let client = node.client().await;
    client.send(1, create("/a", false));
    client.send(2, create("/b", false));
    let second = node.fake.held.lock().pop_back().expect("two writes");
    node.published
        .not_done(&[second.origin.request], NotDone::Deadline);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.seen(), [], "the first has no answer yet");
    node.fake.apply();
    let seen = client.wait_for(2).await;
    assert!(matches!(seen[0], Seen::Answer(1, _, Ok(()))), "{seen:?}");
    assert!(matches!(seen[1], Seen::Answer(2, _, Err(_))), "{seen:?}");
}

#[tokio::test]
async fn an_unknown_outcome_closes_the_connection() {
    let node = node();
    let client = node.client().await;
    client.send(1, create("/a", false));
    client.send(2, get("/a", false));
    let sent = node.fake.held.lock().pop_back().expect("a write");
    node.published.unknown(&[sent.origin.request]);
    let seen = client.wait_for(3).await;
    let unknown = Err(RequestError::OutcomeUnknown);
    assert_eq!(seen[0], Seen::Answer(1, 1, unknown));
    assert!(matches!(seen[1], Seen::Answer(2, _, Err(_))), "{seen:?}");
    assert_eq!(seen[2], Seen::Closed(Closed::OutcomeUnknown));
}

#[tokio::test]
async fn watches_armed_again_tell_what_was_missed_once() {
    let node = node();
    let client = node.client().await;
    for (n, path) in (1..).zip(["/same", "/changed"]) {
        client.send(n, create(path, false));
    }
    client.send(3, set("/changed"));
    node.fake.apply();
    client.wait_for(3).await;
    let paths = |paths: &[&str]| paths.iter().map(|p| (*p).to_owned()).collect();
    let rearm = Rearm {
        seen: Zxid(3),
        data: paths(&["/same", "/changed", "/gone"]),
        exists: paths(&["/same", "/later"]),
        ..Rearm::default()
    };
    client.send(4, Request::Read(ReadOp::SetWatches(rearm)));
    let event = |kind, path: &str| Seen::Event(kind, path.to_owned());
    assert_eq!(
        client.seen(),
        [
            event(EventKind::NodeDataChanged, "/changed"),
            event(EventKind::NodeDeleted, "/gone"),
            event(EventKind::NodeCreated, "/same"),
            Seen::Answer(4, 4, Ok(())),
        ]
    );
    client.send(5, create("/later", false));
    client.send(6, set("/changed"));
    client.send(7, set("/same"));
    node.fake.apply();
    let events: Vec<Seen> = client.seen();
    let events = events
        .into_iter()
        .filter(|seen| matches!(seen, Seen::Event(..)));
    assert_eq!(
        events.collect::<Vec<_>>(),
        [
            event(EventKind::NodeCreated, "/later"),
            event(EventKind::NodeDataChanged, "/same"),
        ]
    );
}

#[tokio::test]
async fn a_subscriber_sees_the_state_and_then_each_change() {
    let node = node();
    let client = node.client().await;
    let (zxid, mut changes) = node.door.read_and_follow(|state| state.applied().zxid);
    client.send(1, create("/a", false));
    client.send(2, set("/nowhere"));
    client.send(3, set("/a"));
    node.fake.apply();
    let first = changes.try_recv().expect("the creation");
    assert_eq!((zxid, first.zxid), (Zxid(1), Zxid(2)));
    let second = changes.try_recv().expect("the write");
    assert_eq!(second.zxid, Zxid(4), "a write that failed changes nothing");
    assert!(changes.try_recv().is_err());
}
