//! Records of a partition: from an offset or a time on, all of them or those of one key.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use zweig_client::kafka::consumer::{ConsumedRecord, ConsumerOptions, Position, TopicPartition};
use zweig_client::kafka::{Client, Consumer, KafkaError};

use super::Console;
use super::browse::Data;
use super::refusal::Refusal;
use crate::clock::{elapsed, now};

/// Records on one page, at most.
const MOST: usize = 500;

/// How many of the last records are looked through for a key.
const LOOKED_THROUGH: i64 = 20_000;

/// How long records are waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Which records.
#[derive(Deserialize)]
pub struct RecordsQuery {
    topic: String,
    partition: i32,
    /// `earliest`, `latest` (the last ones there are), `time:` and milliseconds since 1970, or an offset.
    from: String,
    #[serde(default = "few")]
    limit: usize,
    /// Only those with this key, if it is not empty.
    #[serde(default)]
    key: String,
}

fn few() -> usize {
    50
}

/// Where to begin, as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    Earliest,
    Latest,
    Time(i64),
    Offset(i64),
}

impl Begin {
    fn read(text: &str) -> Result<Self, Refusal> {
        let number = |text: &str| text.parse().ok().filter(|number| *number >= 0);
        let known = match (text, text.strip_prefix("time:")) {
            ("earliest", _) => Some(Self::Earliest),
            ("latest", _) => Some(Self::Latest),
            (_, Some(time)) => number(time).map(Self::Time),
            (offset, None) => number(offset).map(Self::Offset),
        };
        known.ok_or_else(|| {
            let why = format!("'{text}' is neither earliest, latest, a time nor an offset");
            Refusal::bad(why)
        })
    }
}

/// Records of a partition.
#[derive(Serialize)]
pub struct Records {
    /// First offset that is kept.
    start: i64,
    /// Behind the last one.
    end: i64,
    /// Where reading began.
    from: i64,
    /// Where to go on.
    next: i64,
    records: VecDeque<Record>,
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

impl Record {
    fn of(record: &ConsumedRecord) -> Self {
        let headers = record.headers.iter();
        Self {
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: Data::of(record.key.as_ref()),
            tombstone: record.value.is_none(),
            value: Data::of(record.value.as_ref()),
            headers: headers
                .map(|(name, value)| (name.clone(), Data::of(value.as_ref())))
                .collect(),
        }
    }
}

/// `GET /api/records`
pub async fn records(
    State(console): State<Arc<Console>>,
    Query(query): Query<RecordsQuery>,
) -> Result<Json<Records>, Refusal> {
    let limit = query.limit.clamp(1, MOST);
    let asked = Begin::read(&query.from)?;
    let partition = TopicPartition::new(query.topic, query.partition);
    let client = console.kafka();
    let start = offset(client, &partition, Position::Earliest).await?;
    let end = offset(client, &partition, Position::Latest).await?;
    let last = match query.key.as_str() {
        "" => i64::try_from(limit).unwrap_or(0),
        _ => LOOKED_THROUGH,
    };
    let from = match asked {
        Begin::Earliest => start,
        Begin::Latest => end - last,
        Begin::Time(time_ms) => offset(client, &partition, Position::Time(time_ms)).await?,
        Begin::Offset(offset) => offset,
    };
    let wanted = Wanted {
        from: from.clamp(start, end),
        end,
        limit,
        key: query.key,
        newest: asked == Begin::Latest,
    };
    let (next, records) = wanted.read(client, &partition).await?;
    Ok(Json(Records {
        start,
        end,
        from: wanted.from,
        next,
        records,
    }))
}

/// Where a position is; asked again where another broker leads meanwhile.
async fn offset(
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

/// What is to be read: from `from` on, none at or behind `end`.
struct Wanted {
    from: i64,
    end: i64,
    limit: usize,
    /// Empty: any.
    key: String,
    /// Whether the last ones that fit are wanted, rather than the first.
    newest: bool,
}

impl Wanted {
    fn fits(&self, record: &ConsumedRecord) -> bool {
        let key = record.key.as_deref();
        record.offset < self.end && (self.key.is_empty() || key == Some(self.key.as_bytes()))
    }

    /// Those that fit, and where to go on: at `end`, or before it if there was enough or it took too long.
    async fn read(
        &self,
        client: &Client,
        partition: &TopicPartition,
    ) -> Result<(i64, VecDeque<Record>), KafkaError> {
        let options = ConsumerOptions {
            reset: None,
            auto_commit: None,
            fetch_max_bytes: 4 << 20,
            max_poll_records: MOST,
            ..ConsumerOptions::default()
        };
        let mut consumer = Consumer::new(client.clone(), options);
        let begin = Position::Offset(self.from);
        consumer.assign(BTreeMap::from([(partition.clone(), begin)]));
        let mut records = VecDeque::new();
        let begun = now();
        let mut next = self.from;
        while next < self.end && elapsed(begun) < PATIENCE {
            let left = PATIENCE.saturating_sub(elapsed(begun));
            let polled = consumer.poll_up_to(MOST, left).await?;
            next = consumer.position(partition).unwrap_or(next).min(self.end);
            for record in polled.iter().filter(|record| self.fits(record)) {
                records.push_back(Record::of(record));
                if records.len() == self.limit && !self.newest {
                    return Ok((record.offset + 1, records));
                }
                if records.len() > self.limit {
                    records.pop_front();
                }
            }
        }
        Ok((next, records))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_begin_is_a_name_a_time_or_an_offset() {
        let read = |text| Begin::read(text).ok();
        assert_eq!(read("earliest"), Some(Begin::Earliest));
        assert_eq!(read("time:17"), Some(Begin::Time(17)));
        assert_eq!(read("17"), Some(Begin::Offset(17)));
        for wrong in ["", "soon", "-1", "time:", "time:-1", "time:x"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
