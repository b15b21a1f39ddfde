//! What is wrong with brokers, partitions and groups.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use zweig_client::ensemble::Disk;
use zweig_client::kafka::KafkaError;
use zweig_client::kafka::admin::LogDir;
use zweig_client::kafka::client::{ClusterMetadata, PartitionMetadata};

use super::ensemble::{nearly_full, skewed};
use super::finding::{Finding, Severity, slow, some};

/// Milliseconds by which a broker's clock may differ from the ensemble's.
const SKEW_MS: i64 = 2_000;

/// An answer slower than this is worth a look, if the others are faster.
const SLOW_MS: f64 = 20.0;

/// A registration, as the tree has it.
pub struct Registered {
    /// `broker.id`.
    pub id: i32,
    /// When the ensemble made the znode, by its leader's clock.
    pub since_ms: i64,
    /// When the broker made it, by its own clock.
    pub said_ms: Option<i64>,
    /// Where clients are told to come to.
    pub addresses: Vec<String>,
}

impl Registered {
    /// Reads a znode of `/brokers/ids`.
    pub fn read(id: i32, data: &[u8], since_ms: i64) -> Self {
        #[derive(Default, Deserialize)]
        struct Registration {
            #[serde(default)]
            endpoints: Vec<String>,
            timestamp: Option<String>,
        }
        let said: Registration = serde_json::from_slice(data).unwrap_or_default();
        let address = |endpoint: &String| Some(endpoint.split_once("://")?.1.to_owned());
        Self {
            id,
            since_ms,
            said_ms: said.timestamp.and_then(|ms| ms.parse().ok()),
            addresses: said.endpoints.iter().filter_map(address).collect(),
        }
    }
}

/// What came of knocking at a listener: how long the answer took in milliseconds, or why there is none.
pub struct Knock {
    /// Whose it is.
    pub broker: i32,
    /// Where it is said to be.
    pub address: String,
    /// The median of several.
    pub answer: Result<f64, String>,
}

/// Who is registered, who answers, how late, and with which clock.
pub fn listeners(registered: &[Registered], knocks: &[Knock]) -> Vec<Finding> {
    let mut found = Vec::new();
    for knock in knocks {
        let Err(why) = &knock.answer else { continue };
        let what = format!(
            "is registered, but nobody answers at {}: {why}",
            knock.address
        );
        found.push(Finding::error(name(knock.broker), what).advice(
            "If it runs, clients are told to come to the wrong address: `advertised.listeners`. If it does not, its \
             session is about to end, and others will lead its partitions.",
        ));
    }
    let answered = knocks
        .iter()
        .filter_map(|knock| Some((name(knock.broker), *knock.answer.as_ref().ok()?)));
    found.extend(slow(&answered.collect::<Vec<_>>(), SLOW_MS));
    for broker in registered {
        let ahead = broker
            .said_ms
            .map_or(0, |said| said.saturating_sub(broker.since_ms));
        if ahead.unsigned_abs() > SKEW_MS.unsigned_abs() {
            found.push(skewed(
                &name(broker.id),
                ahead,
                "the coordinators (when it registered)",
            ));
        }
        if broker.addresses.is_empty() {
            found.push(Finding::error(
                name(broker.id),
                "is registered without an address",
            ));
        }
    }
    let here = |address: &&String| address.starts_with("localhost:") || address.starts_with("127.");
    let (near, far): (Vec<&String>, Vec<&String>) = registered
        .iter()
        .flat_map(|broker| &broker.addresses)
        .partition(|address| here(address));
    if !near.is_empty() && !far.is_empty() {
        let near: Vec<String> = near.into_iter().cloned().collect();
        let what = format!(
            "clients on other machines are told to come to {}",
            some(&near)
        );
        found.push(
            Finding::warning("brokers", what)
                .advice("Set `advertised.listeners` to what they can reach."),
        );
    }
    found
}

/// What becomes of a broker without room.
const NO_ROOM: &str = "Make room, or lower `retention.bytes`; a broker without it hands its leaderships over and refuses records.";

/// The log directories of a broker: nearly full, or not to be told.
pub fn disks(broker: i32, dirs: Result<&[LogDir], &KafkaError>) -> Vec<Finding> {
    let dirs = match dirs {
        Ok(dirs) => dirs,
        // An old one can't tell.
        Err(KafkaError::UnsupportedApi { .. }) => return Vec::new(),
        Err(error) => return vec![Finding::warning(name(broker), error.to_string())],
    };
    let failed = dirs.iter().filter_map(|dir| {
        let what = format!("{} failed: {}", dir.path, dir.error?);
        Some(
            Finding::error(name(broker), what)
                .advice("Look at that disk, and at the broker's log."),
        )
    });
    let nearly_full = dirs.iter().filter_map(|dir| {
        let disk = Disk {
            folder: dir.path.clone(),
            free_bytes: dir.free_bytes?,
            bytes: dir.bytes?,
        };
        nearly_full(&name(broker), &disk, NO_ROOM)
    });
    failed.chain(nearly_full).collect()
}

