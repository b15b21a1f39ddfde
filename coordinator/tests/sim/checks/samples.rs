//! Small pieces of history for the checkers' own tests.

use zweig_coordinator::consensus::{Committed, CommittedData};
use zweig_coordinator::session::SessionId;
use zweig_coordinator::state_machine::{Command, Create, Entry, Op, Origin};
use zweig_coordinator::tree::Acl;

pub fn command(op: Op) -> Command {
    Command {
        origin: Origin::default(),
        session: SessionId::NONE,
        attach: 0,
        auth: Vec::new(),
        deadline_ms: 0,
        trace: [0; 16],
        op,
    }
}

/// As a session's.
pub fn of(session: i64, attach: u64, op: Op) -> Command {
    Command {
        session: SessionId(session),
        attach,
        ..command(op)
    }
}

pub fn open(session: i64) -> Command {
    let (timeout_ms, password) = (2_000, [1; 16]);
    let op = Op::OpenSession {
        timeout_ms,
        password,
    };
    of(session, 0, op)
}

pub fn create(path: &str) -> Op {
    Op::Create(Create {
        path: path.into(),
        data: None,
        acl: vec![Acl::anyone(31)],
        ephemeral: false,
        sequential: false,
        want_stat: false,
    })
}

pub fn set(path: &str) -> Op {
    Op::SetData {
        path: path.into(),
        data: None,
        version: -1,
    }
}

pub fn delete(path: &str) -> Op {
    let (path, version) = (path.into(), -1);
    Op::Delete { path, version }
}

/// A committed entry of term 1.
pub fn entry(index: u64, commands: Vec<Command>) -> Committed {
    let (term, time_ms) = (1, 5);
    let entry = Entry {
        term,
        time_ms,
        commands,
    };
    let data = CommittedData::Normal(entry.encode());
    Committed { index, term, data }
}
