//! Traces: a record is followed from its producer through the leader, its followers and, when the ISR changes while it
//! waits, the ensemble; a collector in this program takes the spans, as Jaeger or Tempo would.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `collector` | the collector, and what is looked for in what it got |

mod collector;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use collector::{Collector, Told};
use support::{Cluster, PATIENCE, Role, ZWEIG, run, succeeded, wait_for, wait_until};

const TOPIC: &str = "followed";

/// A file of one line.
fn line(cluster: &Cluster) -> PathBuf {
    let path = cluster.path("line.txt");
    fs::write(&path, "a line\n").expect("written");
    path
}

/// Sends one line and follows it; the id of its trace.
fn produce(cluster: &Cluster, collector: &Collector) -> String {
    let mut zweig = cluster.command(ZWEIG);
    zweig
        .args(["produce", TOPIC, "--trace", "--output", "json", "--file"])
        .arg(line(cluster))
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint());
    let output = run(zweig, None, PATIENCE);
    let told = succeeded("zweig produce --trace", &output);
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    told["trace"].as_str().expect("its trace").to_owned()
}

/// The spans of a trace, once all of these have come.
fn spans(collector: &Collector, trace: &str, expected: &[(&str, usize)]) -> Vec<Told> {
    let what = format!("trace {trace} has {expected:?}");
    wait_for(&what, PATIENCE, || {
        let spans = collector.of(trace);
        let count = |name: &str| spans.iter().filter(|span| span.name == name).count();
        let all = expected.iter().all(|(name, least)| count(name) >= *least);
        all.then_some(spans)
    })
}

fn named<'a>(spans: &'a [Told], name: &str) -> Vec<&'a Told> {
    spans.iter().filter(|span| span.name == name).collect()
}

fn one<'a>(spans: &'a [Told], name: &str) -> &'a Told {
    let found = named(spans, name);
    assert_eq!(found.len(), 1, "{name}: {spans:#?}");
    found[0]
}

/// All hang together: the producer's span is the only one without a parent.
fn hang_together(spans: &[Told]) {
    let ids: BTreeSet<_> = spans.iter().map(|span| &span.id).collect();
    let heads: Vec<_> = spans
        .iter()
        .filter(|span| !ids.contains(&span.parent))
        .collect();
    assert_eq!(heads.len(), 1, "{heads:#?} in {spans:#?}");
    assert_eq!(heads[0].name, format!("zweig produce {TOPIC}"));
    assert!(heads[0].parent.is_empty(), "{heads:?}");
    for span in spans {
        assert!(span.begun_ns <= span.ended_ns, "{span:?}");
    }
}

#[test]
fn a_record_is_followed_through_leader_followers_and_ensemble() {
    let collector = Collector::start();
    // A follower that hangs is written out of the ISR long before its session ends.
    let lag = "replica.lag.time.max.ms=1000\nzookeeper.session.timeout.ms=60000";
    let (zoo, properties) = (
        format!(
            "maxSessionTimeout=60000\notlpEndpoint={}",
            collector.endpoint()
        ),
        format!("{lag}\notlp.endpoint={}", collector.endpoint()),
    );
    let cluster = Cluster::start_prepared((3, &zoo), (3, &properties), |_, _| {});
    cluster.zweig_ok(&["topic", "create", TOPIC, "--partitions", "1"]);
    wait_until("every replica is in sync", PATIENCE, || {
        cluster.in_sync(TOPIC, 0) == 3
    });
    // Nobody asked for this one to be followed.
    let mut plain = cluster.command(ZWEIG);
    plain.args(["produce", TOPIC, "--quiet", "--file"]);
    plain.arg(line(&cluster));
    succeeded("zweig produce", &run(plain, None, PATIENCE));

    let leader = cluster.any_leader_of(TOPIC, 0);
    let trace = produce(&cluster, &collector);
    let (produced, followed) = (format!("produce {TOPIC}"), format!("follow {TOPIC}"));
    let root = format!("zweig produce {TOPIC}");
    let expected = [
        (&*root, 1),
        (&*produced, 1),
        (&*followed, 2),
        ("replicate", 1),
        ("append", 1),
    ];
    let told = spans(&collector, &trace, &expected);
    hang_together(&told);
    let leads = one(&told, &produced);
    assert_eq!(leads.who, format!("zweig-broker {leader}"));
    assert_eq!(leads.attributes["messaging.destination.name"], TOPIC);
    assert_eq!(leads.attributes["messaging.kafka.offset"], "1");
    for child in ["append", "replicate"] {
        assert_eq!(one(&told, child).parent, leads.id, "{child}");
    }
    let follows = named(&told, &followed);
    let whos: BTreeSet<_> = follows.iter().map(|span| span.who.clone()).collect();
    let others = (1..=3).filter(|id| *id != leader);
    let others: BTreeSet<_> = others.map(|id| format!("zweig-broker {id}")).collect();
    assert_eq!(whos, others);
    assert!(follows.iter().all(|span| span.parent == leads.id));

    an_isr_changes_meanwhile(&cluster, &collector, leader);
    let all = collector.all();
    let asked_for: Vec<_> = all.iter().filter(|span| span.name == produced).collect();
    assert_eq!(asked_for.len(), 2, "{asked_for:#?}");
}

/// A follower hangs: the batch waits until the leader has written it out of the ISR, and the trace shows who was waited for.
fn an_isr_changes_meanwhile(cluster: &Cluster, collector: &Collector, leader: usize) {
    let hangs = (1..=3).find(|id| *id != leader).expect("three brokers");
    cluster.signal(Role::Broker(hangs), rustix::process::Signal::STOP);
    let trace = produce(cluster, collector);
    cluster.signal(Role::Broker(hangs), rustix::process::Signal::CONT);
    let (change, produced) = (format!("change ISR {TOPIC}-0"), format!("produce {TOPIC}"));
    let root = format!("zweig produce {TOPIC}");
    let expected = [
        (&*root, 1),
        (&*produced, 1),
        (&*change, 1),
        ("multi", 1),
        ("agree", 1),
        ("apply", 3),
    ];
    let told = spans(collector, &trace, &expected);
    hang_together(&told);
    let changes = one(&told, &change);
    assert_eq!(changes.parent, one(&told, &produced).id);
    let serves = one(&told, "multi");
    assert_eq!(serves.parent, changes.id);
    assert!(serves.who.starts_with("zweig-coordinator "), "{serves:?}");
    assert!(
        serves.attributes["zweig.path"].ends_with("/state"),
        "{serves:?}"
    );
    let applies = named(&told, "apply");
    let whos: BTreeSet<_> = applies.iter().map(|span| &*span.who).collect();
    assert_eq!(whos.len(), 3, "{applies:#?}");
    for span in applies.into_iter().chain([one(&told, "agree")]) {
        assert_eq!(span.parent, serves.id, "{span:?}");
        assert_eq!(
            span.attributes["zweig.zxid"],
            serves.attributes["zweig.zxid"]
        );
    }
}
