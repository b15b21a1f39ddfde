//! The time of one process, as its machine's clocks show it: moved by the world, slept in by tasks.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use zweig_coordinator::clock::{self, Clock, Sleep};
use zweig_coordinator::consensus::node::Now;

/// What stands for 0 milliseconds; which instant it is shows nowhere.
static BEGINNING: LazyLock<Instant> = LazyLock::new(clock::now);

#[derive(Default)]
struct State {
    ms: u64,
    wall_ms: i64,
    /// By when they are to be woken.
    sleepers: BTreeMap<(u64, u64), Waker>,
    next: u64,
}

/// Clones share it.
#[derive(Clone, Default)]
pub struct Time(Arc<Mutex<State>>);

impl Time {
    /// It is later now; wakes who has slept long enough.
    pub fn set(&self, now: Now) {
        let mut state = self.0.lock();
        (state.ms, state.wall_ms) = (now.ms, now.wall_ms);
        while let Some(first) = state.sleepers.first_entry()
            && first.key().0 <= now.ms
        {
            first.remove().wake();
        }
    }

    /// Milliseconds since the process began.
    pub fn ms_of(instant: Instant) -> u64 {
        let since = instant.saturating_duration_since(*BEGINNING);
        since.as_millis() as u64
    }
}

impl Clock for Time {
    fn now(&self) -> Instant {
        *BEGINNING + Duration::from_millis(self.0.lock().ms)
    }

    fn wall_clock_ms(&self) -> i64 {
        self.0.lock().wall_ms
    }

    fn sleep(&self, length: Duration) -> Sleep {
        let until_ms = self.0.lock().ms + length.as_millis() as u64;
        Box::pin(Sleeper {
            time: self.clone(),
            until_ms,
            key: None,
        })
    }
}

struct Sleeper {
    time: Time,
    until_ms: u64,
    key: Option<(u64, u64)>,
}

impl Future for Sleeper {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let time = self.time.clone();
        let mut state = time.0.lock();
        if state.ms >= self.until_ms {
            return Poll::Ready(());
        }
        let key = match self.key {
            Some(key) => key,
            None => {
                state.next += 1;
                (self.until_ms, state.next)
            }
        };
        self.key = Some(key);
        state.sleepers.insert(key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.time.0.lock().sleepers.remove(&key);
        }
    }
}
