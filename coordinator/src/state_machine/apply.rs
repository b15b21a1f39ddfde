//! One committed entry: its commands in order, each with its outcome.
//!
//! Zxids: every command but `sync` takes the next one, also when it fails, as in ZooKeeper. So each
//! write's answer has a zxid of its own, zxids grow strictly in the order of commands, and a zxid
//! without changes is a command that failed or concerned a session. `sync` answers with the last one.
//!
//! An entry whose own term is not the term under which raft stored it was built by a leader that no
//! longer was one, and is ignored whole: its commands' origins forward them again.
use bytes::Bytes;

use super::command::{Command, Entry, Op};
use super::outcome::{Change, Outcome, Reply, SessionChange};
use super::write::Draft;
use super::{Failure, StateMachine};
use crate::mutants::{self, Mutant};
use crate::octets::DecodeError;
use crate::storage::{ReplicatedLimits, Store, StoreError};
use crate::tree::Zxid;
use crate::tree::digest::Part;

/// Why an entry could not be applied. The state in memory may be half-way: the node must stop, and
/// begin again from what its store has.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// An entry is missing before this one.
    #[error("entry {index} follows on applied entry {applied}")]
    Gap {
        /// The entry handed over.
        index: u64,
        /// The last applied one.
        applied: u64,
    },
    /// The entry cannot be read; a newer version may have written it.
    #[error("entry {index} cannot be read")]
    Unreadable {
        /// Which.
        index: u64,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// When a command is decided: its transaction, and the leader's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub zxid: Zxid,
    pub time_ms: i64,
}

/// What came of a command that was done.
#[derive(Debug)]
pub(super) struct Decided {
    pub reply: Reply,
    pub session_change: Option<SessionChange>,
    pub changes: Vec<Change>,
}

impl<S: Store> StateMachine<S> {
    /// Applies one entry. Empty data is a new leader's first entry. An entry that was applied before
    /// has no effect and no outcomes. Outcomes come in the order of commands.
    pub fn apply(
        &mut self,
        index: u64,
        term: u64,
        data: &Bytes,
    ) -> Result<Vec<Outcome>, ApplyError> {
        if !self.advance(index, term)? {
            return Ok(Vec::new());
        }
        let mut outcomes = Vec::new();
        if !data.is_empty() {
            let entry = Entry::decode(data.clone())
                .map_err(|source| ApplyError::Unreadable { index, source })?;
            if entry.term == term || mutants::is(Mutant::FormerBatchProposed) {
                outcomes.reserve_exact(entry.commands.len());
                // A leader that began from a checkpoint may not know how late it is already.
                let mut time_ms = self.meta.time_ms.max(entry.time_ms);
                if mutants::is(Mutant::ApplyByNode) {
                    time_ms += i64::from(mutants::one_in(50));
                }
                self.meta.time_ms = time_ms;
                for command in entry.commands {
                    outcomes.push(self.apply_command(time_ms, command)?);
                }
            }
        }
        self.store.commit(self.meta.clone());
        Ok(outcomes)
    }

    /// Takes in a change of raft's membership, `conf_state` as consensus encodes it.
    pub fn apply_conf(
        &mut self,
        index: u64,
        term: u64,
        conf_state: &[u8],
    ) -> Result<(), ApplyError> {
        if self.advance(index, term)? {
            self.meta.conf_state = Some(Bytes::copy_from_slice(conf_state));
            self.store.commit(self.meta.clone());
        }
        Ok(())
    }

    /// Sets where a state without entries begins: at the first start of an ensemble.
    pub fn set_initial_conf(&mut self, conf_state: &[u8]) {
        assert_eq!(
            self.meta.applied.index, 0,
            "the initial membership comes before the first entry"
        );
        self.meta.conf_state = Some(Bytes::copy_from_slice(conf_state));
        self.store.commit(self.meta.clone());
    }

    /// Whether the entry is the next one; it counts as applied from here on.
    fn advance(&mut self, index: u64, term: u64) -> Result<bool, ApplyError> {
        let applied = &mut self.meta.applied;
        if index <= applied.index {
            return Ok(false);
        }
        if index != applied.index + 1 {
            return Err(ApplyError::Gap {
                index,
                applied: applied.index,
            });
        }
        assert!(
            term >= applied.term,
            "entry {index}: term {term} after term {}",
            applied.term
        );
        (applied.index, applied.term) = (index, term);
        Ok(true)
    }

