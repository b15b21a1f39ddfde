//! What each write costs on every node, the disk left out: a committed entry is applied, and whoever watches is told.
//!
//! `scripts/micro apply` and `scripts/micro watch` run it. Each measurement has been looked at for a right answer before it
//! is timed.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput};
use zweig_coordinator::session::SessionId;
use zweig_coordinator::state_machine::{
    Change, Command, Create, Entry, Op, Origin, Outcome, Reply, StateMachine,
};
use zweig_coordinator::storage::{HistoryBounds, MemoryStore};
use zweig_coordinator::tree::Acl;
use zweig_coordinator::watch::{WatchKind, WatchTable};

/// The binary's, since much of applying is allocating.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FOLDERS: usize = 100;
const IN_EACH: usize = 1_000;
const ZNODES: usize = FOLDERS * IN_EACH;
/// Entries that are applied in turn: more znodes than the processor's caches hold.
const ENTRIES: usize = 4_096;
/// Of the history, so that it is cut as it grows, as on a node that has run for a while.
const HISTORY_BYTES: u64 = 16 << 20;
/// As many commands as an entry has under load.
const BATCH: usize = 64;

fn folder(i: usize) -> String {
    format!("/app/shard-{i:03}")
}

/// The znodes in an order that no cache foresees.
fn scattered(i: usize) -> String {
    // Prime to the number of znodes, so that all have their turn.
    let at = i * 61_417 % ZNODES;
    format!("{}/key-{:04}", folder(at % FOLDERS), at / FOLDERS)
}

fn create(path: String) -> Op {
    Op::Create(Create {
        path,
        data: Some(Bytes::from_static(&[b'v'; 100])),
        acl: vec![Acl::anyone(31)],
        ephemeral: false,
        sequential: false,
        want_stat: false,
    })
}

fn set(path: String) -> Op {
    Op::SetData {
        path,
        data: Some(Bytes::from_static(&[b'w'; 100])),
        version: -1,
    }
}

fn entry(ops: impl IntoIterator<Item = Op>) -> Bytes {
    let command = |op| Command {
        origin: Origin::default(),
        session: SessionId::NONE,
        attach: 0,
        auth: Vec::new(),
        deadline_ms: 0,
        trace: [0; 16],
        op,
    };
    let commands = ops.into_iter().map(command).collect();
    let (term, time_ms) = (1, 1_000);
    Entry {
        term,
        time_ms,
        commands,
    }
    .encode()
}

/// A state machine, and the entry it applied last.
struct Node {
    machine: StateMachine<MemoryStore>,
    index: u64,
}

impl Node {
    /// A tree of 100,000 znodes in 100 folders.
    fn grown() -> Node {
        let bounds = HistoryBounds {
            max_bytes: HISTORY_BYTES,
            ..HistoryBounds::default()
        };
        let machine = StateMachine::open(MemoryStore::new(bounds)).expect("an empty state");
        let mut node = Node { machine, index: 0 };
        let folders = (0..FOLDERS).map(folder);
        node.apply(&entry(
            [String::from("/app")]
                .into_iter()
                .chain(folders)
                .map(create),
        ));
        for first in (0..ZNODES).step_by(IN_EACH) {
            let paths = (first..first + IN_EACH).map(scattered);
            node.apply(&entry(paths.map(create)));
        }
        // Those, /app, and the four that ZooKeeper has from the start.
        let znodes = node.machine.counts().znodes;
        assert_eq!(znodes, (ZNODES + FOLDERS + 1 + 4) as u64);
        node
    }

    fn apply(&mut self, entry: &Bytes) -> Vec<Outcome> {
        self.index += 1;
        let outcomes = self.machine.apply(self.index, 1, entry);
        outcomes.expect("it can be applied")
    }

    /// What a write of these znodes changes.
    fn changes(&mut self, paths: impl IntoIterator<Item = String>) -> Vec<Change> {
        let outcomes = self.apply(&entry(paths.into_iter().map(set)));
        let changes: Vec<Change> = outcomes.into_iter().flat_map(|one| one.changes).collect();
        assert!(!changes.is_empty(), "the znodes are there");
        changes
    }
}

/// Checks that everything an entry asks for is done, with that many changes.
fn check(outcomes: &[Outcome], changed: usize) {
    for outcome in outcomes {
        match &outcome.result {
            Ok(Reply::Multi(results)) => assert!(results.iter().all(Result::is_ok)),
            result => assert!(result.is_ok(), "{result:?}"),
        }
    }
    let changes = outcomes.iter().map(|outcome| outcome.changes.len());
    assert_eq!(changes.sum::<usize>(), changed);
}

