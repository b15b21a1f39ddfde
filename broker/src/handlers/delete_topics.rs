//! DeleteTopics (20). Answers once the topics are gone from the image, or the request's time is up.

use super::{Context, KafkaError, is_internal};
use crate::wire::codec::text;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};
use std::time::Duration;
use uuid::Uuid;

/// First version that may name topics by id.
const TOPIC_IDS_SINCE: i16 = 6;

pub(super) async fn handle(
    ctx: &Context,
    version: i16,
    request: DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let by_name = request
        .topic_names
        .into_iter()
        .map(|name| (Some(name), Uuid::nil()));
    let by_either = request
        .topics
        .into_iter()
        .map(|topic| (topic.name, topic.topic_id));
    let asked: Vec<_> = if version >= TOPIC_IDS_SINCE {
        by_either.collect()
    } else {
        by_name.collect()
    };
    let mut responses = Vec::with_capacity(asked.len());
    let mut deleted = Vec::new();
    for (name, id) in asked {
        let result = DeletableTopicResult::default().with_topic_id(id);
        let known = match &name {
            Some(name) => Some(name.to_string()),
            None => ctx
                .image()
                .topic_by_id(&id)
                .map(|topic| topic.name.to_string()),
        };
        let Some(known) = known else {
            responses.push(result.with_error_code(ResponseError::UnknownTopicId.code()));
            continue;
        };
        let result = result.with_name(Some(TopicName(text(known.clone()))));
        if is_internal(&known) {
            responses.push(result.with_error_code(ResponseError::InvalidRequest.code()));
            continue;
        }
        responses.push(match ctx.admin.delete_topic(known.clone()).await {
            Ok(()) => {
                deleted.push(known);
                result
            }
            Err(error) => {
                let message = (version >= 5).then(|| text(error.to_string()));
                result
                    .with_error_code(error.code())
                    .with_error_message(message)
            }
        });
    }
    if !deleted.is_empty() {
        let limit = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
        // They are marked; that a broker is away and the rest takes longer is no failure.
        let gone = |image: &crate::metadata::Image, name: &str| {
            image.topic(name).is_none() || image.deleting.contains_key(name)
        };
        let _ = ctx
            .metadata
            .wait_for(limit, |image| deleted.iter().all(|name| gone(image, name)))
            .await;
    }
    DeleteTopicsResponse::default().with_responses(responses)
}
