//! What the simulator puts in the place of a process: its clocks, its sockets, its chance, its end. Only with the
//! feature `sim`, which no shipped binary has; on a thread where no machine runs, everything is as without it.
//!
//! A [`Machine`] is one life of one broker. Futures made while it runs belong to it ([`bound`]). `tests/sim` builds
//! the world that machines live in.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::replica::hosted::ReplicaManager;

/// Both directions of a connection.
pub trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static> Stream for T {}

/// A socket that accepts; yields the peer's address too.
pub trait Accept: Send + Sync + 'static {
    /// The next connection.
    fn accept(&self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, std::net::SocketAddr)>>;

    /// Where it listens.
    fn local_addr(&self) -> std::net::SocketAddr;
}

/// What a machine is to the broker on it.
pub trait World: Send + Sync + 'static {
    /// What the broker is called in a trace.
    fn name(&self) -> String;

    /// Milliseconds since 1970, as this machine's wall clock has it.
    fn wall_ms(&self) -> i64;

    /// Time since this machine was started.
    fn since_boot(&self) -> Duration;

    /// 128 bits of chance.
    fn chance(&self) -> u128;

    /// How long the disk takes before and after a piece of work.
    fn disk_delay(&self) -> (Duration, Duration);

    /// Listens.
    ///
    /// # Errors
    /// Of the simulated network.
    fn listen(&self, host: &str, port: u16) -> io::Result<Box<dyn Accept>>;

    /// Connects to `host:port`.
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Stream>>>;

    /// The broker's replicas: what checkers look into.
    fn serving(&self, replicas: &Arc<ReplicaManager>);

    /// It stops, and answers nobody any more: who leads here now leads in name only.
    fn served(&self);

    /// The process ends itself.
    fn exited(&self, reason: &str);
}

/// A process that ended itself unwinds with this.
#[derive(Debug)]
pub struct Exited;

/// One life of one broker's process.
pub struct Machine {
    world: Box<dyn World>,
    life: Mutex<Life>,
}

#[derive(Default)]
struct Life {
    ended: bool,
    paused: bool,
    /// Whom to poll once it goes on.
    woken: Vec<Waker>,
    tasks: Vec<std::sync::Weak<dyn Kill>>,
}

trait Kill: Send + Sync {
    fn kill(&self);
}

struct Held<F>(Mutex<Option<Pin<Box<F>>>>);

impl<F: Send> Kill for Held<F> {
    fn kill(&self) {
        // Running futures hold the lock: that one has ended the machine, and sees so itself.
        if let Some(mut held) = self.0.try_lock() {
            let future = held.take();
            drop(held);
            drop(future);
        }
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Machine>>> = const { RefCell::new(None) };
}

/// The machine whose future is being polled.
#[must_use]
pub fn machine() -> Option<Arc<Machine>> {
    CURRENT.try_with(|current| current.borrow().clone()).ok()?
}

/// Does something as the machine that runs, if one does.
pub fn with<T>(f: impl FnOnce(&dyn World) -> T) -> Option<T> {
    machine().map(|machine| f(&*machine.world))
}

impl Machine {
    /// A process that begins.
    #[must_use]
    pub fn new(world: Box<dyn World>) -> Arc<Machine> {
        Arc::new(Machine {
            world,
            life: Mutex::default(),
        })
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.life.lock().ended
    }

    /// Drops everything it runs, at once.
    pub fn end(self: &Arc<Self>) {
        let tasks = {
            let mut life = self.life.lock();
            life.ended = true;
            life.woken.clear();
            std::mem::take(&mut life.tasks)
        };
        let _entered = Entered::new(self.clone());
        for task in tasks.iter().filter_map(std::sync::Weak::upgrade) {
            task.kill();
        }
    }

    /// Nothing of it runs until [`Self::resume`].
    pub fn pause(&self) {
        self.life.lock().paused = true;
    }

