//! The store on disk against its memory twin: the same random commands, with flushes, restarts and
//! crashes in between, must give the same outcomes, reads and digest.
mod steps;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::state_machine::command::{Command, Create, Op, Origin};
use crate::state_machine::{EntryBuilder, StateMachine};
use crate::storage::{HistoryBounds, MemoryStore, StateDb};
use crate::tree::{Acl, acl};
use steps::{Step, every_path, step};

const BOUNDS: HistoryBounds = HistoryBounds {
    max_age_ms: i64::MAX,
    max_bytes: u64::MAX,
};

/// A node with its state on disk, and the raft log that outlives it.
struct Disk {
    temp: tempfile::TempDir,
    life: u32,
    machine: Option<RefCell<StateMachine<OverlayStore>>>,
    log: Vec<Logged>,
}

#[derive(Clone)]
enum Logged {
    Normal(Bytes),
    Conf,
}

fn apply<S: Store>(
    machine: &mut StateMachine<S>,
    index: u64,
    logged: &Logged,
) -> Vec<crate::state_machine::Outcome> {
    match logged {
        Logged::Normal(data) => machine.apply(index, 1, data).unwrap(),
        Logged::Conf => {
            machine.apply_conf(index, 1, &index.to_be_bytes()).unwrap();
            Vec::new()
        }
    }
}

impl Disk {
    fn new() -> Disk {
        let mut disk = Disk {
            temp: tempfile::tempdir().unwrap(),
            life: 0,
            machine: None,
            log: Vec::new(),
        };
        disk.open();
        disk
    }

    fn open(&mut self) {
        let folder = self.temp.path().join(self.life.to_string());
        let db = Arc::new(StateDb::open(&folder, BOUNDS).unwrap());
        let machine = StateMachine::open(OverlayStore::new(db).unwrap()).unwrap();
        self.machine = Some(RefCell::new(machine));
    }

    fn machine(&self) -> &RefCell<StateMachine<OverlayStore>> {
        self.machine.as_ref().unwrap()
    }

    fn write_behind(&self) -> Arc<dyn Database> {
        write_behind(|with| with(self.machine().borrow_mut().store_mut())).unwrap()
    }

    /// The files as they lie there at this moment are all that is left.
    fn crash(&mut self) {
        let before = self.machine().borrow().store().db().persisted().unwrap();
        let (from, to) = (
            self.temp.path().join(self.life.to_string()),
            self.temp.path().join((self.life + 1).to_string()),
        );
        copy(&from, &to);
        self.machine = None;
        self.life += 1;
        self.open();
        let machine = self.machine().borrow();
        let found = machine.store().db().meta().unwrap();
        let index = |meta: &Option<Meta>| meta.as_ref().map_or(0, |meta| meta.applied.index);
        assert!(
            index(&found) >= index(&before),
            "what was persisted is there"
        );
        drop(machine);
        self.replay();
    }

    /// Raft gives again what comes after the applied index; once also the one before, which has no effect.
    fn replay(&self) {
        let mut machine = self.machine().borrow_mut();
        let applied = machine.applied().index;
        for index in applied.max(1)..=self.log.len() as u64 {
            let outcomes = apply(&mut machine, index, &self.log[index as usize - 1]);
            assert!(index > applied || outcomes.is_empty());
        }
    }
}

/// As a loss of power leaves it. The database may take files away meanwhile: then once more.
fn copy(from: &Path, to: &Path) {
    let files = || {
        let entries = fs::read_dir(from).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name());
        names.collect::<BTreeSet<_>>()
    };
    for _ in 0..100 {
        fs::create_dir(to).unwrap();
        let names = files();
        let mut copies = names
            .iter()
            .map(|name| fs::copy(from.join(name), to.join(name)));
        if copies.all(|copied| copied.is_ok()) && names == files() {
            return;
        }
        fs::remove_dir_all(to).unwrap();
    }
    panic!("{} changes all the time", from.display());
}

