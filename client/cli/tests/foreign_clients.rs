//! A real file through clients that nobody here wrote, and back: Debian's own package index, each line numbered, so
//! that order per partition and completeness can be told from the lines alone.

mod support;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{Cluster, succeeded};

/// Lines of the file that the slower clients send; kcat sends them all.
const SOME: usize = 60_000;

struct Sample {
    lines: Vec<Vec<u8>>,
    all: PathBuf,
    some: PathBuf,
}

impl Sample {
    fn take(cluster: &Cluster) -> Self {
        let output = Command::new("apt-cache").arg("dumpavail").output();
        let text = output
            .expect("apt-cache runs: this test wants Debian's package index")
            .stdout;
        assert!(
            text.len() > 1_000_000,
            "the package index is empty: run apt-get update"
        );
        let lines: Vec<_> = text
            .split(|byte| *byte == b'\n')
            .enumerate()
            .map(|(number, line)| [format!("{number:08} ").as_bytes(), line].concat())
            .collect();
        let (all, some) = (cluster.path("all.txt"), cluster.path("some.txt"));
        write_lines(&all, &lines);
        write_lines(&some, &lines[..SOME.min(lines.len())]);
        Self { lines, all, some }
    }

    fn some(&self) -> &[Vec<u8>] {
        &self.lines[..SOME.min(self.lines.len())]
    }
}

fn write_lines(path: &Path, lines: &[Vec<u8>]) {
    let mut text = lines.join(&b'\n');
    text.push(b'\n');
    fs::write(path, text).expect("the sample written");
}

/// `consumed` holds "partition<TAB>line" lines: every line once, and in order within a partition.
fn assert_equal(who: &str, consumed: &[u8], sent: &[Vec<u8>]) {
    let mut last: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
    let mut seen = vec![false; sent.len()];
    for record in consumed
        .split(|byte| *byte == b'\n')
        .filter(|record| !record.is_empty())
    {
        let tab = record
            .iter()
            .position(|byte| *byte == b'\t')
            .expect("a partition");
        let (partition, line) = (&record[..tab], &record[tab + 1..]);
        let number: usize = std::str::from_utf8(&line[..8])
            .expect("digits")
            .parse()
            .expect("a line number");
        assert_eq!(line, sent[number], "{who}: line {number} came back changed");
        assert!(
            !std::mem::replace(&mut seen[number], true),
            "{who}: line {number} came twice"
        );
        let before = last.insert(partition, line);
        assert!(
            before < Some(line),
            "{who}: line {number} is out of order in its partition"
        );
    }
    let missing = seen.iter().filter(|seen| !**seen).count();
    assert_eq!(missing, 0, "{who}: lines that never came");
    assert!(
        last.len() > 1 || sent.len() < 1000,
        "{who}: everything went to one partition"
    );
}

fn kcat_consumes(cluster: &Cluster, topic: &str) -> Vec<u8> {
    let output = cluster
        .command("kcat")
        .args([
            "-C",
            "-b",
            &cluster.bootstrap(),
            "-t",
            topic,
            "-o",
            "beginning",
            "-e",
            "-q",
            "-f",
            "%p\t%s\n",
        ])
        .output()
        .expect("kcat runs");
    succeeded("kcat -C", &output);
    output.stdout
}

fn check_all_ways(cluster: &Cluster, topic: &str, sent: &[Vec<u8>]) {
    assert_equal(
        &format!("{topic}: kcat -C"),
        &kcat_consumes(cluster, topic),
        sent,
    );
    let group = cluster
        .python("group_of_three.py")
        .args([topic, &format!("group-{topic}"), &sent.len().to_string()])
        .output()
        .expect("Python runs");
    succeeded("the group of three", &group);
    assert_equal(&format!("{topic}: a group of three"), &group.stdout, sent);
    let own = cluster.zweig(&[
        "consume",
        topic,
        "--from",
        "earliest",
        "--exit-at-end",
        "--format",
        "%p\t%v",
    ]);
    succeeded("zweig consume", &own);
    assert_equal(&format!("{topic}: zweig consume"), &own.stdout, sent);
}

fn create(cluster: &Cluster, topic: &str) {
    cluster.zweig_ok(&[
        "topic",
        "create",
        topic,
        "--partitions",
        "3",
        "--replication-factor",
        "3",
    ]);
}

#[test]
fn every_codec_of_kcat() {
    let cluster = Cluster::start(3, 3);
    let sample = Sample::take(&cluster);
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("kcat-{codec}");
        create(&cluster, &topic);
        let (file, lines) = match codec {
            "none" | "lz4" => (&sample.all, sample.lines.as_slice()),
            _ => (&sample.some, sample.some()),
        };
        let output = cluster
            .command("kcat")
            .args([
                "-P",
                "-b",
                &cluster.bootstrap(),
                "-t",
                &topic,
                "-z",
                codec,
                "-X",
                "acks=all",
            ])
            .args([
                "-X",
                "queue.buffering.max.messages=1000000",
                "-X",
                "sticky.partitioning.linger.ms=0",
            ])
            .stdin(File::open(file).expect("the sample"))
            .output()
            .expect("kcat runs");
        succeeded("kcat -P", &output);
        check_all_ways(&cluster, &topic, lines);
    }
}

#[test]
fn confluent_kafka_kafka_python_and_java() {
    let cluster = Cluster::start(3, 3);
    let sample = Sample::take(&cluster);
    for library in ["confluent-kafka", "kafka-python"] {
        create(&cluster, library);
        let output = cluster
            .python("produce_lines.py")
            .args([library, library])
            .arg(&sample.some)
            .output()
            .expect("Python runs");
        succeeded(library, &output);
        check_all_ways(&cluster, library, sample.some());
    }
    create(&cluster, "java");
    let output = cluster
        .java("kafka.tools.ConsoleProducer")
        .args([
            "--bootstrap-server",
            &cluster.bootstrap(),
            "--topic",
            "java",
            "--request-required-acks",
            "all",
        ])
        .stdin(File::open(&sample.some).expect("the sample"))
        .stderr(Stdio::piped())
        .output()
        .expect("Java runs");
    succeeded("Kafka's console producer", &output);
    check_all_ways(&cluster, "java", sample.some());
}
