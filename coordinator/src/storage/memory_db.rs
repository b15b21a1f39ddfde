//! The memory twin of [`StateDb`](super::StateDb): knows what was written and what of it is on the disk, and
//! loses the rest at a crash. Its checkpoints lie in memory too, by the names of their folders.
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::checkpoint::CheckpointError;
use super::database::{Database, Sessions, States};
use super::overlay::{Layer, OverlayStore};
use super::{HistoryBounds, HistoryError, MemoryStore, Meta, Store, StoreError};
use crate::session::SessionId;
use crate::tree::{Node, Transaction, Zxid};

#[derive(Debug, Clone)]
struct Inner {
    written: MemoryStore,
    persisted: MemoryStore,
    /// Written since, in order.
    behind: Vec<Arc<Layer>>,
}

/// One state database in memory.
#[derive(Debug)]
pub struct MemoryDb {
    inner: Mutex<Inner>,
    turn: Mutex<()>,
    folders: MemoryFolders,
}

/// Checkpoints by the names of their folders. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryFolders {
    checkpoints: Arc<Mutex<BTreeMap<PathBuf, MemoryStore>>>,
}

impl MemoryFolders {
    /// The checkpoint in `folder`, to be sent.
    pub fn get(&self, folder: &Path) -> Option<MemoryStore> {
        self.checkpoints.lock().get(folder).cloned()
    }

    /// A checkpoint arrived in `folder`.
    pub fn put(&self, folder: &Path, checkpoint: MemoryStore) {
        self.checkpoints
            .lock()
            .insert(folder.to_owned(), checkpoint);
    }

    /// Removes `folder`.
    pub fn remove(&self, folder: &Path) -> Option<MemoryStore> {
        self.checkpoints.lock().remove(folder)
    }
}

impl MemoryDb {
    /// An empty database that keeps this much history; its checkpoints are made in `folders`.
    pub fn new(bounds: HistoryBounds, folders: MemoryFolders) -> MemoryDb {
        MemoryDb::with(MemoryStore::new(bounds), folders)
    }

    fn with(state: MemoryStore, folders: MemoryFolders) -> MemoryDb {
        let inner = Inner {
            written: state.clone(),
            persisted: state,
            behind: Vec::new(),
        };
        MemoryDb {
            inner: Mutex::new(inner),
            turn: Mutex::new(()),
            folders,
        }
    }

    /// How many layers were written since the last persisting one.
    pub fn layers_behind(&self) -> usize {
        self.inner.lock().behind.len()
    }

    /// What is found after a loss of power: what was persisted, and `survivors` of the layers behind, since a
    /// database may go to the disk whenever it likes.
    pub fn after_crash(&self, survivors: usize) -> MemoryDb {
        let inner = self.inner.lock();
        let mut state = inner.persisted.clone();
        let layers = inner.behind.iter().take(survivors);
        layers.for_each(|layer| state.take_in(layer));
        MemoryDb::with(state, self.folders.clone())
    }
}

impl Database for MemoryDb {
    fn turn(&self) -> &Mutex<()> {
        &self.turn
    }

    fn meta(&self) -> Result<Option<Meta>, StoreError> {
        Ok(self.inner.lock().written.meta().cloned())
    }

    fn persisted(&self) -> Result<Option<Meta>, StoreError> {
        Ok(self.inner.lock().persisted.meta().cloned())
    }

    fn persist(&self) -> Result<(), StoreError> {
        let Inner {
            persisted, behind, ..
        } = &mut *self.inner.lock();
        behind.drain(..).for_each(|layer| persisted.take_in(&layer));
        Ok(())
    }

    fn write(&self, layer: &Arc<Layer>) -> Result<(), StoreError> {
        let mut inner = self.inner.lock();
        inner.written.take_in(layer);
        inner.behind.push(Arc::clone(layer));
        Ok(())
    }

    fn node(&self, path: &str) -> Result<Option<Arc<Node>>, StoreError> {
        self.inner.lock().written.node(path)
    }

    fn each_child(
        &self,
        parent: &str,
        after: Option<&str>,
        take: &mut dyn FnMut(&str) -> bool,
    ) -> Result<(), StoreError> {
        let names = self
            .inner
            .lock()
            .written
            .children(parent, after, usize::MAX)?;
        names.iter().take_while(|name| take(name)).for_each(drop);
        Ok(())
    }

    fn ephemerals(&self, session: SessionId) -> Result<Vec<Arc<str>>, StoreError> {
        self.inner.lock().written.ephemerals(session)
    }

    fn sessions(&self) -> Result<Sessions, StoreError> {
        self.inner.lock().written.sessions()
    }

    fn history(
        &self,
        after: Zxid,
        until: Zxid,
        max: usize,
    ) -> Result<Vec<Arc<Transaction>>, HistoryError> {
        let mut transactions = self.inner.lock().written.history(after, max)?;
        transactions.retain(|transaction| transaction.zxid <= until);
        Ok(transactions)
    }

