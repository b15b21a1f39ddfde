//! The state that clients see, and everything that must move with it in one step: watches, the
//! connections that hold them, and who waits for which outcome.
//!
//! One lock covers all of it. It is held for one raft entry by `apply`, and for one connection's
//! reads; nothing under it waits for a disk, a socket or another lock but a connection's own.
//!
//! Invariant: when the lock is free, every event of every applied change has been queued, and every
//! connection whose session is known here holds it under its present attach number.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{broadcast, mpsc, watch};

use super::advance::schedule;
use super::connection::Core;
use super::waiters::{Waiter, Waiters};
use super::{Answer, ClientCounts, Closed, RequestError, Response, Work};
use crate::consensus::{Fatal, NotDone, Unanswered};
use crate::limits;
use crate::metrics::Metrics;
use crate::mutants::{self, Mutant};
use crate::session::SessionId;
use crate::spans::Spans;
use crate::state_machine::{
    Change, OpError, Outcome, Reply, SessionChange, SessionGrant, StateMachine,
};
use crate::storage::{Applied, Database, OverlayStore, StoreError, write_behind};
use crate::tree::Zxid;
use crate::watch::WatchTable;

/// The state machine over this node's store.
pub type State = StateMachine<OverlayStore>;

/// The changes of one transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct ChangeSet {
    /// The transaction.
    pub zxid: Zxid,
    /// In the order in which they happened; never empty.
    pub changes: Vec<Change>,
}

/// Called once, when this node cannot go on: says why and ends the process.
pub type OnFatal = Box<dyn Fn(&Fatal) + Send + Sync>;

/// See the module.
pub struct Published {
    shared: Mutex<Shared>,
    progress: watch::Sender<Applied>,
    work: mpsc::UnboundedSender<Work>,
    /// Until a front door takes it.
    untaken_work: Mutex<Option<mpsc::UnboundedReceiver<Work>>>,
    on_fatal: OnFatal,
    origin: (u64, u64),
    metrics: Arc<Metrics>,
    spans: Arc<Spans>,
}

/// What the lock covers.
pub(super) struct Shared {
    pub(super) state: State,
    pub(super) watches: WatchTable<u64>,
    /// By connection: those with a session.
    connections: HashMap<u64, Arc<Core>>,
    by_session: HashMap<SessionId, Arc<Core>>,
    waiters: Waiters,
    changes: broadcast::Sender<Arc<ChangeSet>>,
    /// Watches of [`Mutant::WatchArmedLater`].
    #[cfg(feature = "mutants")]
    pub(super) late: Vec<(u64, String, crate::watch::WatchKind)>,
    work: mpsc::UnboundedSender<Work>,
}

impl Published {
    /// Publishes `state`. Outcomes are this node's if their origin is `node` in its life `boot`.
    pub fn new(state: State, node: u64, boot: u64, on_fatal: OnFatal) -> Arc<Self> {
        Self::traced(state, (node, boot), on_fatal, Spans::default())
    }

    /// The same, telling of what is followed.
    pub fn traced(state: State, origin: (u64, u64), on_fatal: OnFatal, spans: Spans) -> Arc<Self> {
        let (work, untaken_work) = mpsc::unbounded_channel();
        let shared = Shared {
            watches: WatchTable::new(),
            connections: HashMap::new(),
            by_session: HashMap::new(),
            waiters: Waiters::default(),
            changes: broadcast::Sender::new(limits::CHANGES_KEPT),
            #[cfg(feature = "mutants")]
            late: Vec::new(),
            work: work.clone(),
            state,
        };
        Arc::new(Self {
            progress: watch::Sender::new(shared.state.applied()),
            shared: Mutex::new(shared),
            work,
            untaken_work: Mutex::new(Some(untaken_work)),
            on_fatal,
            origin,
            metrics: Arc::default(),
            spans: Arc::new(spans),
        })
    }

    /// What this node counts.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// What this node tells of writes that are followed.
    pub fn spans(&self) -> &Arc<Spans> {
        &self.spans
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock()
    }

