//! One client: finds a node, opens or attaches its session, asks, watches, falls silent, loses its connection, moves.
//!
//! ```text
//!   away ──connect──▶ opening ──granted──▶ attached ──lost, moved, bored──▶ away
//!                        └──refused, too late──▶ away
//! ```
//! A connection that it has left for another one may stand for a while: what is still sent there must have no effect.

use zweig_coordinator::request::{OpenError, Request};
use zweig_coordinator::session::{Password, SessionId};
use zweig_coordinator::state_machine::{Op, SessionGrant};
use zweig_coordinator::tree::{AuthId, Zxid};
use zweig_coordinator::watch::Rearm;

use super::attached::Attached;
use super::line::{Down, Ends, Lines, Up};
use super::script::Script;
use crate::checks::witness::Witness;
use crate::door::wire::{Item, Opening};

/// What clients see of the world when they act.
pub struct Surroundings<'a> {
    pub now_us: u64,
    pub lines: &'a mut Lines,
    pub witness: &'a mut Witness,
    /// Boot numbers of the processes, by place; 0: none.
    pub boots: &'a [u64],
    /// Whether writes are wanted.
    pub writes: bool,
}

pub struct Client {
    id: usize,
    pub script: Script,
    timeout_ms: u32,
    /// 0: none.
    disconnect_timeout_ms: u32,
    order_is_all: bool,
    /// Mostly only pings.
    idle: bool,
    credentials: Option<String>,
    auth: Vec<AuthId>,
    session: Option<(SessionId, Password)>,
    /// The newest zxid it has seen with this session.
    newest: i64,
    /// What it had armed when it lost its connection.
    rearm: Rearm,
    /// The connection over which it opens or attaches, and until when it waits.
    opening: Option<(u64, u64)>,
    current: Option<Attached>,
    former: Vec<Attached>,
    silent_until_us: u64,
}

impl Client {
    pub fn new(id: usize, mut script: Script, credentials: Option<(String, AuthId)>) -> Self {
        let timeout_ms = 2_000 + 500 * script.chance.below(7) as u32;
        let disconnect_timeout_ms = match script.chance.once_in(3) {
            true => 50 + 50 * script.chance.below(20) as u32,
            false => 0,
        };
        let order_is_all = !script.chance.once_in(4);
        let idle = script.chance.once_in(3);
        let (credentials, auth) = credentials.unzip();
        Self {
            id,
            timeout_ms,
            disconnect_timeout_ms,
            order_is_all,
            idle,
            credentials,
            auth: auth.into_iter().collect(),
            script,
            session: None,
            newest: 0,
            rearm: Rearm::default(),
            opening: None,
            current: None,
            former: Vec::new(),
            silent_until_us: 0,
        }
    }

    pub fn order_is_all(&self) -> bool {
        self.order_is_all
    }

    fn third_us(&self) -> u64 {
        u64::from(self.timeout_ms) * 1_000 / 3
    }

    fn once_in(&mut self, times: u64) -> bool {
        self.script.chance.once_in(times)
    }

    /// Does something; returns when it will do the next thing.
    pub fn act(&mut self, around: &mut Surroundings<'_>) -> u64 {
        let now_us = around.now_us;
        // Those that have no connection when the rest ends wait until it is over.
        let roams = around.writes || self.current.is_some();
        if now_us >= self.silent_until_us && roams {
            self.tidy_up(around);
            match (&self.current, self.opening) {
                (Some(_), _) => self.go_on(around),
                (None, Some((line, until_us))) if now_us >= until_us => {
                    self.hang_up(around, line);
                    self.opening = None;
                }
                (None, Some(_)) => {}
                (None, None) => self.connect(around),
            }
        }
        now_us + 8_000 + self.script.chance.below(60_000)
    }

    /// Former connections end sooner or later; now and then something is still asked there.
    fn tidy_up(&mut self, around: &mut Surroundings<'_>) {
        for mut attached in std::mem::take(&mut self.former) {
            if self.once_in(12) {
                self.hang_up(around, attached.line);
                attached.gone(around.now_us, around.witness);
                continue;
            }
            if around.writes && self.once_in(6) {
                let write = Request::Write(self.script.any_write());
                let read = self.script.any_read();
                self.ask(around, &mut attached, vec![(write, None), (read, None)]);
            }
            self.former.push(attached);
        }
    }

