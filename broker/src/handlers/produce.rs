//! Produce (0): records into logs.
//!
//! All appends are made before the first wait, so that a connection's requests are appended in their order.
//! Versions 0 to 2 carry record formats that are not stored here; they are advertised, because older
//! librdkafka compresses only then, and answered with an error in their own encoding.

use super::new_leader::produce as new_leader;
use super::{Context, Frame, KafkaError, Reply, findable, is_internal};
use crate::clock;
use crate::log::format::record_batch::{Header, ZSTD};
use crate::log::{AppendError, AppendOrigin, TopicPartition};
use crate::mutants::{self, Mutant};
use crate::purgatory;
use crate::replica::hosted::{Committing, Partition, PartitionError};
use crate::spans::{Budget, Place, Producing};
use crate::wire::codec::{self, RequestError, text};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::messages::produce_request::PartitionProduceData;
use kafka_protocol::messages::produce_response::{
    PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Who may write to internal topics through Produce, by client id; as in Kafka.
const ADMIN_CLIENT_ID: &str = "__admin_client";

/// First version that names the new leader beside an error.
const CURRENT_LEADER_SINCE: i16 = 10;

/// First version that may carry zstd.
const ZSTD_SINCE: i16 = 7;

/// What became of one partition: the answer so far, and the append it waits for.
struct Appending {
    answer: PartitionProduceResponse,
    waits_for: Option<(Arc<Partition>, Committing)>,
    /// Of a batch that is followed; ends with the request.
    span: Option<Producing>,
}

impl Appending {
    fn refused(answer: PartitionProduceResponse) -> Self {
        Self {
            answer,
            waits_for: None,
            span: None,
        }
    }
}

pub(super) async fn handle(
    ctx: &Context,
    version: i16,
    request: ProduceRequest,
) -> Reply<ProduceResponse> {
    let deadline = Instant::from_std(
        clock::now() + Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0)),
    );
    let acks = request.acks;
    let refused = match acks {
        -1..=1 if request.transactional_id.is_some() => Some(ResponseError::InvalidTxnState),
        -1..=1 => None,
        _ => Some(ResponseError::InvalidRequiredAcks),
    };
    let mut budget = Budget::default();
    let mut topics: Vec<(TopicProduceResponse, Vec<Appending>)> =
        Vec::with_capacity(request.topic_data.len());
    for topic in request.topic_data {
        let name = findable(&topic.name).to_owned();
        let append = |data| append(ctx, version, &name, data, (acks, refused), &mut budget);
        let appending = topic.partition_data.into_iter().map(append).collect();
        topics.push((
            TopicProduceResponse::default().with_name(topic.name),
            appending,
        ));
    }
    if acks == 0 {
        return answer_nothing(&topics);
    }
    if acks == -1 && !mutants::is(Mutant::AckBeforeHighWatermark) {
        wait(ctx, version, &mut topics, deadline).await;
    }
    let responses = topics.into_iter().map(|(topic, appending)| {
        topic.with_partition_responses(appending.into_iter().map(|one| one.answer).collect())
    });
    let response = ProduceResponse::default().with_responses(responses.collect());
    Reply::Answer(with_endpoints(ctx, version, response))
}

/// `acks=0`: silence; after an error a closed connection, by which the client learns that it should look for
/// another leader.
fn answer_nothing(topics: &[(TopicProduceResponse, Vec<Appending>)]) -> Reply<ProduceResponse> {
    let mut answers = topics
        .iter()
        .flat_map(|(_, appending)| appending)
        .map(|one| one.answer.error_code);
    match answers.find(|code| *code != 0) {
        None => Reply::Silence,
        Some(code) => {
            let error = ResponseError::try_from_code(code)
                .map(|error| error.to_string())
                .unwrap_or_default();
            Reply::Close(format!(
                "records of a producer with acks=0 not taken: {error}"
            ))
        }
    }
}

fn append(
    ctx: &Context,
    version: i16,
    topic: &str,
    data: PartitionProduceData,
    (acks, refused): (i16, Option<ResponseError>),
    budget: &mut Budget,
) -> Appending {
    let base = PartitionProduceResponse::default()
        .with_index(data.index)
        .with_base_offset(-1)
        .with_log_start_offset(-1);
    if let Some(error) = refused {
        return Appending::refused(base.with_error_code(error.code()));
    }
    if is_internal(topic) && ctx.caller.client_id.as_deref() != Some(ADMIN_CLIENT_ID) {
        let error = ResponseError::InvalidTopicException;
        return Appending::refused(base.with_error_code(error.code()));
    }
    ctx.replicas.metrics().produces.one();
    let name = TopicPartition::new(topic, data.index);
    let records = data.records.unwrap_or_default();
    let mut span = Producing::begin(ctx.replicas.tracer(), &name, &records, budget);
    let appended = ctx.replicas.partition(&name).and_then(|partition| {
        check_codec(version, &records)?;
        let append = partition.append_as_leader(records, AppendOrigin::Client, acks == -1)?;
        Ok((partition, append))
    });
    match appended {
        Ok((partition, append)) => {
            if let Some(span) = &mut span {
                let place = Place {
                    topic_id: partition.topic_id(),
                    partition: name.partition,
                    base_offset: append.appended.first_offset,
                    leader_epoch: append.leader_epoch,
                };
                span.appended(&place, &append.appended);
                if acks == -1 {
                    span.waits(partition.followed());
                }
            }
            let answer = base
                .with_base_offset(append.appended.first_offset)
                .with_log_append_time_ms(append.appended.log_append_time_ms)
                .with_log_start_offset(append.appended.log_start_offset);
            Appending {
                answer,
                waits_for: Some((partition, append)),
                span,
            }
        }
        Err(error) => {
            if let Some(span) = &mut span {
                span.fail(&error.to_string());
            }
            Appending::refused(failed(ctx, version, &name, base, &error))
        }
    }
}