    /// Goes on.
    pub fn resume(&self) {
        let woken = {
            let mut life = self.life.lock();
            life.paused = false;
            std::mem::take(&mut life.woken)
        };
        woken.into_iter().for_each(Waker::wake);
    }

    /// Binds a future to it.
    pub fn bind<F>(self: &Arc<Self>, future: F) -> Bound<F>
    where
        F: Future + Send + 'static,
    {
        let held = Arc::new(Held(Mutex::new(Some(Box::pin(future)))));
        let weak: std::sync::Weak<Held<F>> = Arc::downgrade(&held);
        let mut life = self.life.lock();
        if life.tasks.len() == life.tasks.capacity() {
            life.tasks.retain(|task| task.strong_count() > 0);
        }
        life.tasks.push(weak);
        drop(life);
        Bound {
            machine: Some(self.clone()),
            held,
        }
    }
}

/// Makes a machine the current one for a while.
struct Entered(Option<Arc<Machine>>);

impl Entered {
    fn new(machine: Arc<Machine>) -> Entered {
        let former = CURRENT.try_with(|current| current.replace(Some(machine)));
        Entered(former.unwrap_or_default())
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let former = self.0.take();
        // Threads that end have none.
        let _ = CURRENT.try_with(|current| *current.borrow_mut() = former);
    }
}

/// A future of a machine.
pub struct Bound<F> {
    machine: Option<Arc<Machine>>,
    held: Arc<Held<F>>,
}

impl<F> Drop for Bound<F> {
    fn drop(&mut self) {
        let _entered = self.machine.clone().map(Entered::new);
        if let Some(mut held) = self.held.0.try_lock() {
            let future = held.take();
            drop(held);
            drop(future);
        }
    }
}

impl<F: Future> Future for Bound<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        let mut held = this.held.0.lock();
        let Some(machine) = &this.machine else {
            return match held.as_mut() {
                Some(future) => future.as_mut().poll(cx),
                None => Poll::Pending,
            };
        };
        {
            let mut life = machine.life.lock();
            if life.ended {
                drop(life);
                let _entered = Entered::new(machine.clone());
                let future = held.take();
                drop(held);
                drop(future);
                return Poll::Pending;
            }
            if life.paused {
                life.woken.push(cx.waker().clone());
                return Poll::Pending;
            }
        }
        let Some(future) = held.as_mut() else {
            return Poll::Pending;
        };
        let _entered = Entered::new(machine.clone());
        let polled = future.as_mut().poll(cx);
        if polled.is_ready() || machine.has_ended() {
            let future = held.take();
            drop(held);
            drop(future);
        }
        polled
    }
}

/// Binds a future to the machine that runs, if one does.
pub fn bound<F>(future: F) -> Bound<F>
where
    F: Future + Send + 'static,
{
    match machine() {
        Some(machine) => machine.bind(future),
        None => Bound {
            machine: None,
            held: Arc::new(Held(Mutex::new(Some(Box::pin(future))))),
        },
    }
}

/// Ends the process: unwinds the task that called.
pub fn exit(reason: &str) {
    if let Some(machine) = machine() {
        machine.life.lock().ended = true;
        machine.world.exited(reason);
        std::panic::resume_unwind(Box::new(Exited));
    }
}

/// What became of blocking work.
pub enum Slowly<T, W> {
    /// Done.
    Done(T),
    /// No machine runs: to be done elsewhere.
    NotSimulated(W),
}

/// Does blocking work in virtual time.
pub async fn slowly<T, W: FnOnce() -> T>(work: W) -> Slowly<T, W> {
    let Some((before, after)) = with(|world| world.disk_delay()) else {
        return Slowly::NotSimulated(work);
    };
    if !before.is_zero() {
        tokio::time::sleep(before).await;
    }
    let done = work();
    if !after.is_zero() {
        tokio::time::sleep(after).await;
    }
    Slowly::Done(done)
}
