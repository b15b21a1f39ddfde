//! Producers. An idempotent one has up to five batches under way and tries each until it is acknowledged, as Kafka's
//! do; a careless one (acks 0 or 1) sends each record once and forgets it.

use std::collections::VecDeque;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    InitProducerIdRequest, ProduceRequest, ProduceResponse, ProducerId,
};
use rand::Rng as _;
use zweig_client::kafka::records::{BatchSpec, Record, encode_batch};

use crate::client::{Client, Running, name};
use crate::history::Sent;

/// Batches that an idempotent producer has under way (`max.in.flight.requests.per.connection`).
const IN_FLIGHT: usize = 5;

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

/// A batch that was not acknowledged yet.
struct Batch {
    sent: Sent,
    bytes: bytes::Bytes,
}

/// What one idempotent producer has to send.
struct Pipeline {
    number: u32,
    id: i64,
    epoch: i16,
    at: (String, i32),
    sequence: i32,
    /// Not acknowledged, in their order.
    batches: VecDeque<Batch>,
    /// How many of the first ones were sent before, and are sent again.
    again: usize,
    acknowledged: bool,
}

impl Pipeline {
    /// Until something was acknowledged, and while it repeats itself, it has one batch under way: so have Kafka's own,
    /// and a broker takes the first that it sees of a producer whatever its number.
    fn room(&self) -> usize {
        match self.acknowledged && self.again == 0 {
            true => IN_FLIGHT - self.batches.len(),
            false => usize::from(self.batches.is_empty()),
        }
    }

    fn add(&mut self, client: &mut Client) {
        let count = client.chance.random_range(1..=3);
        let values: Vec<String> = (self.sequence..self.sequence + count)
            .map(|at| format!("p{}-{at}", self.number))
            .collect();
        let spec = BatchSpec {
            producer_id: self.id,
            producer_epoch: self.epoch,
            base_sequence: self.sequence,
            ..BatchSpec::default()
        };
        let bytes = batch(&spec, &values);
        let (topic, partition) = self.at.clone();
        let sent = Sent {
            topic,
            partition,
            values,
        };
        client.setting.history.sent(&sent);
        self.batches.push_back(Batch { sent, bytes });
        self.sequence += count;
    }

    /// Sends what may be under way together. False if it cannot go on.
    async fn round(&mut self, client: &mut Client) -> bool {
        let together = match self.again {
            0 => self.batches.len(),
            _ => 1,
        };
        let batches = self.batches.iter().take(together);
        let bytes: Vec<_> = batches.map(|batch| batch.bytes.clone()).collect();
        let attempts = attempt(client, &self.at, -1, bytes).await;
        let mut left = VecDeque::new();
        for attempt in attempts {
            let Some(batch) = self.batches.pop_front() else {
                break;
            };
            self.again = self.again.saturating_sub(1);
            let history = &client.setting.history;
            match attempt {
                Attempt::Acknowledged(offset) => {
                    history.acknowledged(&batch.sent, offset);
                    self.acknowledged = true;
                }
                // What follows one that failed is refused with it.
                Attempt::Never(ResponseError::OutOfOrderSequenceNumber) if !left.is_empty() => {
                    left.push_back(batch);
                }
                Attempt::Again => left.push_back(batch),
                Attempt::Never(error) => {
                    history.refused(self.number, &batch.sent, error);
                    return false;
                }
            }
        }
        if !left.is_empty() {
            self.again += left.len();
            left.append(&mut self.batches);
            self.batches = left;
            client.rest(200).await;
        }
        true
    }
}

/// Produces to a partition until told to stop, and then until the last batch is acknowledged.
pub async fn idempotent(mut client: Client, number: u32, at: (String, i32), running: Running) {
    let (id, epoch) = producer_id(&mut client).await;
    client.setting.history.producer(number, id);
    let mut pipeline = Pipeline {
        number,
        id,
        epoch,
        at,
        sequence: 0,
        batches: VecDeque::new(),
        again: 0,
        acknowledged: false,
    };
    loop {
        if running.goes_on() {
            let most = client.chance.random_range(1..=IN_FLIGHT);
            for _ in 0..pipeline.room().min(most) {
                pipeline.add(&mut client);
            }
        } else if pipeline.batches.is_empty() {
            return;
        }
        if !pipeline.round(&mut client).await {
            return;
        }
        if pipeline.again == 0 {
            client.rest(400).await;
        }
    }
}

enum Attempt {
    Acknowledged(i64),
    Again,
    Never(ResponseError),
}

/// One behind the other over one connection; one attempt for each batch.
async fn attempt(
    client: &mut Client,
    (topic, partition): &(String, i32),
    acks: i16,
    batches: Vec<bytes::Bytes>,
) -> Vec<Attempt> {
    let count = batches.len();
    let mut attempts = Vec::new();
    if let Some(leader) = client.leader(topic, *partition).await {
        let requests = batches.into_iter();
        let requests: Vec<_> = requests
            .map(|batch| request(topic, *partition, acks, batch))
            .collect();
        let answers = client.call_all(leader, 9, &requests).await;
        attempts = answers.unwrap_or_default().iter().map(came_to).collect();
    }
    attempts.resize_with(count, || Attempt::Again);
    if !attempts
        .iter()
        .all(|attempt| matches!(attempt, Attempt::Acknowledged(_)))
    {
        client.forget_leader(topic, *partition);
    }
    attempts
}

fn came_to(answer: &ProduceResponse) -> Attempt {
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
        Some(_) => Attempt::Again,
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
            let at = (topic.clone(), partition);
            let attempts = attempt(&mut client, &at, 1, vec![bytes]).await;
            if let [Attempt::Acknowledged(_)] = attempts[..] {
                client.setting.history.stored(&sent);
            }
        }
        client.rest(600).await;
    }
}
