//! CreateTopics (19). Answers once the new topics have their leaders, or the request's time is up.

use super::cluster_admin::{AdminError, CreatedTopic, NewTopic};
use super::metadata::has_leaders;
use super::{Context, KafkaError};
use crate::config::{self, Source};
use crate::wire::codec::text;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// First version whose answers describe what was created.
const DETAILS_SINCE: i16 = 5;

pub(super) async fn handle(
    ctx: &Context,
    version: i16,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    let mut times = HashMap::<String, usize>::new();
    for topic in &request.topics {
        *times.entry(topic.name.to_string()).or_default() += 1;
    }
    let mut results = Vec::with_capacity(request.topics.len());
    let mut created = Vec::new();
    for topic in request.topics {
        let result = CreatableTopicResult::default().with_name(topic.name.clone());
        let name = topic.name.to_string();
        if times.get(&name).is_some_and(|times| *times > 1) {
            let message = Some(text("the request names this topic more than once"));
            results.push(
                result
                    .with_error_code(ResponseError::InvalidRequest.code())
                    .with_error_message(message),
            );
            continue;
        }
        let configs = own_configs(&topic);
        let outcome = match new_topic(topic, request.validate_only) {
            Ok(new) => ctx.admin.create_topic(new).await,
            Err(error) => Err(error),
        };
        if outcome.is_ok() && !request.validate_only {
            created.push(name);
        }
        results.push(describe(ctx, version, result, &configs, outcome));
    }
    if !created.is_empty() {
        let limit = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
        // The topics exist by now; that their leaders are late is no failure.
        let _ = ctx
            .metadata
            .wait_for(limit, |image| {
                created.iter().all(|name| has_leaders(image, name))
            })
            .await;
    }
    CreateTopicsResponse::default().with_topics(results)
}

fn own_configs(topic: &CreatableTopic) -> BTreeMap<String, String> {
    let set = topic
        .configs
        .iter()
        .filter_map(|config| Some((config.name.to_string(), config.value.as_ref()?.to_string())));
    set.collect()
}

fn new_topic(topic: CreatableTopic, validate_only: bool) -> Result<NewTopic, AdminError> {
    let chosen = !topic.assignments.is_empty();
    if chosen && (topic.num_partitions != -1 || topic.replication_factor != -1) {
        return Err(AdminError::Contradiction);
    }
    if let Some(empty) = topic.configs.iter().find(|config| config.value.is_none()) {
        return Err(AdminError::InvalidConfig(format!(
            "{} has no value",
            &*empty.name
        )));
    }
    let configs = own_configs(&topic);
    let brokers =
        |ids: Vec<kafka_protocol::messages::BrokerId>| ids.into_iter().map(|id| id.0).collect();
    let assignment = topic
        .assignments
        .into_iter()
        .map(|one| (one.partition_index, brokers(one.broker_ids)));
    Ok(NewTopic {
        name: topic.name.to_string(),
        partitions: (topic.num_partitions != -1).then_some(topic.num_partitions),
        replication_factor: (topic.replication_factor != -1).then_some(topic.replication_factor),
        assignment: chosen.then(|| assignment.collect()),
        configs,
        validate_only,
    })
}

fn describe(
    ctx: &Context,
    version: i16,
    result: CreatableTopicResult,
    own: &BTreeMap<String, String>,
    outcome: Result<CreatedTopic, AdminError>,
) -> CreatableTopicResult {
    match outcome {
        Err(error) => result
            .with_error_code(error.code())
            .with_error_message(Some(text(error.to_string()))),
        Ok(created) if version >= DETAILS_SINCE => result
            .with_topic_id(created.id)
            .with_num_partitions(created.partitions)
            .with_replication_factor(created.replication_factor)
            .with_configs(Some(effective(ctx, own))),
        Ok(_) => result,
    }
}

fn effective(ctx: &Context, own: &BTreeMap<String, String>) -> Vec<CreatableTopicConfigs> {
    let own = own
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let rows = config::TOPIC_KEYS.iter().map(|row| {
        let (value, source) = config::effective(row, Some(&own), &ctx.config);
        CreatableTopicConfigs::default()
            .with_name(text(row.key.name))
            .with_value(Some(text(value)))
            .with_config_source(config_source(source))
    });
    rows.collect()
}

/// Kafka's number of a source.
pub(super) fn config_source(source: Source) -> i8 {
    match source {
        Source::Topic => 1,
        Source::DynamicBroker => 2,
        Source::DynamicDefault => 3,
        Source::StaticBroker => 4,
        Source::Default => 5,
    }
}