fn name(broker: i32) -> String {
    format!("broker {broker}")
}

/// The partitions, and who should serve them.
pub fn partitions(cluster: &ClusterMetadata, min_isr: &BTreeMap<String, usize>) -> Vec<Finding> {
    let topics = cluster
        .topics
        .values()
        .filter_map(|topic| topic.as_ref().ok());
    let all: Vec<(String, &str, &PartitionMetadata)> = topics
        .flat_map(|topic| {
            let name = topic.name.as_str();
            topic
                .partitions
                .values()
                .map(move |p| (format!("{name}-{}", p.index), name, p))
        })
        .collect();
    let those = |which: &dyn Fn(&str, &PartitionMetadata) -> bool| -> Vec<String> {
        let chosen = all.iter().filter(|(_, topic, p)| which(topic, p));
        chosen.map(|(name, ..)| name.clone()).collect()
    };
    let led = |p: &PartitionMetadata| p.leader.is_some();
    let offline = those(&|_, p| !led(p));
    let refused =
        those(&|topic, p| led(p) && min_isr.get(topic).is_some_and(|min| p.isr.len() < *min));
    let short = those(&|_, p| led(p) && p.isr.len() < p.replicas.len());
    let single = those(&|_, p| p.replicas.len() == 1 && cluster.brokers.len() > 1);
    let away = those(&|_, p| led(p) && p.leader != p.replicas.first().copied());
    let missing = missing(&all);
    let wrong = [
        (
            Severity::Error,
            offline,
            "have no leader",
            "Start the brokers of their in-sync replicas: `zweig topic describe` names them, `zweig topic explain` \
             tells how it came.",
        ),
        (
            Severity::Error,
            refused,
            "refuse acks=all, as fewer are in sync than min.insync.replicas",
            "Start the brokers that are missing.",
        ),
        (Severity::Warning, short, "are under-replicated", &missing),
        (
            Severity::Note,
            single,
            "have one replica only",
            "What only one broker has is gone while it is.",
        ),
        (
            Severity::Note,
            away,
            "are led by another than their preferred replica",
            "That is evened out by itself, if `auto.leader.rebalance.enable` is on; `zweig topic elect` does it now.",
        ),
    ];
    let told = wrong.into_iter().filter(|(_, names, ..)| !names.is_empty());
    let mut found: Vec<Finding> = told
        .map(|(severity, names, what, advice)| {
            let what = format!("{} {what}: {}", names.len(), some(&names));
            Finding::new(severity, "partitions", what).advice(advice)
        })
        .collect();
    if found
        .iter()
        .all(|finding| finding.severity < Severity::Warning)
    {
        let what = format!("{}, all led and fully replicated", all.len());
        found.push(Finding::well("partitions", what));
    }
    found
}

/// Which brokers are missing from how many in-sync sets.
fn missing(all: &[(String, &str, &PartitionMetadata)]) -> String {
    let mut count: BTreeMap<i32, usize> = BTreeMap::new();
    for (_, _, p) in all {
        for id in p.replicas.iter().filter(|id| !p.isr.contains(id)) {
            *count.entry(*id).or_default() += 1;
        }
    }
    let told: Vec<String> = count
        .iter()
        .map(|(id, n)| format!("broker {id} in {n}"))
        .collect();
    format!(
        "Out of sync: {}. A broker that runs and does not catch up is slow.",
        some(&told)
    )
}

/// The brokers as brokers see them.
pub fn membership(cluster: &ClusterMetadata, registered: &[Registered]) -> Vec<Finding> {
    let mut found = Vec::new();
    let ids: BTreeSet<i32> = registered.iter().map(|broker| broker.id).collect();
    match cluster.controller {
        None => found.push(
            Finding::error("brokers", "there is no controller: nobody elects leaders")
                .advice("It takes one broker that runs."),
        ),
        Some(id) => found.push(Finding::well(
            "brokers",
            format!("{} registered, broker {id} is the controller", ids.len()),
        )),
    }
    let mut gone: BTreeMap<i32, usize> = BTreeMap::new();
    for topic in cluster
        .topics
        .values()
        .filter_map(|topic| topic.as_ref().ok())
    {
        for id in topic
            .partitions
            .values()
            .flat_map(|p| &p.replicas)
            .filter(|id| !ids.contains(id))
        {
            *gone.entry(*id).or_default() += 1;
        }
    }
    for (id, count) in gone {
        let what = format!("should keep {count} partitions and is not registered");
        found.push(Finding::error(name(id), what).advice(
            "Start it; `zweig history /brokers/ids --recursive` tells when and why it left.",
        ));
    }
    found
}

