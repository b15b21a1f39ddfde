//! How a broker comes to stand in the tree: top-level paths, cluster id, broker id, then the
//! ephemeral znode whose czxid is the broker epoch.
//!
//! ```text
//!   start ─▶ close own former session ─▶ new session ─▶ remember it ─▶ paths, ids
//!                                             ▲                            │
//!        session expired, with logs as they are│                     register ─▶ remember epoch
//!                                             └────────────────────────────┘
//! ```
//!
//! Invariants: the log directory's lock is held by this process before any of this runs, so a former
//! session remembered there has no living owner. The session is remembered before it registers, and
//! the epoch before anything is served under it. A live id of a foreign session is refused, and so
//! is a `/controller` that no broker of this project wrote.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use zweig_client::ensemble::{ConnectError, CreateMode, Error, WriteOp, WriteResult};

use crate::chance;
use crate::clock;
use crate::disk::Disk;
use crate::metadata::Endpoint;

use super::memory::{Memory, MemoryError};
use super::port::{Port, Ports};
use super::znode::{self, brokers, cluster, controller, own};

/// Why this broker cannot stand in the tree.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// No session could be had.
    #[error("no session of the ensemble: {0}")]
    Connect(#[from] ConnectError),
    /// The ensemble refused something.
    #[error("{what}: {source}")]
    Ensemble {
        /// What was asked for.
        what: String,
        /// Why not.
        source: Error,
    },
    /// What is remembered cannot be read or written.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// Another living broker has this id.
    #[error(
        "broker id {id} is registered by another session ({session:#x}); stop that broker, \
         or give this one another broker.id"
    )]
    IdTaken {
        /// The id.
        id: i32,
        /// Its owner.
        session: i64,
    },
    /// The log directories belong to another cluster.
    #[error("the log directories belong to cluster {ours}, the ensemble to cluster {theirs}")]
    OtherCluster {
        /// As in `meta.properties`.
        ours: String,
        /// As in `/cluster/id`.
        theirs: String,
    },
    /// The log directories belong to another broker.
    #[error("the log directories belong to broker {stored}, but broker.id is {configured}")]
    OtherBroker {
        /// As in `meta.properties`.
        stored: i32,
        /// As configured.
        configured: i32,
    },
    /// A broker of another implementation is controller.
    #[error(
        "/controller is held by broker {0} of another implementation; \
         give this cluster a chroot of its own"
    )]
    ForeignController(i32),
    /// A znode makes no sense.
    #[error(transparent)]
    Znode(#[from] znode::DecodeError),
}

impl RegistrationError {
    /// Whether the same attempt may succeed later.
    #[must_use]
    pub fn retriable(&self) -> bool {
        match self {
            RegistrationError::Connect(error) => matches!(error, ConnectError::Unavailable { .. }),
            RegistrationError::Ensemble { source, .. } => {
                source.retriable()
                    || source.outcome_unknown()
                    || matches!(source, Error::SessionExpired | Error::Closed)
            }
            // A disk that is full, most likely: not a reason to end a broker that runs.
            RegistrationError::Memory(_) => true,
            _ => false,
        }
    }
}

/// What stays the same over all registrations of one run.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `broker.id`, or what was generated.
    pub broker_id: i32,
    /// `/cluster/id`.
    pub cluster_id: String,
}

/// What a broker is registered with.
#[derive(Clone, Debug)]
pub struct Registrar {
    /// The disk of the log directories.
    pub disk: Arc<dyn Disk>,
    /// Where what is remembered stands: the first log directory.
    pub dir: PathBuf,
    /// Advertised listeners, bound and filled in.
    pub endpoints: Vec<Endpoint>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// This boot of the kernel.
    pub boot_id: String,
    /// Whether records are synced before they are acknowledged.
    pub synced: bool,
}

/// One registration.
#[derive(Clone)]
pub struct Registered {
    /// Its session.
    pub port: Arc<dyn Port>,
    /// Its broker epoch.
    pub epoch: i64,
    /// See [`crate::metadata::Broker::intact_since`]; own epoch if something was lost before.
    pub intact_since: i64,
}

