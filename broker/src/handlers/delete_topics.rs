//! DeleteTopics (20). Answers once the topics are gone from the image, or the request's time is up.

use super::{Context, KafkaError, is_internal};
use crate::metadata::Image;
use crate::wire::codec::text;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};
use std::collections::HashMap;
use std::time::Duration;
use uuid::Uuid;

/// First version with words to an error.
const MESSAGES_SINCE: i16 = 5;
/// First version that may name topics by id.
const TOPIC_IDS_SINCE: i16 = 6;

/// A topic as a request names it, and as the image knows it.
struct Asked {
    named: Option<TopicName>,
    id: Uuid,
    /// Its name, or why it cannot be told.
    known: Result<String, (ResponseError, &'static str)>,
}

fn resolve(image: &Image, name: Option<TopicName>, id: Uuid) -> Asked {
    let (named, id, known) = match name {
        Some(name) if !id.is_nil() => {
            let both = "a topic is named by both name and id";
            (Some(name), id, Err((ResponseError::InvalidRequest, both)))
        }
        Some(name) => {
            let id = image.topic(&name).map_or(Uuid::nil(), |topic| topic.id);
            let known = Ok(name.to_string());
            (Some(name), id, known)
        }
        None if id.is_nil() => {
            let neither = "a topic is named by neither name nor id";
            (None, id, Err((ResponseError::InvalidRequest, neither)))
        }
        None => match image.topic_by_id(&id) {
            Some(topic) => {
                let name = topic.name.to_string();
                (Some(TopicName(text(name.clone()))), id, Ok(name))
            }
            None => (
                None,
                id,
                Err((ResponseError::UnknownTopicId, "no such topic")),
            ),
        },
    };
    Asked { named, id, known }
}

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
    let image = ctx.image();
    let asked: Vec<Asked> = asked
        .into_iter()
        .map(|(name, id)| resolve(&image, name, id))
        .collect();
    let mut times = HashMap::<&str, usize>::new();
    for name in asked.iter().filter_map(|asked| asked.known.as_deref().ok()) {
        *times.entry(name).or_default() += 1;
    }
    let mut responses = Vec::with_capacity(asked.len());
    let mut deleted = Vec::new();
    for Asked { named, id, known } in &asked {
        let result = DeletableTopicResult::default()
            .with_name(named.clone())
            .with_topic_id(*id);
        let refused = |error: ResponseError, message: &str| {
            let message = (version >= MESSAGES_SINCE).then(|| text(message));
            result
                .clone()
                .with_error_code(error.code())
                .with_error_message(message)
        };
        responses.push(match known {
            Err((error, message)) => refused(*error, message),
            Ok(known) if times.get(known.as_str()).is_some_and(|times| *times > 1) => refused(
                ResponseError::InvalidRequest,
                "the request names this topic more than once",
            ),
            Ok(known) if is_internal(known) => refused(
                ResponseError::InvalidRequest,
                "internal topics are not deleted",
            ),
            Ok(known) => match ctx.admin.delete_topic(known.clone()).await {
                Ok(()) => {
                    deleted.push(known.clone());
                    result
                }
                Err(error) => refused(error.response_error(), &error.to_string()),
            },
        });
    }
    if !deleted.is_empty() {
        let limit = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
        // They are marked; that a broker is away and the rest takes longer is no failure.
        let _ = ctx
            .metadata
            .wait_for(limit, |image| {
                deleted.iter().all(|name| image.is_gone(name))
            })
            .await;
    }
    DeleteTopicsResponse::default().with_responses(responses)
}
