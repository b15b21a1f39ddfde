//! Looking into it: a znode with its children by pages, records of a partition.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use zweig_client::ensemble::{Acl, Stat};
use zweig_client::kafka::consumer::{ConsumerOptions, Position, TopicPartition};
use zweig_client::kafka::{Client, Consumer, KafkaError};

use super::Console;
use super::refusal::Refusal;
use crate::clock::{elapsed, now};
use crate::output::JsonData;

/// Children on one page.
const CHILDREN: usize = 500;

/// Data of a znode, or of a record's key or value, that is sent, in bytes.
const SHOWN: usize = 64 << 10;

/// Records on one page, at most.
const RECORDS: usize = 500;

/// How long records are waited for.
const RECORDS_PATIENCE: Duration = Duration::from_secs(2);

/// Data, cut to what is shown.
#[derive(Serialize)]
pub struct Data {
    #[serde(flatten)]
    data: JsonData,
    /// Bytes there are.
    length: usize,
}

impl Data {
    fn of(data: Option<&Bytes>) -> Self {
        let whole = data.map_or(&[][..], |data| data);
        let mut shown = whole.get(..SHOWN).unwrap_or(whole);
        if shown.len() < whole.len() && std::str::from_utf8(whole).is_ok() {
            // Not within a character.
            while std::str::from_utf8(shown).is_err() {
                shown = &shown[..shown.len() - 1];
            }
        }
        Self {
            data: data.map(|_| shown).into(),
            length: whole.len(),
        }
    }
}

/// Which znode, and which of its children.
#[derive(Deserialize)]
pub struct ZnodeQuery {
    path: String,
    /// Children behind this name.
    #[serde(default)]
    after: String,
    /// Children with this in their name.
    #[serde(default)]
    holds: String,
}

/// A znode.
#[derive(Serialize)]
pub struct Znode {
    path: String,
    stat: Stat,
    #[serde(flatten)]
    data: Data,
    acl: Vec<Acl>,
    children: Vec<String>,
    /// Children that match and come behind those.
    more: usize,
}

/// `GET /api/znode`
pub async fn znode(
    State(console): State<Arc<Console>>,
    Query(query): Query<ZnodeQuery>,
) -> Result<Json<Znode>, Refusal> {
    let ensemble = console.session().await?;
    let (data, stat) = ensemble.get(&query.path).await?;
    let (acl, _) = ensemble.get_acl(&query.path).await?;
    let (mut names, _) = ensemble.children(&query.path).await?;
    names.retain(|name| name.contains(&query.holds));
    names.sort_unstable();
    let from = names.partition_point(|name| query.after.as_str() >= name.as_str());
    let from = if query.after.is_empty() { 0 } else { from };
    let more = (names.len() - from).saturating_sub(CHILDREN);
    let children = names.into_iter().skip(from).take(CHILDREN).collect();
    Ok(Json(Znode {
        path: query.path,
        stat,
        data: Data::of(data.as_ref()),
        acl,
        children,
        more,
    }))
}

/// Which records.
#[derive(Deserialize)]
pub struct RecordsQuery {
    topic: String,
    partition: i32,
    /// `earliest`, `latest` (the last ones there are) or an offset.
    from: String,
    #[serde(default = "few")]
    limit: usize,
}

fn few() -> usize {
    50
}

/// Records of a partition.
#[derive(Serialize)]
pub struct Records {
    /// First offset that is kept.
    start: i64,
    /// Behind the last one.
    end: i64,
    /// Where to go on.
    next: i64,
    records: Vec<Record>,
}

#[derive(Serialize)]
struct Record {
    offset: i64,
    timestamp_ms: i64,
    key: Data,
    /// A tombstone has none.
    tombstone: bool,
    value: Data,
    headers: Vec<(String, Data)>,
}

/// `GET /api/records`
pub async fn records(
    State(console): State<Arc<Console>>,
    Query(query): Query<RecordsQuery>,
) -> Result<Json<Records>, Refusal> {
    let limit = query.limit.clamp(1, RECORDS);
    let partition = TopicPartition::new(query.topic, query.partition);
    let client = console.kafka();
    let start = bound(client, &partition, Position::Earliest).await?;
    let end = bound(client, &partition, Position::Latest).await?;
    let from = match query.from.as_str() {
        "earliest" => start,
        "latest" => end - i64::try_from(limit).unwrap_or(0),
        offset => offset.parse().map_err(|_| {
            Refusal::bad(format!(
                "'{offset}' is neither earliest, latest nor an offset"
            ))
        })?,
    };
    let from = from.clamp(start, end);
    let read = read(client, &partition, from, end, limit).await?;
    let next = read.last().map_or(from, |record| record.offset + 1);
    Ok(Json(Records {
        start,
        end,
        next,
        records: read,
    }))
}

/// The first or the last offset; asked again where another broker leads meanwhile.
async fn bound(
    client: &Client,
    partition: &TopicPartition,
    position: Position,
) -> Result<i64, KafkaError> {
    let wanted = BTreeMap::from([(partition.clone(), position)]);
    let ask = || async {
        let found = client.offsets(&wanted).await.remove(partition);
        found.unwrap_or_else(|| Err(KafkaError::Invalid("no offset came back".to_owned())))
    };
    client.retry(ask).await
}

/// Up to `limit` records from `from` on, none at or behind `end`.
async fn read(
    client: &Client,
    partition: &TopicPartition,
    from: i64,
    end: i64,
    limit: usize,
) -> Result<Vec<Record>, KafkaError> {
    let options = ConsumerOptions {
        reset: None,
        auto_commit: None,
        fetch_max_bytes: 4 << 20,
        max_poll_records: limit,
        ..ConsumerOptions::default()
    };
    let mut consumer = Consumer::new(client.clone(), options);
    consumer.assign(BTreeMap::from([(
        partition.clone(),
        Position::Offset(from),
    )]));
    let mut records = Vec::new();
    let begun = now();
    let mut next = from;
    while next < end && records.len() < limit && elapsed(begun) < RECORDS_PATIENCE {
        let left = RECORDS_PATIENCE.saturating_sub(elapsed(begun));
        let polled = consumer.poll_up_to(limit - records.len(), left).await?;
        next = consumer.position(partition).unwrap_or(next);
        records.extend(polled.into_iter().filter(|r| r.offset < end).map(|r| {
            Record {
                offset: r.offset,
                timestamp_ms: r.timestamp_ms,
                key: Data::of(r.key.as_ref()),
                tombstone: r.value.is_none(),
                value: Data::of(r.value.as_ref()),
                headers: r
                    .headers
                    .iter()
                    .map(|(name, value)| (name.clone(), Data::of(value.as_ref())))
                    .collect(),
            }
        }));
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_between_characters() {
        let text = "ä".repeat(SHOWN);
        let data = Data::of(Some(&Bytes::from(text)));
        assert_eq!(data.length, 2 * SHOWN);
        assert_eq!(data.data.data.map(|text| text.len()), Some(SHOWN));
        let odd = format!("x{}", "ä".repeat(SHOWN));
        let data = Data::of(Some(&Bytes::from(odd)));
        assert_eq!(data.data.data.map(|text| text.len()), Some(SHOWN - 1));
        let bytes = Data::of(Some(&Bytes::from_static(&[0xff, 0])));
        assert!(bytes.data.data_base64.is_some());
    }
}
