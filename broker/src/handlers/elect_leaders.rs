//! ElectLeaders (43; KIP-183, KIP-460): preferred leaders, or any leader where there is none. Answers once the controller
//! has done what it can, or the request's time is up.
//!
//! Kafka answers this at the controller alone; here any broker does, as the ensemble carries the request. What needs no
//! election, or can't have one, is judged from this broker's image.

use super::{Context, KafkaError, distinct};
use crate::clock;
use crate::limits::MAX_ELECTIONS;
use crate::metadata::{ElectionKind, Image, Partition};
use crate::wire::codec::text;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kafka_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse, TopicName};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// First version with an error for the request as a whole, and with kinds of elections.
const KINDS_SINCE: i16 = 1;
/// Partitions asked for at a time, so that a znode holds them.
const AT_A_TIME: usize = 2_000;

/// A partition: its topic's name, which is shared with the request, and its index.
type Key = (TopicName, i32);
type Outcome = Result<(), ResponseError>;

pub(super) async fn handle(
    ctx: &Context,
    version: i16,
    request: ElectLeadersRequest,
) -> ElectLeadersResponse {
    let refused = |error: ResponseError| {
        let code = if version < KINDS_SINCE {
            0
        } else {
            error.code()
        };
        ElectLeadersResponse::default().with_error_code(code)
    };
    let kind = match request.election_type {
        _ if version < KINDS_SINCE => ElectionKind::Preferred,
        0 => ElectionKind::Preferred,
        1 => ElectionKind::Unclean,
        _ => return refused(ResponseError::InvalidRequest),
    };
    let deadline = clock::now() + Duration::from_millis(request.timeout_ms.try_into().unwrap_or(0));
    let image = ctx.image();
    let named = request.topic_partitions.is_some();
    let asked: Vec<Key> = match request.topic_partitions {
        Some(topics) => {
            let topics = topics.into_iter();
            let asked = topics.flat_map(|topic| {
                let name = topic.topic;
                topic.partitions.into_iter().map(move |p| (name.clone(), p))
            });
            let asked: Vec<Key> = asked.take(MAX_ELECTIONS + 1).collect();
            if asked.len() > MAX_ELECTIONS {
                return refused(ResponseError::InvalidRequest);
            }
            distinct(asked, Clone::clone)
        }
        None => every_partition(&image),
    };
    let mut results = BTreeMap::<Key, Outcome>::new();
    let mut needed = Vec::new();
    for key in asked {
        match is_needed(&image, kind, &key) {
            Ok(()) => needed.push(key),
            // Of all partitions, those that are well are not told.
            Err(ResponseError::ElectionNotNeeded) if !named => {}
            Err(refused) => {
                results.insert(key, Err(refused));
            }
        }
    }
    for some in needed.chunks(AT_A_TIME) {
        let ended = elect(ctx, kind, some, deadline).await;
        results.extend(some.iter().cloned().zip(ended));
    }
    ElectLeadersResponse::default().with_replica_election_results(by_topic(results))
}

/// Of every topic that is to stay.
fn every_partition(image: &Image) -> Vec<Key> {
    let topics = image.topics.values();
    let staying = topics.filter(|topic| !image.deleting.contains_key(&topic.name));
    let partitions = staying.flat_map(|topic| {
        let name = TopicName(text(topic.name.to_string()));
        let indexes = topic.partitions.keys();
        indexes.map(move |index| (name.clone(), *index))
    });
    partitions.collect()
}

/// Whether an election could change anything.
fn is_needed(image: &Image, kind: ElectionKind, (topic, index): &Key) -> Outcome {
    let partition = known(image, topic, *index)?;
    match kind {
        ElectionKind::Preferred => {
            let preferred = partition.replicas.first().copied();
            if preferred.is_some() && partition.leader == preferred {
                return Err(ResponseError::ElectionNotNeeded);
            }
            let current = preferred.and_then(|id| image.broker_epoch(id));
            let named = preferred.and_then(|id| partition.isr_epoch_of(id));
            let can = current.is_some() && current == named;
            can.then_some(())
                .ok_or(ResponseError::PreferredLeaderNotAvailable)
        }
        ElectionKind::Unclean => {
            if is_led(image, partition) {
                return Err(ResponseError::ElectionNotNeeded);
            }
            let mut replicas = partition.replicas.iter();
            let can = replicas.any(|id| image.broker(*id).is_some());
            can.then_some(())
                .ok_or(ResponseError::EligibleLeadersNotAvailable)
        }
    }
}

fn known<'a>(image: &'a Image, topic: &str, index: i32) -> Result<&'a Partition, ResponseError> {
    let deleting = image.deleting.contains_key(topic);
    let partition = image.partition(topic, index).filter(|_| !deleting);
    let partition = partition.ok_or(ResponseError::UnknownTopicOrPartition)?;
    Ok(partition)
}

/// Whether it has a leader that is here.
fn is_led(image: &Image, partition: &Partition) -> bool {
    partition
        .leader
        .is_some_and(|id| image.broker(id).is_some())
}

/// Has the controller elect, and tells what became of each.
async fn elect(
    ctx: &Context,
    kind: ElectionKind,
    partitions: &[Key],
    deadline: Instant,
) -> Vec<Outcome> {
    let none = |error| vec![Err(error); partitions.len()];
    let names = partitions
        .iter()
        .map(|(topic, index)| (topic.to_string(), *index));
    let asked = ctx.admin.ask_elections(kind, names.collect());
    let zxid = match tokio::time::timeout(left(deadline), asked).await {
        Ok(Ok(zxid)) => zxid,
        Ok(Err(error)) => {
            tracing::warn!(%error, ?kind, "elections were asked for and are not done");
            return none(error.response_error());
        }
        Err(_) => return none(ResponseError::RequestTimedOut),
    };
    let is_done = |image: &Image| {
        let asked = image.asked_election(kind);
        let keys = || partitions.iter().map(|(topic, index)| (&***topic, *index));
        image.zxid >= zxid && asked.is_none_or(|asked| !asked.has_any(keys()))
    };
    let done = ctx.metadata.wait_for(left(deadline), is_done).await;
    let (image, is_late) = match done {
        Ok(image) => (image, false),
        Err(_) => (ctx.image(), true),
    };
    let ends = partitions.iter().map(|(topic, index)| {
        let partition = known(&image, topic, *index)?;
        let leads = match kind {
            ElectionKind::Preferred => partition.leader == partition.replicas.first().copied(),
            ElectionKind::Unclean => is_led(&image, partition),
        };
        match kind {
            _ if leads => Ok(()),
            _ if is_late => Err(ResponseError::RequestTimedOut),
            ElectionKind::Preferred => Err(ResponseError::PreferredLeaderNotAvailable),
            ElectionKind::Unclean => Err(ResponseError::EligibleLeadersNotAvailable),
        }
    });
    ends.collect()
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(clock::now())
}

fn by_topic(results: BTreeMap<Key, Outcome>) -> Vec<ReplicaElectionResult> {
    let mut topics = BTreeMap::<TopicName, Vec<PartitionResult>>::new();
    for ((topic, index), end) in results {
        let result = PartitionResult::default().with_partition_id(index);
        topics.entry(topic).or_default().push(match end {
            Ok(()) => result.with_error_message(None),
            Err(error) => result
                .with_error_code(error.code())
                .with_error_message(Some(text(error.to_string()))),
        });
    }
    let results = topics.into_iter().map(|(topic, partitions)| {
        ReplicaElectionResult::default()
            .with_topic(topic)
            .with_partition_result(partitions)
    });
    results.collect()
}
