//! The rules of the znode tree: paths, numbers, permissions, and how one znode changes.
//!
//! Called by `state_machine`, which decides, and by `storage`, which keeps. Pure values: a [`Node`] is
//! never changed in place once it is shared; a change makes a new one, so that history, watchers and
//! readers may hold the old. Where znodes are kept is not told here: see `storage::Store`.
pub mod acl;
pub mod digest;
pub mod node;
pub mod path;
pub mod stat;
pub mod transaction;

pub use acl::{Acl, AclList, AuthId};
pub use node::{ChildNumbers, Node};
pub use stat::{Stat, Zxid};
pub use transaction::{Cause, Mutation, Transaction};
