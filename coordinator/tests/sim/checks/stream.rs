//! A native watch stream, over all its connections, is the history of its subtree: first the subtree as of a zxid, then
//! every change once and in order, an end mark only when everything up to it was told; resumed at its last mark it goes
//! on without a gap and without a double.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use zweig_coordinator::state_machine::ChangeKind;
use zweig_coordinator::tree::{AuthId, Stat};
use zweig_proto::grpc as proto;
use zweig_proto::grpc::watch_response::Response as Said;

use super::truth::{Changed, Truth, is_within};

#[derive(Debug)]
pub struct Stream {
    pub root: String,
    pub recursive: bool,
    auth: Vec<AuthId>,
    /// The last end mark: where it goes on from. 0: from the subtree.
    pub ended: i64,
    subtree: BTreeMap<String, proto::WatchedNode>,
    /// Every change up to here was looked at.
    looked: i64,
    due: VecDeque<(i64, Changed)>,
    pub changes: u64,
    pub resumed: u64,
}

fn shown(stat: &Stat) -> proto::Stat {
    proto::Stat {
        czxid: stat.czxid.0,
        mzxid: stat.mzxid.0,
        ctime_ms: stat.ctime_ms,
        mtime_ms: stat.mtime_ms,
        version: stat.version,
        cversion: stat.cversion,
        aversion: stat.aversion,
        ephemeral_owner: stat.ephemeral_owner,
        data_length: stat.data_length,
        num_children: stat.num_children,
        pzxid: stat.pzxid.0,
    }
}

fn watched(
    path: &str,
    data: Option<&Bytes>,
    stat: Option<&Stat>,
    readable: bool,
) -> proto::WatchedNode {
    proto::WatchedNode {
        path: path.to_owned(),
        data: data.filter(|_| readable).cloned(),
        stat: stat.map(shown),
        readable,
    }
}

impl Stream {
    pub fn new(root: &str, recursive: bool, auth: Vec<AuthId>) -> Self {
        Self {
            root: root.to_owned(),
            recursive,
            auth,
            ended: 0,
            subtree: BTreeMap::new(),
            looked: 0,
            due: VecDeque::new(),
            changes: 0,
            resumed: 0,
        }
    }

    /// It is asked for anew, from its last mark.
    pub fn resume(&mut self) {
        self.resumed += u64::from(self.ended > 0);
        self.subtree.clear();
        self.due.clear();
        self.looked = self.ended;
    }

    fn concerns(&self, path: &str) -> bool {
        match self.recursive {
            true => is_within(path, &self.root),
            false => path == self.root,
        }
    }

    /// What it says next; false if nothing follows.
    pub fn said(&mut self, said: Said, truth: &Truth) -> bool {
        match said {
            Said::Subtree(chunk) => {
                for node in chunk.nodes {
                    let former = self.subtree.insert(node.path.clone(), node);
                    assert!(former.is_none(), "{former:?} is told twice");
                }
            }
            Said::SubtreeEnd(zxid) => self.subtree_ends(zxid, truth),
            Said::Change(change) => self.change(&change, truth),
            Said::EndOfZxid(zxid) => {
                assert!(
                    zxid >= self.ended,
                    "the mark {zxid} is behind {}",
                    self.ended
                );
                self.look(zxid, truth);
                assert!(
                    self.due.is_empty(),
                    "{}: the mark {zxid} comes before {:?}",
                    self.root,
                    self.due
                );
                self.ended = zxid;
            }
            Said::TooOld(too_old) => {
                let lowest = too_old.lowest_zxid;
                assert!(
                    lowest > self.ended && lowest <= truth.zxid(),
                    "{lowest} is the lowest zxid, {} was asked for",
                    self.ended
                );
                self.ended = 0;
                return false;
            }
            Said::FellBehind(fell) => {
                assert!(fell.last_zxid >= self.ended);
                self.ended = fell.last_zxid;
                return false;
            }
        }
        true
    }

