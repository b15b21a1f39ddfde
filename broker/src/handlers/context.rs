//! What a handler may reach: the broker's rooms, and who is asking.

use super::cluster_admin::ClusterAdmin;
use super::init_producer_id::ProducerIds;
use crate::config::Config;
use crate::log::TopicPartition;
use crate::metadata::{Image, MetadataCache};
use crate::purgatory::session::FetchSessions;
use crate::replica::hosted::ReplicaManager;
use crate::shard::Shards;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

/// The broker's rooms, shared by all connections.
pub struct Services {
    /// All settings.
    pub config: Arc<Config>,
    /// The cluster as last seen.
    pub metadata: Arc<MetadataCache>,
    /// Partitions hosted here.
    pub replicas: Arc<ReplicaManager>,
    /// Changes of topics.
    pub admin: Arc<dyn ClusterAdmin>,
    /// Consumer groups coordinated here.
    pub groups: Shards,
    /// Ids for idempotent producers.
    pub producer_ids: ProducerIds,
    /// Fetches that name their partitions once.
    pub fetch_sessions: FetchSessions,
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Services({:?})", self.replicas)
    }
}

impl Services {
    /// The cluster as last seen.
    #[must_use]
    pub fn image(&self) -> Arc<Image> {
        self.metadata.image()
    }
}

/// A registered broker as clients of one listener reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reachable {
    /// Its id.
    pub id: i32,
    /// Advertised host.
    pub host: String,
    /// Advertised port.
    pub port: i32,
    /// Its rack.
    pub rack: Option<String>,
}

/// Who sent a request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// `client.id` of the request header; `None` when the client sent null.
    pub client_id: Option<String>,
    /// Address of the client's end of the connection.
    pub host: IpAddr,
    /// Name of the listener it came in by; metadata answers name the brokers' addresses on that one.
    pub listener: Arc<str>,
}

/// One request's view of the broker: dereferences to [`Services`].
#[derive(Debug, Clone)]
pub struct Context {
    /// The broker's rooms.
    pub services: Arc<Services>,
    /// Who is asking.
    pub caller: Caller,
}

impl Context {
    /// Where the caller reaches these brokers, each once, by id; those without the caller's listener are left
    /// out.
    #[must_use]
    pub fn endpoints_of(&self, ids: impl IntoIterator<Item = i32>) -> Vec<Reachable> {
        let image = self.image();
        let ids: BTreeSet<i32> = ids.into_iter().collect();
        let reachable = ids.into_iter().filter_map(|id| {
            let broker = image.broker(id)?;
            let endpoint = broker.endpoint(&self.caller.listener)?;
            let (host, port) = (endpoint.host.clone(), i32::from(endpoint.port));
            Some(Reachable {
                id,
                host,
                port,
                rack: broker.rack.clone(),
            })
        });
        reachable.collect()
    }

    /// Who leads a partition, and in which epoch, as last seen.
    #[must_use]
    pub fn leader_of(&self, name: &TopicPartition) -> Option<(i32, i32)> {
        let image = self.image();
        let partition = image.partition(&name.topic, name.partition)?;
        Some((partition.leader?, partition.leader_epoch))
    }
}

impl Deref for Context {
    type Target = Services;

    fn deref(&self) -> &Services {
        &self.services
    }
}
