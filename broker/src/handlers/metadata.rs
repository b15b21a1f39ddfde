//! Metadata (3): brokers, topics, and who leads what. Creates a topic that is asked for and missing, where
//! both the client and `auto.create.topics.enable` want that.

use super::cluster_admin::{AdminError, NewTopic};
use super::{CLUSTER_OPERATIONS, Context, NO_OPERATIONS, TOPIC_OPERATIONS, distinct, is_internal};
use crate::metadata::{Image, Partition, Topic};
use crate::wire::codec::text;
use futures::stream::{self, StreamExt as _};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};
use std::time::Duration;
use tracing::warn;
use uuid::Uuid;

/// How long a topic that was just created may take to get its leaders before the client is told to ask again.
const CREATION_WAIT: Duration = Duration::from_secs(2);

/// Topics that one request has created side by side.
const CREATED_AT_ONCE: usize = 16;

/// First version in which the client says whether topics may be created; older ones always may.
const AUTO_CREATION_SINCE: i16 = 4;
/// First version whose answers carry ids of topics.
const TOPIC_IDS_SINCE: i16 = 10;
/// Range of versions whose requests may ask for operations on the cluster.
const CLUSTER_OPERATIONS_IN: std::ops::RangeInclusive<i16> = 8..=10;
/// First version whose requests may ask for operations on topics.
const TOPIC_OPERATIONS_SINCE: i16 = 8;

pub(super) async fn handle(
    ctx: &Context,
    version: i16,
    mut request: MetadataRequest,
) -> MetadataResponse {
    let key = |topic: &MetadataRequestTopic| (topic.name.clone(), topic.topic_id);
    request.topics = request.topics.map(|asked| distinct(asked, key));
    let may_create = version < AUTO_CREATION_SINCE || request.allow_auto_topic_creation;
    if let Some(asked) = &request.topics
        && may_create
        && ctx.config.topics.auto_create
    {
        create_missing(ctx, asked).await;
    }
    let image = ctx.image();
    let topic_operations = operations(
        request.include_topic_authorized_operations && version >= TOPIC_OPERATIONS_SINCE,
        TOPIC_OPERATIONS,
    );
    let describe = |topic: &Topic| {
        describe(&image, version, topic, &ctx.caller.listener)
            .with_topic_authorized_operations(topic_operations)
    };
    let all = || {
        image
            .topics
            .values()
            .filter(|topic| !image.deleting.contains_key(&topic.name))
            .map(|topic| describe(topic))
    };
    let topics = match request.topics {
        None => all().collect(),
        // Version 0 has no null: an empty list stands for all.
        Some(asked) if asked.is_empty() && version == 0 => all().collect(),
        Some(asked) => asked
            .into_iter()
            .map(|asked| one(&image, version, asked, describe))
            .collect(),
    };
    let wants_cluster =
        request.include_cluster_authorized_operations && CLUSTER_OPERATIONS_IN.contains(&version);
    MetadataResponse::default()
        .with_brokers(brokers(ctx, &image))
        .with_cluster_id(image.cluster_id.as_deref().map(text))
        .with_controller_id(BrokerId(image.controller_id().unwrap_or(-1)))
        .with_topics(topics)
        .with_cluster_authorized_operations(operations(wants_cluster, CLUSTER_OPERATIONS))
}

fn operations(wanted: bool, all: i32) -> i32 {
    if wanted { all } else { NO_OPERATIONS }
}

fn brokers(ctx: &Context, image: &Image) -> Vec<MetadataResponseBroker> {
    let reachable = ctx.endpoints_of(image.brokers.keys().copied()).into_iter();
    let broker = |broker: super::Reachable| {
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(broker.id))
            .with_host(text(broker.host))
            .with_port(broker.port)
            .with_rack(broker.rack.map(text))
    };
    reachable.map(broker).collect()
}

/// Creates what is missing, and waits a little until it has leaders.
async fn create_missing(ctx: &Context, asked: &[MetadataRequestTopic]) {
    let image = ctx.image();
    let named = asked
        .iter()
        .filter(|topic| topic.topic_id.is_nil())
        .filter_map(|topic| topic.name.as_deref());
    let missing: Vec<String> = named
        .filter(|name| image.topic(name).is_none() && !is_internal(name) && is_valid_name(name))
        .map(ToString::to_string)
        .collect();
    let create = |name: String| async move {
        let new = NewTopic {
            name: name.clone(),
            ..NewTopic::default()
        };
        (name, ctx.admin.create_topic(new).await)
    };
    let mut outcomes =
        stream::iter(missing.into_iter().map(create)).buffer_unordered(CREATED_AT_ONCE);
    let (mut created, mut failed) = (Vec::new(), 0);
    while let Some((name, outcome)) = outcomes.next().await {
        match outcome {
            Ok(_) | Err(AdminError::TopicExists(_)) => created.push(name),
            Err(error) => {
                if failed == 0 {
                    warn!(topic = name, %error, "not created");
                }
                failed += 1;
            }
        }
    }
    if failed > 1 {
        warn!(failed, "topics of one request not created");
    }
    if created.is_empty() {
        return;
    }
    // What is not ready by then is answered as it is: the client asks again.
    let _ = ctx
        .metadata
        .wait_for(CREATION_WAIT, |image| {
            created.iter().all(|name| has_leaders(image, name))
        })
        .await;
}

