//! `zweig consume`: records of a topic onto standard output.

use std::collections::BTreeMap;
use std::io::{Write, stdout};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use zweig_client::kafka::client::TopicMetadata;
use zweig_client::kafka::consumer::{ConsumedRecord, GroupOptions, Position, TopicPartition};
use zweig_client::kafka::{Admin, Client, Consumer, ConsumerOptions, ErrorCode};

use crate::clock::{elapsed, now};
use crate::context::Context;
use crate::failure::{Code, Failure};
use crate::kafka::{Brokers, failed, unescape};
use crate::signals::Signals;
use crate::suggest::about_topic;

/// How long to wait for records before looking whether to end.
const PAUSE: Duration = Duration::from_millis(500);
/// How long it may take until every broker has heard of a new topic.
const NEWS: Duration = Duration::from_secs(2);

/// Arguments of `zweig consume`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Formats: %t topic, %p partition, %o offset, %T timestamp (ms), %k key, %v value, %h headers, \
    %% a per cent sign; \\t and \\n are tab and newline.\n\n\
    Examples:\n  zweig consume orders --from earliest --exit-at-end\n  \
    zweig consume orders --group billing --format '%p %o %k=%v'"
)]
pub struct Args {
    /// The topic.
    topic: String,
    #[command(flatten)]
    brokers: Brokers,
    /// Read as a member of this group, and commit how far it has read.
    #[arg(long, short)]
    group: Option<String>,
    /// Where to begin: earliest, latest or an offset. A group begins there only where it has
    /// committed nothing.
    #[arg(long, short, default_value = "latest", value_parser = position)]
    from: Position,
    /// Read this partition alone; may be given several times. All, if not given.
    #[arg(long, short, conflicts_with = "group")]
    partition: Vec<i32>,
    /// End after this many records.
    #[arg(long, short = 'n', value_name = "COUNT")]
    max_messages: Option<u64>,
    /// End when what was there at the start has been read.
    #[arg(long, short)]
    exit_at_end: bool,
    /// What to print of a record, newline after it.
    #[arg(long, default_value = "%v")]
    format: String,
}

fn position(text: &str) -> Result<Position, String> {
    match text {
        "earliest" | "beginning" => Ok(Position::Earliest),
        "latest" | "end" => Ok(Position::Latest),
        offset => match offset.parse::<i64>() {
            Ok(offset) if offset >= 0 => Ok(Position::Offset(offset)),
            _ => Err("earliest, latest or an offset".to_owned()),
        },
    }
}

/// Prints records until told to end.
pub async fn run(context: Context, args: Args) -> anyhow::Result<()> {
    let client = args.brokers.client(context.patience());
    let options = ConsumerOptions {
        group: args.group.clone().map(GroupOptions::new),
        reset: Some(args.from),
        ..ConsumerOptions::default()
    };
    let mut consumer = Consumer::new(client.clone(), options);
    let mut ends = BTreeMap::new();
    let topic = find_topic(&client, &args.topic, context.patience()).await?;
    if let Some(wrong) = args
        .partition
        .iter()
        .find(|p| !topic.partitions.contains_key(p))
    {
        let (name, count) = (&args.topic, topic.partitions.len());
        let why = format!("topic {name} has no partition {wrong}: it has {count}, from 0 on");
        return Err(Failure::error(Code::NotFound, why));
    }
    if args.group.is_some() {
        consumer
            .subscribe(vec![args.topic.clone()])
            .map_err(|e| failed(&e))?;
    } else {
        let all = topic.partitions.keys().copied();
        let wanted: Vec<i32> = if args.partition.is_empty() {
            all.collect()
        } else {
            args.partition.clone()
        };
        let partitions = wanted
            .into_iter()
            .map(|p| TopicPartition::new(args.topic.clone(), p));
        let partitions: BTreeMap<_, _> = partitions.map(|p| (p, args.from)).collect();
        if args.exit_at_end {
            ends = find_ends(&client, partitions.keys()).await?;
        }
        consumer.assign(partitions);
    }
    let read = print_records(&context, &args, &mut consumer, &ends).await;
    // What could not be printed is not committed.
    if args.group.is_some() && read.is_ok() {
        consumer.done_with_all();
    }
    let closed = consumer.close().await.map_err(|e| failed(&e));
    read.and(closed)
}

