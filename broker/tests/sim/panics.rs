//! Panics of tasks. The runtime catches them, and a broker may go on without the task: so they are noted, and a run
//! in which there was one has failed.

use std::cell::{Cell, RefCell};
use std::sync::Once;

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static NOTED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// From now on panics of this thread are noted, and not printed.
pub fn watch() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if WATCHED.get() {
                NOTED.with(|noted| noted.borrow_mut().push(info.to_string()));
            } else {
                usual(info);
            }
        }));
    });
    WATCHED.set(true);
    NOTED.with(|noted| noted.borrow_mut().clear());
}

/// What was noted; panics are printed again.
pub fn noted() -> Vec<String> {
    WATCHED.set(false);
    NOTED.with(|noted| std::mem::take(&mut *noted.borrow_mut()))
}