/// A group that nobody reads for, and how far behind it is.
pub fn lagging(group: &str, members: usize, lag: i64) -> Option<Finding> {
    (members == 0 && lag > 0).then(|| {
        let what = format!("has no members, and {lag} records wait for it");
        Finding::note(format!("group {group}"), what)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use zweig_client::kafka::client::{Broker, TopicMetadata};

    fn partition(index: i32, leader: Option<i32>, isr: &[i32]) -> PartitionMetadata {
        PartitionMetadata {
            index,
            leader,
            leader_epoch: 0,
            replicas: vec![1, 2, 3],
            isr: isr.to_vec(),
            offline: Vec::new(),
        }
    }

    fn cluster(partitions: Vec<PartitionMetadata>) -> ClusterMetadata {
        let topic = TopicMetadata {
            name: "t".to_owned(),
            id: Default::default(),
            internal: false,
            partitions: partitions.into_iter().map(|p| (p.index, p)).collect(),
        };
        let broker = |id| Broker {
            id,
            host: "h".to_owned(),
            port: 1,
            rack: None,
        };
        ClusterMetadata {
            cluster_id: None,
            controller: Some(1),
            brokers: (1..=3).map(|id| (id, broker(id))).collect(),
            topics: BTreeMap::from([("t".to_owned(), Ok(Arc::new(topic)))]),
        }
    }

    fn registered(id: i32, addresses: &[&str]) -> Registered {
        Registered {
            id,
            since_ms: 10_000,
            said_ms: Some(10_005),
            addresses: addresses.iter().map(|&a| a.to_owned()).collect(),
        }
    }

    #[test]
    fn partitions_that_nobody_leads_or_few_replicate_are_named() {
        let well = partitions(
            &cluster(vec![partition(0, Some(1), &[1, 2, 3])]),
            &BTreeMap::new(),
        );
        assert_eq!((well.len(), well[0].severity), (1, Severity::Well));
        let sick = cluster(vec![
            partition(0, None, &[3]),
            partition(1, Some(2), &[1, 2]),
            partition(2, Some(1), &[1]),
        ]);
        let found = partitions(&sick, &BTreeMap::from([("t".to_owned(), 2)]));
        let told: Vec<&str> = found.iter().map(|f| f.what.as_str()).collect();
        assert!(told[0].starts_with("1 have no leader: t-0"), "{told:?}");
        assert!(
            told[1].starts_with("1 refuse acks=all") && told[1].ends_with("t-2"),
            "{told:?}"
        );
        assert!(
            told[2].starts_with("2 are under-replicated: t-1, t-2"),
            "{told:?}"
        );
        assert!(
            found[2]
                .advice
                .as_deref()
                .is_some_and(|a| a.contains("broker 3 in 2")),
            "{found:?}"
        );
        assert!(told[3].starts_with("1 are led by another"), "{told:?}");
    }

    #[test]
    fn a_broker_that_is_missing_unreachable_skewed_or_somewhere_else_is_named() {
        let three = cluster(vec![partition(0, Some(1), &[1, 2, 3])]);
        let found = membership(&three, &[registered(1, &["h:1"]), registered(2, &["h:2"])]);
        assert_eq!(
            (found[1].severity, found[1].about.as_str()),
            (Severity::Error, "broker 3")
        );
        let mut skewed = registered(2, &["localhost:9092"]);
        skewed.said_ms = Some(70_000);
        let knocks = [
            Knock {
                broker: 1,
                address: "h:1".to_owned(),
                answer: Err("refused".to_owned()),
            },
            Knock {
                broker: 2,
                address: "localhost:9092".to_owned(),
                answer: Ok(1.0),
            },
        ];
        let found = listeners(&[registered(1, &["h:1"]), skewed], &knocks);
        let told: Vec<(&str, &str)> = found
            .iter()
            .map(|f| (f.about.as_str(), f.what.as_str()))
            .collect();
        assert!(
            told[0].0 == "broker 1" && told[0].1.contains("refused"),
            "{told:?}"
        );
        assert!(
            told[1].0 == "broker 2" && told[1].1.contains("1m ahead"),
            "{told:?}"
        );
        assert!(told[2].1.contains("localhost:9092"), "{told:?}");
    }

    #[test]
    fn a_registration_is_read_as_kafka_writes_it() {
        let data = br#"{"endpoints":["PLAINTEXT://a:1","SSL://b:2"],"host":"a","port":1,"timestamp":"17","version":5}"#;
        let read = Registered::read(4, data, 20);
        assert_eq!((read.id, read.said_ms), (4, Some(17)));
        assert_eq!(read.addresses, ["a:1", "b:2"]);
        assert!(Registered::read(4, b"what?", 20).addresses.is_empty());
    }
}
