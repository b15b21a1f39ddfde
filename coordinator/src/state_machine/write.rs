//! One transaction in the making: single operations on znodes, by ZooKeeper's rules.
//!
//! Each operation checks everything first and then changes the store at once, so that the next one
//! sees it. What was done is kept as mutations with their former images: history is made of them, and
//! [`Draft::take_back`] undoes them, newest first, where a group fails half-way.
use std::sync::Arc;

use super::Failure;
use super::apply::{Moment, limits_part};
use super::command::{Create, Op};
use super::outcome::{Change, OpError, Reply, SessionChange};
use crate::mutants::{self, Mutant};
use crate::session::SessionId;
use crate::storage::{Meta, ReplicatedLimits, Store, StoreError};
use crate::tree::{
    Acl, AclList, AuthId, Cause, ChildNumbers, Mutation, Node, Transaction, Zxid, acl, digest, path,
};
use bytes::Bytes;

/// The transaction, and on whose behalf it is made.
pub(super) struct Draft<'a, S> {
    store: &'a mut S,
    meta: &'a mut Meta,
    now: Moment,
    session: SessionId,
    cause: Cause,
    auth: &'a [AuthId],
    mutations: Vec<Mutation>,
    /// Beside each mutation the ACL of the parent whose list of children it changed.
    parent_acls: Vec<Option<AclList>>,
}