    fn apply_command(&mut self, time_ms: i64, command: Command) -> Result<Outcome, StoreError> {
        if command.op != Op::Sync {
            self.meta.applied.zxid = self.meta.applied.zxid.next();
        }
        let zxid = self.meta.applied.zxid;
        let (origin, session) = (command.origin, command.session);
        let (trace, deadline_ms) = (command.trace, command.deadline_ms);
        let (result, decided) = match self.decide(Moment { zxid, time_ms }, command) {
            Ok(decided) => (Ok(decided.reply), (decided.session_change, decided.changes)),
            Err(Failure::Op(error)) => {
                if mutants::is(Mutant::FailureWithoutZxid) && zxid.0 > 1 {
                    self.meta.applied.zxid = Zxid(zxid.0 - 1);
                }
                (Err(error), (None, Vec::new()))
            }
            Err(Failure::Store(error)) => return Err(error),
        };
        let (session_change, changes) = decided;
        Ok(Outcome {
            origin,
            trace,
            deadline_ms,
            session,
            zxid,
            result,
            changes,
            session_change,
        })
    }

    /// The match over commands.
    fn decide(&mut self, now: Moment, command: Command) -> Result<Decided, Failure> {
        let Command {
            session,
            attach,
            auth,
            op,
            ..
        } = command;
        match op {
            Op::OpenSession {
                timeout_ms,
                password,
            } => Ok(self.open_session(session, timeout_ms, password)?),
            Op::AttachSession {
                timeout_ms,
                password,
            } => Ok(self.attach_session(session, timeout_ms, password)?),
            Op::CloseSession => self.end_session(now, session, attach, SessionChange::Closed),
            Op::ExpireSession => self.end_session(now, session, attach, SessionChange::Expired),
            op => {
                self.admit(session, attach)?;
                let mut draft = Draft::new(&mut self.store, &mut self.meta, now, session, &auth);
                let reply = write(&mut draft, op)?;
                Ok(Decided {
                    reply,
                    session_change: None,
                    changes: draft.finish(),
                })
            }
        }
    }
}

/// The match over commands that write znodes.
fn write<S: Store>(draft: &mut Draft<'_, S>, op: Op) -> Result<Reply, Failure> {
    match op {
        Op::Multi(ops) => Ok(Reply::Multi(draft.group(ops)?)),
        Op::FencedBatch {
            fence_path,
            fence_version,
            groups,
        } => draft.fenced_batch(fence_path, fence_version, groups),
        Op::Sync => Ok(Reply::Done),
        Op::DeleteContainer { path } => draft.delete_container(path),
        Op::SetLimits { max_data_bytes } => {
            Ok(draft.set_limits(ReplicatedLimits { max_data_bytes }))
        }
        op => draft.perform(op),
    }
}

/// The digest's part for the replicated settings.
pub(super) fn limits_part(limits: ReplicatedLimits) -> u64 {
    Part::new(4).number(limits.max_data_bytes.into()).end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::SessionId;
    use crate::state_machine::{Create, Origin};
    use crate::storage::MemoryStore;
    use crate::tree::Acl;

    fn create(path: &str, time_ms: i64) -> Bytes {
        let create = Create {
            path: path.to_owned(),
            data: None,
            acl: vec![Acl::anyone(31)],
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
        let commands = vec![command];
        Entry {
            term: 1,
            time_ms,
            commands,
        }
        .encode()
    }

    /// As on a leader that has nothing but an installed checkpoint.
    #[test]
    fn time_does_not_go_back_behind_a_checkpoint() {
        let mut machine = StateMachine::open(MemoryStore::default()).unwrap();
        machine.apply(1, 1, &create("/a", 5_000)).unwrap();
        let mut installed = StateMachine::open(machine.store().clone()).unwrap();
        installed.apply(2, 1, &create("/b", 4_000)).unwrap();
        installed.apply(3, 1, &create("/c", 6_000)).unwrap();
        let born = |path| installed.exists(path, &[]).unwrap().unwrap().ctime_ms;
        assert_eq!((born("/b"), born("/c")), (5_000, 6_000));
        // Whoever did not begin anew agrees.
        machine.apply(2, 1, &create("/b", 4_000)).unwrap();
        machine.apply(3, 1, &create("/c", 6_000)).unwrap();
        assert_eq!(machine.applied(), installed.applied());
    }
}
