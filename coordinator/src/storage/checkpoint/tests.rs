//! Made, carried over, verified, installed; and every way in which it may be damaged.
use super::*;
use crate::session::SessionId;
use crate::state_machine::command::{Command, Create, Op, Origin};
use crate::state_machine::{EntryBuilder, StateMachine};
use crate::storage::{Store, write_behind};
use crate::tree::{Acl, acl};

fn apply(machine: &mut StateMachine<OverlayStore>, path: &str) {
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
        auth: vec![],
        deadline_ms: 0,
        trace: [0; 16],
        op: Op::Create(create),
    };
    let mut entry = EntryBuilder::new(1, 1);
    entry.push(&command);
    let outcomes = machine
        .apply(machine.applied().index + 1, 1, &entry.finish())
        .unwrap();
    assert!(outcomes[0].result.is_ok(), "{outcomes:?}");
}

struct Node {
    _temp: tempfile::TempDir,
    base: PathBuf,
    folder: StateFolder,
}

impl Node {
    fn new() -> Node {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path().join("version-2");
        let folder = StateFolder::new(&base, HistoryBounds::default()).unwrap();
        Node {
            _temp: temp,
            base,
            folder,
        }
    }

    fn open(&self) -> StateMachine<OverlayStore> {
        StateMachine::open(self.folder.open().unwrap()).unwrap()
    }

    /// A checkpoint of a state with one znode, lying beside this node's state.
    fn checkpoint(&self) -> (PathBuf, Meta) {
        let other = Node::new();
        let mut machine = other.open();
        machine.apply_conf(1, 1, b"voters").unwrap();
        apply(&mut machine, "/from-the-leader");
        let machine = std::cell::RefCell::new(machine);
        let db = write_behind(|with| with(machine.borrow_mut().store_mut())).unwrap();
        let folder = self.base.join("aside");
        let meta = db.checkpoint(&folder).unwrap();
        assert_eq!(Some(&meta), machine.borrow().store().meta());
        (folder, meta)
    }
}

#[test]
fn an_installed_checkpoint_replaces_the_state_for_good() {
    let node = Node::new();
    let mut former = node.open();
    apply(&mut former, "/former");
    let (folder, meta) = node.checkpoint();
    assert_eq!(
        (meta.applied.index, meta.conf_state.as_deref()),
        (2, Some(&b"voters"[..]))
    );
    let installed = StateMachine::open(node.folder.install(&folder).unwrap()).unwrap();
    assert_eq!(installed.applied(), meta.applied);
    drop((installed, former));
    for _ in 0..2 {
        let again = node.open();
        assert_eq!(
            (again.applied(), again.conf_state()),
            (meta.applied, meta.conf_state.clone())
        );
        assert!(
            again.exists("/from-the-leader", &[]).unwrap().is_some()
                && again.exists("/former", &[]).unwrap().is_none()
        );
        assert_eq!(
            names_in(&node.base).unwrap(),
            ["state-2"],
            "what came before is removed"
        );
    }
}

#[test]
fn a_checkpoint_does_not_move_on_with_its_state() {
    let node = Node::new();
    let machine = std::cell::RefCell::new(node.open());
    apply(&mut machine.borrow_mut(), "/a");
    let db = write_behind(|with| with(machine.borrow_mut().store_mut())).unwrap();
    let folder = node.base.join("aside");
    let meta = db.checkpoint(&folder).unwrap();
    apply(&mut machine.borrow_mut(), "/b");
    write_behind(|with| with(machine.borrow_mut().store_mut()))
        .unwrap()
        .persist()
        .unwrap();
    verify(&folder).unwrap();
    assert_eq!(contents(&folder).unwrap(), meta);
}

#[test]
fn a_damaged_checkpoint_is_refused_and_the_state_stays() {
    let damage: [fn(&Path); 5] = [
        |folder| fs::remove_file(folder.join(CHECKSUMS)).unwrap(),
        |folder| fs::write(folder.join(CHECKSUMS), "zweig checkpoint 9\n").unwrap(),
        |folder| fs::write(folder.join("beside"), "x").unwrap(),
        |folder| fs::remove_file(folder.join("CURRENT")).unwrap(),
        |folder| {
            let name = files_of(folder)
                .unwrap()
                .into_iter()
                .find(|name| name.ends_with(".sst"))
                .unwrap();
            let mut bytes = fs::read(folder.join(&name)).unwrap();
            bytes[7] ^= 1;
            fs::remove_file(folder.join(&name)).unwrap();
            fs::write(folder.join(&name), bytes).unwrap();
        },
    ];
    for (case, damage) in damage.into_iter().enumerate() {
        let node = Node::new();
        drop(node.open());
        let (folder, _) = node.checkpoint();
        damage(&folder);
        assert!(node.folder.install(&folder).is_err(), "case {case}");
        assert!(
            node.open()
                .exists("/from-the-leader", &[])
                .unwrap()
                .is_none()
        );
    }
}

#[test]
fn an_entry_that_comes_after_the_checkpoint_goes_on_from_it() {
    let node = Node::new();
    let (folder, meta) = node.checkpoint();
    let mut machine = StateMachine::open(node.folder.install(&folder).unwrap()).unwrap();
    apply(&mut machine, "/from-the-leader/more");
    assert_eq!(machine.applied().zxid, meta.applied.zxid.next());
}