/// Whether a topic is there, with a leader for each partition.
pub(super) fn has_leaders(image: &Image, name: &str) -> bool {
    image.topic(name).is_some_and(|topic| {
        !topic.partitions.is_empty() && topic.partitions.values().all(|p| p.leader.is_some())
    })
}

fn one(
    image: &Image,
    version: i16,
    asked: MetadataRequestTopic,
    describe: impl Fn(&Topic) -> MetadataResponseTopic,
) -> MetadataResponseTopic {
    let by_id = version >= TOPIC_IDS_SINCE && !asked.topic_id.is_nil();
    let topic = match by_id {
        true => image.topic_by_id(&asked.topic_id),
        false => asked.name.as_deref().and_then(|name| image.topic(name)),
    };
    if let Some(topic) = topic.filter(|topic| !image.deleting.contains_key(&topic.name)) {
        return describe(topic);
    }
    let error = match (by_id, asked.name.as_deref()) {
        (true, _) => ResponseError::UnknownTopicId,
        (false, Some(name)) if is_valid_name(name) => ResponseError::UnknownTopicOrPartition,
        (false, _) => ResponseError::InvalidTopicException,
    };
    // Only the newest versions can answer without a name.
    let name = asked
        .name
        .or_else(|| (version < 12).then(TopicName::default));
    MetadataResponseTopic::default()
        .with_error_code(error.code())
        .with_topic_id(asked.topic_id)
        .with_name(name)
}

/// Kafka's rule for names of topics.
fn is_valid_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.len() <= 249 && name != "." && name != ".." && name.chars().all(legal)
}

fn describe(image: &Image, version: i16, topic: &Topic, listener: &str) -> MetadataResponseTopic {
    let partitions = topic
        .partitions
        .iter()
        .map(|(index, seen)| partition(image, version, *index, seen, listener));
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(text(&*topic.name))))
        .with_topic_id(if version >= TOPIC_IDS_SINCE {
            topic.id
        } else {
            Uuid::nil()
        })
        .with_is_internal(is_internal(&topic.name))
        .with_partitions(partitions.collect())
}

fn partition(
    image: &Image,
    version: i16,
    index: i32,
    seen: &Partition,
    listener: &str,
) -> MetadataResponsePartition {
    let is_there = |id: &i32| {
        image
            .broker(*id)
            .is_some_and(|broker| broker.endpoint(listener).is_some())
    };
    let ids = |ids: &[i32]| -> Vec<BrokerId> {
        // Clients of version 0 look up every broker they are told of.
        ids.iter()
            .filter(|id| version > 0 || is_there(id))
            .map(|id| BrokerId(*id))
            .collect()
    };
    let leader = seen.leader.filter(is_there);
    let error = match (leader, seen.leader) {
        (Some(_), _) => 0,
        (None, Some(leader)) if version >= 6 && image.broker(leader).is_some() => {
            ResponseError::ListenerNotFound.code()
        }
        (None, _) => ResponseError::LeaderNotAvailable.code(),
    };
    let gone = seen
        .replicas
        .iter()
        .filter(|id| !is_there(id))
        .map(|id| BrokerId(*id));
    MetadataResponsePartition::default()
        .with_error_code(error)
        .with_partition_index(index)
        .with_leader_id(BrokerId(leader.unwrap_or(-1)))
        .with_leader_epoch(seen.leader_epoch)
        .with_replica_nodes(ids(&seen.replicas))
        .with_isr_nodes(ids(&seen.isr))
        .with_offline_replicas(gone.collect())
}

#[cfg(test)]
mod tests {
    use super::is_valid_name;

    #[test]
    fn names_of_topics() {
        for good in ["a", "a.b_c-D9", &"x".repeat(249)] {
            assert!(is_valid_name(good), "{good}");
        }
        for bad in ["", ".", "..", "a b", "ä", "a/b", &"x".repeat(250)] {
            assert!(!is_valid_name(bad), "{bad}");
        }
    }
}
