//! `zweig produce`: lines into a topic.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use serde::Serialize;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader};
use tokio::sync::mpsc;
use zweig_client::kafka::producer::{Acks, Delivery};
use zweig_client::kafka::records::Compression;
use zweig_client::kafka::{KafkaError, Producer, ProducerOptions, ProducerRecord};
use zweig_monitoring::trace::{Service, Span, SpanKind, TraceContext, TraceSettings, Tracer};

use crate::clock::{elapsed, now};
use crate::context::Context;
use crate::kafka::{Brokers, failed};
use crate::output::note;
use crate::progress::Meter;

/// How long a collector may take to get this program's span.
const SPAN_PATIENCE: Duration = Duration::from_secs(5);

/// Deliveries awaited at once before reading on waits.
const AWAITED: usize = 100_000;

/// Arguments of `zweig produce`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Each line is a record. The program ends when all of them are acknowledged.\n\n\
    Examples:\n  seq 1 1000 | zweig produce orders\n  \
    zweig produce orders --file orders.tsv --key-separator '\\t' --compression zstd\n  \
    echo hello | zweig produce orders --header source=shell --trace"
)]
pub struct Args {
    /// The topic.
    topic: String,
    #[command(flatten)]
    brokers: Brokers,
    /// Read this file rather than standard input.
    #[arg(long, short, value_name = "PATH")]
    file: Option<PathBuf>,
    /// What separates key and value in a line; without it lines are values. `\t` is a tab.
    #[arg(long, short = 'K', value_name = "TEXT")]
    key_separator: Option<String>,
    /// Who must have a record: all in-sync replicas, the leader, nobody.
    #[arg(long, default_value = "all", value_parser = ["all", "1", "0"])]
    acks: String,
    /// How batches are compressed.
    #[arg(long, short = 'z', default_value = "none", value_parser = ["none", "gzip", "snappy", "lz4", "zstd"])]
    compression: String,
    /// The partition for all records; by key, or in turn, if not given.
    #[arg(long, short)]
    partition: Option<i32>,
    /// A header of every record. May be given again.
    #[arg(long, short = 'H', value_name = "NAME=VALUE", value_parser = header)]
    header: Vec<(String, Bytes)>,
    /// Follow the records through the cluster, in one trace, whose id is told at the end: processes with a collector of
    /// OpenTelemetry (otlp.endpoint, otlpEndpoint) send it their spans, and this program does to the one that
    /// OTEL_EXPORTER_OTLP_ENDPOINT names.
    #[arg(long)]
    trace: bool,
    /// Say nothing of the progress.
    #[arg(long, short)]
    quiet: bool,
}

/// A header as one argument.
fn header(text: &str) -> Result<(String, Bytes), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok((name.to_owned(), Bytes::copy_from_slice(value.as_bytes())))
        }
        _ => Err("it must be NAME=VALUE".to_owned()),
    }
}

/// The trace that the records are followed in.
struct Following {
    tracer: Tracer,
    span: Span,
}

impl Following {
    fn begin(topic: &str) -> anyhow::Result<Self> {
        let service = Service {
            name: "zweig-produce",
            instance: std::process::id().to_string(),
            version: env!("CARGO_PKG_VERSION"),
        };
        let tracer = Tracer::otlp(&TraceSettings::default().or_environment(), &service)?;
        let name = format!("zweig produce {topic}");
        let span = tracer.span(name, SpanKind::Producer, TraceContext::begin());
        Ok(Self { tracer, span })
    }

    fn header(&self) -> (String, Bytes) {
        let traceparent = self.span.context().traceparent();
        (TraceContext::HEADER.to_owned(), traceparent.into())
    }

    /// Its span is sent; the id of its trace.
    async fn end(mut self, failure: Option<String>) -> anyhow::Result<String> {
        let trace = self.span.context().trace.to_string();
        if let Some(reason) = failure {
            self.span.fail(reason);
        }
        drop(self.span);
        let tracer = self.tracer;
        let sent = move || tracer.stop_within(SPAN_PATIENCE);
        let stopped = tokio::task::spawn_blocking(sent).await;
        stopped.context("a task failed")?;
        Ok(trace)
    }
}

#[derive(Debug, Default, Clone, Copy, Serialize)]
struct Sent {
    records: u64,
    bytes: u64,
}

