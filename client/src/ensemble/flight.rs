//! Requests on their way on one connection.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use zweig_proto::grpc::session_request::Request;

use super::connection::{Connection, MAX_IN_FLIGHT};
use super::session::Ask;
use crate::clock;

/// What was sent and not answered.
pub(super) struct Sent {
    pub(super) at: Instant,
    pub(super) at_boot_time: Duration,
    /// `None`: a ping.
    pub(super) ask: Option<Ask>,
}

/// Requests on their way on one connection, by id.
#[derive(Default)]
pub(super) struct Flight {
    pub(super) sent: BTreeMap<u64, Sent>,
    /// Answered "moved": to be asked again.
    pub(super) returned: BTreeMap<u64, Ask>,
    pub(super) moved: bool,
}

impl Flight {
    pub(super) fn has_room(&self) -> bool {
        !self.moved && self.sent.len() < MAX_IN_FLIGHT
    }

    /// `false` if the connection is broken; what was asked then counts as sent.
    pub(super) fn send(
        &mut self,
        connection: &Connection,
        next_id: &mut u64,
        request: Request,
        ask: Option<Ask>,
    ) -> bool {
        let id = *next_id;
        *next_id += 1;
        let trace = ask.as_ref().and_then(|ask| ask.trace.clone());
        let sent = Sent {
            at: clock::now(),
            at_boot_time: clock::boot_time(),
            ask,
        };
        self.sent.insert(id, sent);
        connection.send(id, request, trace)
    }
}