impl<'a, S: Store> Draft<'a, S> {
    pub fn new(
        store: &'a mut S,
        meta: &'a mut Meta,
        now: Moment,
        session: SessionId,
        auth: &'a [AuthId],
    ) -> Draft<'a, S> {
        Draft {
            store,
            meta,
            now,
            session,
            cause: Cause::Asked,
            auth,
            mutations: Vec::new(),
            parent_acls: Vec::new(),
        }
    }

    /// It is made because its session ends.
    pub fn because(mut self, change: &SessionChange) -> Self {
        self.cause = match change {
            SessionChange::Closed => Cause::SessionClosed,
            SessionChange::Expired => Cause::SessionExpired,
            SessionChange::Opened(_) | SessionChange::Attached(_) => Cause::Asked,
        };
        self
    }

    /// Ends the transaction: its mutations go into the history, and are told as changes.
    pub fn finish(self) -> Vec<Change> {
        if self.mutations.is_empty() {
            return Vec::new();
        }
        let Moment { zxid, time_ms } = self.now;
        let changes = self
            .mutations
            .iter()
            .zip(self.parent_acls)
            .map(|(mutation, parent_acl)| Change::of(mutation, zxid, parent_acl))
            .collect();
        self.store.push_history(&Transaction {
            zxid,
            time_ms,
            session: self.session,
            cause: self.cause,
            mutations: self.mutations,
        });
        changes
    }

    /// One operation that may stand in a batch; anything else there makes no sense.
    pub fn perform(&mut self, op: Op) -> Result<Reply, Failure> {
        match op {
            Op::Create(create) => self.create(create, false),
            Op::CreateContainer(create) => self.create(create, true),
            Op::Delete { path, version } => self.delete(&path, version),
            Op::SetData {
                path,
                data,
                version,
            } => self.set_data(path, data, version),
            Op::SetAcl { path, acl, version } => self.set_acl(path, &acl, version),
            Op::Check { path, version } => self.check(&path, version),
            Op::CheckCreated { path, czxid } => self.check_created(&path, Zxid(czxid)),
            op => Err(OpError::BadArguments(format!("{op:?} cannot stand in a batch")).into()),
        }
    }

    fn create(&mut self, create: Create, container: bool) -> Result<Reply, Failure> {
        let Create {
            path: asked,
            data,
            acl,
            ephemeral,
            sequential,
            want_stat,
        } = create;
        let parent_path = path::parent_of_named(&asked).map_err(OpError::BadArguments)?;
        self.check_size(&asked, data.as_ref())?;
        if ephemeral && self.session == SessionId::NONE {
            let message = format!("{asked}: an ephemeral znode needs a session");
            return Err(OpError::BadArguments(message).into());
        }
        let acl = acl::resolve(&acl, self.auth).ok_or_else(|| OpError::InvalidAcl {
            path: asked.clone(),
        })?;
        let parent = self.existing(parent_path)?;
        self.permit(&parent, acl::CREATE, &asked)?;
        let path: Arc<str> = match sequential {
            true if mutants::is(Mutant::SequenceOfChildren) => {
                path::sequential(&asked, parent.children.count).into()
            }
            true => path::sequential(&asked, parent.children.creates).into(),
            false => asked.into(),
        };
        // With its number: "/queue/", and the root, alone are good prefixes.
        path::validate(&path).map_err(OpError::BadArguments)?;
        if self.store.node(&path)?.is_some() {
            return Err(OpError::NodeExists {
                path: path.to_string(),
            }
            .into());
        }
        if parent.is_ephemeral() {
            let path = path::parent(&path).unwrap_or_default().to_owned();
            return Err(OpError::NoChildrenForEphemerals { path }.into());
        }
        let owner = match (container, ephemeral) {
            (true, _) => SessionId::CONTAINER,
            (false, true) => self.session,
            (false, false) => SessionId::NONE,
        };
        let node = Arc::new(Node::new(data, acl, owner, self.now.zxid, self.now.time_ms));
        let stat = node.stat();
        self.insert(&path, node, &parent);
        let path = path.to_string();
        Ok(if want_stat {
            Reply::Created { path, stat }
        } else {
            Reply::Path(path)
        })
    }

    fn delete(&mut self, path: &str, version: i32) -> Result<Reply, Failure> {
        let parent_path = path::parent_of_named(path).map_err(OpError::BadArguments)?;
        if path::is_permanent(path) {
            return Err(OpError::BadArguments(format!("{path} cannot be deleted")).into());
        }
        let no_node = || OpError::NoNode {
            path: path.to_owned(),
        };
        let parent = self.store.node(parent_path)?.ok_or_else(no_node)?;
        self.permit(&parent, acl::DELETE, path)?;
        let node = self.existing(path)?;
        check_version(path, version, node.version)?;
        if node.children.count > 0 {
            return Err(OpError::NotEmpty {
                path: path.to_owned(),
                children: node.children.count,
            }
            .into());
        }
        self.remove(&Arc::from(path), node, &parent);
        Ok(Reply::Done)
    }

    /// Only if its children have gone for good as far as anyone can tell: what the leader saw may have
    /// changed since.
    pub fn delete_container(&mut self, path: String) -> Result<Reply, Failure> {
        let node = self.existing(&path)?;
        if !node.is_done_container() {
            let children = node.children.count;
            return Err(OpError::NotEmpty { path, children }.into());
        }
        let parent = self.existing(path::parent(&path).unwrap_or_default())?;
        self.remove(&Arc::from(path), node, &parent);
        Ok(Reply::Done)
    }

    fn set_data(
        &mut self,
        path: String,
        data: Option<Bytes>,
        version: i32,
    ) -> Result<Reply, Failure> {
        path::validate(&path).map_err(OpError::BadArguments)?;
        self.check_size(&path, data.as_ref())?;
        let before = self.existing(&path)?;
        self.permit(&before, acl::WRITE, &path)?;
        check_version(&path, version, before.version)?;
        let after = Arc::new(Node {
            data,
            version: before.version.wrapping_add(1),
            mzxid: self.now.zxid,
            mtime_ms: self.now.time_ms,
            ..Node::clone(&before)
        });
        let stat = after.stat();
        self.replace(&path, &before, Arc::clone(&after));
        let path = path.into();
        let mutation = Mutation::Data {
            path,
            before,
            after,
        };
        self.record(mutation, None);
        Ok(Reply::Stat(stat))
    }

    fn set_acl(&mut self, path: String, requested: &[Acl], version: i32) -> Result<Reply, Failure> {
        path::validate(&path).map_err(OpError::BadArguments)?;
        let acl = acl::resolve(requested, self.auth)
            .ok_or_else(|| OpError::InvalidAcl { path: path.clone() })?;
        let before = self.existing(&path)?;
        self.permit(&before, acl::ADMIN, &path)?;
        check_version(&path, version, before.aversion)?;
        let aversion = before.aversion.wrapping_add(1);
        let after = Arc::new(Node {
            acl,
            aversion,
            ..Node::clone(&before)
        });
        let stat = after.stat();
        self.replace(&path, &before, Arc::clone(&after));
        let path = path.into();
        let mutation = Mutation::Acl {
            path,
            before,
            after,
        };
        self.record(mutation, None);
        Ok(Reply::Stat(stat))
    }

    fn check(&mut self, path: &str, version: i32) -> Result<Reply, Failure> {
        path::validate(path).map_err(OpError::BadArguments)?;
        let node = self.existing(path)?;
        self.permit(&node, acl::READ, path)?;
        check_version(path, version, node.version)?;
        Ok(Reply::Done)
    }

    fn check_created(&mut self, path: &str, expected: Zxid) -> Result<Reply, Failure> {
        path::validate(path).map_err(OpError::BadArguments)?;
        let node = self.existing(path)?;
        self.permit(&node, acl::READ, path)?;
        if node.czxid == expected {
            return Ok(Reply::Done);
        }
        let error = OpError::CreatedAnew {
            path: path.to_owned(),
            expected: expected.0,
            found: node.czxid.0,
        };
        Err(error.into())
    }

    /// Sets the replicated settings.
    pub fn set_limits(&mut self, limits: ReplicatedLimits) -> Reply {
        let digest = &mut self.meta.applied.digest;
        digest.remove(limits_part(self.meta.limits));
        digest.add(limits_part(limits));
        self.meta.limits = limits;
        Reply::Done
    }

    /// Deletes what ends with the session; no ACL is asked.
    pub fn delete_ephemerals(&mut self) -> Result<(), StoreError> {
        for path in self.store.ephemerals(self.session)? {
            let parent = self.store.node(path::parent(&path).unwrap_or_default())?;
            let node = self.store.node(&path)?;
            let (Some(node), Some(parent)) = (node, parent) else {
                let session = self.session;
                return Err(StoreError::Inconsistent(format!(
                    "session {session} owns {path}, which is not there"
                )));
            };
            self.remove(&path, node, &parent);
        }
        Ok(())
    }

    /// The version of a znode's data, for a fence; the caller must be allowed to read it.
    pub fn version_of(&self, path: &str) -> Result<Option<i32>, Failure> {
        let Some(node) = self.store.node(path)? else {
            return Ok(None);
        };
        self.permit(&node, acl::READ, path)?;
        Ok(Some(node.version))
    }

    /// How much was done so far, for [`Draft::take_back`].
    pub fn mark(&self) -> usize {
        self.mutations.len()
    }

    /// Undoes everything done since the mark.
    pub fn take_back(&mut self, mark: usize) -> Result<(), StoreError> {
        while self.mutations.len() > mark {
            let Some(mutation) = self.mutations.pop() else {
                break;
            };
            self.parent_acls.pop();
            match mutation {
                Mutation::Created {
                    path,
                    node,
                    parent_before,
                } => {
                    self.store.remove(&path, &node);
                    self.count(&path, &node, Sign::Minus);
                    self.reset_parent(&path, parent_before)?;
                }
                Mutation::Deleted {
                    path,
                    node,
                    parent_before,
                } => {
                    self.count(&path, &node, Sign::Plus);
                    self.store.insert(&path, node);
                    self.reset_parent(&path, parent_before)?;
                }
                Mutation::Data {
                    path,
                    before,
                    after,
                }
                | Mutation::Acl {
                    path,
                    before,
                    after,
                } => {
                    self.replace(&path, &after, before);
                }
            }
        }
        Ok(())
    }

    fn insert(&mut self, path: &Arc<str>, node: Arc<Node>, parent: &Node) {
        let parent_before = parent.children;
        self.set_children(path, parent, parent_before.with_created(self.now.zxid));
        self.count(path, &node, Sign::Plus);
        self.store.insert(path, Arc::clone(&node));
        let path = Arc::clone(path);
        let mutation = Mutation::Created {
            path,
            node,
            parent_before,
        };
        self.record(mutation, Some(Arc::clone(&parent.acl)));
    }

    fn remove(&mut self, path: &Arc<str>, node: Arc<Node>, parent: &Node) {
        let parent_before = parent.children;
        self.set_children(path, parent, parent_before.with_deleted(self.now.zxid));
        self.count(path, &node, Sign::Minus);
        self.store.remove(path, &node);
        let path = Arc::clone(path);
        let mutation = Mutation::Deleted {
            path,
            node,
            parent_before,
        };
        self.record(mutation, Some(Arc::clone(&parent.acl)));
    }

    fn record(&mut self, mutation: Mutation, parent_acl: Option<AclList>) {
        self.mutations.push(mutation);
        self.parent_acls.push(parent_acl);
    }

    /// A znode's content changes; its children do not.
    fn replace(&mut self, path: &str, before: &Node, after: Arc<Node>) {
        let digest = &mut self.meta.applied.digest;
        digest.remove(digest::content(path, before));
        digest.add(digest::content(path, &after));
        let counts = &mut self.meta.counts;
        counts.data_bytes =
            counts.data_bytes - before.data_length() as u64 + after.data_length() as u64;
        self.store.update(path, after);
    }

    /// Sets the numbers of the parent of `path`.
    fn set_children(&mut self, path: &str, parent: &Node, numbers: ChildNumbers) {
        let parent_path = path::parent(path).unwrap_or_default();
        let digest = &mut self.meta.applied.digest;
        digest.remove(digest::children(parent_path, parent.children));
        digest.add(digest::children(parent_path, numbers));
        self.store.update(
            parent_path,
            Arc::new(Node {
                children: numbers,
                ..parent.clone()
            }),
        );
    }

    fn reset_parent(&mut self, path: &str, numbers: ChildNumbers) -> Result<(), StoreError> {
        let parent_path = path::parent(path).unwrap_or_default();
        let Some(parent) = self.store.node(parent_path)? else {
            return Err(StoreError::Inconsistent(format!("{path} has no parent")));
        };
        self.set_children(path, &parent, numbers);
        Ok(())
    }

    fn count(&mut self, path: &str, node: &Node, sign: Sign) {
        let parts = [
            digest::content(path, node),
            digest::children(path, node.children),
        ];
        let Meta {
            applied, counts, ..
        } = &mut *self.meta;
        let (ephemerals, bytes) = (u64::from(node.is_ephemeral()), node.data_length() as u64);
        match sign {
            Sign::Plus => {
                parts.into_iter().for_each(|part| applied.digest.add(part));
                counts.znodes += 1;
                counts.ephemerals += ephemerals;
                counts.data_bytes += bytes;
            }
            Sign::Minus => {
                parts
                    .into_iter()
                    .for_each(|part| applied.digest.remove(part));
                counts.znodes -= 1;
                counts.ephemerals -= ephemerals;
                counts.data_bytes -= bytes;
            }
        }
    }

    fn existing(&self, path: &str) -> Result<Arc<Node>, Failure> {
        let node = self.store.node(path)?;
        Ok(node.ok_or_else(|| OpError::NoNode {
            path: path.to_owned(),
        })?)
    }

    fn permit(&self, node: &Node, permission: u32, path: &str) -> Result<(), OpError> {
        if acl::allows(&node.acl, permission, self.auth) {
            Ok(())
        } else {
            Err(OpError::NoAuth {
                path: path.to_owned(),
            })
        }
    }

    fn check_size(&self, path: &str, data: Option<&Bytes>) -> Result<(), OpError> {
        let (bytes, limit) = (data.map_or(0, Bytes::len), self.meta.limits.max_data_bytes);
        if bytes > limit as usize {
            return Err(OpError::TooLarge {
                path: path.to_owned(),
                bytes,
                limit,
            });
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Sign {
    Plus,
    Minus,
}

fn check_version(path: &str, expected: i32, found: i32) -> Result<(), OpError> {
    if expected == -1 || expected == found || mutants::is(Mutant::VersionUnchecked) {
        return Ok(());
    }
    Err(OpError::BadVersion {
        path: path.to_owned(),
        expected,
        found,
    })
}