    fn connect(&mut self, around: &mut Surroundings<'_>) {
        let node = self.script.chance.below(around.boots.len() as u64) as usize;
        let boot = around.boots[node];
        if boot == 0 {
            return;
        }
        let client = self.id;
        let line = around.lines.connect(Ends { client, node, boot });
        let opening = Opening {
            timeout_ms: self.timeout_ms,
            disconnect_timeout_ms: self.disconnect_timeout_ms,
            resume: self.session,
            seen: Zxid(self.newest),
            credentials: self.credentials.clone(),
            order_is_all: self.order_is_all,
        };
        self.opening = Some((line, around.now_us + 2 * self.third_us()));
        self.send(around, line, Up::Open(Box::new(opening)));
    }

    fn send(&mut self, around: &mut Surroundings<'_>, line: u64, what: Up) {
        let chance = &mut self.script.chance;
        around.lines.send_up(around.now_us, chance, line, what);
    }

    fn hang_up(&mut self, around: &mut Surroundings<'_>, line: u64) {
        self.send(around, line, Up::Leave);
    }

    fn ask(
        &mut self,
        around: &mut Surroundings<'_>,
        attached: &mut Attached,
        requests: Vec<(Request, Option<u64>)>,
    ) {
        let now_us = around.now_us;
        let numbered = requests.into_iter();
        let numbered = numbered
            .map(|(request, since_us)| attached.ask(now_us, request, since_us))
            .collect();
        self.sent(around, attached);
        self.send(around, attached.line, Up::Ask(numbered));
    }

    fn sent(&mut self, around: &mut Surroundings<'_>, attached: &mut Attached) {
        attached.sent_us = around.now_us;
        around.witness.expiry.sent(around.now_us, attached.hold);
    }

    /// Attached: asks, or something happens to it.
    fn go_on(&mut self, around: &mut Surroundings<'_>) {
        let Some(mut attached) = self.current.take() else {
            return;
        };
        let now_us = around.now_us;
        if now_us > attached.heard_us + 2 * self.third_us() && attached.sent_us > attached.heard_us
        {
            // As clients' libraries do: this node says nothing any more.
            self.lose(around, attached);
            return;
        }
        let fate = self.script.chance.below(400);
        match fate {
            // When all is to come to rest, they stay where they are.
            0..7 if !around.writes => {
                self.ask_something(around, &mut attached);
                self.current = Some(attached);
            }
            0..2 => self.lose(around, attached),
            2..4 => {
                self.leave(&attached);
                around.witness.expiry.moved(attached.hold);
                self.former.push(attached);
                self.connect(around);
            }
            4..6 => {
                let times = 1 + self.script.chance.below(5);
                self.silent_until_us = now_us + times * self.third_us();
                match self.once_in(3) {
                    true => self.lose(around, attached),
                    false => self.current = Some(attached),
                }
            }
            6 => {
                let close = Request::Write(Op::CloseSession);
                self.ask(around, &mut attached, vec![(close, None)]);
                self.current = Some(attached);
            }
            _ => {
                self.ask_something(around, &mut attached);
                self.current = Some(attached);
            }
        }
    }

    fn ask_something(&mut self, around: &mut Surroundings<'_>, attached: &mut Attached) {
        let now_us = around.now_us;
        let eager = if self.idle { 80 } else { 4 };
        if attached.replies.unanswered() < 20 && self.once_in(eager) {
            let mut requests = Vec::new();
            for _ in 0..1 + self.script.chance.below(5) {
                match self.script.chance.below(5) {
                    0..2 if around.writes => {
                        requests.push((Request::Write(self.script.any_write()), None));
                    }
                    2 if around.writes => {
                        // Behind a sync a read is linearizable.
                        let (path, watch) = (self.script.register(), self.once_in(3));
                        let get = zweig_coordinator::request::ReadOp::Get { path, watch };
                        requests.push((Request::Write(Op::Sync), None));
                        requests.push((Request::Read(get), Some(now_us)));
                    }
                    _ => requests.push((self.script.any_read(), None)),
                }
            }
            self.ask(around, attached, requests);
        } else if now_us >= attached.sent_us + self.third_us() {
            self.sent(around, attached);
            self.send(around, attached.line, Up::Ping);
        }
    }

