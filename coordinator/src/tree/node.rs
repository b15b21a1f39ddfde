//! One znode, as stored.
use bytes::Bytes;

use super::acl::{self, Acl, AclList};
use super::stat::{Stat, Zxid};
use crate::session::SessionId;

/// A znode. What its clients see as `cversion` is derived from `children`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its data; `None` is ZooKeeper's null, which is not the empty string.
    pub data: Option<Bytes>,
    /// Who may do what with it.
    pub acl: AclList,
    /// The transaction that created it.
    pub czxid: Zxid,
    /// The last transaction that wrote its data.
    pub mzxid: Zxid,
    /// Time of creation, milliseconds since 1970.
    pub ctime_ms: i64,
    /// Time of the last write of its data, milliseconds since 1970.
    pub mtime_ms: i64,
    /// Writes of its data since creation.
    pub version: i32,
    /// Changes of its ACL since creation.
    pub aversion: i32,
    /// The session it ends with; [`SessionId::NONE`] for a persistent one, [`SessionId::CONTAINER`] for a
    /// container.
    pub ephemeral_owner: SessionId,
    /// What changes with its children.
    pub children: ChildNumbers,
}

/// The numbers of a znode that its children change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChildNumbers {
    /// The last transaction that created or deleted a child; at first the znode's own creation.
    pub pzxid: Zxid,
    /// Children ever created; names sequential ones, and wraps as in Java.
    pub creates: i32,
    /// Children now.
    pub count: i32,
}

impl ChildNumbers {
    /// After the creation of a child.
    pub fn with_created(self, zxid: Zxid) -> ChildNumbers {
        ChildNumbers {
            pzxid: zxid,
            creates: self.creates.wrapping_add(1),
            count: self.count + 1,
        }
    }

    /// After the deletion of a child.
    pub fn with_deleted(self, zxid: Zxid) -> ChildNumbers {
        assert!(self.count > 0, "a child was deleted where there was none");
        ChildNumbers {
            pzxid: zxid,
            count: self.count - 1,
            ..self
        }
    }
}

impl Node {
    /// A znode as it is created.
    pub fn new(
        data: Option<Bytes>,
        acl: AclList,
        owner: SessionId,
        zxid: Zxid,
        time_ms: i64,
    ) -> Node {
        Node {
            data,
            acl,
            czxid: zxid,
            mzxid: zxid,
            ctime_ms: time_ms,
            mtime_ms: time_ms,
            version: 0,
            aversion: 0,
            ephemeral_owner: owner,
            children: ChildNumbers {
                pzxid: zxid,
                creates: 0,
                count: 0,
            },
        }
    }

    /// The znodes present before the first command, parents first. Their numbers are those of a fresh
    /// ZooKeeper: no creation counts, and `/zookeeper/config` was given its ACL at version -1.
    pub fn initial() -> [(&'static str, Node); 4] {
        let node = |count: i32| {
            let mut node = Node::new(Some(Bytes::new()), Acl::open(), SessionId::NONE, Zxid(0), 0);
            node.children.count = count;
            node
        };
        let readable = AclList::from([Acl::anyone(acl::READ)]);
        [
            (super::path::ROOT, node(1)),
            (super::path::ZOOKEEPER, node(2)),
            (
                super::path::CONFIG,
                Node {
                    acl: readable,
                    aversion: -1,
                    ..node(0)
                },
            ),
            (super::path::QUOTA, node(0)),
        ]
    }

    /// Whether it ends with a session.
    pub fn is_ephemeral(&self) -> bool {
        self.has_owner() && !self.is_container()
    }

    /// Whether it ends once its children have: the leader looks for such ones from time to time.
    pub fn is_container(&self) -> bool {
        self.ephemeral_owner == SessionId::CONTAINER
    }

    /// Whether it stands in the list of an owner.
    pub fn has_owner(&self) -> bool {
        self.ephemeral_owner != SessionId::NONE
    }

    /// Whether it is a container that has had children, and has none now. One that never had any may be
    /// about to get its first.
    pub fn is_done_container(&self) -> bool {
        let ChildNumbers { creates, count, .. } = self.children;
        self.is_container() && count == 0 && creates != 0
    }

    /// Bytes of data.
    pub fn data_length(&self) -> usize {
        self.data.as_ref().map_or(0, Bytes::len)
    }

    /// What clients are told of it.
    pub fn stat(&self) -> Stat {
        Stat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            ctime_ms: self.ctime_ms,
            mtime_ms: self.mtime_ms,
            version: self.version,
            cversion: self
                .children
                .creates
                .wrapping_mul(2)
                .wrapping_sub(self.children.count),
            aversion: self.aversion,
            // A container's is not told, as in ZooKeeper.
            ephemeral_owner: match self.is_container() {
                true => SessionId::NONE.0,
                false => self.ephemeral_owner.0,
            },
            data_length: self.data_length() as i32,
            num_children: self.children.count,
            pzxid: self.children.pzxid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cversion_counts_creations_and_deletions() {
        let mut node = Node::new(None, Acl::open(), SessionId::NONE, Zxid(5), 0);
        assert_eq!((node.stat().cversion, node.stat().pzxid), (0, Zxid(5)));
        node.children = node
            .children
            .with_created(Zxid(6))
            .with_created(Zxid(7))
            .with_deleted(Zxid(9));
        let stat = node.stat();
        assert_eq!(
            (stat.cversion, stat.num_children, stat.pzxid),
            (3, 1, Zxid(9))
        );
    }

    #[test]
    fn a_fresh_tree_has_zookeepers_numbers() {
        let shown: Vec<_> = Node::initial()
            .iter()
            .map(|(path, node)| {
                (
                    *path,
                    node.stat().cversion,
                    node.stat().num_children,
                    node.aversion,
                )
            })
            .collect();
        let expected = [
            ("/", -1, 1, 0),
            ("/zookeeper", -2, 2, 0),
            ("/zookeeper/config", 0, 0, -1),
            ("/zookeeper/quota", 0, 0, 0),
        ];
        assert_eq!(shown, expected);
    }
}
