//! FindCoordinator (10): which broker coordinates a group. Creates `__consumer_offsets` when first asked.
//!
//! It gets `offsets.topic.replication.factor` replicas (3 by default) and nothing less, as in Kafka: a topic that is
//! born while only one broker is up would stay with one replica. While there are fewer brokers the answer is
//! COORDINATOR_NOT_AVAILABLE; whoever runs fewer sets the factor.

use super::cluster_admin::{AdminError, NewTopic};
use super::metadata::has_leaders;
use super::{Context, KafkaError};
use crate::log::TopicPartition;
use crate::shard::OFFSETS_TOPIC;
use crate::wire::codec::text;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use std::collections::BTreeMap;
use std::time::Duration;
use tracing::warn;

/// First version that asks for many keys.
const KEYS_SINCE: i16 = 4;
/// First version with a type of key, and with words to an error.
const MESSAGE_SINCE: i16 = 1;
/// Type of key: a group.
const GROUP: i8 = 0;
/// How long the topic may take to get its leaders before the client is told to ask again.
const CREATION_WAIT: Duration = Duration::from_secs(3);

/// Why there is no coordinator to name.
type Refusal = (ResponseError, String);

pub(super) async fn handle(
    ctx: &Context,
    version: i16,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let keys = if version >= KEYS_SINCE {
        request.coordinator_keys
    } else {
        vec![request.key]
    };
    if request.key_type == GROUP && ctx.image().topic(OFFSETS_TOPIC).is_none() {
        create(ctx).await;
    }
    let coordinators = keys.into_iter().map(|key| {
        let answer = Coordinator::default();
        let answer = match find(ctx, request.key_type, &key) {
            Ok((id, host, port)) => answer
                .with_node_id(BrokerId(id))
                .with_host(text(host))
                .with_port(port),
            Err((error, message)) => answer
                .with_node_id(BrokerId(-1))
                .with_port(-1)
                .with_error_code(error.code())
                .with_error_message(Some(text(message))),
        };
        answer.with_key(key)
    });
    let mut coordinators: Vec<Coordinator> = coordinators.collect();
    let response = FindCoordinatorResponse::default();
    if version >= KEYS_SINCE {
        return response.with_coordinators(coordinators);
    }
    let Some(only) = coordinators.pop() else {
        return response;
    };
    let message = only.error_message.filter(|_| version >= MESSAGE_SINCE);
    response
        .with_error_code(only.error_code)
        .with_error_message(message)
        .with_node_id(only.node_id)
        .with_host(only.host)
        .with_port(only.port)
}

fn find(ctx: &Context, key_type: i8, group: &str) -> Result<(i32, String, i32), Refusal> {
    if key_type != GROUP {
        let message = "transactions and share groups are not served yet".to_owned();
        return Err((ResponseError::InvalidRequest, message));
    }
    let unavailable = |why: &str| {
        (
            ResponseError::CoordinatorNotAvailable,
            format!("{OFFSETS_TOPIC} {why}"),
        )
    };
    let partition = ctx
        .groups
        .partition_of(group)
        .ok_or_else(|| unavailable("does not exist yet: see offsets.topic.replication.factor"))?;
    let name = TopicPartition {
        topic: OFFSETS_TOPIC.into(),
        partition,
    };
    let (leader, _) = ctx
        .leader_of(&name)
        .ok_or_else(|| unavailable("has no leader there"))?;
    let reachable = ctx.endpoints_of([leader]).into_iter().next();
    let broker =
        reachable.ok_or_else(|| unavailable("is led by a broker not reached from here"))?;
    Ok((broker.id, broker.host, broker.port))
}

async fn create(ctx: &Context) {
    let replicas = ctx.config.group.offsets_topic_replication_factor;
    let brokers = ctx.image().brokers.size();
    if usize::try_from(replicas).is_ok_and(|wanted| brokers < wanted) {
        warn!(
            replicas,
            brokers,
            "no groups yet: {OFFSETS_TOPIC} waits for as many brokers as offsets.topic.replication.factor says"
        );
        return;
    }
    let configs = BTreeMap::from([
        ("cleanup.policy".to_owned(), "compact".to_owned()),
        ("compression.type".to_owned(), "producer".to_owned()),
        (
            "segment.bytes".to_owned(),
            ctx.config.group.offsets_topic_segment_bytes.to_string(),
        ),
    ]);
    let topic = NewTopic {
        name: OFFSETS_TOPIC.to_owned(),
        partitions: Some(ctx.config.group.offsets_topic_partitions),
        replication_factor: i16::try_from(replicas).ok(),
        configs,
        ..NewTopic::default()
    };
    match ctx.admin.create_topic(topic).await {
        Ok(_) | Err(AdminError::TopicExists(_)) => {
            // Not ready by then: the client is told to ask again.
            let ready = |image: &crate::metadata::Image| has_leaders(image, OFFSETS_TOPIC);
            let _ = ctx.metadata.wait_for(CREATION_WAIT, ready).await;
        }
        Err(error) => warn!(%error, code = error.code(), "{OFFSETS_TOPIC} not created"),
    }
}
