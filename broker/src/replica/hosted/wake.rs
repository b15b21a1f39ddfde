//! How those who wait for a partition hear that its offsets or its part changed.
//!
//! Registration is for one wake-up: a waiter registers, looks, sleeps, and registers again. So nobody is
//! woken twice for nothing, and a waiter that gave up costs one dead entry until the next clean-up. Who waits for many
//! partitions again and again has an [`Inbox`], which tells which of them changed.

use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Dead entries are swept when the list has doubled since the last sweep, from this length on.
const FIRST_SWEEP: usize = 16;

/// The waiters of one partition.
#[derive(Debug, Default)]
pub struct WakeList {
    waiters: Mutex<Waiters>,
}

#[derive(Debug, Default)]
struct Waiters {
    list: Vec<Waiter>,
    sweep_at: usize,
}

#[derive(Debug)]
enum Waiter {
    /// Waits for this change alone.
    Once(Weak<Notify>),
    /// Is told that what it knows under this number changed.
    Inbox(Weak<Inbox>, u64),
}

impl Waiter {
    fn is_live(&self) -> bool {
        match self {
            Waiter::Once(waiter) => waiter.strong_count() > 0,
            Waiter::Inbox(inbox, _) => inbox.strong_count() > 0,
        }
    }
}

/// Which of many partitions changed, by the numbers under which their waiter registered.
#[derive(Debug, Default)]
pub struct Inbox {
    changed: Mutex<Vec<u64>>,
    notify: Notify,
}

impl Inbox {
    /// Takes the numbers of what changed since the last call; each was registered once, and is no more.
    #[must_use]
    pub fn take(&self) -> Vec<u64> {
        std::mem::take(&mut self.changed.lock())
    }

    /// Waits until something has changed since the last wait; `false` if nothing did by the deadline.
    pub async fn changed(&self, deadline: Instant) -> bool {
        timeout_at(deadline, self.notify.notified()).await.is_ok()
    }

    fn put(&self, number: u64) {
        self.changed.lock().push(number);
        self.notify.notify_one();
    }
}

impl WakeList {
    /// Wakes `waiter` at the next change.
    pub fn register(&self, waiter: &Arc<Notify>) {
        self.push(Waiter::Once(Arc::downgrade(waiter)));
    }

    /// Puts `number` into `inbox` at the next change.
    pub fn register_inbox(&self, inbox: &Arc<Inbox>, number: u64) {
        self.push(Waiter::Inbox(Arc::downgrade(inbox), number));
    }

    fn push(&self, waiter: Waiter) {
        let mut waiters = self.waiters.lock();
        if waiters.list.len() >= waiters.sweep_at.max(FIRST_SWEEP) {
            waiters.list.retain(Waiter::is_live);
            waiters.sweep_at = waiters.list.len() * 2;
        }
        waiters.list.push(waiter);
    }

    /// How many wait now, inboxes apart: those stay registered between two waits.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let waiters = self.waiters.lock();
        let live = waiters
            .list
            .iter()
            .filter(|waiter| matches!(waiter, Waiter::Once(_)) && waiter.is_live());
        live.count()
    }

    /// Wakes all that registered since the last call.
    pub fn wake(&self) {
        let woken = std::mem::take(&mut self.waiters.lock().list);
        for waiter in woken {
            match waiter {
                Waiter::Once(waiter) => {
                    if let Some(waiter) = waiter.upgrade() {
                        waiter.notify_one();
                    }
                }
                Waiter::Inbox(inbox, number) => {
                    if let Some(inbox) = inbox.upgrade() {
                        inbox.put(number);
                    }
                }
            }
        }
    }
}

/// Calls `look` at once and after each change of what `register` registers with, until it yields something or the
/// deadline has passed. A last look after the deadline is up to the caller.
pub async fn wait_until<T>(
    deadline: Instant,
    register: impl Fn(&Arc<Notify>),
    mut look: impl FnMut() -> Option<T>,
) -> Option<T> {
    let waiter = Arc::new(Notify::new());
    loop {
        // Registered before looking: a change between the two wakes at once.
        register(&waiter);
        if let Some(seen) = look() {
            return Some(seen);
        }
        if timeout_at(deadline, waiter.notified()).await.is_err() {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::time::Duration;

    #[tokio::test]
    async fn wakes_on_change_and_ends_at_the_deadline() {
        let (list, value) = (Arc::new(WakeList::default()), Arc::new(AtomicI64::new(0)));
        let (list2, value2) = (Arc::clone(&list), Arc::clone(&value));
        tokio::spawn(async move {
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_millis(10)).await;
                value2.fetch_add(1, Ordering::SeqCst);
                list2.wake();
            }
        });
        let seen = wait_until(
            deadline(20_000),
            |w| list.register(w),
            || (value.load(Ordering::SeqCst) >= 3).then_some(()),
        )
        .await;
        assert_eq!(seen, Some(()));
        let never = wait_until(
            deadline(20),
            |w| list.register(w),
            || (value.load(Ordering::SeqCst) >= 9).then_some(()),
        )
        .await;
        assert_eq!(never, None);
    }

    #[test]
    fn waiters_that_gave_up_are_swept() {
        let list = WakeList::default();
        for _ in 0..10_000 {
            list.register(&Arc::new(Notify::new()));
        }
        assert!(list.waiters.lock().list.len() <= FIRST_SWEEP);
    }

    #[tokio::test]
    async fn an_inbox_is_told_once_of_each_registration() {
        let (list, inbox) = (WakeList::default(), Arc::new(Inbox::default()));
        list.register_inbox(&inbox, 7);
        list.register_inbox(&inbox, 9);
        assert!(!inbox.changed(deadline(20)).await);
        list.wake();
        list.wake();
        assert!(inbox.changed(deadline(20_000)).await);
        assert_eq!(inbox.take(), [7, 9]);
        list.register_inbox(&inbox, 7);
        list.wake();
        assert!(inbox.changed(deadline(20_000)).await);
        assert_eq!(inbox.take(), [7]);
        assert_eq!(list.waiting(), 0);
    }

    fn deadline(ms: u64) -> Instant {
        Instant::from_std(crate::clock::now() + Duration::from_millis(ms))
    }
}
