//! A real file through clients that nobody here wrote, and back: Debian's whole package index (more than a million
//! lines, each with its number before it, so that completeness, and order in each partition, can be told from the
//! lines alone). What was produced by one client is read by three: `kcat -C`, a group of three consumers of
//! librdkafka, and `zweig consume`; all of them must see the same lines in the same partitions, byte for byte.
//!
//! Everything goes through kcat (none, gzip, snappy, lz4, zstd), confluent-kafka and Java's console producer.
//! kafka-python, which is Python all the way down, sends what it can in two minutes (all of it, unless the machine is
//! busy). Topics have 3 partitions on 3 brokers; the first one nobody creates, as a newcomer would have it.

mod support;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use support::kafka::{consume, create_topic, produce_file};
use support::{Cluster, PATIENCE, Timed, run, succeeded};

/// What one client may take for all lines on a busy machine.
const LONG: Duration = Duration::from_secs(300);
/// What kafka-python is given, in seconds.
const TWO_MINUTES: &str = "120";

/// The lines, as they are sent.
struct Sample {
    text: Vec<u8>,
    /// Where each line begins; one more than there are lines.
    starts: Vec<usize>,
    file: PathBuf,
}

impl Sample {
    fn take(cluster: &Cluster) -> Self {
        let mut apt = Command::new("apt-cache");
        apt.arg("dumpavail");
        let index = run(apt, None, PATIENCE).stdout;
        assert!(
            index.len() > 1_000_000,
            "the package index is empty: run scripts/setup --test, or apt-get update"
        );
        let (mut text, mut starts) = (Vec::with_capacity(index.len() * 5 / 4), vec![0]);
        for (number, line) in index.split_inclusive(|byte| *byte == b'\n').enumerate() {
            text.extend_from_slice(format!("{number:08} ").as_bytes());
            text.extend_from_slice(line);
            starts.push(text.len());
        }
        assert_eq!(
            text.last(),
            Some(&b'\n'),
            "the index ends with a whole line"
        );
        let file = cluster.path("packages");
        fs::write(&file, &text).expect("the sample written");
        Self { text, starts, file }
    }

    fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// A line without its line break.
    fn line(&self, number: usize) -> &[u8] {
        &self.text[self.starts[number]..self.starts[number + 1] - 1]
    }

    /// The partition of each of the first `count` lines, out of `consumed`, which holds "partition TAB line" lines: each
    /// as it was sent, once, in order within its partition.
    fn partitions(&self, who: &str, consumed: &[u8], count: usize) -> Vec<u8> {
        let mut partitions = vec![u8::MAX; count];
        let mut next_at_least = [0; 3];
        for record in consumed.split_inclusive(|byte| *byte == b'\n') {
            let (partition, line) = match record {
                [digit @ b'0'..=b'2', b'\t', line @ .., b'\n'] => (digit - b'0', line),
                _ => panic!("{who}: {:?}", String::from_utf8_lossy(record)),
            };
            let number = line
                .get(..8)
                .and_then(|digits| std::str::from_utf8(digits).ok());
            let number: usize = number
                .and_then(|digits| digits.parse().ok())
                .expect("a line number");
            assert!(
                number < count && line == self.line(number),
                "{who}: line {number} came back changed"
            );
            assert_eq!(
                partitions[number],
                u8::MAX,
                "{who}: line {number} came twice"
            );
            let least = &mut next_at_least[usize::from(partition)];
            assert!(
                number >= *least,
                "{who}: line {number} is out of order in partition {partition}"
            );
            *least = number + 1;
            partitions[number] = partition;
        }
        let missing = partitions
            .iter()
            .filter(|partition| **partition == u8::MAX)
            .count();
        assert_eq!(missing, 0, "{who}: lines of {count} that never came");
        partitions
    }
}

