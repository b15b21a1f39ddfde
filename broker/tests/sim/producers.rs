//! Producers. An idempotent one has one batch under way per partition and tries it until it is acknowledged, as Kafka's
//! do; a careless one (acks 0 or 1) sends each record once and forgets it.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{InitProducerIdRequest, ProduceRequest, ProducerId};
use rand::Rng as _;
use zweig_client::kafka::records::{BatchSpec, Record, encode_batch};

use crate::client::{CallError, Client, Running, name};
use crate::history::Sent;

/// What a producer's broker waits for.
const TIMEOUT_MS: i32 = 4000;

fn request(topic: &str, partition: i32, acks: i16, batch: bytes::Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(batch));
    let topic = TopicProduceData::default()
        .with_name(name(topic))
        .with_partition_data(vec![data]);
    ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(TIMEOUT_MS)
        .with_topic_data(vec![topic])
}

fn batch(spec: &BatchSpec, values: &[String]) -> bytes::Bytes {
    let record = |value: &String| Record {
        key: None,
        value: Some(value.clone().into()),
        headers: Vec::new(),
        timestamp_ms: 1_700_000_000_000,
    };
    let records: Vec<Record> = values.iter().map(record).collect();
    encode_batch(spec, &records).expect("a small batch")
}

async fn producer_id(client: &mut Client) -> (i64, i16) {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    loop {
        let broker = client.any();
        let answer = client.call(broker, 4, &request).await;
        match answer {
            Ok(answer) if answer.error_code == 0 => {
                return (answer.producer_id.0, answer.producer_epoch);
            }
            _ => client.rest(300).await,
        }
    }
}

/// Produces to the partitions of a topic until told to stop, and then until the last batch is acknowledged.
pub async fn idempotent(
    mut client: Client,
    number: u32,
    (topic, partition): (String, i32),
    running: Running,
) {
    let (id, epoch) = producer_id(&mut client).await;
    client.setting.history.producer(number, id);
    let mut sequence = 0_i32;
    while running.goes_on() {
        let count = client.chance.random_range(1..=3);
        let values: Vec<String> = (sequence..sequence + count)
            .map(|at| format!("p{number}-{at}"))
            .collect();
        let spec = BatchSpec {
            producer_id: id,
            producer_epoch: epoch,
            base_sequence: sequence,
            ..BatchSpec::default()
        };
        let bytes = batch(&spec, &values);
        let sent = Sent {
            topic: topic.clone(),
            partition,
            values,
        };
        client.setting.history.sent(&sent);
        loop {
            match attempt(&mut client, &sent, -1, bytes.clone()).await {
                Attempt::Acknowledged(offset) => {
                    client.setting.history.acknowledged(&sent, offset);
                    break;
                }
                Attempt::Again => client.rest(200).await,
                Attempt::Never(error) => {
                    let history = &client.setting.history;
                    history.refused(number, &sent, error);
                    return;
                }
            }
        }
        sequence += count;
        client.rest(400).await;
    }
}

enum Attempt {
    Acknowledged(i64),
    Again,
    Never(ResponseError),
}

async fn attempt(client: &mut Client, sent: &Sent, acks: i16, batch: bytes::Bytes) -> Attempt {
    let Some(leader) = client.leader(&sent.topic, sent.partition).await else {
        return Attempt::Again;
    };
    let request = request(&sent.topic, sent.partition, acks, batch);
    let answer = match client.call(leader, 9, &request).await {
        Ok(answer) => answer,
        Err(CallError::NotConnected | CallError::NoAnswer) => {
            client.forget_leader(&sent.topic, sent.partition);
            return Attempt::Again;
        }
    };
    let partition = &answer.responses[0].partition_responses[0];
    match ResponseError::try_from_code(partition.error_code) {
        None => Attempt::Acknowledged(partition.base_offset),
        Some(
            error @ (ResponseError::OutOfOrderSequenceNumber
            | ResponseError::UnknownProducerId
            | ResponseError::InvalidProducerEpoch
            | ResponseError::DuplicateSequenceNumber
            | ResponseError::CorruptMessage
            | ResponseError::InvalidRecord),
        ) => Attempt::Never(error),
        Some(_) => {
            client.forget_leader(&sent.topic, sent.partition);
            Attempt::Again
        }
    }
}

/// Sends each record once.
pub async fn careless(
    mut client: Client,
    number: u32,
    (topic, partition): (String, i32),
    running: Running,
) {
    // Also because the epochs of a topic that is made anew begin anew.
    client.credulous = true;
    let mut at = 0;
    while running.goes_on() {
        let acks = client.chance.random_range(0..=1);
        let values = vec![format!("q{number}-{at}")];
        at += 1;
        let bytes = batch(&BatchSpec::default(), &values);
        let sent = Sent {
            topic: topic.clone(),
            partition,
            values,
        };
        client.setting.history.sent(&sent);
        if acks == 0 {
            if let Some(leader) = client.leader(&topic, partition).await {
                let request = request(&topic, partition, 0, bytes);
                client.tell(leader, 9, &request).await;
            }
            if at % 5 == 0 {
                client.forget_leader(&topic, partition);
            }
        } else {
            if let Attempt::Acknowledged(_) = attempt(&mut client, &sent, 1, bytes).await {
                client.setting.history.stored(&sent);
            }
        }
        client.rest(600).await;
    }
}
