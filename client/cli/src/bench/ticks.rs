//! The times of an open load, to some tens of microseconds: the runtime's own timers know milliseconds only.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::clock;

/// Waits until a time.
#[derive(Debug)]
pub struct Alarm {
    timer: AsyncFd<OwnedFd>,
}

impl Alarm {
    /// One that is not set.
    ///
    /// # Errors
    /// If the system has no timer left.
    pub fn new() -> io::Result<Self> {
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        #[allow(
            deprecated,
            reason = "sound here: nobody else has the timer, and it stays the same"
        )]
        let timer = AsyncFd::with_interest(timer, Interest::READABLE)?;
        Ok(Self { timer })
    }

    /// Waits for `time`. May be dropped while it waits.
    pub async fn at(&mut self, time: Instant) {
        let left = time
            .saturating_duration_since(clock::now())
            .max(Duration::from_nanos(1));
        let spec = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            },
        };
        let set = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &spec);
        debug_assert!(set.is_ok(), "{set:?}: a relative time is always valid");
        if let Ok(mut ready) = self.timer.readable().await {
            let mut expirations = [0; 8];
            // Nothing to read is fine too: the time was set anew meanwhile.
            let _ = rustix::io::read(self.timer.get_ref(), &mut expirations);
            ready.clear_ready();
        }
    }
}

/// Fixed times, one after the other, whether or not anybody is in time for them.
#[derive(Debug)]
pub struct Ticks {
    alarm: Alarm,
    interval: Duration,
    next: Instant,
}

impl Ticks {
    /// `rate` per second; connections do not begin all at once, but by their `number`.
    ///
    /// # Errors
    /// If the system has no timer left.
    pub fn new(rate: f64, number: usize) -> io::Result<Self> {
        let interval = interval(rate);
        Ok(Self {
            alarm: Alarm::new()?,
            interval,
            next: clock::now() + interval.mul_f64(share(number)),
        })
    }

    /// The time of the next request, if it has come.
    pub fn due(&mut self, now: Instant) -> Option<Instant> {
        let due = self.next;
        if due > now {
            return None;
        }
        self.next += self.interval;
        Some(due)
    }

    /// Waits for the next time. May be dropped while it waits.
    pub async fn next(&mut self) {
        self.alarm.at(self.next).await;
    }
}

/// The part of the first interval that lane `number` lets go by: the golden ratio spreads any number of them evenly.
pub fn share(number: usize) -> f64 {
    (number as f64 * 0.618_033_988_749_895).fract()
}

/// The time between two requests at this rate per second.
pub fn interval(rate: f64) -> Duration {
    Duration::from_secs_f64(1.0 / rate)
}
