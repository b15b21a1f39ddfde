//! What one connection is answered: in the order in which it asked, never of an older state than before, and each
//! read exactly as the state was at the zxid that it names. Since every write's answer has its own zxid, a session
//! that never goes back sees its own writes.

use std::collections::VecDeque;

use zweig_coordinator::request::{Answer, ReadOp, ReadReply, RequestError, Response};
use zweig_coordinator::state_machine::OpError;
use zweig_coordinator::tree::AuthId;

use super::truth::Truth;

/// One who asks.
#[derive(Debug)]
pub struct Replies {
    session: i64,
    auth: Vec<AuthId>,
    /// Numbers of what was asked for and has no answer yet.
    open: VecDeque<u64>,
    /// The newest zxid of an answer, also of former connections.
    pub newest: i64,
}

impl Replies {
    /// Of a session, which has seen the state up to `newest` elsewhere.
    pub fn new(session: i64, auth: Vec<AuthId>, newest: i64) -> Self {
        Self {
            session,
            auth,
            open: VecDeque::new(),
            newest,
        }
    }

    pub fn asked(&mut self, number: u64) {
        self.open.push_back(number);
    }

    pub fn unanswered(&self) -> usize {
        self.open.len()
    }

    /// An answer arrives. Of what was not done, its zxid says nothing.
    pub fn answered(&mut self, number: u64, answer: &Answer) {
        let next = self.open.pop_front();
        assert_eq!(
            next,
            Some(number),
            "session {:#x}: an answer out of turn",
            self.session
        );
        if matches!(answer.result, Ok(_) | Err(RequestError::Op(_))) {
            self.shown(answer.zxid.0);
        }
    }

    /// Something shows the state as of a zxid.
    pub fn shown(&mut self, zxid: i64) {
        assert!(
            zxid >= self.newest,
            "session {:#x}: zxid {zxid} is shown, {} was before",
            self.session,
            self.newest
        );
        self.newest = zxid;
    }

    /// What a read has shown must be the state at that zxid.
    pub fn read(&self, op: &ReadOp, answer: &Answer, truth: &Truth) {
        let shown = match &answer.result {
            Ok(Response::Read(reply)) => Ok(reply),
            Err(RequestError::Op(error)) => Err(error),
            Err(RequestError::NotDone(_) | RequestError::OutcomeUnknown) => return,
            Ok(Response::Written(reply)) => panic!("{op:?} was answered with {reply:?}"),
        };
        self.compare(op, shown, answer.zxid.0, truth);
    }

    fn compare(&self, op: &ReadOp, shown: Result<&ReadReply, &OpError>, zxid: i64, truth: &Truth) {
        let (ReadOp::Get { path, .. }
        | ReadOp::Exists { path, .. }
        | ReadOp::Children { path, .. }
        | ReadOp::Acl { path }) = op
        else {
            return self.compare_others(op, shown, zxid, truth);
        };
        let path = if path.is_empty() { "/" } else { path };
        let node = truth.image(path, zxid);
        let readable = node.is_none_or(|node| node.is_readable(&self.auth));
        let at = || format!("{op:?} at zxid {zxid}: {shown:?}, the state has {node:?}");
        let right = match (shown, node) {
            (Err(OpError::NoAuth { .. }), Some(_)) => !readable,
            (Err(OpError::NoNode { .. }), None) => !matches!(op, ReadOp::Exists { .. }),
            (Ok(ReadReply::Exists(None)), None) => true,
            (Ok(reply), Some(node)) if readable => match reply {
                ReadReply::Data(data, stat) => (data, stat) == (&node.data, &node.stat),
                ReadReply::Exists(stat) => stat.as_ref() == Some(&node.stat),
                ReadReply::Acl(_, stat) => *stat == node.stat,
                ReadReply::Children(names, stat) => {
                    names.iter().eq(&node.children) && *stat == node.stat
                }
                _ => false,
            },
            _ => false,
        };
        assert!(right, "{}", at());
    }

    fn compare_others(
        &self,
        op: &ReadOp,
        shown: Result<&ReadReply, &OpError>,
        zxid: i64,
        truth: &Truth,
    ) {
        match (op, shown) {
            (ReadOp::Many(ops), Ok(ReadReply::Many(replies))) => {
                assert_eq!(ops.len(), replies.len());
                for (op, reply) in ops.iter().zip(replies) {
                    self.compare(op, reply.as_ref(), zxid, truth);
                }
            }
            (ReadOp::Ephemerals { prefix }, Ok(ReadReply::Paths(paths))) => {
                let all = truth.subtree("/", zxid).into_iter();
                let own = all.filter(|(_, node)| node.stat.ephemeral_owner == self.session);
                let own = own.map(|(path, _)| path).filter(|p| p.starts_with(prefix));
                assert!(own.eq(paths.iter()), "{op:?} at zxid {zxid}: {paths:?}");
            }
            (ReadOp::CountDescendants { path }, Ok(ReadReply::Count(count))) => {
                let below = truth.subtree(path, zxid).len() as u64;
                assert_eq!(*count + 1, below, "{op:?} at zxid {zxid}");
            }
            // Watches have a check of their own.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use zweig_coordinator::consensus::NotDone;
    use zweig_coordinator::tree::Zxid;

    use super::*;
    use crate::checks::samples::{command, create, entry, set};

    fn truth() -> Truth {
        let mut truth = Truth::default();
        truth.applied(0, &entry(1, vec![command(create("/a"))]));
        truth.applied(0, &entry(2, vec![command(set("/a"))]));
        truth
    }

    fn exists(zxid: i64, truth: &Truth) -> Answer {
        let stat = truth.image("/a", 1).map(|node| node.stat);
        Answer {
            zxid: Zxid(zxid),
            result: Ok(Response::Read(ReadReply::Exists(stat))),
        }
    }

    fn ask() -> ReadOp {
        let (path, watch) = ("/a".into(), false);
        ReadOp::Exists { path, watch }
    }

    fn replies() -> Replies {
        let mut replies = Replies::new(1, Vec::new(), 0);
        (1..=3).for_each(|number| replies.asked(number));
        replies
    }

    #[test]
    fn answers_in_order_of_a_state_that_grows_are_right() {
        let (mut replies, truth) = (replies(), truth());
        replies.answered(1, &exists(1, &truth));
        replies.answered(2, &exists(1, &truth));
        let (zxid, result) = (Zxid(0), Err(NotDone::Stopping.into()));
        replies.answered(3, &Answer { zxid, result });
        replies.read(&ask(), &exists(1, &truth), &truth);
    }

    #[test]
    #[should_panic(expected = "out of turn")]
    fn another_order_is_found() {
        replies().answered(2, &exists(1, &truth()));
    }

    #[test]
    #[should_panic(expected = "is shown")]
    fn what_goes_back_is_found() {
        let (mut replies, truth) = (replies(), truth());
        replies.answered(1, &exists(2, &truth));
        replies.answered(2, &exists(1, &truth));
    }

    #[test]
    #[should_panic(expected = "the state has")]
    fn a_stale_read_is_found() {
        let truth = truth();
        replies().read(&ask(), &exists(2, &truth), &truth);
    }
}