    /// Moves what waits in memory into the database, which is returned. The lock is held for moments only.
    pub fn write_behind(&self) -> Result<Arc<dyn Database>, StoreError> {
        write_behind(|with| with(self.lock().state_mut().store_mut()))
    }

    /// How far this node has applied.
    pub fn progress(&self) -> watch::Receiver<Applied> {
        self.progress.subscribe()
    }

    pub(super) fn take_work(&self) -> mpsc::UnboundedReceiver<Work> {
        let untaken = self.untaken_work.lock().take();
        untaken.expect("one state has one front door")
    }

    /// Was this command submitted here, in this life?
    pub(super) fn is_own(&self, outcome: &Outcome) -> bool {
        (outcome.origin.node, outcome.origin.boot) == self.origin
    }

    /// One outcome of the entry that was just applied: events, then the session, then its answer.
    pub(super) fn publish(&self, shared: &mut Shared, outcome: Outcome) {
        let own = self.is_own(&outcome);
        let Outcome {
            origin,
            session,
            zxid,
            result,
            changes,
            session_change,
            trace: _,
            deadline_ms: _,
        } = outcome;
        self.metrics.applied(session_change.as_ref());
        let late = mutants::is(Mutant::EventAfterReply).then(|| changes.clone());
        if !changes.is_empty() {
            if late.is_none() {
                shared.fire(&changes);
            }
            // Without a subscriber there is nobody to tell.
            let _ = shared.changes.send(Arc::new(ChangeSet { zxid, changes }));
        }
        let waiter = own.then(|| shared.waiters.take(origin.request)).flatten();
        match waiter {
            Some(Waiter::Open(core, told)) => {
                let opened = shared.opened(&core, result);
                // The client may have gone meanwhile; its session then ends by its timeout.
                let _ = told.send(opened.map_err(RequestError::Op));
            }
            Some(Waiter::Request(core)) => {
                let result = result.map(Response::Written).map_err(RequestError::Op);
                if core.settle(origin.request, Answer { zxid, result }) {
                    schedule(&self.work, &core);
                }
            }
            None => {}
        }
        if let Some(changes) = late {
            shared.fire(&changes);
        }
        #[cfg(feature = "mutants")]
        for (connection, path, kind) in std::mem::take(&mut shared.late) {
            shared.watches.arm(connection, &path, kind);
        }
        match session_change {
            Some(SessionChange::Closed) => shared.end_session(session, Closed::BySession),
            Some(SessionChange::Expired) => shared.end_session(session, Closed::Expired),
            Some(SessionChange::Attached(grant)) => shared.let_go_of_former(&grant),
            Some(SessionChange::Opened(_)) | None => {}
        }
    }

    /// Tells everyone who waits for progress. After each batch of entries.
    pub(super) fn publish_progress(&self, shared: &Shared) {
        self.progress.send_replace(shared.state.applied());
    }

    /// The state cannot be read or written any more.
    pub(super) fn fatal(&self, fatal: &Fatal) {
        (self.on_fatal)(fatal);
    }
}

/// Consensus tells of commands without an outcome; it must not wait for the lock.
impl Unanswered for Published {
    fn not_done(&self, requests: &[u64], why: NotDone) {
        // The receiver ends with the front door; then nobody waits.
        let _ = self.work.send(Work::NotDone(requests.to_vec(), why));
    }

    fn unknown(&self, requests: &[u64]) {
        let _ = self.work.send(Work::Unknown(requests.to_vec()));
    }

    fn fatal(&self, fatal: &Fatal) {
        Published::fatal(self, fatal);
    }
}

impl Shared {
    pub(super) fn state(&self) -> &State {
        &self.state
    }

    pub(super) fn state_mut(&mut self) -> &mut State {
        &mut self.state
    }

    pub(super) fn zxid(&self) -> Zxid {
        self.state.applied().zxid
    }

    pub(super) fn changes(&self) -> broadcast::Receiver<Arc<ChangeSet>> {
        self.changes.subscribe()
    }

    /// Puts another state in the place of this one, and returns the former. Whoever watched it has
    /// missed the changes in between: connections close, subscriptions end.
    pub(super) fn replace(&mut self, state: State) -> State {
        self.close_all(Closed::StateReplaced);
        self.changes = broadcast::Sender::new(limits::CHANGES_KEPT);
        std::mem::replace(&mut self.state, state)
    }

