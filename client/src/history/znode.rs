//! One znode as a model: value and version, as ZooKeeper's `create`, `setData`, `delete` and `getData` show them.
//! Znodes are independent of each other, so each is searched on its own (linearizability is local).

use super::linearizable::Model;

/// What a call asked for. Values are numbers that no two writes of a history share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// `create`
    Create {
        /// Its content.
        value: u64,
    },
    /// `setData`
    Set {
        /// The new content.
        value: u64,
        /// The version it must have; `None` for any.
        version: Option<i32>,
    },
    /// `delete`
    Delete {
        /// The version it must have; `None` for any.
        version: Option<i32>,
    },
    /// A linearizable read.
    Get,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done; a `Set` has been told the new version.
    Done {
        /// The version after it, where the protocol tells.
        version: Option<i32>,
    },
    /// What a `Get` found.
    Found {
        /// The content.
        value: u64,
        /// Its version.
        version: i32,
    },
    /// There is no such znode.
    NoNode,
    /// There is one already.
    NodeExists,
    /// It has another version.
    BadVersion,
    /// The client can't know.
    Unknown,
}

/// A call on the znode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// What was asked.
    pub asked: Asked,
    /// What came of it.
    pub outcome: Outcome,
}

/// Content and version; `None` while the znode does not exist.
pub type State = Option<(u64, i32)>;

/// See the module.
#[derive(Debug)]
pub struct Znode;

impl Model for Znode {
    type State = State;
    type Call = Call;

    fn step(state: &State, call: &Call) -> Option<State> {
        let (after, told) = apply(*state, call.asked);
        let agrees = match (call.outcome, told) {
            (Outcome::Unknown, _) => true,
            (Outcome::Done { version: None }, Outcome::Done { .. }) => true,
            (said, told) => said == told,
        };
        agrees.then_some(after)
    }
}

/// What a znode in this state does.
fn apply(state: State, asked: Asked) -> (State, Outcome) {
    let wrong = |asked: Option<i32>, is: i32| asked.is_some_and(|asked| asked != is);
    match (asked, state) {
        (Asked::Create { value }, None) => (Some((value, 0)), Outcome::Done { version: Some(0) }),
        (Asked::Create { .. }, Some(_)) => (state, Outcome::NodeExists),
        (Asked::Set { .. } | Asked::Delete { .. } | Asked::Get, None) => (None, Outcome::NoNode),
        (Asked::Set { version, .. } | Asked::Delete { version }, Some((_, is)))
            if wrong(version, is) =>
        {
            (state, Outcome::BadVersion)
        }
        (Asked::Set { value, .. }, Some((_, is))) => {
            let version = is.wrapping_add(1);
            let told = Outcome::Done {
                version: Some(version),
            };
            (Some((value, version)), told)
        }
        (Asked::Delete { .. }, Some(_)) => (None, Outcome::Done { version: None }),
        (Asked::Get, Some((value, version))) => (state, Outcome::Found { value, version }),
    }
}

#[cfg(test)]
mod tests;
