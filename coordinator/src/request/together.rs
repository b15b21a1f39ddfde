//! What arises together for clients is written by whoever made it, once, when it is done: for few clients that is less
//! work than to wake a task for each, and sooner. For many, their tasks share it among the processors.

use std::cell::RefCell;
use std::sync::Arc;

/// More clients than this are served by tasks of their own.
const FEW: usize = 8;

/// A client for whom something waits.
pub trait Deliver: Send + Sync {
    /// Writes it here and now; what the system does not take is left to the client's task.
    fn deliver(&self);
    /// Leaves it to the client's task.
    fn wake(&self);
}

thread_local! {
    /// For whom something has arisen since the outermost [`Together`] of this thread began.
    static WAITING: RefCell<Option<Vec<Arc<dyn Deliver>>>> = const { RefCell::new(None) };
}

/// Until it is dropped, what arises on this thread waits. Must outlive the locks that are held meanwhile.
pub struct Together {
    outermost: bool,
}

impl Together {
    /// Begins; within another one it does nothing.
    pub fn begin() -> Self {
        WAITING.with_borrow_mut(|waiting| {
            let outermost = waiting.is_none();
            waiting.get_or_insert_default();
            Self { outermost }
        })
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        if !self.outermost {
            return;
        }
        let waiting = WAITING.take().unwrap_or_default();
        let few = waiting.len() <= FEW;
        for client in waiting {
            if few {
                client.deliver();
            } else {
                client.wake();
            }
        }
    }
}

/// Has `client` delivered at the end of what this thread is doing; false if it is doing nothing of that kind.
pub fn deliver_later(client: impl FnOnce() -> Option<Arc<dyn Deliver>>) -> bool {
    WAITING.with_borrow_mut(|waiting| {
        // Whoever holds a client here may be its last owner, and must not let go of it under a lock.
        let Some(waiting) = waiting else { return false };
        let client = client();
        let found = client.is_some();
        waiting.extend(client);
        found
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    #[derive(Default)]
    struct Counts {
        delivered: AtomicUsize,
        woken: AtomicUsize,
    }

    impl Deliver for Counts {
        fn deliver(&self) {
            self.delivered.fetch_add(1, Relaxed);
        }

        fn wake(&self) {
            self.woken.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn few_are_delivered_at_the_end_and_many_woken() {
        for (clients, expected) in [(1, (1, 0)), (FEW, (FEW, 0)), (FEW + 1, (0, FEW + 1))] {
            let counts = Arc::new(Counts::default());
            let seen = || (counts.delivered.load(Relaxed), counts.woken.load(Relaxed));
            let outer = Together::begin();
            for _ in 0..clients {
                let _inner = Together::begin();
                assert!(deliver_later(|| Some(counts.clone())));
            }
            assert_eq!(seen(), (0, 0), "not before the end");
            drop(outer);
            assert_eq!(seen(), expected);
            assert!(
                !deliver_later(|| Some(counts.clone())),
                "nothing is going on"
            );
        }
    }
}