/// Sends the lines.
pub async fn run(context: Context, args: Args) -> anyhow::Result<()> {
    let acks = match args.acks.as_str() {
        "0" => Acks::None,
        "1" => Acks::Leader,
        _ => Acks::All,
    };
    let options = ProducerOptions {
        acks,
        idempotent: acks == Acks::All,
        compression: compression(&args.compression),
        ..ProducerOptions::default()
    };
    let client = args.brokers.client(context.patience());
    let producer = Producer::new(client, options).map_err(|e| failed(&e))?;
    let mut length = None;
    let input: Box<dyn AsyncBufRead + Unpin + Send> = match &args.file {
        None => Box::new(BufReader::with_capacity(1 << 16, tokio::io::stdin())),
        Some(path) => {
            let file = tokio::fs::File::open(path).await;
            let file = file.with_context(|| format!("cannot open {}", path.display()))?;
            // A pipe has a name and no length.
            let known = file.metadata().await.ok().filter(|about| about.is_file());
            length = known.map(|about| about.len());
            Box::new(BufReader::with_capacity(1 << 20, file))
        }
    };
    let begun = now();
    let following = match args.trace {
        true => Some(Following::begin(&args.topic)?),
        false => None,
    };
    let mut headers = args.header.clone();
    headers.extend(following.as_ref().map(Following::header));
    let headers = headers.into_iter().map(|(name, value)| (name, Some(value)));
    let template = ProducerRecord {
        topic: args.topic.clone(),
        partition: args.partition,
        headers: headers.collect(),
        ..ProducerRecord::default()
    };
    let progress = Meter::begin(args.quiet, length);
    let (deliveries, awaited) = mpsc::channel(AWAITED);
    let check = tokio::spawn(check(awaited));
    let read = send_lines(&args, &template, &producer, input, deliveries, progress).await;
    producer.flush().await;
    let refused = check.await.context("a task failed")?;
    producer.close().await;
    let failure = match (&read, &refused) {
        (Err(error), _) => Some(error.to_string()),
        (_, Some((_, error))) => Some(error.to_string()),
        _ => None,
    };
    let trace = match following {
        Some(following) => Some(following.end(failure).await?),
        None => None,
    };
    if let Some(trace) = &trace
        && !context.output().for_programs()
    {
        note(&format!("trace {trace}"));
    }
    let sent = read?;
    if let Some((count, error)) = refused {
        note(&format!(
            "{count} of {} records were not acknowledged",
            sent.records
        ));
        return Err(failed(&error));
    }
    report(&context, &args, sent, trace.as_deref(), begun)
}

fn compression(name: &str) -> Compression {
    match name {
        "gzip" => Compression::Gzip,
        "snappy" => Compression::Snappy,
        "lz4" => Compression::Lz4,
        "zstd" => Compression::Zstd,
        _ => Compression::None,
    }
}

async fn send_lines(
    args: &Args,
    template: &ProducerRecord,
    producer: &Producer,
    mut input: Box<dyn AsyncBufRead + Unpin + Send>,
    deliveries: mpsc::Sender<Delivery>,
    mut progress: Meter,
) -> anyhow::Result<Sent> {
    let separator = args.key_separator.as_deref().map(crate::kafka::unescape);
    let mut sent = Sent::default();
    let mut read = 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = input.read_until(b'\n', &mut line).await;
        let length = length.context("cannot read the lines")?;
        if length == 0 {
            return Ok(sent);
        }
        read += length as u64;
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        let (key, value) = split(&line, separator.as_deref());
        let record = ProducerRecord {
            key: key.map(Bytes::copy_from_slice),
            value: Some(Bytes::copy_from_slice(value)),
            ..template.clone()
        };
        let delivery = producer.send(record).await.map_err(|e| failed(&e))?;
        sent.records += 1;
        sent.bytes += line.len() as u64;
        if deliveries.send(delivery).await.is_err() {
            return Ok(sent); // One was refused: no use to go on.
        }
        progress.at(read, || format!("{} records read", sent.records));
    }
}

/// Key and value of a line. A line without the separator is all value.
fn split<'a>(line: &'a [u8], separator: Option<&str>) -> (Option<&'a [u8]>, &'a [u8]) {
    let separator = separator.map(str::as_bytes).filter(|s| !s.is_empty());
    let at = separator.and_then(|s| Some((line.windows(s.len()).position(|w| w == s)?, s.len())));
    match at {
        Some((at, length)) => (Some(&line[..at]), &line[at + length..]),
        None => (None, line),
    }
}

/// Awaits every delivery: how many failed, and the first reason.
async fn check(mut awaited: mpsc::Receiver<Delivery>) -> Option<(u64, KafkaError)> {
    let mut refused: Option<(u64, KafkaError)> = None;
    while let Some(delivery) = awaited.recv().await {
        if let Err(error) = delivery.await {
            // From now on no more lines are read; those on their way are still counted.
            awaited.close();
            match &mut refused {
                Some((count, _)) => *count += 1,
                None => refused = Some((1, error)),
            }
        }
    }
    refused
}

fn report(
    context: &Context,
    args: &Args,
    sent: Sent,
    trace: Option<&str>,
    begun: Instant,
) -> anyhow::Result<()> {
    let took = elapsed(begun);
    let output = context.output();
    if output.for_programs() {
        let seconds = took.as_secs_f64();
        return Ok(output.document(&serde_json::json!({
            "topic": args.topic, "records": sent.records, "bytes": sent.bytes, "seconds": seconds, "trace": trace
        }))?);
    }
    if !args.quiet {
        note(&format!(
            "{} records, {} bytes, acknowledged by {} in {took:.2?}",
            sent.records, sent.bytes, args.topic
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_at_the_first_separator() {
        assert_eq!(
            split(b"a\tb\tc", Some("\t")),
            (Some(&b"a"[..]), &b"b\tc"[..])
        );
        assert_eq!(split(b"abc", Some("\t")), (None, &b"abc"[..]));
        assert_eq!(split(b"a:b", None), (None, &b"a:b"[..]));
        assert_eq!(split(b"::b", Some("::")), (Some(&b""[..]), &b"b"[..]));
    }
}
