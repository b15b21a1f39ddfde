//! An ephemeral lives exactly as long as its session: it is made by a session that lives, and is gone in the very
//! transaction in which that ends.

use std::collections::{BTreeMap, BTreeSet};

use zweig_coordinator::state_machine::{ChangeKind, Outcome, SessionChange};

#[derive(Debug, Default)]
pub struct Ephemerals {
    living: BTreeMap<i64, BTreeSet<String>>,
}

impl Ephemerals {
    /// The next outcome, in the order of the log.
    pub fn see(&mut self, outcome: &Outcome) {
        if let Some(SessionChange::Opened(grant)) = &outcome.session_change {
            self.living.insert(grant.id.0, BTreeSet::new());
        }
        for change in outcome.changes.iter().filter(|c| c.node.is_ephemeral()) {
            let (owner, path) = (change.node.ephemeral_owner.0, &*change.path);
            let Some(owned) = self.living.get_mut(&owner) else {
                panic!("{path} is of session {owner:#x}, which does not live");
            };
            match change.kind {
                ChangeKind::Created => assert!(owned.insert(path.to_owned()), "{path} twice"),
                ChangeKind::Deleted => assert!(owned.remove(path), "{path} was not there"),
                ChangeKind::Data | ChangeKind::Acl => {}
            }
        }
        if let Some(SessionChange::Closed | SessionChange::Expired) = &outcome.session_change {
            let session = outcome.session.0;
            let left = self.living.remove(&session);
            let left = left.unwrap_or_else(|| panic!("session {session:#x} ends twice"));
            assert!(
                left.is_empty(),
                "session {session:#x} has ended, {left:?} is left of it"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use zweig_coordinator::state_machine::{Op, StateMachine};
    use zweig_coordinator::storage::MemoryStore;

    use super::*;
    use crate::checks::samples::{create, entry, of, open};
    use zweig_coordinator::consensus::CommittedData;

    fn outcomes() -> Vec<Outcome> {
        let mut machine = StateMachine::open(MemoryStore::default()).unwrap();
        let Op::Create(mut node) = create("/e") else {
            unreachable!()
        };
        node.ephemeral = true;
        let commands = vec![
            open(7),
            of(7, 1, Op::Create(node)),
            of(7, 1, Op::CloseSession),
        ];
        let CommittedData::Normal(data) = entry(1, commands).data else {
            unreachable!()
        };
        machine.apply(1, 1, &data).unwrap()
    }

    #[test]
    fn what_ends_with_its_session_is_right() {
        let mut seen = Ephemerals::default();
        outcomes().iter().for_each(|outcome| seen.see(outcome));
        assert!(seen.living.is_empty());
    }

    #[test]
    #[should_panic(expected = "is left of it")]
    fn what_outlives_its_session_is_found() {
        let mut outcomes = outcomes();
        outcomes[2].changes.clear();
        let mut seen = Ephemerals::default();
        outcomes.iter().for_each(|outcome| seen.see(outcome));
    }

    #[test]
    #[should_panic(expected = "does not live")]
    fn what_comes_behind_its_session_is_found() {
        let mut outcomes = outcomes();
        outcomes[2].changes.clear();
        outcomes.remove(0);
        let mut seen = Ephemerals::default();
        outcomes.iter().for_each(|outcome| seen.see(outcome));
    }
}