/// Consumes the topic, which the first `count` lines were sent to, in three ways.
fn check_all_ways(cluster: &Cluster, topic: &str, sample: &Sample, count: usize) {
    let mut timed = Timed::begin(topic);
    let kcat = consume(cluster, topic, None, "%p\t%s\n");
    timed.lap("kcat -C");
    let kcat = sample.partitions(&format!("{topic}: kcat -C"), &kcat.stdout, count);
    for partition in 0..3 {
        assert!(
            kcat.contains(&partition),
            "{topic}: nothing in partition {partition}"
        );
    }

    timed.again();
    let mut group = cluster.python("group_of_three.py");
    group.args([topic, &format!("group-{topic}"), &count.to_string()]);
    let group = run(group, None, LONG);
    timed.lap("group");
    succeeded("the group of three", &group);
    let group = sample.partitions(&format!("{topic}: a group of three"), &group.stdout, count);
    assert!(
        group == kcat,
        "{topic}: the group saw lines in other partitions than kcat"
    );

    timed.again();
    let mut zweig = cluster.command(support::ZWEIG);
    zweig.args([
        "consume",
        topic,
        "--from",
        "earliest",
        "--exit-at-end",
        "--format",
        "%p\t%v",
    ]);
    let zweig = run(zweig, None, LONG);
    timed.lap("zweig consume");
    succeeded("zweig consume", &zweig);
    let zweig = sample.partitions(&format!("{topic}: zweig consume"), &zweig.stdout, count);
    assert!(
        zweig == kcat,
        "{topic}: zweig saw lines in other partitions than kcat"
    );
}

#[test]
fn the_package_index_through_every_codec_of_kcat() {
    let cluster = Cluster::start_with(3, 3, "num.partitions=3");
    let sample = Sample::take(&cluster);
    println!("{} lines, {} bytes", sample.len(), sample.text.len());
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("kcat-{codec}");
        if codec != "none" {
            create_topic(&cluster, &topic);
        }
        let timed = Timed::begin(&topic);
        produce_file(&cluster, &topic, &sample.file, codec);
        timed.lap("kcat -P");
        check_all_ways(&cluster, &topic, &sample, sample.len());
    }
    // What kcat had created by sending to it is as what was created by command.
    let described = cluster.zweig_ok(&["topic", "describe", "kcat-none", "--output", "json"]);
    let described: serde_json::Value = serde_json::from_str(&described).expect("JSON");
    let partitions = described["partitions"].as_array().expect("partitions");
    assert_eq!(partitions.len(), 3);
    for partition in partitions {
        assert_eq!(
            partition["replicas"].as_array().map(Vec::len),
            Some(3),
            "{partition}"
        );
    }
}

#[test]
fn the_package_index_through_confluent_kafka_kafka_python_and_java() {
    let cluster = Cluster::start(3, 3);
    let sample = Sample::take(&cluster);
    for (library, seconds) in [("confluent-kafka", "0"), ("kafka-python", TWO_MINUTES)] {
        create_topic(&cluster, library);
        let mut producer = cluster.python("produce_lines.py");
        producer
            .args([library, library])
            .arg(&sample.file)
            .arg(seconds);
        let timed = Timed::begin(library);
        let said = succeeded(library, &run(producer, None, LONG));
        timed.lap("producing");
        let sent: usize = said.trim().parse().expect("how many it sent");
        println!("{library}: {sent} of {} lines", sample.len());
        assert!(
            sent == sample.len() || library == "kafka-python" && sent > 10_000,
            "only {sent} lines"
        );
        check_all_ways(&cluster, library, &sample, sent);
    }
    create_topic(&cluster, "java");
    let mut java = cluster.java("kafka.tools.ConsoleProducer");
    java.args([
        "--bootstrap-server",
        &cluster.bootstrap(),
        "--topic",
        "java",
    ]);
    java.args(["--request-required-acks", "all"]);
    let timed = Timed::begin("java");
    let output = run(
        java,
        Some(File::open(&sample.file).expect("the sample")),
        LONG,
    );
    timed.lap("the console producer");
    succeeded("Kafka's console producer", &output);
    check_all_ways(&cluster, "java", &sample, sample.len());
}
