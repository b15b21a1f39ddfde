//! ElectLeaders (43; KIP-183, KIP-460): preferred leaders, or any leader where there is none. Answers once the controller
//! has done what it can, or the request's time is up.
//!
//! Kafka answers this at the controller alone; here any broker does, as the ensemble carries the request.

use super::{Context, KafkaError, distinct};
use crate::clock;
use crate::metadata::{ElectionKind, Image, Partition};
use crate::wire::codec::text;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kafka_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse, TopicName};
use std::collections::BTreeMap;
use std::time::Duration;

/// First version with an error for the request as a whole, and with kinds of elections.
const KINDS_SINCE: i16 = 1;
/// Partitions asked for at a time, so that a znode holds them.
const AT_A_TIME: usize = 2_000;

/// A partition: its topic's name, its index.
type Key = (String, i32);

pub(super) async fn handle(
    ctx: &Context,
    version: i16,
    request: ElectLeadersRequest,
) -> ElectLeadersResponse {
    let kind = match request.election_type {
        _ if version < KINDS_SINCE => ElectionKind::Preferred,
        0 => ElectionKind::Preferred,
        1 => ElectionKind::Unclean,
        _ => {
            let code = ResponseError::InvalidRequest.code();
            return ElectLeadersResponse::default().with_error_code(code);
        }
    };
    let deadline = clock::now() + Duration::from_millis(request.timeout_ms.try_into().unwrap_or(0));
    let image = ctx.image();
    let named = request.topic_partitions.is_some();
    let asked: Vec<Key> = match request.topic_partitions {
        Some(topics) => {
            let topics = topics.into_iter();
            let asked = topics.flat_map(|topic| {
                let name = topic.topic.to_string();
                topic.partitions.into_iter().map(move |p| (name.clone(), p))
            });
            distinct(asked.collect(), Clone::clone)
        }
        None => every_partition(&image),
    };
    let mut results = BTreeMap::<Key, Result<(), ResponseError>>::new();
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
        let left = deadline.saturating_duration_since(clock::now());
        let ended = elect(ctx, kind, some, left).await;
        results.extend(some.iter().cloned().zip(ended));
    }
    ElectLeadersResponse::default().with_replica_election_results(by_topic(results))
}

fn every_partition(image: &Image) -> Vec<Key> {
    let topics = image.topics.values();
    let partitions = topics.flat_map(|topic| {
        let indexes = topic.partitions.keys();
        indexes.map(|index| (topic.name.to_string(), *index))
    });
    partitions.collect()
}

/// Whether an election could change anything.
fn is_needed(image: &Image, kind: ElectionKind, (topic, index): &Key) -> Result<(), ResponseError> {
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
            let is_here = |id: &i32| image.broker(*id).is_some();
            if partition.leader.as_ref().is_some_and(is_here) {
                return Err(ResponseError::ElectionNotNeeded);
            }
            let can = partition.replicas.iter().any(is_here);
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

/// Has the controller elect, and tells what became of each.
async fn elect(
    ctx: &Context,
    kind: ElectionKind,
    partitions: &[Key],
    limit: Duration,
) -> Vec<Result<(), ResponseError>> {
    let asked = ctx.admin.ask_elections(kind, partitions.to_vec()).await;
    let zxid = match asked {
        Ok(zxid) => zxid,
        Err(error) => {
            tracing::warn!(%error, ?kind, "elections were asked for and are not done");
            return vec![Err(error.response_error()); partitions.len()];
        }
    };
    let is_open = |image: &Image, key: &Key| {
        let asked = image.asked_election(kind);
        image.zxid < zxid || asked.is_some_and(|asked| asked.partitions.contains(key))
    };
    let is_done = |image: &Image| !partitions.iter().any(|key| is_open(image, key));
    let done = ctx.metadata.wait_for(limit, is_done).await;
    let (image, is_late) = match done {
        Ok(image) => (image, false),
        Err(_) => (ctx.image(), true),
    };
    let ends = partitions.iter().map(|(topic, index)| {
        let partition = known(&image, topic, *index)?;
        let leads = match kind {
            ElectionKind::Preferred => partition.leader == partition.replicas.first().copied(),
            ElectionKind::Unclean => partition.leader.is_some(),
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

fn by_topic(results: BTreeMap<Key, Result<(), ResponseError>>) -> Vec<ReplicaElectionResult> {
    let mut topics = BTreeMap::<String, Vec<PartitionResult>>::new();
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
            .with_topic(TopicName(text(topic)))
            .with_partition_result(partitions)
    });
    results.collect()
}
