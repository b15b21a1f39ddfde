//! Each write of a session stands in the log at most once and in the order in which its client sent it, and is
//! told as what it came to. Of a client for whom the order is all, none is done behind one that was not.

use std::collections::{BTreeMap, HashMap};

use zweig_coordinator::consensus::NotDone;
use zweig_coordinator::request::{Answer, RequestError, Response};
use zweig_coordinator::state_machine::{Command, Op, Origin};

use super::truth::Truth;

/// A connection's hold of a session: its id and attach number.
pub type Hold = (i64, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Nothing is known.
    Open,
    /// In the log, with the zxid of its answer.
    Logged(i64),
    /// Its client was told that it was not done, and that what follows isn't either, if order is all.
    NotDone { passing: bool },
    /// Its client was told that nobody knows.
    Unknown,
}

#[derive(Debug)]
struct Item {
    op: Op,
    fate: Fate,
}

#[derive(Debug, Default)]
struct List {
    items: Vec<Item>,
    /// So many have been submitted.
    submitted: usize,
    /// Whatever is logged next stands here or further on.
    next: usize,
    /// Places by the numbers of the requests.
    places: BTreeMap<u64, usize>,
    order_is_all: bool,
}

/// All writes of all sessions.
#[derive(Debug, Default)]
pub struct Orders {
    lists: BTreeMap<Hold, List>,
    by_origin: HashMap<Origin, (Hold, usize)>,
    /// Some leader may have refused writes for want of space: a hole then proves nothing.
    pub space_was_low: bool,
}

impl Orders {
    /// A connection holds a session from now on.
    pub fn hold(&mut self, hold: Hold, order_is_all: bool) {
        let list = List {
            order_is_all,
            ..List::default()
        };
        let former = self.lists.insert(hold, list);
        assert!(former.is_none(), "{hold:?} is granted twice");
    }

    /// A write reaches its node, as the request of that number.
    pub fn sent(&mut self, hold: Hold, number: u64, op: Op) {
        let list = self.lists.get_mut(&hold).unwrap();
        list.places.insert(number, list.items.len());
        let fate = Fate::Open;
        list.items.push(Item { op, fate });
    }

    /// The node hands a command to consensus.
    pub fn submitted(&mut self, command: &Command) {
        let opens = matches!(
            command.op,
            Op::OpenSession { .. } | Op::AttachSession { .. }
        );
        if opens || command.session.0 == 0 {
            return;
        }
        let hold = (command.session.0, command.attach);
        let Some(list) = self.lists.get_mut(&hold) else {
            panic!("{command:?} is of no connection");
        };
        let at = list.submitted;
        list.submitted += 1;
        assert_eq!(
            list.items.get(at).map(|item| &item.op),
            Some(&command.op),
            "{hold:?}: not the next write of its client"
        );
        let former = self.by_origin.insert(command.origin, (hold, at));
        assert!(former.is_none(), "{:?} twice", command.origin);
    }

    /// A command stands in the log.
    pub fn logged(&mut self, origin: &Origin, zxid: i64) {
        let Some(&(hold, at)) = self.by_origin.get(origin) else {
            return;
        };
        let list = self.lists.get_mut(&hold).unwrap();
        assert!(
            at >= list.next,
            "{hold:?}: write {at} stands in the log behind write {}, or twice",
            list.next.saturating_sub(1)
        );
        let skipped = list.next..at;
        list.next = at + 1;
        let item = &mut list.items[at];
        assert!(
            matches!(item.fate, Fate::Open | Fate::Unknown),
            "{hold:?}: write {at} is done, though {:?}",
            item.fate
        );
        item.fate = Fate::Logged(zxid);
        for at in skipped {
            self.look_at_hole(hold, at);
        }
    }

    /// Something behind this write has been done, and it has not.
    fn look_at_hole(&self, hold: Hold, at: usize) {
        let list = &self.lists[&hold];
        if !list.order_is_all || at >= list.next {
            return;
        }
        let broken = match list.items[at].fate {
            Fate::Unknown => !self.space_was_low,
            Fate::NotDone { passing } => passing,
            Fate::Open | Fate::Logged(_) => false,
        };
        assert!(
            !broken,
            "{hold:?}: write {at} is not done ({:?}), one behind it is",
            list.items[at].fate
        );
    }

