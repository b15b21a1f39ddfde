//! One fetch from one broker.

use std::collections::HashMap;

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{BrokerId, FetchRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::{ConsumedRecord, ConsumerOptions, TopicPartition};
use crate::kafka::ErrorCode;
use crate::kafka::client::{Client, Lane};
use crate::kafka::error::{KafkaError, check};
use crate::kafka::records::Batches;

/// A partition to fetch, and from which offset.
pub(super) struct Wanted {
    pub(super) partition: TopicPartition,
    pub(super) from: i64,
}

/// What came of a partition.
pub(super) struct PartitionRecords {
    pub(super) records: Vec<ConsumedRecord>,
    /// Where the next fetch begins.
    pub(super) next: i64,
    pub(super) high_watermark: i64,
}

/// Bytes of records after which no further batch of a partition is unpacked.
const UNFOLDED_ENOUGH: usize = 64 << 20;

/// What came of a fetch: each partition with the offset asked for.
pub(super) struct Fetched {
    pub(super) leader: i32,
    pub(super) partitions: Vec<(TopicPartition, i64, Result<PartitionRecords, KafkaError>)>,
}

/// Fetches once.
pub(super) async fn fetch(
    client: &Client,
    leader: i32,
    wanted: Vec<Wanted>,
    options: &ConsumerOptions,
) -> Fetched {
    let partitions = match try_fetch(client, leader, &wanted, options).await {
        Ok(partitions) => partitions,
        Err(error) => wanted
            .into_iter()
            .map(|w| (w.partition, w.from, Err(error.clone())))
            .collect(),
    };
    Fetched { leader, partitions }
}

async fn try_fetch(
    client: &Client,
    leader: i32,
    wanted: &[Wanted],
    options: &ConsumerOptions,
) -> Result<Vec<(TopicPartition, i64, Result<PartitionRecords, KafkaError>)>, KafkaError> {
    let connection = client.broker(leader, Lane::Fetch).await?;
    let limit = client.options().connection.request_timeout + options.fetch_max_wait;
    let answer = connection
        .call_within(limit, |_| to_request(wanted, options))
        .await?;
    check(
        || format!("fetching from broker {leader}"),
        answer.error_code,
    )?;
    let mut answers: HashMap<TopicName, HashMap<i32, PartitionData>> = HashMap::new();
    for topic in answer.responses {
        let partitions = topic.partitions.into_iter();
        let of_topic = answers.entry(topic.topic).or_default();
        of_topic.extend(partitions.map(|p| (p.partition_index, p)));
    }
    Ok(wanted
        .iter()
        .map(|w| {
            let of_topic = answers.get(&name(&w.partition.topic));
            let found = of_topic.and_then(|partitions| partitions.get(&w.partition.partition));
            let outcome = match found {
                Some(data) => to_records(w, data),
                None => Err(KafkaError::broker(
                    format!("fetching {}-{}", w.partition.topic, w.partition.partition),
                    ErrorCode::UnknownTopicOrPartition,
                )),
            };
            (w.partition.clone(), w.from, outcome)
        })
        .collect())
}

fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

fn to_request(wanted: &[Wanted], options: &ConsumerOptions) -> FetchRequest {
    let mut request = FetchRequest::default();
    request.replica_id = BrokerId(-1);
    request.max_wait_ms = i32::try_from(options.fetch_max_wait.as_millis()).unwrap_or(i32::MAX);
    request.min_bytes = options.fetch_min_bytes;
    request.max_bytes = options.fetch_max_bytes;
    // No fetch session: each request names everything.
    request.session_epoch = -1;
    for w in wanted {
        let mut partition = FetchPartition::default();
        partition.partition = w.partition.partition;
        partition.current_leader_epoch = -1;
        partition.fetch_offset = w.from;
        partition.log_start_offset = -1;
        partition.partition_max_bytes = options.partition_max_bytes;
        match request.topics.last_mut() {
            Some(last) if last.topic.as_str() == w.partition.topic => {
                last.partitions.push(partition);
            }
            _ => {
                let mut topic = FetchTopic::default();
                topic.topic = name(&w.partition.topic);
                topic.partitions = vec![partition];
                request.topics.push(topic);
            }
        }
    }
    request
}

fn to_records(wanted: &Wanted, data: &PartitionData) -> Result<PartitionRecords, KafkaError> {
    let TopicPartition { topic, partition } = &wanted.partition;
    check(|| format!("fetching {topic}-{partition}"), data.error_code)?;
    let malformed = |e: &dyn std::fmt::Display| {
        KafkaError::Malformed(format!(
            "records of {topic}-{partition} from {}: {e}",
            wanted.from
        ))
    };
    let mut records = Vec::new();
    let mut next = wanted.from;
    let mut unfolded = 0;
    for batch in Batches::new(data.records.clone().unwrap_or_default()) {
        let batch = batch.map_err(|e| malformed(&e))?;
        // The broker sends whole batches: the first one may begin before the offset asked for.
        if batch.last_offset < next {
            continue;
        }
        // What is left out is fetched again.
        if unfolded > UNFOLDED_ENOUGH {
            break;
        }
        if !batch.is_control() {
            for (offset, record) in batch.records().map_err(|e| malformed(&e))? {
                unfolded += record.size_bound();
                if offset >= wanted.from {
                    records.push(ConsumedRecord {
                        topic: topic.clone(),
                        partition: *partition,
                        offset,
                        timestamp_ms: record.timestamp_ms,
                        key: record.key,
                        value: record.value,
                        headers: record.headers,
                    });
                }
            }
        }
        next = batch.last_offset.saturating_add(1);
    }
    Ok(PartitionRecords {
        records,
        next,
        high_watermark: data.high_watermark,
    })
}
