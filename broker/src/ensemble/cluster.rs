//! What handlers and replicas may ask of the ensemble: changes of the ISR, topics, producer ids, a
//! controlled shutdown, and how sure this broker may be that it is still registered.
//!
//! A [`Cluster`] outlives sessions: when one expires and the broker registers anew, the server
//! swaps in the new [`Registered`]. Writes of brokers are not fenced by the controller's epoch, as
//! in Kafka; each is conditional on the version of what it was decided from.
//!
//! ```text
//!   Sure ──(2/3 of the timeout without acknowledged renewal)──▶ InDoubt ──▶ Sure
//!     └───────────(told by the ensemble)──▶ Expired ◀──────────────┘
//!                  Expired ──(registered anew, new epoch)──▶ Sure
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use zweig_client::ensemble::{CreateMode, Error, SessionState, WriteOp, WriteResult};

use crate::config::Config;
use crate::log::TopicPartition;
use crate::metadata::{Image, MetadataCache, PartitionState};
use crate::mutants::{self, Mutant};

use super::port::Port;
use super::registration::Registered;
use super::znode::producer_ids::{self, Block};
use super::znode::{own, topics};

/// How sure this broker may be that it is still registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A renewal sent within the last two thirds of the session timeout was acknowledged.
    Sure,
    /// None was for longer: the ensemble may have expired the session. No ISR is changed; fetch
    /// and `acks=all` go on, which the rules of the ISR keep safe.
    InDoubt,
    /// Told by the ensemble: the session is gone, and with it every leadership.
    Expired,
}

/// Why an ISR was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlterIsrError {
    /// Somebody changed the state first; the image will show it.
    #[error("the state of {0} has changed meanwhile")]
    Stale(TopicPartition),
    /// The partition has no state any more: its topic is being deleted.
    #[error("{0} does not exist")]
    Gone(TopicPartition),
    /// This broker cannot tell whether it is still registered; nothing was written.
    #[error("in doubt of the registration")]
    InDoubt,
    /// The session expired: this broker leads nothing.
    #[error("the registration has expired")]
    Fenced,
    /// Certainly not written; may be tried again.
    #[error("not written: {0}")]
    NotDone(String),
    /// It may have been written or not; the image will show it.
    #[error("outcome unknown: {0}")]
    OutcomeUnknown(String),
}

/// Producer ids for this broker alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIds {
    /// The first one.
    pub first: i64,
    /// How many.
    pub len: i64,
}

/// Why no producer ids could be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProducerIdError {
    /// The ensemble did not answer in time, or not well.
    #[error("producer ids: {0}")]
    Ensemble(#[from] Error),
    /// What stands in the tree makes no sense.
    #[error("producer ids: {0}")]
    Znode(#[from] super::znode::DecodeError),
    /// 2^63 ids were handed out.
    #[error("no producer ids are left")]
    UsedUp,
}

/// The ensemble, as handlers and replicas see it; clones are the same.
#[derive(Clone)]
pub struct Cluster {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) broker_id: i32,
    pub(super) registered: ArcSwap<Registered>,
    pub(super) metadata: Arc<MetadataCache>,
    pub(super) config: Arc<Config>,
    pub(super) chance: Mutex<StdRng>,
    /// A controlled shutdown was asked for: no relief is taken back any more.
    stopping: AtomicBool,
}

impl Cluster {
    /// Over a registration; `seed` is of the draws that spread replicas.
    #[must_use]
    pub fn new(
        broker_id: i32,
        registered: Registered,
        metadata: Arc<MetadataCache>,
        config: Arc<Config>,
        seed: u64,
    ) -> Cluster {
        let inner = Inner {
            broker_id,
            registered: ArcSwap::from_pointee(registered),
            metadata,
            config,
            chance: Mutex::new(StdRng::seed_from_u64(seed)),
            stopping: AtomicBool::new(false),
        };
        Cluster {
            inner: Arc::new(inner),
        }
    }

    /// Goes on over the next registration, after the former one expired.
    pub fn replace(&self, registered: Registered) {
        self.inner.registered.store(Arc::new(registered));
    }

    /// The session in use.
    #[must_use]
    pub fn port(&self) -> Arc<dyn Port> {
        self.inner.registered.load().port.clone()
    }

    /// The registration in use.
    #[must_use]
    pub fn registered(&self) -> Arc<Registered> {
        self.inner.registered.load_full()
    }

    /// This broker's id.
    #[must_use]
    pub fn broker_id(&self) -> i32 {
        self.inner.broker_id
    }

    /// Epoch of the current registration, or of the last one while there is none.
    #[must_use]
    pub fn broker_epoch(&self) -> i64 {
        self.inner.registered.load().epoch
    }

    /// How sure this broker may be of its registration, as of this call.
    #[must_use]
    pub fn standing(&self) -> Standing {
        standing(&*self.inner.registered.load().port)
    }