    /// The client hears what its write of that number came to.
    pub fn told(&mut self, hold: Hold, number: u64, answer: &Answer, truth: &Truth) {
        let list = self.lists.get_mut(&hold).unwrap();
        let at = list.places[&number];
        let item = &mut list.items[at];
        let what = || format!("{hold:?}: write {at}, {:?}", item.op);
        let told = match &answer.result {
            Ok(Response::Written(reply)) => Ok(reply.clone()),
            Err(RequestError::Op(error)) => Err(error.clone()),
            Ok(Response::Read(read)) => panic!("{}: told {read:?}", what()),
            Err(RequestError::OutcomeUnknown) => {
                if item.fate == Fate::Open {
                    item.fate = Fate::Unknown;
                    self.look_at_hole(hold, at);
                }
                return;
            }
            Err(RequestError::NotDone(why)) => {
                assert!(
                    item.fate == Fate::Open,
                    "{}: told that it was not done ({why}), but {:?}",
                    what(),
                    item.fate
                );
                let passing = !matches!(why, NotDone::NoSpace | NotDone::TooLarge);
                item.fate = Fate::NotDone { passing };
                self.look_at_hole(hold, at);
                return;
            }
        };
        assert_eq!(item.fate, Fate::Logged(answer.zxid.0), "{}", what());
        if item.op == Op::Sync {
            assert_eq!(told, Ok(zweig_coordinator::state_machine::Reply::Done));
            return;
        }
        let deed = truth.deed(answer.zxid.0);
        let deed = deed.unwrap_or_else(|| panic!("{}: no such zxid", what()));
        assert_eq!(
            (&deed.op, &deed.result, (deed.session, deed.attach)),
            (&item.op, &told, hold),
            "the client was told something else"
        );
    }
}

#[cfg(test)]
mod tests {
    use zweig_coordinator::state_machine::Reply;
    use zweig_coordinator::tree::Zxid;

    use super::*;
    use crate::checks::samples::{create, entry, of, open};

    const HOLD: Hold = (7, 1);

    fn numbered(request: u64, op: Op) -> Command {
        let mut command = of(7, 1, op);
        (command.origin.node, command.origin.request) = (1, request);
        command
    }

    /// Two writes that were sent and submitted.
    fn two() -> (Orders, [Command; 2], Truth) {
        let mut orders = Orders::default();
        orders.hold(HOLD, true);
        let commands = [numbered(1, create("/a")), numbered(2, create("/b"))];
        for (number, command) in (0..).zip(&commands) {
            orders.sent(HOLD, number, command.op.clone());
            orders.submitted(command);
        }
        let mut truth = Truth::default();
        let all = [&[open(7)], &commands[..]].concat();
        truth.applied(0, &entry(1, all));
        (orders, commands, truth)
    }

    fn not_done() -> Answer {
        let (zxid, result) = (Zxid(0), Err(NotDone::Deadline.into()));
        Answer { zxid, result }
    }

    fn path(path: &str, zxid: i64) -> Answer {
        let (zxid, reply) = (Zxid(zxid), Reply::Path(path.into()));
        let result = Ok(Response::Written(reply));
        Answer { zxid, result }
    }

    #[test]
    fn in_order_and_told_as_it_was_is_right() {
        let (mut orders, commands, truth) = two();
        orders.logged(&commands[0].origin, 2);
        orders.logged(&commands[1].origin, 3);
        orders.told(HOLD, 0, &path("/a", 2), &truth);
        orders.told(HOLD, 1, &path("/b", 3), &truth);
    }

    #[test]
    #[should_panic(expected = "or twice")]
    fn another_order_is_found() {
        let (mut orders, commands, _) = two();
        orders.logged(&commands[1].origin, 2);
        orders.logged(&commands[0].origin, 3);
    }

    #[test]
    #[should_panic(expected = "or twice")]
    fn a_command_applied_twice_is_found() {
        let (mut orders, commands, _) = two();
        orders.logged(&commands[0].origin, 2);
        orders.logged(&commands[0].origin, 3);
    }

    #[test]
    #[should_panic(expected = "is done, though")]
    fn what_was_not_done_and_is_is_found() {
        let (mut orders, commands, truth) = two();
        orders.told(HOLD, 0, &not_done(), &truth);
        orders.logged(&commands[0].origin, 2);
    }

    #[test]
    #[should_panic(expected = "one behind it is")]
    fn a_hole_is_found() {
        let (mut orders, commands, truth) = two();
        orders.told(HOLD, 0, &not_done(), &truth);
        orders.logged(&commands[1].origin, 2);
    }

    #[test]
    #[should_panic(expected = "told something else")]
    fn anothers_answer_is_found() {
        let (mut orders, commands, truth) = two();
        orders.logged(&commands[0].origin, 2);
        orders.told(HOLD, 0, &path("/b", 2), &truth);
    }
}