fn assert_same(model: &StateMachine<MemoryStore>, disk: &StateMachine<OverlayStore>) {
    assert_eq!(model.applied(), disk.applied());
    assert_eq!(
        (model.counts(), model.conf_state()),
        (disk.counts(), disk.conf_state())
    );
    let all = |session: SessionId| {
        (
            model.store().ephemerals(session).unwrap(),
            disk.store().ephemerals(session).unwrap(),
        )
    };
    for session in 0..3 {
        let (expected, found) = all(SessionId(session));
        assert_eq!(expected, found, "ephemerals of {session}");
    }
    // Also what no parent lists any more.
    for path in every_path() {
        assert_eq!(
            model.store().node(&path).unwrap(),
            disk.store().node(&path).unwrap(),
            "{path}"
        );
    }
    let whole = model.subtree("/", &[], None, usize::MAX).unwrap();
    assert_eq!(whole, disk.subtree("/", &[], None, usize::MAX).unwrap());
    for node in &whole {
        let expected = model
            .store()
            .children(&node.path, None, usize::MAX)
            .unwrap();
        let mut paged: Vec<String> = Vec::new();
        while let Some(name) = disk
            .store()
            .children(&node.path, paged.last().map(String::as_str), 1)
            .unwrap()
            .pop()
        {
            paged.push(name);
        }
        assert_eq!(expected, paged, "children of {}", node.path);
    }
    let sorted = |mut sessions: Vec<(SessionId, SessionState)>| {
        sessions.sort_by_key(|(id, _)| *id);
        sessions
    };
    assert_eq!(
        sorted(model.store().sessions().unwrap()),
        sorted(disk.store().sessions().unwrap())
    );
    let kept = (disk.applied().digest, disk.counts());
    assert_eq!(disk.audit().unwrap(), kept);
    let middle = Zxid(model.applied().zxid.0 / 2);
    for after in [Zxid(0), middle] {
        assert_eq!(
            model.store().history(after, 7).unwrap(),
            disk.store().history(after, 7).unwrap()
        );
        assert_eq!(
            model.store().history(after, 999).unwrap(),
            disk.store().history(after, 999).unwrap()
        );
    }
}

fn run(steps: Vec<Step>) {
    let mut model = StateMachine::open(MemoryStore::new(BOUNDS)).unwrap();
    let mut disk = Disk::new();
    let mut past = Vec::new();
    for (time_ms, step) in steps.into_iter().enumerate() {
        let entry = match step {
            Step::Apply(commands) => {
                let mut entry = EntryBuilder::new(1, time_ms as i64);
                commands.iter().for_each(|command| entry.push(command));
                Some(Logged::Normal(entry.finish()))
            }
            Step::Conf => Some(Logged::Conf),
            Step::WriteBehind => {
                disk.write_behind();
                None
            }
            Step::Persist => {
                disk.write_behind().persist().unwrap();
                None
            }
            Step::Freeze => {
                disk.machine().borrow_mut().store_mut().freeze();
                None
            }
            Step::CleanRestart => {
                disk.machine = None;
                disk.open();
                disk.replay();
                None
            }
            Step::Crash => {
                disk.crash();
                None
            }
        };
        if let Some(entry) = entry {
            disk.log.push(entry.clone());
            let index = disk.log.len() as u64;
            let found = apply(&mut disk.machine().borrow_mut(), index, &entry);
            assert_eq!(apply(&mut model, index, &entry), found);
        }
        assert_same(&model, &disk.machine().borrow());
        past.push((
            model.applied().zxid,
            model.subtree("/", &[], None, usize::MAX).unwrap(),
        ));
    }
    // The tree as of each earlier zxid, from either store, in chunks.
    for (zxid, expected) in past {
        let machine = disk.machine().borrow();
        let mut found: Vec<crate::state_machine::SubtreeNode> = Vec::new();
        loop {
            let after = found.last().map(|node| Arc::clone(&node.path));
            let chunk = machine
                .subtree_at(zxid, "/", &[], after.as_deref(), 3)
                .unwrap();
            if chunk.is_empty() {
                break;
            }
            found.extend(chunk);
        }
        assert_eq!(found, expected, "as of {zxid}");
        assert_eq!(
            model.subtree_at(zxid, "/", &[], None, 999).unwrap(),
            expected
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 400, ..ProptestConfig::default() })]
    #[test]
    fn the_disk_is_as_the_memory(steps in proptest::collection::vec(step(), 1..40)) {
        run(steps);
    }
}

fn plain(op: Op) -> Command {
    Command {
        origin: Origin::default(),
        session: SessionId::NONE,
        attach: 0,
        auth: vec![],
        deadline_ms: 0,
        trace: [0; 16],
        op,
    }
}

fn create(path: &str) -> Op {
    Op::Create(Create {
        path: path.to_owned(),
        data: None,
        acl: vec![Acl::anyone(acl::ALL)],
        ephemeral: false,
        sequential: false,
        want_stat: false,
    })
}