    /// Proposes a state with another ISR, as the leader named in it, in place of the one at
    /// `expected` (czxid of its znode, and partition epoch). Returns the new partition epoch.
    ///
    /// The czxid matters where a topic was deleted and created again: a leader that has not heard of that would write
    /// into the state of the new topic, whose partition epochs begin anew.
    ///
    /// # Errors
    /// [`AlterIsrError`]; only `OutcomeUnknown` may have been written.
    pub async fn alter_isr(
        &self,
        partition: &TopicPartition,
        proposed: PartitionState,
        (czxid, expected): (i64, i32),
    ) -> Result<i32, AlterIsrError> {
        let registered = self.registered();
        match standing(&*registered.port) {
            Standing::Sure => {}
            Standing::InDoubt => return Err(AlterIsrError::InDoubt),
            Standing::Expired => return Err(AlterIsrError::Fenced),
        }
        if proposed.leader_broker_epoch != registered.epoch {
            return Err(AlterIsrError::Fenced);
        }
        let path = topics::state_path(&partition.topic, partition.partition);
        let check = WriteOp::CheckCreated {
            path: path.clone(),
            czxid,
        };
        let op = WriteOp::set(path, topics::encode_state(&proposed), Some(expected));
        let op = match (mutants::is(Mutant::StateWithoutVersion), op) {
            (true, WriteOp::Set { path, data, .. }) => WriteOp::Set {
                path,
                data,
                version: None,
            },
            (_, op) => op,
        };
        match registered.port.multi(vec![check, op]).await {
            Ok(batch) => {
                let stat = batch.results.last().and_then(WriteResult::stat);
                Ok(stat.map_or(expected + 1, |stat| stat.version))
            }
            Err(failed) => Err(alter_error(failed.error, partition)),
        }
    }

    /// Takes the next block of producer ids.
    ///
    /// # Errors
    /// [`ProducerIdError`].
    pub async fn producer_id_block(&self) -> Result<ProducerIds, ProducerIdError> {
        let port = self.port();
        let path = producer_ids::LATEST_BLOCK;
        loop {
            let found = port.get(path.to_owned()).await?;
            let (data, stat) = found.ok_or_else(|| Error::NoNode(path.to_owned()))?;
            let last = Block::decode(&data.unwrap_or_default())?;
            let next = Block::after(last, self.inner.broker_id).ok_or(ProducerIdError::UsedUp)?;
            let op = WriteOp::set(path, next.encode(), Some(stat.version));
            match port.multi(vec![op]).await.map_err(Error::from) {
                Ok(_) => {
                    return Ok(ProducerIds {
                        first: next.start,
                        len: next.end - next.start + 1,
                    });
                }
                // Another broker was first; or it may have been us: a block unused does no harm.
                Err(Error::BadVersion { .. } | Error::OutcomeUnknown(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Asks the controller to move leaderships away from this broker, and waits until none is
    /// left that another replica could take, at most for `limit`. Returns how many partitions this
    /// broker still leads.
    ///
    /// # Errors
    /// That of the ensemble, if the request could not be written.
    pub async fn controlled_shutdown(&self, limit: Duration) -> Result<usize, Error> {
        self.inner.stopping.store(true, Ordering::SeqCst);
        self.ask_relief().await?;
        let me = self.inner.broker_id;
        let moved = |image: &Image| movable(image, me) == 0;
        let waited = self.inner.metadata.wait_for(limit, moved).await;
        if let Err(error) = waited {
            tracing::warn!(%error, "leaderships stay with this broker as it stops");
        }
        let image = self.inner.metadata.image();
        Ok(led(&image, me).count())
    }
}

impl Cluster {
    /// Asks the controller to move leaderships away, for as long as this registration lasts or until
    /// [`Self::end_relief`].
    ///
    /// # Errors
    /// That of the ensemble.
    pub async fn ask_relief(&self) -> Result<(), Error> {
        let registered = self.registered();
        let path = own::shutting_down_path(self.inner.broker_id);
        let content = own::encode_shutdown(registered.epoch);
        let op = WriteOp::create(path, content, CreateMode::Ephemeral);
        match registered.port.multi(vec![op]).await.map_err(Error::from) {
            Ok(_) | Err(Error::NodeExists(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes back what [`Self::ask_relief`] asked for, unless this broker stops.
    ///
    /// # Errors
    /// That of the ensemble.
    pub async fn end_relief(&self) -> Result<(), Error> {
        if self.inner.stopping.load(Ordering::SeqCst) {
            return Ok(());
        }
        let op = WriteOp::delete(own::shutting_down_path(self.inner.broker_id), None);
        match self.port().multi(vec![op]).await.map_err(Error::from) {
            Ok(_) | Err(Error::NoNode(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The partitions a broker leads.
fn led(image: &Image, broker: i32) -> impl Iterator<Item = &crate::metadata::Partition> {
    let partitions = image.topics.values().flat_map(|t| t.partitions.values());
    partitions
        .map(|p| &**p)
        .filter(move |p| p.leader == Some(broker))
}

/// How many of them another broker in sync could lead.
fn movable(image: &Image, broker: i32) -> usize {
    let other = |p: &crate::metadata::Partition| {
        p.isr.iter().any(|id| {
            *id != broker
                && image.broker_epoch(*id) == p.isr_epoch_of(*id)
                && !image.shutting_down.contains_key(id)
        })
    };
    led(image, broker).filter(|p| other(p)).count()
}

fn standing(port: &dyn Port) -> Standing {
    let state = *port.state().borrow();
    if mutants::is(Mutant::ExpiredGoesOn) {
        return Standing::Sure;
    }
    match state {
        SessionState::Expired | SessionState::Closed => Standing::Expired,
        SessionState::Connected | SessionState::Disconnected => {
            if port.in_doubt() {
                Standing::InDoubt
            } else {
                Standing::Sure
            }
        }
    }
}

fn alter_error(error: Error, partition: &TopicPartition) -> AlterIsrError {
    match error {
        Error::BadVersion { .. } => AlterIsrError::Stale(partition.clone()),
        Error::NoNode(_) => AlterIsrError::Gone(partition.clone()),
        Error::SessionExpired | Error::Closed => AlterIsrError::Fenced,
        Error::OutcomeUnknown(why) => AlterIsrError::OutcomeUnknown(why),
        other => AlterIsrError::NotDone(other.to_string()),
    }
}

/// The empty content of a znode.
pub(super) fn nothing() -> Bytes {
    Bytes::new()
}

#[cfg(test)]
mod tests;