fn apply(criterion: &mut Criterion) {
    let mut node = Node::grown();
    let mut group = criterion.benchmark_group("apply");
    let mut measure = |name: &str, writes: usize, entries: &dyn Fn(usize) -> Bytes| {
        let entries: Vec<Bytes> = (0..ENTRIES).map(entries).collect();
        check(&node.apply(&entries[0]), writes);
        let mut turn = entries.iter().cycle();
        group.throughput(Throughput::Elements(writes as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let entry = turn.next().expect("endless");
                node.apply(black_box(entry))
            });
        });
    };
    let sets = |count: usize, at: usize| (0..count).map(move |i| set(scattered(at * count + i)));
    measure("a set of 100 B among 100,000 znodes", 1, &|at| {
        entry(sets(1, at))
    });
    measure("64 such sets in one entry", BATCH, &|at| {
        entry(sets(BATCH, at))
    });
    measure("a multi of 10 such sets", 10, &|at| {
        entry([Op::Multi(sets(10, at).collect())])
    });
    measure("a create and a delete", 2, &|at| {
        let path = format!("{}-new", scattered(at));
        let delete = Op::Delete {
            path: path.clone(),
            version: -1,
        };
        entry([create(path), delete])
    });
    group.finish();
}

/// One znode that a thousand connections watch.
fn one_path(criterion: &mut Criterion, node: &mut Node) {
    const WATCHERS: u64 = 1_000;
    let change = node.changes([scattered(0)]);
    let watched = |kind| {
        let mut watches = WatchTable::new();
        (0..WATCHERS).for_each(|connection| watches.arm(connection, &change[0].path, kind));
        watches
    };
    let mut group = criterion.benchmark_group("watch trigger, 1,000 watchers of one znode");
    group.throughput(Throughput::Elements(WATCHERS));

    let mut once = watched(WatchKind::Data);
    assert_eq!(once.trigger(&change).len() as u64, WATCHERS);
    assert_eq!(once.trigger(&change), [], "one-shot watches are told once");
    group.bench_function("one-shot", |bencher| {
        bencher.iter_batched_ref(
            || watched(WatchKind::Data),
            |watches| watches.trigger(black_box(&change)),
            BatchSize::NumIterations(8),
        );
    });

    let mut persistent = watched(WatchKind::Persistent);
    assert_eq!(persistent.trigger(&change).len() as u64, WATCHERS);
    group.bench_function("persistent", |bencher| {
        bencher.iter(|| persistent.trigger(black_box(&change)));
    });
    group.finish();
}

/// 100,000 znodes, each watched by one of a thousand connections.
fn many_paths(criterion: &mut Criterion, node: &mut Node) {
    const CONNECTIONS: usize = 1_000;
    let of = |i: usize| (i % CONNECTIONS) as u64;
    let changes = node.changes((0..ENTRIES).map(scattered));
    let unwatched = node.changes((0..FOLDERS).map(folder));
    let mut watches = WatchTable::new();
    (0..ZNODES).for_each(|i| watches.arm(of(i), &scattered(i), WatchKind::Data));
    assert_eq!(watches.path_count(), ZNODES);
    let mut group = criterion.benchmark_group("watch trigger, 100,000 watched znodes");
    group.throughput(Throughput::Elements(1));

    // As a client does that reads again what it was told of.
    let mut tell_and_arm = |at: usize| {
        let told = watches.trigger(std::slice::from_ref(&changes[at]));
        for (connection, event) in &told {
            watches.arm(*connection, &event.path, WatchKind::Data);
        }
        told
    };
    let told = tell_and_arm(ENTRIES - 1);
    assert_eq!((told.len(), told[0].0), (1, of(ENTRIES - 1)));
    assert_eq!(tell_and_arm(ENTRIES - 1), told, "armed again");
    let mut turn = (0..ENTRIES).cycle();
    group.bench_function("one is written, told, and armed again", |bencher| {
        bencher.iter(|| tell_and_arm(turn.next().expect("endless")));
    });

    assert_eq!(watches.trigger(&unwatched), []);
    let mut turn = unwatched.iter().cycle();
    group.bench_function("another one is written", |bencher| {
        bencher.iter(|| {
            let change = turn.next().expect("endless");
            watches.trigger(std::slice::from_ref(black_box(change)))
        });
    });

    watches.arm(0, "/app", WatchKind::PersistentRecursive);
    assert_eq!(watches.trigger(&unwatched[..1]).len(), 1);
    let mut turn = unwatched.iter().cycle();
    group.bench_function("a recursive watch above hears of it", |bencher| {
        bencher.iter(|| {
            let change = turn.next().expect("endless");
            watches.trigger(std::slice::from_ref(black_box(change)))
        });
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .without_plots()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    apply(&mut criterion);
    let mut node = Node::grown();
    one_path(&mut criterion, &mut node);
    many_paths(&mut criterion, &mut node);
    criterion.final_summary();
}