    pub(super) fn client_counts(&self) -> ClientCounts {
        ClientCounts {
            connections: self.connections.len(),
            watching: self.watches.connection_count(),
            watched_paths: self.watches.path_count(),
            watches: self.watches.len(),
            outstanding: self.waiters.len(),
        }
    }

    pub(super) fn wait(&mut self, request: u64, waiter: Waiter) {
        self.waiters.insert(request, waiter);
    }

    pub(super) fn forget(&mut self, requests: &[u64]) {
        for request in requests {
            self.waiters.take(*request);
        }
    }

    fn fire(&mut self, changes: &[Change]) {
        if mutants::is(Mutant::WatchDropped) && mutants::one_in(20) {
            return;
        }
        for (connection, event) in self.watches.trigger(changes) {
            if let Some(core) = self.connections.get(&connection) {
                core.tell(event);
            }
        }
    }

    /// A connection's own session was opened or attached, or was not.
    fn opened(
        &mut self,
        core: &Arc<Core>,
        result: Result<Reply, OpError>,
    ) -> Result<SessionGrant, OpError> {
        let grant = match result? {
            Reply::Session(grant) => grant,
            other => unreachable!("opening a session was answered with {other:?}"),
        };
        if core.go_live(&grant) {
            let former = self.by_session.insert(grant.id, Arc::clone(core));
            self.connections.insert(core.id, Arc::clone(core));
            if let Some(former) = former {
                self.close(&former, Some(Closed::Moved));
            }
        }
        Ok(grant)
    }

    /// The session was attached, here or elsewhere: whoever holds it with a lower number lets go.
    fn let_go_of_former(&mut self, grant: &SessionGrant) {
        let Some(core) = self.by_session.get(&grant.id).map(Arc::clone) else {
            return;
        };
        if core.attach().is_none_or(|attach| attach < grant.attach) {
            self.close(&core, Some(Closed::Moved));
        }
    }

    fn end_session(&mut self, session: SessionId, why: Closed) {
        if let Some(core) = self.by_session.get(&session).map(Arc::clone) {
            self.close(&core, Some(why));
        }
    }

    /// Ends a connection, and forgets what it watched and waited for.
    pub(super) fn close(&mut self, core: &Arc<Core>, why: Option<Closed>) {
        let (session, forgotten) = core.close(self.zxid(), why);
        self.forget(&forgotten);
        self.watches.drop_connection(core.id);
        self.connections.remove(&core.id);
        if let Some(session) = session
            && self
                .by_session
                .get(&session)
                .is_some_and(|holder| Arc::ptr_eq(holder, core))
        {
            self.by_session.remove(&session);
        }
    }

    /// Ends every connection with a session.
    pub(super) fn close_all(&mut self, why: Closed) {
        let all: Vec<Arc<Core>> = self.connections.values().map(Arc::clone).collect();
        if !all.is_empty() {
            tracing::info!(
                ?why,
                connections = all.len(),
                "closes every client's connection"
            );
        }
        for core in all {
            self.close(&core, Some(why));
        }
    }

    /// These requests will have no outcome here.
    pub(super) fn settle_all(&mut self, requests: &[u64], error: &RequestError) {
        let mut broken = Vec::new();
        for request in requests {
            match self.waiters.take(*request) {
                None => {}
                Some(Waiter::Open(_, told)) => {
                    // The client may have gone meanwhile.
                    let _ = told.send(Err(error.clone()));
                }
                Some(Waiter::Request(core)) => {
                    let answer = Answer {
                        zxid: self.zxid(),
                        result: Err(error.clone()),
                    };
                    if core.settle(*request, answer) {
                        schedule(&self.work, &core);
                    }
                    if *error == RequestError::OutcomeUnknown {
                        self.close(&core, Some(Closed::OutcomeUnknown));
                    } else if error.is_passing() && core.sink.writes_in_order_or_not_at_all() {
                        broken.push(core);
                    }
                }
            }
        }
        for core in broken {
            self.close(&core, Some(Closed::NotDone));
        }
    }
}
