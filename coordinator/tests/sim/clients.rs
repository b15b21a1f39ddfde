//! The clients of one member, and what they were told. What a member calls of them is all that it knows of them:
//!
//! - `act`: they do something, which becomes inputs of the node;
//! - `outcome`, `not_done`, `unknown`, `read`, `read_failed`: answers;
//! - `heard`: the sessions heard from, for the next report; `time`: deadlines;
//! - `state_replaced`: a checkpoint was installed, connections close.
//!
//! Here: one session, writes and read indexes through it.

use std::collections::HashMap;

use zweig_coordinator::consensus::NotDone;
use zweig_coordinator::consensus::node::{NodeInput, Now};
use zweig_coordinator::session::SessionId;
use zweig_coordinator::session::report::Heard;
use zweig_coordinator::state_machine::{
    Command, Create, Op, OpError, Origin, Outcome, Reply, SessionChange,
};
use zweig_coordinator::tree::Acl;

use crate::env::Env;

pub const SESSION_TIMEOUT_MS: u32 = 2_000;
/// Commands without an answer, at most.
const IN_FLIGHT: usize = 60;

/// A session as its client knows it.
#[derive(Clone, Copy)]
pub struct Known {
    pub id: SessionId,
    pub attach: u64,
    /// When the client heard of it, by its member's clock.
    pub since_ms: u64,
}

pub struct Clients {
    member: u64,
    boot: u64,
    next_request: u64,
    next_session: i64,
    pub session: Option<Known>,
    /// Whose end its client has heard of since this was looked at.
    pub ended: Option<Known>,
    /// The request that opens one.
    opening: Option<u64>,
    /// Readers: the lowest index that would be right.
    readers: HashMap<u64, u64>,
    next_reader: u64,
    /// Writes that were done here since it was looked at.
    pub done: u64,
    now: Now,
}

impl Clients {
    pub fn new(member: u64, boot: u64) -> Self {
        Self {
            member,
            boot,
            next_request: 1,
            next_session: 1,
            session: None,
            ended: None,
            opening: None,
            readers: HashMap::new(),
            next_reader: 0,
            done: 0,
            now: Now::default(),
        }
    }

    /// Sessions heard from since the last report.
    pub fn heard(&mut self) -> Heard {
        self.session
            .iter()
            .map(|known| (known.id, known.attach))
            .collect()
    }

    /// Time goes by. A member that is out of touch closes the connections of its clients.
    pub fn time(&mut self, _env: &mut Env, now: Now, in_touch: bool) {
        self.now = now;
        if !in_touch {
            self.session = None;
            self.ended = None;
        }
    }

    /// They do something.
    pub fn act(&mut self, env: &mut Env, now: Now, in_flight: usize) -> Vec<NodeInput> {
        self.now = now;
        let mut inputs = Vec::new();
        if env.writes && in_flight < IN_FLIGHT {
            inputs.push(NodeInput::Submit(self.commands(env, now.wall_ms)));
        }
        if env.chance.once_in(4) {
            self.next_reader += 1;
            let lowest = env.checks.agreement.answered_index;
            self.readers.insert(self.next_reader, lowest);
            inputs.push(NodeInput::Read(self.next_reader));
        }
        inputs
    }

    fn commands(&mut self, env: &mut Env, wall_ms: i64) -> Vec<Command> {
        let chance = &mut env.chance;
        let Some(known) = self.session else {
            if self.opening.is_some() {
                return Vec::new();
            }
            let id = ((self.member << 56 | self.boot << 24) as i64) + self.next_session;
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
            node: self.member,
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

    /// A command was applied here, whoever submitted it.
    pub fn outcome(&mut self, env: &mut Env, now: Now, outcome: &Outcome, index: u64) {
        self.now = now;
        let Origin {
            node,
            boot,
            request,
        } = outcome.origin;
        if (node, boot) == (self.member, self.boot) {
            let answered = (node, boot, request);
            env.checks.agreement.answered(answered, index);
            self.done += 1;
            self.answered(outcome);
        }
        if outcome.session_change == Some(SessionChange::Expired) {
            self.expired(outcome.session);
        }
    }

    fn answered(&mut self, outcome: &Outcome) {
        match &outcome.result {
            Ok(Reply::Session(grant)) => {
                self.opening = None;
                self.session = Some(Known {
                    id: grant.id,
                    attach: grant.attach,
                    since_ms: self.now.ms,
                });
            }
            Err(OpError::SessionExpired { session }) => self.expired(*session),
            _ => {}
        }
    }

    fn expired(&mut self, session: SessionId) {
        if let Some(known) = self.session.take_if(|known| known.id == session) {
            self.ended = Some(known);
        }
    }

    /// Certainly not done.
    pub fn not_done(&mut self, env: &mut Env, requests: &[u64], _why: NotDone) {
        for &request in requests {
            let refused = (self.member, self.boot, request);
            env.checks.agreement.not_done(refused);
            self.opening.take_if(|opening| *opening == request);
        }
    }

    /// Nobody knows.
    pub fn unknown(&mut self, env: &mut Env, requests: &[u64]) {
        for &request in requests {
            env.run.unknown += 1;
            self.opening.take_if(|opening| *opening == request);
        }
    }

    /// A reader may read once `index` is applied.
    pub fn read(&mut self, env: &mut Env, reader: u64, index: u64) {
        let lowest = self.readers.remove(&reader).unwrap();
        let member = self.member;
        assert!(
            index >= lowest,
            "member {member} may read at {index}, but {lowest} was answered before"
        );
        env.run.reads += 1;
    }

    /// A reader got no index in time.
    pub fn read_failed(&mut self, env: &mut Env, reader: u64) {
        self.readers.remove(&reader);
        env.run.reads_failed += 1;
    }

    /// A checkpoint was installed: the clients connect anew.
    pub fn state_replaced(&mut self, _env: &mut Env) {
        self.session = None;
        self.ended = None;
        self.opening = None;
    }
}
