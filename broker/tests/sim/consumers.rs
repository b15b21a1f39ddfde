//! Consumers of one partition: they read from the beginning on, up to the high watermark, and now and then anew. They believe
//! whoever is said to lead, now and then ask anybody, and name the highest leader epoch they heard of: a leader that is behind it must not answer.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use rand::Rng as _;
use zweig_client::kafka::records::Batches;

use crate::client::{Client, Running, name};

/// Reads until told to stop.
pub async fn consume(mut client: Client, (topic, partition): (String, i32), running: Running) {
    client.credulous = true;
    let mut offset = 0;
    while running.goes_on() {
        if client.chance.random_range(0..15) == 0 {
            client.guess_leader(&topic, partition);
        }
        match fetch(&mut client, &topic, partition, offset).await {
            Fetched::Records(next) if next > offset => {
                offset = next;
                if client.chance.random_range(0..60) == 0 {
                    offset = 0;
                }
                client.rest(100).await;
            }
            Fetched::Records(_) => {
                if client.chance.random_range(0..15) == 0 {
                    client.forget_leader(&topic, partition);
                }
                client.rest(150).await;
            }
            Fetched::Again => {
                client.forget_leader(&topic, partition);
                client.rest(200).await;
            }
        }
    }
}

/// What a fetch brought.
pub enum Fetched {
    /// The next offset to ask for.
    Records(i64),
    /// Nothing: the leader is to be looked for.
    Again,
}

/// Fetches once, and tells the history what was seen.
pub async fn fetch(client: &mut Client, topic: &str, partition: i32, offset: i64) -> Fetched {
    let Some(leader) = client.leader(topic, partition).await else {
        return Fetched::Again;
    };
    let epoch = client.leader_epoch(topic, partition);
    let asked = FetchPartition::default()
        .with_partition(partition)
        .with_current_leader_epoch(epoch)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 18);
    let asked = FetchTopic::default()
        .with_topic(name(topic))
        .with_partitions(vec![asked]);
    let request = FetchRequest::default()
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![asked]);
    let Ok(mut answer) = client.call(leader, 12, &request).await else {
        return Fetched::Again;
    };
    let data = answer.responses.remove(0).partitions.remove(0);
    match ResponseError::try_from_code(data.error_code) {
        None => {
            let history = &client.setting.history;
            history.served(topic, partition, epoch, leader);
        }
        Some(ResponseError::OffsetOutOfRange) => {
            let history = &client.setting.history;
            history.out_of_range(topic, partition, offset, leader);
            return Fetched::Again;
        }
        Some(_) => return Fetched::Again,
    }
    let mut next = offset;
    for batch in Batches::new(data.records.unwrap_or_default()) {
        let Ok(batch) = batch else { break };
        for (at, record) in batch.records().expect("records that can be read") {
            if at < offset {
                continue;
            }
            let value = record.value.unwrap_or_default();
            let value = String::from_utf8_lossy(&value).into_owned();
            let history = &client.setting.history;
            history.seen(topic, partition, (next, at), &value, data.high_watermark);
            next = at + 1;
        }
    }
    Fetched::Records(next)
}