/// What older clients can't read, they may not write either.
fn check_codec(version: i16, records: &[u8]) -> Result<(), AppendError> {
    match Header::parse(records) {
        Ok(header) if version < ZSTD_SINCE && header.compression() == ZSTD => {
            Err(AppendError::UnsupportedCompression(ZSTD))
        }
        _ => Ok(()),
    }
}

async fn wait(
    ctx: &Context,
    version: i16,
    topics: &mut [(TopicProduceResponse, Vec<Appending>)],
    deadline: Instant,
) {
    let appending = || {
        let all = topics.iter().flat_map(|(_, appending)| appending);
        all.filter(|one| one.waits_for.is_some())
    };
    let appends: Vec<_> = appending()
        .filter_map(|one| one.waits_for.clone())
        .collect();
    let spans: Vec<_> = appending().map(|one| one.span.as_ref()).collect();
    let ended = |at: usize, outcome: &Result<(), PartitionError>| {
        if let Some(span) = spans[at] {
            let failure = outcome.as_ref().err().map(ToString::to_string);
            span.waited(failure.as_deref());
        }
    };
    let outcomes = purgatory::produce::committed(&appends, deadline, ended).await;
    let waiting = topics
        .iter_mut()
        .flat_map(|(_, appending)| appending)
        .filter(|one| one.waits_for.is_some());
    for (one, outcome) in waiting.zip(outcomes) {
        if let (Err(error), Some(span)) = (&outcome, &mut one.span) {
            span.fail(&error.to_string());
        }
        if let (Err(error), Some((partition, _))) = (outcome, &one.waits_for) {
            let base = PartitionProduceResponse::default()
                .with_index(one.answer.index)
                .with_base_offset(-1);
            one.answer = failed(
                ctx,
                version,
                partition.name(),
                base.with_log_start_offset(-1),
                &error,
            );
        }
    }
}

fn failed(
    ctx: &Context,
    version: i16,
    name: &TopicPartition,
    base: PartitionProduceResponse,
    error: &PartitionError,
) -> PartitionProduceResponse {
    ctx.replicas.metrics().produces_failed.one();
    let answer = base
        .with_error_code(error.code())
        .with_error_message(Some(text(error.to_string())));
    match (error, ctx.leader_of(name)) {
        (PartitionError::NotLeader, Some(leader)) if version >= CURRENT_LEADER_SINCE => {
            answer.with_current_leader(new_leader::leader(leader))
        }
        _ => answer,
    }
}

/// Adds where the leaders named in the answer can be reached.
fn with_endpoints(ctx: &Context, version: i16, response: ProduceResponse) -> ProduceResponse {
    if version < CURRENT_LEADER_SINCE {
        return response;
    }
    let answers = response
        .responses
        .iter()
        .flat_map(|topic| &topic.partition_responses);
    let named = answers.map(|answer| &answer.current_leader);
    let endpoints = new_leader::endpoints(ctx, named);
    response.with_node_endpoints(endpoints)
}

/// Answers a produce of version 0, 1 or 2: every partition gets UNSUPPORTED_VERSION. Their requests are those of
/// version 3 without the transactional id; their answers those of version 3 without the append time (2 on)
/// and the throttle time (1 on).
pub(super) fn refuse_legacy(
    version: i16,
    correlation_id: i32,
    body: &Bytes,
) -> Result<Reply<Frame>, RequestError> {
    let mut as_version_3 = BytesMut::with_capacity(body.len() + 2);
    as_version_3.put_i16(-1);
    as_version_3.put_slice(body);
    let request: ProduceRequest = codec::decode(&mut as_version_3.freeze(), 3)?;
    if request.acks == 0 {
        return Ok(Reply::Close(format!(
            "Produce version {version} is not served"
        )));
    }
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    frame.put_i32(correlation_id);
    put_length(&mut frame, request.topic_data.len());
    for topic in &request.topic_data {
        frame.put_i16(i16::try_from(topic.name.len()).unwrap_or(i16::MAX));
        frame.put_slice(topic.name.as_bytes());
        put_length(&mut frame, topic.partition_data.len());
        for partition in &topic.partition_data {
            frame.put_i32(partition.index);
            frame.put_i16(ResponseError::UnsupportedVersion.code());
            frame.put_i64(-1);
            if version >= 2 {
                frame.put_i64(-1);
            }
        }
    }
    if version >= 1 {
        frame.put_i32(0);
    }
    let size = i32::try_from(frame.len() - 4).unwrap_or(i32::MAX);
    frame[..4].copy_from_slice(&size.to_be_bytes());
    Ok(Reply::Answer(frame.freeze().into()))
}

fn put_length(frame: &mut BytesMut, length: usize) {
    frame.put_i32(i32::try_from(length).unwrap_or(i32::MAX));
}