    /// Keeps what it needs to go on elsewhere.
    fn leave(&mut self, attached: &Attached) {
        self.newest = self.newest.max(attached.replies.newest);
        self.rearm = attached.watches.rearm(self.newest);
    }

    fn lose(&mut self, around: &mut Surroundings<'_>, mut attached: Attached) {
        self.hang_up(around, attached.line);
        self.leave(&attached);
        attached.gone(around.now_us, around.witness);
    }

    /// Every connection is gone.
    pub fn leave_all(&mut self, now_us: u64, witness: &mut Witness) {
        for mut attached in self.current.take().into_iter().chain(self.former.drain(..)) {
            attached.gone(now_us, witness);
        }
    }

    fn end_session(&mut self) {
        self.session = None;
        self.newest = 0;
        self.rearm = Rearm::default();
    }

    /// Something arrives over a connection.
    pub fn hear(&mut self, around: &mut Surroundings<'_>, line: u64, what: Down) {
        if self.opening.is_some_and(|(opening, _)| opening == line) {
            return self.hear_opening(around, line, what);
        }
        if let Some(mut attached) = self.current.take_if(|current| current.line == line) {
            if self.hear_attached(around, &mut attached, what) {
                self.current = Some(attached);
            } else {
                self.lose(around, attached);
            }
            return;
        }
        let place = self.former.iter().position(|former| former.line == line);
        if let Some(place) = place {
            let mut attached = self.former.swap_remove(place);
            if self.hear_attached(around, &mut attached, what) {
                self.former.push(attached);
            } else {
                attached.gone(around.now_us, around.witness);
            }
        }
    }

    fn hear_opening(&mut self, around: &mut Surroundings<'_>, line: u64, what: Down) {
        self.opening = None;
        let Down::Item(Item::Opened(opened)) = what else {
            // Gone, or closed meanwhile.
            self.hang_up(around, line);
            return;
        };
        match opened {
            Ok(grant) => self.granted(around, line, &grant),
            Err(OpenError::Expired) => {
                let session = self.session.map_or(0, |(session, _)| session.0);
                let life = around.witness.truth.life(session);
                assert!(
                    life.is_some_and(|life| life.end.is_some()),
                    "session {session:#x} is said to have expired: {life:?}"
                );
                around.witness.seen.expired += 1;
                self.end_session();
            }
            Err(_) => around.witness.seen.refused += 1,
        }
    }

    fn granted(&mut self, around: &mut Surroundings<'_>, line: u64, grant: &SessionGrant) {
        let now_us = around.now_us;
        let hold = (grant.id.0, grant.attach);
        match self.session {
            Some((session, password)) => {
                assert_eq!((grant.id, grant.password), (session, password));
                assert!(grant.attach > 1, "{grant:?}");
                around.witness.seen.attached += 1;
            }
            None => around.witness.seen.opened += 1,
        }
        assert_eq!(grant.timeout_ms, self.timeout_ms);
        self.session = Some((grant.id, grant.password));
        around.witness.linear.settled(now_us, grant.id.0);
        let mut attached = Attached::new(line, hold, &self.auth, self.newest, now_us);
        let rearm = std::mem::take(&mut self.rearm);
        self.sent(around, &mut attached);
        if rearm.paths().next().is_some() {
            let request = attached.rearm(now_us, rearm);
            self.send(around, line, Up::Ask(vec![request]));
        } else {
            self.send(around, line, Up::Ping);
        }
        self.current = Some(attached);
    }

    /// False: the connection is over.
    fn hear_attached(
        &mut self,
        around: &mut Surroundings<'_>,
        attached: &mut Attached,
        what: Down,
    ) -> bool {
        attached.heard_us = around.now_us;
        let Down::Item(item) = what else {
            return false;
        };
        match item {
            Item::Opened(again) => panic!("opened twice: {again:?}"),
            Item::Event(event) => attached.event(&event, around.witness),
            Item::Pong(zxid) => attached.pong(zxid, around.witness),
            Item::Answer(number, answer) => {
                let script = &mut self.script;
                let over = attached.answer(around.now_us, number, &answer, script, around.witness);
                return !over;
            }
            Item::Closed(why) => {
                around.witness.seen.closed += 1;
                around.witness.seen.moved +=
                    u64::from(why == zweig_coordinator::request::Closed::Moved);
                return false;
            }
        }
        true
    }
}
