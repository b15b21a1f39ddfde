//! What consensus drives: entries into the state machine, outcomes to clients, whole states in and
//! out.

use std::path::Path;
use std::sync::Arc;

use zweig_monitoring::trace::now;

use super::flush::FlushedIndex;
use super::published::Published;
use super::together::Together;
use crate::consensus::{
    Applier, CheckpointMark, Committed, CommittedData, Fatal, Feedback, LiveSession, Position,
    SessionUpdate,
};
use crate::session::SessionId;
use crate::spans::Followed;
use crate::state_machine::{Outcome, SessionChange, StateMachine};
use crate::storage::{Meta, States, Store};

/// The apply thread's handle on the published state.
pub struct PublishedApplier {
    published: Arc<Published>,
    states: Box<dyn States>,
    flushed: FlushedIndex,
}

impl PublishedApplier {
    /// Drives `published`, whose state is kept in `states` and is on the disk up to `flushed`.
    pub fn new(
        published: Arc<Published>,
        states: impl States + 'static,
        flushed: FlushedIndex,
    ) -> Self {
        Self {
            published,
            states: Box::new(states),
            flushed,
        }
    }

    fn apply_one(&self, entry: Committed, feedback: &mut Feedback) -> Result<(), Fatal> {
        let spans = self.published.spans();
        let begun = spans.is_on().then(now);
        let mut followed = Vec::new();
        let _together = Together::begin();
        let mut shared = self.published.lock();
        let outcomes = match entry.data {
            CommittedData::Normal(data) => shared.state_mut().apply(entry.index, entry.term, &data),
            CommittedData::Conf(conf_state) => shared
                .state_mut()
                .apply_conf(entry.index, entry.term, &conf_state)
                .map(|()| Vec::new()),
        };
        for outcome in outcomes.map_err(|error| Fatal::new(chain(&error)))? {
            if self.published.is_own(&outcome) {
                feedback.own.push(outcome.origin.request);
            }
            feedback.sessions.extend(session_update(&outcome));
            if begun.is_some() {
                followed.extend(Followed::of(&outcome));
            }
            self.published.publish(&mut shared, outcome);
        }
        feedback.digests.push(shared.state().applied().digest.0);
        self.published.publish_progress(&shared);
        drop(shared);
        if let Some(begun) = begun {
            spans.applied(&followed, (entry.index, entry.term), begun);
        }
        Ok(())
    }
}

/// An error with its causes, as one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn session_update(outcome: &Outcome) -> Option<SessionUpdate> {
    match outcome.session_change.as_ref()? {
        SessionChange::Opened(grant) | SessionChange::Attached(grant) => {
            Some(SessionUpdate::Live(LiveSession {
                session: grant.id,
                attach: grant.attach,
                timeout_ms: grant.timeout_ms,
            }))
        }
        SessionChange::Closed | SessionChange::Expired => {
            Some(SessionUpdate::Gone(outcome.session))
        }
    }
}

impl Applier for PublishedApplier {
    fn applied(&self) -> Position {
        let applied = self.published.lock().state().applied();
        Position {
            index: applied.index,
            term: applied.term,
        }
    }

    fn conf_state(&self) -> Option<Vec<u8>> {
        let conf_state = self.published.lock().state().conf_state();
        conf_state.map(|conf_state| conf_state.to_vec())
    }

    fn apply(&mut self, entries: Vec<Committed>) -> Result<Feedback, Fatal> {
        let mut feedback = Feedback::default();
        for entry in entries {
            self.apply_one(entry, &mut feedback)?;
        }
        Ok(feedback)
    }

    fn digest(&self) -> u64 {
        self.published.lock().state().applied().digest.0
    }

    fn sessions(&self) -> Vec<LiveSession> {
        let shared = self.published.lock();
        let live = |(session, state): (SessionId, &crate::session::SessionState)| LiveSession {
            session,
            attach: state.attach,
            timeout_ms: state.timeout_ms,
        };
        shared.state().sessions().map(live).collect()
    }

    fn flushed_index(&self) -> u64 {
        self.flushed.get()
    }

    fn checkpoint(&mut self, folder: &Path) -> Result<CheckpointMark, Fatal> {
        let write = || {
            let written = self.published.write_behind();
            written.map_err(|error| Fatal::new(chain(&error)))
        };
        // The first may only finish a batch that was frozen before the last entries.
        write()?;
        let db = write()?;
        let meta = db
            .checkpoint(folder)
            .map_err(|error| Fatal::new(chain(&error)))?;
        Ok(mark(&meta))
    }

    /// Clients' connections close: the changes in between were never seen here, so their watches
    /// could not fire. They arm them again when they reconnect, and hear what they missed.
    fn install(&mut self, folder: &Path) -> Result<CheckpointMark, Fatal> {
        let store = self
            .states
            .install(folder)
            .map_err(|error| Fatal::new(chain(&error)))?;
        let state = StateMachine::open(store).map_err(|error| Fatal::new(chain(&error)))?;
        let meta = state.store().meta().cloned().unwrap_or_default();
        let former = {
            let mut shared = self.published.lock();
            let former = shared.replace(state);
            self.flushed.set(meta.applied.index);
            self.published.publish_progress(&shared);
            former
        };
        // Its database closes where no lock is held.
        drop(former);
        Ok(mark(&meta))
    }
}

fn mark(meta: &Meta) -> CheckpointMark {
    CheckpointMark {
        at: Position {
            index: meta.applied.index,
            term: meta.applied.term,
        },
        conf_state: meta
            .conf_state
            .as_ref()
            .map_or_else(Vec::new, |conf| conf.to_vec()),
    }
}
