//! Counters of one broker. Cheap enough to be counted always: relaxed atomics, a few per request and per batch,
//! none per record. `server/scrape.rs` tells them under Kafka's names.
//!
//! Kept by `replica::hosted`, since everything that serves reaches that. A topic's counters live while a partition of
//! it is hosted here; what is counted by listener is found once per listener. The two locks are for that alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use parking_lot::Mutex;
use zweig_monitoring::{Counter, Histogram};

/// Keys of APIs are below.
const API_KEYS: usize = 128;

/// What went through a topic's partitions here, or through all.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Records appended by a leader.
    pub messages_in: Counter,
    /// Their bytes, as the producer compressed them.
    pub bytes_in: Counter,
    /// Bytes sent to consumers.
    pub bytes_out: Counter,
    /// Bytes that came from leaders.
    pub replication_bytes_in: Counter,
    /// Bytes sent to followers.
    pub replication_bytes_out: Counter,
}

/// Connections of one listener.
#[derive(Debug, Default)]
pub struct Connections {
    /// That were taken.
    pub opened: Counter,
    /// That have ended.
    pub closed: Counter,
    /// That were closed as soon as they came: too many.
    pub refused: Counter,
}

/// See the module.
#[derive(Debug)]
pub struct Metrics {
    /// Of all topics together.
    pub all: Traffic,
    topics: Mutex<BTreeMap<String, Weak<Traffic>>>,
    listeners: Mutex<BTreeMap<Arc<str>, Arc<Connections>>>,
    /// By key of the API: how long requests took.
    requests: [Histogram; API_KEYS],
    /// Partitions that producers wrote to, or tried to.
    pub produces: Counter,
    /// Those of them that were answered with an error.
    pub produces_failed: Counter,
    /// Partitions that were fetched, or asked for.
    pub fetches: Counter,
    /// Those of them that were answered with an error.
    pub fetches_failed: Counter,
    /// Leaderships that this broker took up.
    pub leaderships: Counter,
    /// Replicas left out of an ISR by its leader.
    pub isr_shrinks: Counter,
    /// Replicas taken into one.
    pub isr_expands: Counter,
    /// Changes of an ISR that were not written.
    pub isr_failures: Counter,
    /// Sessions of this broker that the ensemble ended.
    pub sessions_expired: Counter,
    /// As controller: leaders chosen that may lack records.
    pub unclean_elections: Counter,
    /// How long logs took to be on the disk, where records are not acknowledged before.
    pub syncs: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            all: Traffic::default(),
            topics: Mutex::default(),
            listeners: Mutex::default(),
            requests: std::array::from_fn(|_| Histogram::default()),
            produces: Counter::default(),
            produces_failed: Counter::default(),
            fetches: Counter::default(),
            fetches_failed: Counter::default(),
            leaderships: Counter::default(),
            isr_shrinks: Counter::default(),
            isr_expands: Counter::default(),
            isr_failures: Counter::default(),
            sessions_expired: Counter::default(),
            unclean_elections: Counter::default(),
            syncs: Histogram::default(),
        }
    }
}

impl Metrics {
    /// The counters of a topic, from 0 if no partition of it is hosted here yet.
    pub fn topic(&self, name: &str) -> Arc<Traffic> {
        let mut topics = self.topics.lock();
        if let Some(known) = topics.get(name).and_then(Weak::upgrade) {
            return known;
        }
        topics.retain(|_, traffic| traffic.strong_count() > 0);
        let traffic = Arc::new(Traffic::default());
        topics.insert(name.to_owned(), Arc::downgrade(&traffic));
        traffic
    }

    /// Every topic with a partition here, by name.
    pub fn topics(&self) -> Vec<(String, Arc<Traffic>)> {
        let topics = self.topics.lock();
        let hosted = topics
            .iter()
            .filter_map(|(name, traffic)| Some((name.clone(), traffic.upgrade()?)));
        hosted.collect()
    }

    /// The connections of a listener.
    pub fn listener(&self, name: &Arc<str>) -> Arc<Connections> {
        let mut listeners = self.listeners.lock();
        Arc::clone(listeners.entry(Arc::clone(name)).or_default())
    }

    /// Every listener that serves, by name.
    pub fn listeners(&self) -> Vec<(Arc<str>, Arc<Connections>)> {
        let listeners = self.listeners.lock();
        let all = listeners
            .iter()
            .map(|(name, connections)| (Arc::clone(name), Arc::clone(connections)));
        all.collect()
    }

    /// A request of this kind was answered, or needed no answer.
    pub fn answered(&self, api: ApiKey, took: Duration) {
        if let Some(histogram) = self.requests(api) {
            histogram.observe(took);
        }
    }

    /// How long requests of a kind took; `None` for kinds that nobody serves.
    pub fn requests(&self, api: ApiKey) -> Option<&Histogram> {
        self.requests.get(usize::try_from(api as i16).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_counts_while_something_of_it_is_here() {
        let metrics = Metrics::default();
        let (first, second) = (metrics.topic("a"), metrics.topic("a"));
        first.messages_in.add(2);
        assert_eq!(second.messages_in.get(), 2, "of all its partitions");
        drop((first, second));
        assert!(metrics.topics().is_empty());
        assert_eq!(metrics.topic("a").messages_in.get(), 0);
    }

    #[test]
    fn every_api_that_is_served_is_counted() {
        for api in crate::handlers::REGISTRY {
            assert!(Metrics::default().requests(api.key).is_some(), "{api:?}");
        }
    }
}
