//! One file per operation: its request and its response.
//!
//! Operations without a body in one direction (`ping`, `closeSession`, the answers of `delete`,
//! `setWatches` and `removeWatches`) have no type for it: the header is all there is.

pub mod add_watch;
pub mod auth;
pub mod check;
pub mod create;
pub mod create2;
pub mod delete;
pub mod exists;
pub mod get_acl;
pub mod get_all_children_number;
pub mod get_children;
pub mod get_children2;
pub mod get_data;
pub mod get_ephemerals;
pub mod multi;
pub mod remove_watches;
pub mod set_acl;
pub mod set_data;
pub mod set_watches;
pub mod set_watches2;
pub mod sync;
pub mod who_am_i;

pub use add_watch::{AddWatchRequest, AddWatchResponse};
pub use auth::AuthRequest;
pub use check::CheckRequest;
pub use create::{CreateRequest, CreateResponse, CreateTtlRequest};
pub use create2::Create2Response;
pub use delete::DeleteRequest;
pub use exists::{ExistsRequest, ExistsResponse};
pub use get_acl::{GetAclRequest, GetAclResponse};
pub use get_all_children_number::{GetAllChildrenNumberRequest, GetAllChildrenNumberResponse};
pub use get_children::{GetChildrenRequest, GetChildrenResponse};
pub use get_children2::{GetChildren2Request, GetChildren2Response};
pub use get_data::{GetDataRequest, GetDataResponse};
pub use get_ephemerals::{GetEphemeralsRequest, GetEphemeralsResponse};
pub use multi::{MultiOp, MultiRequest, MultiResponse, MultiResult};
pub use remove_watches::{CheckWatchesRequest, RemoveWatchesRequest};
pub use set_acl::{SetAclRequest, SetAclResponse};
pub use set_data::{SetDataRequest, SetDataResponse};
pub use set_watches::SetWatchesRequest;
pub use set_watches2::SetWatches2Request;
pub use sync::{SyncRequest, SyncResponse};
pub use who_am_i::{ClientInfo, WhoAmIResponse};
