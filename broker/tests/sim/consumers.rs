//! Consumers of one partition: they read from the beginning on, up to the high watermark, and now and then anew. They believe
//! whoever is said to lead, now and then ask anybody, and name the highest leader epoch they heard of: a leader that is behind it must not answer.
//! Now and then they begin a fetch session (KIP-227), and go on with it as long as the broker does: what it leaves out of an answer is as it was.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use rand::Rng as _;
use zweig_client::kafka::records::Batches;

use crate::client::{Client, Running, name};

/// Reads until told to stop.
pub async fn consume(mut client: Client, (topic, partition): (String, i32), running: Running) {
    client.credulous = true;
    let mut offset = 0;
    let mut session = None;
    while running.goes_on() {
        if client.chance.random_range(0..15) == 0 {
            client.guess_leader(&topic, partition);
        }
        match fetch_in(&mut session, &mut client, (&topic, partition), offset).await {
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
enum Fetched {
    /// The next offset to ask for.
    Records(i64),
    /// Nothing: the leader is to be looked for.
    Again,
}

/// A fetch session with a broker.
struct Session {
    leader: i32,
    id: i32,
    /// Of the next request.
    epoch: i32,
    /// Leader epoch and offset that the broker knows.
    named: (i32, i64),
}

/// Fetches once, in a session if there is one, or else perhaps with one that begins here, and tells the history what was seen.
async fn fetch_in(
    session: &mut Option<Session>,
    client: &mut Client,
    of: (&str, i32),
    offset: i64,
) -> Fetched {
    let begins = || Session {
        leader: 0,
        id: 0,
        epoch: 0,
        named: (-1, -1),
    };
    let wanted = match session.take() {
        None => client.chance.random_bool(0.5).then(begins),
        known => known,
    };
    let (fetched, next) = fetch_from(wanted, client, of, offset).await;
    *session = next;
    fetched
}

/// Fetches once; returns the session to go on with, too.
async fn fetch_from(
    session: Option<Session>,
    client: &mut Client,
    (topic, partition): (&str, i32),
    offset: i64,
) -> (Fetched, Option<Session>) {
    let Some(leader) = client.leader(topic, partition).await else {
        return (Fetched::Again, session);
    };
    let epoch = client.leader_epoch(topic, partition);
    let session = session.filter(|session| session.id == 0 || session.leader == leader);
    let known = session
        .as_ref()
        .is_some_and(|session| session.named == (epoch, offset));
    let asked = FetchPartition::default()
        .with_partition(partition)
        .with_current_leader_epoch(epoch)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 18);
    let asked = FetchTopic::default()
        .with_topic(name(topic))
        .with_partitions(vec![asked]);
    let (id, count) = session
        .as_ref()
        .map_or((0, -1), |session| (session.id, session.epoch));
    let request = FetchRequest::default()
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_id(id)
        .with_session_epoch(count)
        .with_topics(if known { Vec::new() } else { vec![asked] });
    let Ok(mut answer) = client.call(leader, 12, &request).await else {
        return (Fetched::Again, None);
    };
    if answer.error_code != 0 {
        return (Fetched::Again, None);
    }
    let next = Session {
        leader,
        id: answer.session_id,
        epoch: count + 1,
        named: (epoch, offset),
    };
    let next = (answer.session_id != 0).then_some(next);
    if id != 0 && answer.responses.is_empty() {
        let history = &client.setting.history;
        history.served(topic, partition, epoch, leader);
        return (Fetched::Records(offset), next);
    }
    let data = answer.responses.remove(0).partitions.remove(0);
    (
        take(client, (topic, partition), (leader, epoch), offset, data),
        next,
    )
}

/// Tells the history what came of the partition.
fn take(
    client: &Client,
    (topic, partition): (&str, i32),
    (leader, epoch): (i32, i32),
    offset: i64,
    data: PartitionData,
) -> Fetched {
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
