//! Who must hear of which change, by ZooKeeper's rules.
//!
//! Watches belong to a connection of this node and are no replicated state. `request` arms them in the
//! same step in which it reads, asks [`WatchTable::trigger`] after each transaction, and queues the
//! events before any reply that could show the newer state. Pure: no queue, no lock, no clock here.
//!
//! Native watch streams are not here: they follow the changes themselves.
mod event;
mod replay;
mod table;
mod trigger;

pub use event::{Event, EventKind, RemoveKind, WatchKind};
pub use replay::Rearm;
pub use table::WatchTable;

#[cfg(test)]
mod tests;