#[test]
fn only_what_was_persisted_counts_as_such() {
    let disk = Disk::new();
    let entry = |index: u64| {
        let outcomes = apply(&mut disk.machine().borrow_mut(), index, &Logged::Conf);
        assert!(outcomes.is_empty());
    };
    entry(1);
    let db = disk.write_behind();
    let index = |meta: Option<Meta>| meta.map(|meta| meta.applied.index);
    assert_eq!(
        (index(db.meta().unwrap()), index(db.persisted().unwrap())),
        (Some(1), None)
    );
    db.persist().unwrap();
    assert_eq!(index(db.persisted().unwrap()), Some(1));
    entry(2);
    disk.write_behind();
    assert_eq!(
        (index(db.meta().unwrap()), index(db.persisted().unwrap())),
        (Some(2), Some(1))
    );
}

#[test]
fn what_waits_is_counted_and_written_once() {
    let disk = Disk::new();
    assert!(
        disk.machine().borrow().store().pending_bytes() > 0,
        "the initial znodes wait"
    );
    disk.write_behind();
    assert_eq!(disk.machine().borrow().store().pending_bytes(), 0);
    assert!(
        disk.machine().borrow_mut().store_mut().freeze().is_none(),
        "nothing to write"
    );
}

#[test]
fn history_is_cut_on_disk_and_says_so() {
    let temp = tempfile::tempdir().unwrap();
    let bounds = HistoryBounds {
        max_age_ms: 60_000,
        max_bytes: u64::MAX,
    };
    let db = Arc::new(StateDb::open(temp.path(), bounds).unwrap());
    let machine = RefCell::new(StateMachine::open(OverlayStore::new(db).unwrap()).unwrap());
    for minute in 1..=5 {
        let mut entry = EntryBuilder::new(1, i64::from(minute) * 60_000);
        entry.push(&plain(create(&format!("/{minute}"))));
        machine
            .borrow_mut()
            .apply(minute as u64, 1, &entry.finish())
            .unwrap();
        write_behind(|with| with(machine.borrow_mut().store_mut())).unwrap();
    }
    let check = |store: &OverlayStore| {
        let kept: Vec<i64> = store
            .history(Zxid(3), 9)
            .unwrap()
            .iter()
            .map(|transaction| transaction.zxid.0)
            .collect();
        assert_eq!(kept, [4, 5]);
        assert!(matches!(
            store.history(Zxid(2), 9),
            Err(HistoryError::TooOld { floor: Zxid(3), .. })
        ));
    };
    check(machine.borrow().store());
    drop(machine);
    let db = Arc::new(StateDb::open(temp.path(), bounds).unwrap());
    check(&OverlayStore::new(db).unwrap());
}

/// Whatever is written, persisted or copied while `apply` goes on is the state at one index.
#[test]
fn checkpoints_made_while_entries_are_applied_are_whole() {
    const ENTRIES: u64 = 300;
    let temp = tempfile::tempdir().unwrap();
    let db = Arc::new(StateDb::open(&temp.path().join("state"), BOUNDS).unwrap());
    let machine =
        parking_lot::Mutex::new(StateMachine::open(OverlayStore::new(db).unwrap()).unwrap());
    let done = std::sync::atomic::AtomicBool::new(false);
    let mut made = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for index in 1..=ENTRIES {
                let mut entry = EntryBuilder::new(1, index as i64);
                for n in 0..20 {
                    entry.push(&plain(create(&format!("/{index}-{n}"))));
                    let version = -1;
                    let path = format!("/{}-{n}", index.saturating_sub(2));
                    entry.push(&plain(Op::Delete { path, version }));
                }
                let data = entry.finish();
                machine.lock().apply(index, 1, &data).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        for round in 0.. {
            let last = done.load(std::sync::atomic::Ordering::Acquire);
            let db = write_behind(|with| with(machine.lock().store_mut())).unwrap();
            let folder = temp.path().join(format!("checkpoint-{round}"));
            made.push((db.checkpoint(&folder).unwrap(), folder));
            if last {
                break;
            }
        }
    });
    let (last, _) = made.last().unwrap();
    assert_eq!(last.applied, machine.lock().applied());
    for (meta, folder) in made {
        let db = Arc::new(StateDb::open(&folder, BOUNDS).unwrap());
        let copy = StateMachine::open(OverlayStore::new(db).unwrap()).unwrap();
        assert_eq!(copy.applied(), meta.applied);
        assert_eq!(copy.audit().unwrap(), (meta.applied.digest, meta.counts));
    }
}
