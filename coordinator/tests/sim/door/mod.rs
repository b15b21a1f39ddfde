//! The client-facing half of one process: the production front door over the published state, with what stands
//! around it in a server. Consensus is the world's (`link`), time too (`time`), its tasks are run by hand (`tasks`),
//! and clients' bytes are values (`wire`, `streams`).

pub mod link;
pub mod streams;
pub mod tasks;
pub mod time;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use zweig_coordinator::consensus::node::Now;
use zweig_coordinator::request::{self, Driver, FrontDoor, FrontDoorConfig, Published};
use zweig_coordinator::session::report::grace_ms;
use zweig_coordinator::upkeep;

use link::Link;
use streams::Streams;
use tasks::Tasks;
use time::Time;
use wire::Wire;

/// The shortest timeout that a session may have.
pub const SHORTEST_TIMEOUT_MS: u32 = 2_000;
const LONGEST_TIMEOUT_MS: u32 = 6_000;
const FORWARD_DEADLINE: Duration = Duration::from_millis(1_500);
/// How often a leader looks for containers that are done.
const CONTAINER_CHECK: Duration = Duration::from_millis(700);
const CATCH_UP: Duration = Duration::from_millis(800);

/// What a process is born with.
#[derive(Clone, Copy, Debug)]
pub struct Birth {
    /// The N of `server.N`.
    pub node: u64,
    pub boot: u64,
    pub seed: u64,
}

pub struct Door {
    pub front: FrontDoor,
    pub link: Link,
    pub wire: Wire,
    streams: Streams,
    published: Arc<Published>,
    time: Time,
    driver: Driver,
    tasks: Tasks,
}

impl Door {
    pub fn new(birth: &Birth, published: Arc<Published>, now: Now) -> Self {
        let grace_ms = grace_ms(SHORTEST_TIMEOUT_MS.into());
        let (link, time) = (Link::new(grace_ms), Time::default());
        time.set(now);
        let config = FrontDoorConfig {
            node: birth.node,
            boot: birth.boot,
            session_timeout_ms: (SHORTEST_TIMEOUT_MS, LONGEST_TIMEOUT_MS),
            forward_deadline: FORWARD_DEADLINE,
            catch_up: CATCH_UP,
        };
        let (front, driver) = FrontDoor::new(
            config,
            Arc::clone(&published),
            Arc::new(link.clone()),
            Arc::new(time.clone()),
            StdRng::seed_from_u64(birth.seed),
        );
        let mut tasks = Tasks::default();
        tasks.spawn(request::watchman(front.clone()));
        tasks.spawn(upkeep::check_containers(front.clone(), CONTAINER_CHECK));
        Self {
            front,
            link,
            wire: Wire::default(),
            streams: Streams::default(),
            published,
            time,
            driver,
            tasks,
        }
    }

    /// Everything that can go on goes on.
    pub fn run(&mut self, now: Now) {
        self.time.set(now);
        // Each hands work to the other.
        while self.tasks.run() | self.driver.run_once() {}
    }

    /// Somebody reads what is newest: no less than the entry `lowest`, which was answered before.
    pub fn read_newest(&mut self, lowest: u64) {
        let front = self.front.clone();
        self.tasks.spawn(async move {
            if front.linearizable().await.is_ok() {
                let applied = front.read(|state| state.applied().index);
                assert!(
                    applied >= lowest,
                    "a read shows index {applied}, but {lowest} was answered before"
                );
            }
        });
    }

    /// The numbers kept on the way must be those of the state itself.
    pub fn audit(&self, member: u64) {
        let (audit, applied) = self.front.read(|state| (state.audit(), state.applied()));
        assert_eq!(
            audit.unwrap().0,
            applied.digest,
            "the state of member {member} at index {} is not what its digest says",
            applied.index
        );
    }

    pub fn published(&self) -> &Arc<Published> {
        &self.published
    }
}
