//! A client's hold of its session over one connection: what it asked for there, and the checks of what it sees.

use std::collections::BTreeMap;

use zweig_coordinator::request::{Answer, ReadOp, Request, RequestError, Response};
use zweig_coordinator::state_machine::{Op, OpError};
use zweig_coordinator::tree::{AuthId, Zxid};
use zweig_coordinator::watch::{Event, Rearm};

use crate::checks::order::Hold;
use crate::checks::replies::Replies;
use crate::checks::watches::Watches;
use crate::checks::witness::Witness;

use super::script::Script;

enum Asked {
    Write(Op),
    /// If linearizable: since when.
    Read(ReadOp, Option<u64>),
    Refused,
}

pub struct Attached {
    pub line: u64,
    pub hold: Hold,
    pub replies: Replies,
    pub watches: Watches,
    asked: BTreeMap<u64, (u64, Asked)>,
    next: u64,
    pub sent_us: u64,
    pub heard_us: u64,
}

impl Attached {
    pub fn new(line: u64, hold: Hold, auth: &[AuthId], newest: i64, now_us: u64) -> Self {
        Self {
            line,
            hold,
            replies: Replies::new(hold.0, auth.to_vec(), newest),
            watches: Watches::new(hold.0, auth.to_vec()),
            asked: BTreeMap::new(),
            next: 0,
            sent_us: now_us,
            heard_us: now_us,
        }
    }

    /// Numbers a request; its answer will be looked at.
    pub fn ask(&mut self, now_us: u64, request: Request, since_us: Option<u64>) -> (u64, Request) {
        self.next += 1;
        let asked = match &request {
            Request::Write(op) => Asked::Write(op.clone()),
            Request::Read(op) => Asked::Read(op.clone(), since_us),
            Request::Refuse(_) => Asked::Refused,
        };
        self.asked.insert(self.next, (now_us, asked));
        self.replies.asked(self.next);
        (self.next, request)
    }

    /// Arms again what another connection had armed.
    pub fn rearm(&mut self, now_us: u64, rearm: Rearm) -> (u64, Request) {
        self.ask(now_us, Request::Read(ReadOp::SetWatches(rearm)), None)
    }

    pub fn event(&mut self, event: &Event, witness: &mut Witness) {
        witness.seen.events += 1;
        witness.seen.replays += u64::from(event.zxid == Zxid::NONE);
        self.watches.told(event, &witness.truth);
    }

    pub fn pong(&mut self, zxid: Zxid, witness: &Witness) {
        self.watches.shown(zxid.0, &witness.truth);
    }

    /// An answer; true if the session is known to be over or taken.
    pub fn answer(
        &mut self,
        now_us: u64,
        number: u64,
        answer: &Answer,
        script: &mut Script,
        witness: &mut Witness,
    ) -> bool {
        self.replies.answered(number, answer);
        let (began_us, asked) = self.asked.remove(&number).unwrap();
        match &answer.result {
            Err(RequestError::OutcomeUnknown) => witness.seen.unknown += 1,
            Err(RequestError::NotDone(_)) => witness.seen.not_done += 1,
            Ok(_) | Err(RequestError::Op(_)) => {}
        }
        match asked {
            Asked::Refused => {}
            Asked::Write(op) => {
                witness.seen.writes += 1;
                if op == Op::Sync && answer.result.is_err() {
                    self.read_without_sync(number + 1);
                }
                witness
                    .orders
                    .told(self.hold, number, answer, &witness.truth);
                if matches!(answer.result, Ok(_) | Err(RequestError::Op(_))) {
                    self.watches.shown(answer.zxid.0, &witness.truth);
                }
                let span = (began_us, now_us);
                witness.linear.wrote(self.hold.0, &op, Some(answer), span);
            }
            Asked::Read(op, since_us) => {
                witness.seen.reads += 1;
                self.replies.read(&op, answer, &witness.truth);
                self.watches.read(&op, answer, &witness.truth);
                if let Ok(Response::Read(reply)) = &answer.result {
                    script.learn(&op, reply);
                }
                if let (Some(since_us), ReadOp::Get { path, .. }) = (since_us, &op) {
                    witness.linear.read(path, answer, (since_us, now_us));
                }
            }
        }
        matches!(
            answer.result,
            Err(RequestError::Op(
                OpError::SessionExpired { .. } | OpError::SessionMoved { .. }
            ))
        )
    }

    /// The sync before that read was not done: the read may show what was.
    fn read_without_sync(&mut self, number: u64) {
        if let Some((_, Asked::Read(_, since_us))) = self.asked.get_mut(&number) {
            *since_us = None;
        }
    }

    /// The connection is gone: nobody will ever say what these came to.
    pub fn gone(&mut self, now_us: u64, witness: &mut Witness) {
        for (began_us, asked) in std::mem::take(&mut self.asked).into_values() {
            if let Asked::Write(op) = asked {
                witness
                    .linear
                    .wrote(self.hold.0, &op, None, (began_us, now_us));
            }
        }
        witness.expiry.over(self.hold);
    }
}
