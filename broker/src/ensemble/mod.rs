//! The broker's side of the ensemble: its registration, the watch stream from which the cluster's
//! image is folded, and the writes that brokers make there themselves.
//!
//! - `znode`: paths and contents.
//!
//! Used by `server`, by `controller::drive`, and through `Cluster` by handlers and replicas. Goes
//! to the network through `zweig-client` alone.

pub mod znode;