/// The topic; one that was created a moment ago may not be known to every broker yet.
async fn find_topic(
    client: &Client,
    name: &str,
    patience: Duration,
) -> anyhow::Result<Arc<TopicMetadata>> {
    let begun = now();
    loop {
        let error = match client.topic(name, false).await {
            Ok(topic) => return Ok(topic),
            Err(error) => error,
        };
        let unknown = error.code() == Some(ErrorCode::UnknownTopicOrPartition);
        let most = if unknown {
            patience.min(NEWS)
        } else {
            patience
        };
        if !error.retriable() || elapsed(begun) >= most {
            return Err(about_topic(&Admin::new(client.clone()), &error, name).await);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn find_ends(
    client: &Client,
    partitions: impl Iterator<Item = &TopicPartition>,
) -> anyhow::Result<BTreeMap<TopicPartition, i64>> {
    let wanted: BTreeMap<_, _> = partitions.map(|p| (p.clone(), Position::Latest)).collect();
    let found = client
        .retry(|| async {
            client
                .offsets(&wanted)
                .await
                .into_iter()
                .map(|(p, end)| Ok((p, end?)))
                .collect::<Result<BTreeMap<_, _>, _>>()
        })
        .await;
    found.map_err(|e| failed(&e))
}

async fn print_records(
    context: &Context,
    args: &Args,
    consumer: &mut Consumer,
    ends: &BTreeMap<TopicPartition, i64>,
) -> anyhow::Result<()> {
    let format = Format::parse(&args.format);
    let output = context.output();
    let mut left = args.max_messages.unwrap_or(u64::MAX);
    let mut text = Vec::new();
    let mut signals = Signals::with_reader()?;
    while left > 0 && !(args.exit_at_end && at_end(consumer, ends)) {
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        let records = tokio::select! {
            records = consumer.poll_up_to(most, PAUSE) => records,
            _ = signals.told() => return Ok(()),
        };
        text.clear();
        for record in records.map_err(|e| failed(&e))? {
            left -= 1;
            if output.for_programs() {
                text.extend(output.rendered(&to_json(&record))?.into_bytes());
            } else {
                format.write(&record, &mut text);
                text.push(b'\n');
            }
        }
        let mut out = stdout().lock();
        out.write_all(&text)?;
        out.flush()?;
    }
    Ok(())
}

/// Whether everything up to the end has been returned. In a group, the end of each partition is
/// what its last fetch said.
fn at_end(consumer: &Consumer, ends: &BTreeMap<TopicPartition, i64>) -> bool {
    let mut any = false;
    let read = consumer.assignment().all(|partition| {
        any = true;
        let end = ends
            .get(partition)
            .copied()
            .or_else(|| consumer.high_watermark(partition));
        let at = consumer.position(partition);
        matches!((at, end), (Some(at), Some(end)) if at >= end)
    });
    any && read
}

fn to_json(record: &ConsumedRecord) -> Value {
    let headers = record
        .headers
        .iter()
        .map(|(k, v)| json!([k, v.as_deref().map(readable)]));
    json!({
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "key": record.key.as_deref().map(readable),
        "value": record.value.as_deref().map(readable),
        "headers": headers.collect::<Vec<_>>(),
    })
}

/// Text as text; other bytes as `{"base64": ..}`.
fn readable(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "base64": BASE64_STANDARD.encode(bytes) }),
    }
}

/// A parsed `--format`.
#[derive(Debug, PartialEq, Eq)]
struct Format(Vec<Piece>);

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(char),
}

impl Format {
    fn parse(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let unescaped = unescape(text);
        let mut letters = unescaped.chars();
        while let Some(letter) = letters.next() {
            match (letter, letter == '%') {
                (_, false) => plain.push(letter),
                (_, true) => match letters.next() {
                    Some(field @ ('t' | 'p' | 'o' | 'T' | 'k' | 'v' | 'h')) => {
                        if !plain.is_empty() {
                            pieces.push(Piece::Text(std::mem::take(&mut plain)));
                        }
                        pieces.push(Piece::Field(field));
                    }
                    Some('%') | None => plain.push('%'),
                    Some(other) => plain.extend(['%', other]),
                },
            }
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Self(pieces)
    }

    fn write(&self, record: &ConsumedRecord, out: &mut Vec<u8>) {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Field('t') => out.extend_from_slice(record.topic.as_bytes()),
                Piece::Field('p') => out.extend_from_slice(record.partition.to_string().as_bytes()),
                Piece::Field('o') => out.extend_from_slice(record.offset.to_string().as_bytes()),
                Piece::Field('T') => {
                    out.extend_from_slice(record.timestamp_ms.to_string().as_bytes());
                }
                Piece::Field('k') => {
                    out.extend_from_slice(record.key.as_deref().unwrap_or_default())
                }
                Piece::Field('v') => {
                    out.extend_from_slice(record.value.as_deref().unwrap_or_default());
                }
                Piece::Field(_) => {
                    for (place, (key, value)) in record.headers.iter().enumerate() {
                        let comma = if place == 0 { "" } else { "," };
                        out.extend_from_slice(format!("{comma}{key}=").as_bytes());
                        out.extend_from_slice(value.as_deref().unwrap_or_default());
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_filled_in() {
        let record = ConsumedRecord {
            topic: "t".into(),
            partition: 1,
            offset: 2,
            timestamp_ms: 3,
            key: None,
            value: Some(bytes::Bytes::from_static(b"v")),
            headers: vec![("a".into(), None), ("b".into(), Some("c".into()))],
        };
        let mut out = Vec::new();
        Format::parse(r"%t-%p@%o\t%k|%v %h %T 100%% %x").write(&record, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), "t-1@2\t|v a=,b=c 3 100% %x");
    }

    #[test]
    fn positions_are_words_or_numbers() {
        assert_eq!(position("earliest"), Ok(Position::Earliest));
        assert_eq!(position("17"), Ok(Position::Offset(17)));
        assert!(position("-1").is_err() && position("soon").is_err());
    }
}
