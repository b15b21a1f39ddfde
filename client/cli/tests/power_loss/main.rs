//! Whole nodes on disks that forget: coordinators and brokers as real processes, whose power is cut. What they did not
//! sync is lost, or survives in part, as a seed has it; then they start again on what is left, under clients that
//! nobody here wrote. Needs FUSE and mount namespaces; where these are not allowed it says so and passes.
//!
//! | file | what is shown |
//! | --- | --- |
//! | `ensemble` | nothing acknowledged is lost when all coordinators lose power at once, also amid rejoining; and the proof can fail |
//! | `synced` | nor any record, when brokers that sync before they acknowledge do |
//! | `unsynced` | nor when brokers that don't lose power one at a time; what is promised when all of them do |
//! | `failed_sync` | a failed fsync ends the process, which comes back right, also if the power fails afterwards |
//! | `machines` | the cluster and its disks |
//! | `../disk` | the disks, and tests of their own |
//! | `../witnesses` | the clients, and what their histories must fulfil |
//!
//! `ZWEIG_POWER_LOSS_SEED=S ZWEIG_POWER_LOSS_ROUNDS=N cargo test -p zweig --test power_loss` runs longer, with
//! other luck.

#[path = "../disk/mod.rs"]
mod disk;
#[path = "../disk/tests.rs"]
mod disk_tests;
mod ensemble;
mod failed_sync;
mod machines;
#[path = "../support/mod.rs"]
mod support;
mod synced;
mod unsynced;
#[path = "../witnesses/mod.rs"]
mod witnesses;
