//! What the raft thread waits for: events of other threads, and its sockets.
//!
//! Whoever sends an event rings the bell only if the thread may be asleep, so a busy thread costs its senders no
//! system call. Both sides write, fence, then read the other's word: an event is seen before the thread sleeps, or
//! its sender sees that it has to ring.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::mpsc::{self, TryRecvError};
use std::time::Duration;

use mio::{Poll, Registry, Token, Waker};

use super::Event;

/// The bell's own; sockets have others.
const BELL: Token = Token(0);
/// Sockets that are told of at once; the others come with the next call.
const READY_SOCKETS: usize = 64;

struct Bell {
    waker: Waker,
    /// The thread is awake, or will be.
    rung: AtomicBool,
}

/// The way to the raft thread. Clones share it.
#[derive(Clone)]
pub struct Events {
    queue: mpsc::Sender<Event>,
    bell: Arc<Bell>,
}

/// The raft thread is gone.
#[derive(Debug)]
pub struct Gone;

impl Events {
    /// Queues an event; never blocks.
    ///
    /// # Errors
    /// When the raft thread has ended.
    pub fn send(&self, event: Event) -> Result<(), Gone> {
        self.queue.send(event).map_err(|_| Gone)?;
        self.ring();
        Ok(())
    }

    fn ring(&self) {
        fence(Ordering::SeqCst);
        if !self.bell.rung.swap(true, Ordering::SeqCst)
            && let Err(error) = self.bell.waker.wake()
        {
            // It looks at its queue with the next tick.
            tracing::warn!(%error, "the raft thread could not be woken");
        }
    }
}

/// The raft thread's end.
pub struct Inbox {
    queue: mpsc::Receiver<Event>,
    bell: Arc<Bell>,
    poll: Poll,
    ready: mio::Events,
}

/// A pair of ends.
///
/// # Errors
/// When the system has no descriptors left.
pub fn channel() -> io::Result<(Events, Inbox)> {
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), BELL)?;
    let (sender, queue) = mpsc::channel();
    let bell = Arc::new(Bell {
        waker,
        rung: AtomicBool::new(true),
    });
    let events = Events {
        queue: sender,
        bell: Arc::clone(&bell),
    };
    let ready = mio::Events::with_capacity(READY_SOCKETS);
    let inbox = Inbox {
        queue,
        bell,
        poll,
        ready,
    };
    Ok((events, inbox))
}

/// What a wait came to.
pub enum Woken {
    /// An event; there may be more.
    Event(Event),
    /// Sockets are ready, or the time is over.
    Other,
    /// Nobody can send any more.
    Disconnected,
}

impl Inbox {
    /// Where sockets are registered; [`BELL`]'s token is taken.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub fn registry(&self) -> io::Result<Registry> {
        self.poll.registry().try_clone()
    }

    /// Waits until there is an event, a socket is ready, or the time is over.
    ///
    /// # Errors
    /// When the sockets can't be asked.
    pub fn wait(&mut self, most: Duration) -> io::Result<Woken> {
        self.bell.rung.store(false, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let mut first = self.queue.try_recv();
        let most = match first {
            Err(TryRecvError::Empty) => most,
            _ => Duration::ZERO,
        };
        match self.poll.poll(&mut self.ready, Some(most)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.ready.clear(),
            polled => polled?,
        }
        self.bell.rung.store(true, Ordering::SeqCst);
        if first.is_err() {
            first = self.queue.try_recv();
        }
        Ok(match first {
            Ok(event) => Woken::Event(event),
            Err(TryRecvError::Empty) => Woken::Other,
            Err(TryRecvError::Disconnected) => Woken::Disconnected,
        })
    }

    /// Another event, if there is one.
    pub fn next(&self) -> Option<Event> {
        self.queue.try_recv().ok()
    }

    /// The sockets that the last wait found ready.
    pub fn ready(&self) -> impl Iterator<Item = &mio::event::Event> {
        self.ready.iter().filter(|event| event.token() != BELL)
    }
}