    fn subtree_ends(&mut self, zxid: i64, truth: &Truth) {
        let told = std::mem::take(&mut self.subtree);
        let there = truth.subtree(&self.root, zxid).into_iter();
        let there = there.filter(|(path, _)| self.concerns(path));
        let there: BTreeMap<String, proto::WatchedNode> = there
            .map(|(path, node)| {
                let readable = node.is_readable(&self.auth);
                let node = watched(path, node.data.as_ref(), Some(&node.stat), readable);
                (path.to_owned(), node)
            })
            .collect();
        assert_eq!(told, there, "{} as of {zxid} is told otherwise", self.root);
        (self.ended, self.looked) = (zxid, zxid);
    }

    fn change(&mut self, change: &proto::Change, truth: &Truth) {
        self.changes += 1;
        self.look(change.zxid, truth);
        let due = self.due.pop_front().map(|(zxid, due)| {
            use proto::change::Kind;
            let kind = match due.kind {
                ChangeKind::Created => Kind::Created,
                ChangeKind::Data => Kind::Data,
                ChangeKind::Deleted => Kind::Deleted,
                ChangeKind::Acl => Kind::Acl,
            };
            let there = due.kind != ChangeKind::Deleted;
            let (stat, readable) = (due.node.stat(), due.is_readable(&self.auth));
            let data = due.node.data.as_ref().filter(|_| there);
            let node = watched(&due.path, data, there.then_some(&stat), readable);
            let (kind, node) = (kind.into(), Some(node));
            proto::Change { kind, zxid, node }
        });
        assert_eq!(
            Some(change),
            due.as_ref(),
            "{} from {}: another change than is due (right)",
            self.root,
            self.ended
        );
    }

    fn look(&mut self, zxid: i64, truth: &Truth) {
        if zxid <= self.looked {
            return;
        }
        for transaction in truth.since(self.looked) {
            if transaction.zxid > zxid {
                break;
            }
            for change in &transaction.changes {
                if self.concerns(&change.path) {
                    self.due.push_back((transaction.zxid, change.clone()));
                }
            }
        }
        self.looked = zxid;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::samples::{command, create, entry};

    /// 1: `/a`, 2: `/a/b`, 3: `/c`, 4: `/a/d`.
    fn truth() -> Truth {
        let mut truth = Truth::default();
        for (index, path) in (1..).zip(["/a", "/a/b", "/c", "/a/d"]) {
            truth.applied(0, &entry(index, vec![command(create(path))]));
        }
        truth
    }

    fn created(truth: &Truth, path: &str, zxid: i64) -> Said {
        let image = truth.image(path, zxid).unwrap();
        Said::Change(proto::Change {
            kind: 0,
            zxid,
            node: Some(watched(path, None, Some(&image.stat), true)),
        })
    }

    /// As of 1, then the second change.
    fn begun(truth: &Truth) -> Stream {
        let mut stream = Stream::new("/a", true, Vec::new());
        let stat = truth.image("/a", 1).map(|node| node.stat);
        let nodes = vec![watched("/a", None, stat.as_ref(), true)];
        stream.said(Said::Subtree(proto::SubtreeChunk { nodes }), truth);
        stream.said(Said::SubtreeEnd(1), truth);
        stream.said(created(truth, "/a/b", 2), truth);
        stream.said(Said::EndOfZxid(2), truth);
        stream
    }

    #[test]
    fn one_that_goes_on_at_its_mark_is_right() {
        let truth = truth();
        let mut stream = begun(&truth);
        stream.resume();
        stream.said(created(&truth, "/a/d", 4), &truth);
        stream.said(Said::EndOfZxid(4), &truth);
        assert_eq!((stream.changes, stream.resumed), (2, 1));
    }

    #[test]
    #[should_panic(expected = "comes before")]
    fn a_gap_is_found() {
        let truth = truth();
        begun(&truth).said(Said::EndOfZxid(4), &truth);
    }

    #[test]
    #[should_panic(expected = "another change than is due")]
    fn a_double_is_found() {
        let truth = truth();
        let mut stream = begun(&truth);
        stream.resume();
        stream.said(created(&truth, "/a/b", 2), &truth);
    }

    #[test]
    #[should_panic(expected = "is told otherwise")]
    fn a_znode_that_is_left_out_is_found() {
        let truth = truth();
        Stream::new("/a", true, Vec::new()).said(Said::SubtreeEnd(1), &truth);
    }
}
