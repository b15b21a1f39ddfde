//! The task that sends to one broker: in order, pipelined.

use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::sync::mpsc;

use super::queue::Outcome;
use super::sender::{BatchBytes, Event};
use crate::kafka::client::{Client, Lane};
use crate::kafka::connection::{Answer, Connection};
use crate::kafka::error::KafkaError;

/// A batch and where it goes.
pub(super) struct PartitionBatch {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) number: u64,
    pub(super) bytes: BatchBytes,
}

/// One request: batches of different partitions.
pub(super) type ToSend = Vec<PartitionBatch>;

pub(super) struct Node {
    pub(super) client: Client,
    pub(super) id: i32,
    pub(super) acks: i16,
    pub(super) request_timeout: Duration,
    pub(super) events: mpsc::UnboundedSender<Event>,
}

impl Node {
    /// Runs until the sender is gone.
    pub(super) async fn run(self, mut requests: mpsc::UnboundedReceiver<ToSend>) {
        while let Some(batches) = requests.recv().await {
            match self.send(&batches).await {
                Err(error) => answer_all(&self.events, &batches, &error),
                Ok(_) if self.acks == 0 => {
                    for batch in batches {
                        report(&self.events, &batch, Outcome::Landed((-1, -1)));
                    }
                }
                Ok((connection, answer, version)) => {
                    // The broker may use all of its time; the way there and back comes on top.
                    let limit = self.request_timeout + Duration::from_secs(5);
                    let events = self.events.clone();
                    tokio::spawn(async move {
                        let answer = connection
                            .finish::<ProduceRequest>(async { Ok(answer) }, version, limit)
                            .await;
                        match answer {
                            Ok(answer) => settle(&events, &batches, &answer),
                            Err(error) => answer_all(&events, &batches, &error),
                        }
                    });
                }
            }
        }
    }

    async fn send(
        &self,
        batches: &[PartitionBatch],
    ) -> Result<(Connection, Answer, i16), KafkaError> {
        let connection = self.client.broker(self.id, Lane::Data).await?;
        let version = connection.version::<ProduceRequest>()?;
        let mut request = ProduceRequest::default();
        request.acks = self.acks;
        request.timeout_ms = i32::try_from(self.request_timeout.as_millis()).unwrap_or(i32::MAX);
        for batch in batches {
            let mut data = PartitionProduceData::default();
            data.index = batch.partition;
            data.records = Some(batch.bytes.clone());
            let known = request
                .topic_data
                .iter_mut()
                .find(|t| t.name.as_str() == batch.topic);
            match known {
                Some(topic) => topic.partition_data.push(data),
                None => {
                    let mut topic = TopicProduceData::default();
                    topic.name = TopicName(StrBytes::from_string(batch.topic.clone()));
                    topic.partition_data = vec![data];
                    request.topic_data.push(topic);
                }
            }
        }
        let answer = connection.send(&request, version, self.acks != 0).await?;
        Ok((connection, answer, version))
    }
}

fn settle(
    events: &mpsc::UnboundedSender<Event>,
    batches: &[PartitionBatch],
    answer: &ProduceResponse,
) {
    for batch in batches {
        let told = answer
            .responses
            .iter()
            .filter(|t| t.name.as_str() == batch.topic)
            .flat_map(|t| &t.partition_responses)
            .find(|p| p.index == batch.partition);
        let operation = || format!("producing to {}-{}", batch.topic, batch.partition);
        let outcome = match told {
            None => Outcome::Failed(KafkaError::broker(
                operation(),
                ResponseError::UnknownServerError,
            )),
            Some(p) => match ResponseError::try_from_code(p.error_code) {
                None => Outcome::Landed((p.base_offset, p.log_append_time_ms)),
                Some(code) => Outcome::Failed(KafkaError::Broker {
                    operation: operation(),
                    code,
                    message: p.error_message.as_ref().map(|m| m.to_string()),
                }),
            },
        };
        report(events, batch, outcome);
    }
}

fn answer_all(
    events: &mpsc::UnboundedSender<Event>,
    batches: &[PartitionBatch],
    error: &KafkaError,
) {
    for batch in batches {
        report(events, batch, Outcome::Failed(error.clone()));
    }
}

fn report(events: &mpsc::UnboundedSender<Event>, batch: &PartitionBatch, outcome: Outcome) {
    let _ = events.send(Event::Answered {
        topic: batch.topic.clone(),
        partition: batch.partition,
        number: batch.number,
        outcome,
    });
}
