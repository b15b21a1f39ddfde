//! Sessions open, change hands and end, by commands alone.
use super::apply::{Decided, Moment};
use super::outcome::{OpError, Reply, SessionChange, SessionGrant};
use super::write::Draft;
use super::{Failure, StateMachine};
use crate::mutants::{self, Mutant};
use crate::session::{Password, SessionId, SessionState};
use crate::storage::Store;
use crate::tree::digest::Part;

impl<S: Store> StateMachine<S> {
    /// Whether a command of this session may have an effect. Without a session it may; what needs one
    /// checks that itself.
    pub(super) fn admit(&self, session: SessionId, attach: u64) -> Result<(), OpError> {
        if session == SessionId::NONE {
            return Ok(());
        }
        let state = self
            .sessions
            .get(session)
            .ok_or(OpError::SessionExpired { session })?;
        if state.attach != attach && !mutants::is(Mutant::FormerAttachAccepted) {
            return Err(OpError::SessionMoved {
                session,
                carried: attach,
                found: state.attach,
            });
        }
        Ok(())
    }

    pub(super) fn open_session(
        &mut self,
        id: SessionId,
        timeout_ms: u32,
        password: Password,
    ) -> Result<Decided, OpError> {
        if id == SessionId::NONE {
            return Err(OpError::BadArguments(
                "session 0 stands for none, and cannot be opened".to_owned(),
            ));
        }
        if self.sessions.get(id).is_some() {
            return Err(OpError::BadArguments(format!(
                "session {id} is open already"
            )));
        }
        let grant = self.grant(
            id,
            SessionState {
                timeout_ms,
                password,
                attach: 1,
            },
        );
        Ok(granted(grant.clone(), SessionChange::Opened(grant)))
    }

    pub(super) fn attach_session(
        &mut self,
        id: SessionId,
        timeout_ms: u32,
        password: Password,
    ) -> Result<Decided, OpError> {
        // A wrong password is told apart from an expired session nowhere: ids can be guessed.
        let expired = OpError::SessionExpired { session: id };
        let former = self
            .sessions
            .get(id)
            .filter(|state| state.password == password)
            .ok_or(expired)?;
        let attach = former.attach + 1;
        let grant = self.grant(
            id,
            SessionState {
                timeout_ms,
                password,
                attach,
            },
        );
        Ok(granted(grant.clone(), SessionChange::Attached(grant)))
    }

    /// Closes or expires a session with all its ephemerals, if `attach` is still its number.
    pub(super) fn end_session(
        &mut self,
        now: Moment,
        id: SessionId,
        attach: u64,
        change: SessionChange,
    ) -> Result<Decided, Failure> {
        if id == SessionId::NONE {
            let message = "session 0 stands for none, and cannot be closed";
            return Err(OpError::BadArguments(message.to_owned()).into());
        }
        if !(mutants::is(Mutant::ExpiryOfAnyAttach) && change == SessionChange::Expired) {
            self.admit(id, attach)?;
        }
        let draft = Draft::new(&mut self.store, &mut self.meta, now, id, &[]);
        let mut draft = draft.because(&change);
        if !(mutants::is(Mutant::EphemeralsLeft) && change == SessionChange::Closed) {
            draft.delete_ephemerals()?;
        }
        let changes = draft.finish();
        if let Some(former) = self.sessions.remove(id) {
            self.meta.applied.digest.remove(session_part(id, &former));
        }
        self.store.put_session(id, None);
        Ok(Decided {
            reply: Reply::Done,
            session_change: Some(change),
            changes,
        })
    }

    fn grant(&mut self, id: SessionId, state: SessionState) -> SessionGrant {
        let digest = &mut self.meta.applied.digest;
        if let Some(former) = self.sessions.get(id) {
            digest.remove(session_part(id, former));
        }
        digest.add(session_part(id, &state));
        let SessionState {
            timeout_ms,
            password,
            attach,
        } = state;
        self.store.put_session(id, Some(state.clone()));
        self.sessions.put(id, state);
        SessionGrant {
            id,
            attach,
            timeout_ms,
            password,
        }
    }
}

fn granted(grant: SessionGrant, change: SessionChange) -> Decided {
    Decided {
        reply: Reply::Session(grant),
        session_change: Some(change),
        changes: Vec::new(),
    }
}

pub(super) fn session_part(id: SessionId, state: &SessionState) -> u64 {
    Part::new(3)
        .number(id.0 as u64)
        .number(state.timeout_ms.into())
        .bytes(&state.password)
        .number(state.attach)
        .end()
}
