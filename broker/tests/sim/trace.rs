//! What happened, as one number: two runs of one seed must agree in it. With `ZWEIG_SIM_SEED` the lines themselves
//! are printed as well.

use std::hash::{DefaultHasher, Hasher as _};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The hash of all that happened so far; clones share it.
#[derive(Clone)]
pub struct Trace {
    inner: Arc<Mutex<Inner>>,
    begun: Instant,
}

struct Inner {
    hash: DefaultHasher,
    events: u64,
    print: bool,
}

impl Trace {
    /// Nothing has happened; the clock begins.
    pub fn new(print: bool) -> Trace {
        let inner = Inner {
            hash: DefaultHasher::new(),
            events: 0,
            print,
        };
        Trace {
            inner: Arc::new(Mutex::new(inner)),
            begun: Instant::now(),
        }
    }

    /// Milliseconds since the beginning.
    pub fn ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Numbers and bytes: counted, not printed.
    pub fn bytes(&self, what: &str, numbers: &[u64], bytes: &[u8]) {
        let ms = self.ms();
        let mut inner = self.inner.lock();
        inner.events += 1;
        inner.hash.write(what.as_bytes());
        inner.hash.write_u64(ms);
        numbers.iter().for_each(|n| inner.hash.write_u64(*n));
        inner.hash.write(bytes);
        let hash = inner.hash.finish();
        if DEEP.with(std::cell::Cell::get) {
            eprintln!(
                "{ms:>6} {what} {numbers:?} {} bytes, {hash:016x}",
                bytes.len()
            );
        }
    }

    /// A line a person can read.
    pub fn line(&self, text: impl FnOnce() -> String) {
        let ms = self.ms();
        let text = text();
        let mut inner = self.inner.lock();
        inner.events += 1;
        inner.hash.write(text.as_bytes());
        inner.hash.write_u64(ms);
        if inner.print {
            println!("{:>3}.{:03} {text}", ms / 1000, ms % 1000);
        }
    }

    /// A line that is printed, and is not part of the trace.
    pub fn aside(&self, text: impl FnOnce() -> String) {
        if self.inner.lock().print {
            let ms = self.ms();
            println!("{:>3}.{:03} {}", ms / 1000, ms % 1000, text());
        }
    }

    /// The hash, and how many events went into it.
    pub fn finish(&self) -> (u64, u64) {
        let inner = self.inner.lock();
        (inner.hash.finish(), inner.events)
    }
}

thread_local! {
    static DEEP: std::cell::Cell<bool> = std::cell::Cell::new(std::env::var_os("ZWEIG_SIM_DEEP").is_some());
}
