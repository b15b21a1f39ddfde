//! Disks that forget what was not synced when their power is cut, for whole processes to lose it. Needs FUSE; where
//! that is not allowed it says so and passes.

#[path = "../disk/mod.rs"]
mod disk;
