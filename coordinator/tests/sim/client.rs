//! The clients of one node: one session, writes through it, and what they were told.

use zweig_coordinator::session::SessionId;
use zweig_coordinator::session::report::Heard;
use zweig_coordinator::state_machine::{Command, Create, Op, OpError, Origin, Outcome, Reply};
use zweig_coordinator::tree::Acl;

use crate::chance::Chance;

pub const SESSION_TIMEOUT_MS: u32 = 2_000;

/// A session as its client knows it.
#[derive(Clone, Copy)]
pub struct Known {
    pub id: SessionId,
    pub attach: u64,
    /// When the client heard of it.
    pub since_ms: u64,
    /// The entry that opened it.
    pub opened_index: u64,
}

pub struct Client {
    node: u64,
    boot: u64,
    next_request: u64,
    next_session: i64,
    pub session: Option<Known>,
    /// The request that opens one.
    opening: Option<u64>,
}

impl Client {
    pub fn new(node: u64, boot: u64) -> Self {
        Self {
            node,
            boot,
            next_request: 1,
            next_session: 1,
            session: None,
            opening: None,
        }
    }

    pub fn heard(&self) -> Heard {
        self.session
            .iter()
            .map(|known| (known.id, known.attach))
            .collect()
    }

    /// The next commands, in order.
    pub fn commands(&mut self, chance: &mut Chance, wall_ms: i64) -> Vec<Command> {
        let Some(known) = self.session else {
            if self.opening.is_some() {
                return Vec::new();
            }
            let id = ((self.node << 56 | self.boot << 24) as i64) + self.next_session;
            self.next_session += 1;
            let op = Op::OpenSession {
                timeout_ms: SESSION_TIMEOUT_MS,
                password: [7; 16],
            };
            let command = self.command(SessionId(id), 0, 0, op);
            self.opening = Some(command.origin.request);
            return vec![command];
        };
        let mut commands = Vec::new();
        for _ in 0..1 + chance.below(4) {
            let path = format!("/n{}", chance.below(20));
            let data = Some(vec![0; chance.below(200) as usize].into());
            let op = match chance.below(4) {
                0 => Op::Delete { path, version: -1 },
                1 => Op::SetData {
                    path,
                    data,
                    version: -1,
                },
                2 => Op::Sync,
                _ => Op::Create(Create {
                    path,
                    data,
                    acl: vec![Acl::anyone(31)],
                    ephemeral: chance.once_in(2),
                    sequential: false,
                    want_stat: false,
                }),
            };
            let deadline_ms = if chance.once_in(3) { wall_ms + 500 } else { 0 };
            commands.push(self.command(known.id, known.attach, deadline_ms, op));
        }
        commands
    }

    fn command(&mut self, session: SessionId, attach: u64, deadline_ms: i64, op: Op) -> Command {
        let request = self.next_request;
        self.next_request += 1;
        let origin = Origin {
            node: self.node,
            boot: self.boot,
            request,
        };
        Command {
            origin,
            session,
            attach,
            auth: Vec::new(),
            deadline_ms,
            trace: [0; 16],
            op,
        }
    }

    pub fn answered(&mut self, outcome: &Outcome, now_ms: u64, index: u64) {
        match &outcome.result {
            Ok(Reply::Session(grant)) => {
                self.opening = None;
                self.session = Some(Known {
                    id: grant.id,
                    attach: grant.attach,
                    since_ms: now_ms,
                    opened_index: index,
                });
            }
            Err(OpError::SessionExpired { session }) => self.expired(*session),
            _ => {}
        }
    }

    pub fn expired(&mut self, session: SessionId) {
        self.session.take_if(|known| known.id == session);
    }

    /// Certainly not done, or unknown.
    pub fn unanswered(&mut self, request: u64) {
        self.opening.take_if(|opening| *opening == request);
    }

    /// A checkpoint was installed: the client connects anew.
    pub fn lose_session(&mut self) {
        self.session = None;
        self.opening = None;
    }
}
