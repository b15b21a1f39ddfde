//! Who waits for which outcome. Entries are keyed by the request's number, which is unique within
//! this boot; outcomes of another boot or node never get here.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::RequestError;
use super::connection::Core;
use crate::state_machine::SessionGrant;

/// What opening or attaching a session came to.
pub(super) type Opened = Result<SessionGrant, RequestError>;

/// One who waits.
pub(super) enum Waiter {
    /// A request in a connection's queue.
    Request(Arc<Core>),
    /// A connection that opens or attaches its session.
    Open(Arc<Core>, oneshot::Sender<Opened>),
}

/// All who wait.
#[derive(Default)]
pub(super) struct Waiters {
    by_request: HashMap<u64, Waiter>,
}

impl Waiters {
    /// `request` is about to be submitted.
    pub fn insert(&mut self, request: u64, waiter: Waiter) {
        let former = self.by_request.insert(request, waiter);
        assert!(former.is_none(), "request {request} waits twice");
    }

    /// `request` has its outcome, or will never have one.
    pub fn take(&mut self, request: u64) -> Option<Waiter> {
        self.by_request.remove(&request)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.by_request.len()
    }
}
