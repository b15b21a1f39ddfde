//! Real processes on hosts of their own (network namespaces), under faults, driven by clients that nobody here
//! wrote: kazoo and librdkafka. Afterwards what these clients saw is checked: calls on znodes are linearizable,
//! no client ever saw something go back, every acknowledged record is there, once and in order, ephemerals ended
//! with their sessions, and all nodes hold the same tree.
//!
//! | file | what it does |
//! | --- | --- |
//! | `hosts` | namespaces, links that can be cut or slowed, a small disk for each |
//! | `cluster` | the processes on them |
//! | `faults` | what goes wrong, chosen by a seed |
//! | `drivers` | the foreign clients |
//! | `verdict` | what their histories must fulfil |
//!
//! `scripts/chaos [--minutes M] [--seed S]` runs it as long as wanted; `cargo test` runs a minute. Where network
//! namespaces are not allowed, it says so and passes.

mod cluster;
mod drivers;
mod faults;
mod hosts;
mod verdict;

use std::time::{Duration, Instant};

use cluster::Cluster;
use drivers::{Consensus, Records};
use faults::Faults;

/// A run of `cargo test`: the same faults each time, as far as real processes repeat anything.
const SECONDS: u64 = 60;
const SEED: u64 = 1;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

struct Clients {
    znodes: Consensus,
    records: Records,
}

impl Clients {
    /// Until each of them has had answers it did not have before.
    fn wait_for_progress(&mut self, cluster: &Cluster, when: &str) {
        let (calls, acknowledged) = (self.znodes.progress(), self.records.progress());
        let mut ended = false;
        let go_on = cluster.is_soon(|| {
            ended = self.znodes.has_ended() || self.records.has_ended();
            let new = self.znodes.progress();
            let znodes = new.iter().zip(&calls).all(|(new, old)| new > old);
            ended || znodes && self.records.progress() > acknowledged + 100
        });
        if ended || !go_on {
            let now = self.records.progress();
            eprintln!("before: {calls:?} calls, {acknowledged} records; now {now} records");
            eprintln!("{}", self.znodes.explain());
            cluster.fail(&format!("clients did not go on after {when}"));
        }
    }
}

#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "real processes live in real time"
)]
fn nothing_acknowledged_is_lost_and_nothing_goes_back() {
    if let Err(why) = hosts::allowed() {
        println!("SKIPPED: network namespaces can't be made here: {why}");
        return;
    }
    let seed = number("ZWEIG_CHAOS_SEED").unwrap_or(SEED);
    let length = Duration::from_secs(number("ZWEIG_CHAOS_SECONDS").unwrap_or(SECONDS));
    println!("chaos: seed {seed}, {} s", length.as_secs());
    let mut cluster = Cluster::start(3, 3);
    let mut clients = Clients {
        znodes: Consensus::start(&cluster),
        records: Records::start(&cluster),
    };
    clients.wait_for_progress(&cluster, "the start");
    let begin = Instant::now();
    let mut faults = Faults::new(seed);
    while begin.elapsed() < length {
        let name = faults.one(&mut cluster);
        clients.wait_for_progress(&cluster, &name);
        cluster.nobody_died();
        println!("chaos: {:>4} s  {name}: healed", begin.elapsed().as_secs());
    }
    cluster.wait_until_whole();
    let (znodes, records) = (clients.znodes.finish(), clients.records.finish());
    let summary = verdict::znodes(&znodes);
    verdict::no_ephemeral_is_left(&mut cluster);
    verdict::same_tree_everywhere(&cluster);
    let kept = verdict::records(&cluster, &records);
    println!(
        "chaos: seed {seed}: {} faults; {summary}; {kept} records: all kept",
        faults.count()
    );
}
