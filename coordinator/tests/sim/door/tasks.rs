//! The tasks of one process, run by hand: those that were woken, in the order of their beginning.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use parking_lot::Mutex;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Who was woken. A set: in which order they were depends on chance that has no seed.
type Woken = Arc<Mutex<BTreeSet<u64>>>;

struct Bell {
    task: u64,
    woken: Woken,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.woken.lock().insert(self.task);
    }
}

#[derive(Default)]
pub struct Tasks {
    next: u64,
    tasks: BTreeMap<u64, (Task, Waker)>,
    woken: Woken,
}

impl Tasks {
    /// Begins a task; it runs when its turn comes.
    pub fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) -> u64 {
        self.next += 1;
        let bell = Bell {
            task: self.next,
            woken: Arc::clone(&self.woken),
        };
        let waker = Waker::from(Arc::new(bell));
        self.tasks.insert(self.next, (Box::pin(task), waker));
        self.woken.lock().insert(self.next);
        self.next
    }

    /// Ends a task wherever it stands.
    pub fn stop(&mut self, task: u64) {
        self.tasks.remove(&task);
    }

    /// Runs everyone who was woken, once; false if nobody was.
    pub fn run(&mut self) -> bool {
        let woken = std::mem::take(&mut *self.woken.lock());
        for id in &woken {
            let Some((task, waker)) = self.tasks.get_mut(id) else {
                continue;
            };
            let mut context = Context::from_waker(waker);
            if task.as_mut().poll(&mut context).is_ready() {
                self.tasks.remove(id);
            }
        }
        !woken.is_empty()
    }
}
