//! All live sessions, in memory: they are few beside znodes, and every command looks one up.
use std::collections::HashMap;

use super::{SessionId, SessionState};

/// The live sessions by id. The store holds the same; `state_machine` changes both together.
#[derive(Debug, Default)]
pub struct SessionTable {
    sessions: HashMap<SessionId, SessionState>,
}

impl SessionTable {
    /// A table of these sessions, as read from a store.
    pub fn new(sessions: impl IntoIterator<Item = (SessionId, SessionState)>) -> SessionTable {
        SessionTable {
            sessions: sessions.into_iter().collect(),
        }
    }

    /// The session, if it lives.
    pub fn get(&self, id: SessionId) -> Option<&SessionState> {
        self.sessions.get(&id)
    }

    /// Adds or replaces a session.
    pub fn put(&mut self, id: SessionId, state: SessionState) {
        let former = self.sessions.insert(id, state);
        if let Some(former) = former {
            assert!(
                former.attach <= self.sessions[&id].attach,
                "session {id}: attach went back"
            );
        }
    }

    /// Ends a session.
    pub fn remove(&mut self, id: SessionId) -> Option<SessionState> {
        self.sessions.remove(&id)
    }

    /// Live sessions.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Every session, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, &SessionState)> {
        self.sessions.iter().map(|(id, state)| (*id, state))
    }
}