    fn checkpoint(&self, folder: &Path) -> Result<Meta, CheckpointError> {
        let state = self.inner.lock().written.clone();
        let meta = state.meta().cloned().unwrap_or_default();
        self.folders.put(folder, state);
        Ok(meta)
    }
}

/// A node's state in memory, where checkpoints of the same folders can be installed.
#[derive(Debug, Clone)]
pub struct MemoryStates {
    folders: MemoryFolders,
    current: Arc<Mutex<Arc<MemoryDb>>>,
}

impl MemoryStates {
    /// `db` is the state that counts.
    pub fn new(db: MemoryDb) -> MemoryStates {
        MemoryStates {
            folders: db.folders.clone(),
            current: Arc::new(Mutex::new(Arc::new(db))),
        }
    }

    /// The database that counts now.
    pub fn current(&self) -> Arc<MemoryDb> {
        Arc::clone(&self.current.lock())
    }

    /// The store over it.
    pub fn open(&self) -> Result<OverlayStore, StoreError> {
        OverlayStore::new(self.current())
    }

    /// Loses power: of what was written and not persisted `survivors` layers are left.
    pub fn crash(&self, survivors: usize) {
        let mut current = self.current.lock();
        *current = Arc::new(current.after_crash(survivors));
    }
}

impl States for MemoryStates {
    fn install(&self, folder: &Path) -> Result<OverlayStore, CheckpointError> {
        let checkpoint = self.folders.remove(folder);
        let checkpoint = checkpoint.ok_or_else(|| CheckpointError::Io {
            operation: "read",
            path: folder.to_owned(),
            source: io::Error::from(io::ErrorKind::NotFound),
        })?;
        let db = Arc::new(MemoryDb::with(checkpoint, self.folders.clone()));
        *self.current.lock() = Arc::clone(&db);
        Ok(OverlayStore::new(db)?)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::state_machine::command::{Command, Create, Op, Origin};
    use crate::state_machine::{EntryBuilder, StateMachine};
    use crate::storage::write_behind;
    use crate::tree::{Acl, acl};

    fn create(machine: &RefCell<StateMachine<OverlayStore>>, path: &str) {
        let create = Create {
            path: path.to_owned(),
            data: None,
            acl: vec![Acl::anyone(acl::ALL)],
            ephemeral: false,
            sequential: false,
            want_stat: false,
        };
        let command = Command {
            origin: Origin::default(),
            session: SessionId::NONE,
            attach: 0,
            auth: Vec::new(),
            deadline_ms: 0,
            trace: [0; 16],
            op: Op::Create(create),
        };
        let mut entry = EntryBuilder::new(1, 1);
        entry.push(&command);
        let mut machine = machine.borrow_mut();
        let index = machine.applied().index + 1;
        machine.apply(index, 1, &entry.finish()).unwrap();
    }

    fn written(machine: &RefCell<StateMachine<OverlayStore>>) -> Arc<dyn Database> {
        write_behind(|with| with(machine.borrow_mut().store_mut())).unwrap()
    }

    fn open(states: &MemoryStates) -> RefCell<StateMachine<OverlayStore>> {
        RefCell::new(StateMachine::open(states.open().unwrap()).unwrap())
    }

    fn names(machine: &RefCell<StateMachine<OverlayStore>>) -> Vec<String> {
        let machine = machine.borrow();
        let (digest, _) = machine.audit().unwrap();
        assert_eq!(digest, machine.applied().digest);
        let mut names = machine.store().children("/", None, 100).unwrap();
        names.retain(|name| name.len() == 1);
        names
    }

    #[test]
    fn a_crash_takes_what_was_not_persisted_but_for_whole_layers() {
        let db = MemoryDb::new(HistoryBounds::default(), MemoryFolders::default());
        let states = MemoryStates::new(db);
        let machine = open(&states);
        create(&machine, "/a");
        written(&machine).persist().unwrap();
        for path in ["/b", "/c"] {
            create(&machine, path);
            written(&machine);
        }
        create(&machine, "/d");
        assert_eq!(names(&machine), ["a", "b", "c", "d"]);
        let index = states.current().persisted().unwrap().unwrap().applied.index;
        assert_eq!((index, states.current().layers_behind()), (1, 2));
        states.crash(1);
        assert_eq!(names(&open(&states)), ["a", "b"]);
        states.crash(9);
        assert_eq!(names(&open(&states)), ["a", "b"]);
    }

    #[test]
    fn a_checkpoint_takes_the_place_of_the_state_and_survives() {
        let folders = MemoryFolders::default();
        let db = |folders: &MemoryFolders| MemoryDb::new(HistoryBounds::default(), folders.clone());
        let (from, to) = (
            MemoryStates::new(db(&folders)),
            MemoryStates::new(db(&folders)),
        );
        let machine = open(&from);
        create(&machine, "/a");
        let folder = Path::new("checkpoint-1");
        let meta = written(&machine).checkpoint(folder).unwrap();
        assert_eq!(meta.applied, machine.borrow().applied());
        to.install(folder).unwrap();
        assert!(to.install(folder).is_err(), "it is used up");
        to.crash(0);
        assert_eq!(names(&open(&to)), ["a"]);
    }
}
