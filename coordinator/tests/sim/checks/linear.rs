//! Linearizable writes and reads, each znode by itself, by the search of the client's `history`: it looks at nothing
//! but what clients asked for and were told, and when.

use std::collections::BTreeMap;

use bytes::Bytes;
use zweig_coordinator::request::{Answer, ReadReply, RequestError, Response};
use zweig_coordinator::state_machine::{Op, OpError, Reply};

use crate::history::linearizable::{Span, Verdict, check};
use crate::history::znode::{Asked, Call, Outcome, Znode};

/// Placements that a search may try.
const BOUND: u64 = 200_000;

#[derive(Debug, Default)]
pub struct Linear {
    spans: BTreeMap<String, Vec<Span<Call>>>,
    /// By session: what of its present connection is unknown, as path and place.
    unknown: BTreeMap<i64, Vec<(String, usize)>>,
    pub calls: u64,
    pub undecided: u64,
}

/// A value as clients write it.
fn value(data: Option<&Bytes>) -> u64 {
    let bytes = data.and_then(|data| data.first_chunk::<8>());
    bytes.map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

fn asked(op: &Op) -> Option<(&str, Asked)> {
    let version = |version: i32| (version != -1).then_some(version);
    Some(match op {
        Op::Create(create) if !create.sequential => {
            let value = value(create.data.as_ref());
            (&create.path, Asked::Create { value })
        }
        Op::SetData {
            path,
            data,
            version: of,
        } => {
            let (value, version) = (value(data.as_ref()), version(*of));
            (path, Asked::Set { value, version })
        }
        Op::Delete { path, version: of } => {
            let version = version(*of);
            (path, Asked::Delete { version })
        }
        _ => return None,
    })
}

fn outcome(result: Result<&Reply, &OpError>) -> Option<Outcome> {
    Some(match result {
        Ok(Reply::Stat(stat)) => Outcome::Done {
            version: Some(stat.version),
        },
        Ok(Reply::Created { stat, .. }) => Outcome::Done {
            version: Some(stat.version),
        },
        Ok(Reply::Done | Reply::Path(_)) => Outcome::Done { version: None },
        Err(OpError::NoNode { .. }) => Outcome::NoNode,
        Err(OpError::NodeExists { .. }) => Outcome::NodeExists,
        Err(OpError::BadVersion { .. }) => Outcome::BadVersion,
        _ => return None,
    })
}

impl Linear {
    fn put(&mut self, path: &str, call: Call, span: (u64, Option<u64>)) -> usize {
        let spans = self.spans.entry(path.to_owned()).or_default();
        let (began, ended) = span;
        spans.push(Span {
            call,
            began,
            ended,
            optional: call.outcome == Outcome::Unknown,
        });
        self.calls += 1;
        spans.len() - 1
    }

    /// A write of a session was answered, or its connection is gone (`None`).
    pub fn wrote(&mut self, session: i64, op: &Op, answer: Option<&Answer>, span: (u64, u64)) {
        let (began, ended) = span;
        let ops = match op {
            Op::Multi(ops) => ops.as_slice(),
            op => std::slice::from_ref(op),
        };
        let result = match answer.map(|answer| &answer.result) {
            None | Some(Err(RequestError::OutcomeUnknown)) => {
                for (path, asked) in ops.iter().filter_map(asked) {
                    let outcome = Outcome::Unknown;
                    let place = self.put(path, Call { asked, outcome }, (began, None));
                    let unknown = self.unknown.entry(session).or_default();
                    unknown.push((path.to_owned(), place));
                }
                return;
            }
            Some(Err(RequestError::NotDone(_)) | Ok(Response::Read(_))) => return,
            Some(Err(RequestError::Op(error))) => Err(error),
            Some(Ok(Response::Written(reply))) => Ok(reply),
        };
        if let Ok(Reply::Multi(results)) = result {
            if results.iter().any(Result::is_err) {
                return;
            }
            for (op, result) in ops.iter().zip(results) {
                self.one(op, result.as_ref(), (began, ended));
            }
        } else if let [op] = ops {
            self.one(op, result, (began, ended));
        }
    }

    fn one(&mut self, op: &Op, result: Result<&Reply, &OpError>, (began, ended): (u64, u64)) {
        if let Some((path, asked)) = asked(op)
            && let Some(outcome) = outcome(result)
        {
            self.put(path, Call { asked, outcome }, (began, Some(ended)));
        }
    }

    /// A linearizable read of a znode's data was answered.
    pub fn read(&mut self, path: &str, answer: &Answer, (began, ended): (u64, u64)) {
        let outcome = match &answer.result {
            Ok(Response::Read(ReadReply::Data(data, stat))) => Outcome::Found {
                value: value(data.as_ref()),
                version: stat.version,
            },
            Err(RequestError::Op(OpError::NoNode { .. })) => Outcome::NoNode,
            _ => return,
        };
        let asked = Asked::Get;
        self.put(path, Call { asked, outcome }, (began, Some(ended)));
    }

    /// Whatever the session has left unknown cannot be done any more: it has been attached anew, or has ended.
    pub fn settled(&mut self, now: u64, session: i64) {
        for (path, place) in self.unknown.remove(&session).unwrap_or_default() {
            if let Some(spans) = self.spans.get_mut(&path) {
                spans[place].ended = Some(now);
            }
        }
    }

    /// Looks for one order of everything, for each of these znodes.
    pub fn look(&mut self, paths: &[&str]) {
        for path in paths {
            let Some(spans) = self.spans.get(*path) else {
                continue;
            };
            match check::<Znode>(None, spans, BOUND) {
                Verdict::Linearizable => {}
                Verdict::Undecided => self.undecided += 1,
                Verdict::Refused { at } => {
                    let near = &spans[at.saturating_sub(8)..(at + 4).min(spans.len())];
                    panic!(
                        "{path} is not linearizable at {:?}, near {near:#?}",
                        spans[at]
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use zweig_coordinator::tree::{Stat, Zxid};

    use super::*;
    use crate::checks::samples::{create, set};

    fn written(reply: Reply) -> Answer {
        let (zxid, result) = (Zxid(1), Ok(Response::Written(reply)));
        Answer { zxid, result }
    }

    fn found(version: i32) -> Answer {
        let stat = Stat {
            version,
            ..Stat::default()
        };
        let result = Ok(Response::Read(ReadReply::Data(None, stat)));
        Answer {
            zxid: Zxid(1),
            result,
        }
    }

    /// Created, then written by a call of which nothing is known.
    fn history() -> Linear {
        let mut linear = Linear::default();
        let created = written(Reply::Path("/a".into()));
        linear.wrote(1, &create("/a"), Some(&created), (0, 5));
        linear.wrote(1, &set("/a"), None, (6, 9));
        linear
    }

    #[test]
    fn what_is_unknown_may_be_done_or_not() {
        for version in [0, 1] {
            let mut linear = history();
            linear.read("/a", &found(version), (20, 25));
            linear.look(&["/a"]);
        }
    }

    #[test]
    #[should_panic(expected = "is not linearizable")]
    fn a_stale_read_is_found() {
        let mut linear = history();
        linear.read("/a", &found(1), (20, 25));
        linear.read("/a", &found(0), (26, 30));
        linear.look(&["/a"]);
    }

    #[test]
    #[should_panic(expected = "is not linearizable")]
    fn what_comes_after_its_session_moved_is_found() {
        let mut linear = history();
        linear.settled(15, 1);
        linear.read("/a", &found(0), (20, 25));
        linear.read("/a", &found(1), (26, 30));
        linear.look(&["/a"]);
    }
}
