//! What mounts of one disk share, and the device below: it takes one sync after the other, each of which takes its time.

#![allow(
    clippy::disallowed_methods,
    reason = "a real disk answers in real time"
)]

use std::sync::mpsc::Receiver;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fuser::{Errno, ReplyEmpty};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::image::Image;

/// What the machine around the disk does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    On,
    /// Requests get no answer: nobody may go on between the cut and its end.
    Cut,
    /// Requests fail; whoever made them is dead.
    Off,
}

/// What mounts of one disk share.
pub struct State {
    pub image: Image,
    pub power: Power,
    /// Of the mount that is answered.
    pub mount: u64,
    /// Syncs of files (by a part of their name) that fail, and how many of them.
    pub failing: Option<(String, usize)>,
    /// Answers every fsync and does nothing.
    pub lies: bool,
    /// How many syncs there were, and how many of them failed.
    pub syncs: u64,
    pub failed_syncs: u64,
}

/// See [`State`].
pub struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    pub fn new(bytes: u64) -> Self {
        Self {
            state: Mutex::new(State {
                image: Image::new(bytes),
                power: Power::Off,
                mount: 0,
                failing: None,
                lies: false,
                syncs: 0,
                failed_syncs: 0,
            }),
            changed: Condvar::new(),
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_power(&self, power: Power) {
        self.state().power = power;
        self.changed.notify_all();
    }
}

/// A sync under way.
pub struct Sync {
    pub ino: u64,
    pub reply: ReplyEmpty,
}

/// Waits while the power is being cut.
pub fn enter(shared: &Shared, mount: u64) -> Result<MutexGuard<'_, State>, Errno> {
    let cut = |state: &mut State| state.power == Power::Cut;
    let state = shared.changed.wait_while(shared.state(), cut);
    let state = state.unwrap_or_else(PoisonError::into_inner);
    if state.mount != mount || state.power == Power::Off {
        return Err(Errno::EIO);
    }
    Ok(state)
}

/// The device: one sync after the other, each of which takes its time.
pub fn device(shared: &Shared, mount: u64, waiting: &Receiver<Sync>, sync_time: Duration) {
    let mut chance = StdRng::seed_from_u64(mount);
    while let Ok(Sync { ino, reply }) = waiting.recv() {
        std::thread::sleep(sync_time.mul_f64(chance.random_range(0.5..1.5)));
        match enter(shared, mount).and_then(|mut state| perform(&mut state, ino)) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }
}

fn perform(state: &mut State, ino: u64) -> Result<(), Errno> {
    state.syncs += 1;
    if state.lies {
        return Ok(());
    }
    let name = state.image.get(ino)?.name.to_string_lossy().into_owned();
    if let Some((part, left)) = &mut state.failing
        && name.contains(part.as_str())
    {
        *left -= 1;
        if *left == 0 {
            state.failing = None;
        }
        state.failed_syncs += 1;
        state.image.sync_failed(ino);
        return Err(Errno::EIO);
    }
    Ok(state.image.sync(ino)?)
}