/// Closes the session of this broker's former run, so that its registration goes at once rather
/// than by its timeout.
///
/// # Errors
/// [`RegistrationError`] if the ensemble cannot be reached.
pub async fn close_former(
    ports: &dyn Ports,
    memory: Option<&Memory>,
) -> Result<(), RegistrationError> {
    let Some(credentials) = memory.and_then(Memory::credentials) else {
        return Ok(());
    };
    match ports.connect(Some(credentials)).await {
        Ok(port) => {
            let closed = port.close().await;
            closed.map_err(|source| doing("closing the former session", source))
        }
        Err(ConnectError::SessionExpired) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Creates what every broker relies on, and settles cluster id and broker id.
///
/// # Errors
/// [`RegistrationError`].
pub async fn settle(
    port: &dyn Port,
    configured: Option<i32>,
    reserved_max: i32,
    stored: Option<(String, i32)>,
) -> Result<Identity, RegistrationError> {
    top_level(port).await?;
    let cluster_id = cluster_id(port).await?;
    if let Some((ours, _)) = &stored
        && *ours != cluster_id
        && !ours.is_empty()
    {
        return Err(RegistrationError::OtherCluster {
            ours: ours.clone(),
            theirs: cluster_id,
        });
    }
    let broker_id = match (configured, stored.map(|(_, id)| id)) {
        (Some(configured), Some(stored)) if configured != stored => {
            return Err(RegistrationError::OtherBroker { stored, configured });
        }
        (Some(id), _) | (None, Some(id)) => id,
        (None, None) => generate_id(port, reserved_max).await?,
    };
    refuse_foreign_controller(port).await?;
    Ok(Identity {
        broker_id,
        cluster_id,
    })
}

async fn top_level(port: &dyn Port) -> Result<(), RegistrationError> {
    let missing = async |path: &str| {
        let found = port.get(path.to_owned()).await;
        found.map(|f| f.is_none()).map_err(|e| doing(path, e))
    };
    if !missing(own::LOG_ENDS).await? {
        return Ok(());
    }
    for path in znode::TOP_LEVEL {
        if missing(path).await? {
            create(port, path, None).await?;
        }
    }
    Ok(())
}

/// Creates a persistent znode; that it is there already is as good.
async fn create(port: &dyn Port, path: &str, data: Option<Bytes>) -> Result<(), RegistrationError> {
    let op = WriteOp::Create {
        path: path.to_owned(),
        data,
        mode: CreateMode::Persistent,
        acl: Vec::new(),
    };
    match port.multi(vec![op]).await.map_err(Error::from) {
        Ok(_) | Err(Error::NodeExists(_)) => Ok(()),
        Err(source) => Err(doing(&format!("creating {path}"), source)),
    }
}

async fn cluster_id(port: &dyn Port) -> Result<String, RegistrationError> {
    loop {
        let found = port.get(cluster::ID.to_owned()).await;
        if let Some((data, _)) = found.map_err(|e| doing("reading the cluster id", e))? {
            return Ok(cluster::decode_id(&data.unwrap_or_default())?);
        }
        let id = znode::id_text(chance::uuid());
        create(port, cluster::ID, Some(cluster::encode_id(&id))).await?;
    }
}

/// Ids above the reserved ones come from the version of a znode that everyone sets.
async fn generate_id(port: &dyn Port, reserved_max: i32) -> Result<i32, RegistrationError> {
    let op = WriteOp::set(brokers::SEQID, Bytes::new(), None);
    let results = port.multi(vec![op]).await.map_err(Error::from);
    let results = results.map_err(|e| doing("generating a broker id", e))?;
    match results.results.first().and_then(WriteResult::stat) {
        Some(stat) => Ok(stat.version.saturating_add(reserved_max)),
        None => Err(doing(
            "generating a broker id",
            Error::Protocol("no stat came back".to_owned()),
        )),
    }
}

async fn refuse_foreign_controller(port: &dyn Port) -> Result<(), RegistrationError> {
    let found = async |path: &str| {
        let found = port.get(path.to_owned()).await;
        found.map_err(|e| doing(path, e))
    };
    // Marker, controller, marker: an election of ours between two reads is not taken for foreign.
    let before = found(own::CONTROLLER).await?;
    let Some((data, stat)) = found(controller::CONTROLLER).await? else {
        return Ok(());
    };
    let after = found(own::CONTROLLER).await?;
    let markers = [before, after];
    if markers.iter().flatten().any(|(_, m)| m.czxid == stat.czxid) {
        return Ok(());
    }
    let broker = controller::decode_controller(&data.unwrap_or_default()).unwrap_or(-1);
    Err(RegistrationError::ForeignController(broker))
}

impl Registrar {
    /// Registers over a fresh session. `intact_since` as judged from the logs, or as it was for
    /// the registration that expired; `None` if something may be missing.
    ///
    /// # Errors
    /// [`RegistrationError`].
    pub async fn register(
        &self,
        port: Arc<dyn Port>,
        broker_id: i32,
        intact_since: Option<i64>,
    ) -> Result<Registered, RegistrationError> {
        let mut memory = Memory::new(port.credentials(), self.boot_id.clone(), self.synced);
        memory.intact_since = intact_since;
        memory.store(&*self.disk, &self.dir)?;
        let content = brokers::Registration {
            endpoints: self.endpoints.clone(),
            rack: self.rack.clone(),
            timestamp_ms: clock::wall_ms(),
            intact_since,
        };
        let epoch = self.create(&*port, broker_id, &content).await?;
        let intact_since = intact_since.unwrap_or(epoch);
        memory.broker_epoch = epoch;
        memory.intact_since = Some(intact_since);
        memory.store(&*self.disk, &self.dir)?;
        Ok(Registered {
            port,
            epoch,
            intact_since,
        })
    }

    async fn create(
        &self,
        port: &dyn Port,
        id: i32,
        content: &brokers::Registration,
    ) -> Result<i64, RegistrationError> {
        let path = brokers::path(id);
        let session = port.credentials().session;
        loop {
            let op = WriteOp::create(&path, content.encode(), CreateMode::Ephemeral);
            let error = match port.multi(vec![op]).await {
                Ok(batch) => match batch.results.first().and_then(WriteResult::stat) {
                    Some(stat) => return Ok(stat.czxid),
                    None => Error::Protocol("no stat came back".to_owned()),
                },
                Err(failed) => failed.error,
            };
            // After a lost answer the znode may be ours.
            let look = matches!(error, Error::NodeExists(_)) || error.outcome_unknown();
            if !look {
                return Err(doing("registering", error));
            }
            let found = port.get(path.clone()).await;
            match found.map_err(|e| doing("registering", e))? {
                Some((_, stat)) if stat.ephemeral_owner == session => return Ok(stat.czxid),
                Some((_, stat)) => {
                    let session = stat.ephemeral_owner;
                    return Err(RegistrationError::IdTaken { id, session });
                }
                None => {}
            }
        }
    }
}

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(500);

/// Opens sessions until one registers, after the former one expired. Ends only by success, or by
/// an error that trying again cannot mend.
///
/// # Errors
/// [`RegistrationError`] that is not retriable.
pub async fn register_anew(
    ports: &dyn Ports,
    registrar: &Registrar,
    broker_id: i32,
    intact_since: i64,
) -> Result<Registered, RegistrationError> {
    loop {
        let attempt = async {
            let port = ports.connect(None).await?;
            refuse_foreign_controller(&*port).await?;
            registrar
                .register(port, broker_id, Some(intact_since))
                .await
        };
        match attempt.await {
            Ok(registered) => return Ok(registered),
            Err(error) if error.retriable() => {
                tracing::warn!(%error, "not registered yet, trying again");
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Asks until the ensemble does not put it off any more: it may have no quorum or no space for a while, which is no
/// reason for a broker that starts to end.
///
/// # Errors
/// Those that are something else.
pub async fn patiently<T, F>(mut ask: impl FnMut() -> F) -> Result<T, RegistrationError>
where
    F: Future<Output = Result<T, RegistrationError>>,
{
    loop {
        match ask().await {
            Err(RegistrationError::Ensemble { what, source }) if source.retriable() => {
                tracing::warn!(error = %source, "{what} is put off, trying on");
                tokio::time::sleep(PAUSE).await;
            }
            ended => return ended,
        }
    }
}

fn doing(what: &str, source: Error) -> RegistrationError {
    RegistrationError::Ensemble {
        what: what.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests;
