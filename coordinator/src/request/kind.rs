//! Kinds of requests, for those who count them: ZooKeeper's words for its operations, and a few of our own.

use super::{ReadOp, Request};
use crate::state_machine::Op;

macro_rules! kinds {
    ($($kind:ident $name:literal $updates:literal,)*) => {
        /// What is asked, without its arguments.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs, reason = "its name says it")]
        pub enum RequestKind { $($kind,)* }

        impl RequestKind {
            /// All of them, in the order of their numbers.
            pub const ALL: &[RequestKind] = &[$(RequestKind::$kind,)*];

            /// Its name in metrics.
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// Whether it goes through the log.
            pub fn updates(self) -> bool {
                match self { $(Self::$kind => $updates,)* }
            }
        }
    };
}

kinds! {
    OpenSession "createSession" true,
    AttachSession "attachSession" true,
    CloseSession "closeSession" true,
    Create "create" true,
    Delete "delete" true,
    SetData "setData" true,
    SetAcl "setACL" true,
    Multi "multi" true,
    FencedBatch "fencedBatch" true,
    Sync "sync" true,
    Other "other" true,
    Get "getData" false,
    Exists "exists" false,
    Children "getChildren" false,
    Acl "getACL" false,
    Ephemerals "getEphemerals" false,
    Count "getAllChildrenNumber" false,
    Watches "watches" false,
    MultiRead "multiRead" false,
    Nothing "whoAmI" false,
    Refused "refused" false,
}

impl RequestKind {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Of a request.
    pub fn of(request: &Request) -> Self {
        match request {
            Request::Write(op) => Self::of_write(op),
            Request::Read(read) => Self::of_read(read),
            Request::Refuse(_) => Self::Refused,
        }
    }

    /// Of a write.
    pub fn of_write(op: &Op) -> Self {
        match op {
            Op::OpenSession { .. } => Self::OpenSession,
            Op::AttachSession { .. } => Self::AttachSession,
            Op::CloseSession => Self::CloseSession,
            Op::Create(_) | Op::CreateContainer(_) => Self::Create,
            Op::Delete { .. } => Self::Delete,
            Op::SetData { .. } => Self::SetData,
            Op::SetAcl { .. } => Self::SetAcl,
            Op::Multi(_) => Self::Multi,
            Op::FencedBatch { .. } => Self::FencedBatch,
            Op::Sync => Self::Sync,
            Op::ExpireSession
            | Op::DeleteContainer { .. }
            | Op::Check { .. }
            | Op::CheckCreated { .. }
            | Op::SetLimits { .. } => Self::Other,
        }
    }

    fn of_read(read: &ReadOp) -> Self {
        match read {
            ReadOp::Get { .. } => Self::Get,
            ReadOp::Exists { .. } => Self::Exists,
            ReadOp::Children { .. } => Self::Children,
            ReadOp::Acl { .. } => Self::Acl,
            ReadOp::Ephemerals { .. } => Self::Ephemerals,
            ReadOp::CountDescendants { .. } => Self::Count,
            ReadOp::AddWatch { .. }
            | ReadOp::HasWatch { .. }
            | ReadOp::RemoveWatches { .. }
            | ReadOp::SetWatches(_) => Self::Watches,
            ReadOp::Many(_) => Self::MultiRead,
            ReadOp::Nothing => Self::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_places_in_the_list() {
        for (at, kind) in RequestKind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, at);
        }
    }
}
