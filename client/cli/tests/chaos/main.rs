//! Real processes on hosts of their own (network namespaces, disks, wall clocks), under faults, driven by clients that
//! nobody here wrote: kazoo and librdkafka. Afterwards what these clients saw is checked: calls on znodes are linearizable,
//! no client ever saw something go back, every acknowledged record is there, once and in order, ephemerals lived as
//! long as their sessions, watches fired, locks excluded, and all nodes hold the same tree.
//!
//! | file | what it does |
//! | --- | --- |
//! | `hosts` | namespaces, links that can be cut or slowed, a small disk and a clock for each |
//! | `cluster` | the processes on them |
//! | `faults` | what goes wrong, chosen by a seed |
//! | `../disk` | disks whose power can be cut |
//! | `../witnesses` | the foreign clients, and what their histories must fulfil |
//!
//! `scripts/chaos [--minutes M] [--seed S]` runs it as long as wanted; `cargo test` runs a minute. Where network
//! namespaces are not allowed, it says so and passes. Brokers of odd seeds sync before they acknowledge, and then lose
//! power all at once too; those of even seeds are as they are by default, and lose power one at a time.

mod cluster;
#[path = "../disk/mod.rs"]
mod disk;
mod faults;
mod hosts;
#[path = "../witnesses/mod.rs"]
mod witnesses;

use std::time::{Duration, Instant};

use cluster::Cluster;
use faults::Faults;
use witnesses::drivers::{Consensus, Group, Records};
use witnesses::{Site as _, verdict};

/// A run of `cargo test`: the same faults each time, as far as real processes repeat anything.
const SECONDS: u64 = 60;
const SEED: u64 = 1;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

struct Clients {
    znodes: Consensus,
    records: Records,
    group: Group,
}

impl Clients {
    /// Until each of them has had answers it did not have before.
    fn wait_for_progress(&mut self, cluster: &Cluster, when: &str) {
        let (calls, acknowledged) = (self.znodes.progress(), self.records.progress());
        let read = self.group.progress();
        let mut ended = false;
        let go_on = cluster.is_soon(|| {
            ended = self.znodes.has_ended() || self.records.has_ended() || self.group.has_ended();
            let new = self.znodes.progress();
            let znodes = new.iter().zip(&calls).all(|(new, old)| new > old);
            let records = self.records.progress() > acknowledged + 100;
            ended || znodes && records && self.group.progress() > read + 100
        });
        if ended || !go_on {
            let (now, now_read) = (self.records.progress(), self.group.progress());
            eprintln!("before: {calls:?} calls, {acknowledged} records, {read} read");
            eprintln!("now: {now} records, {now_read} read");
            eprintln!("{}", self.znodes.explain());
            eprintln!("the producer: {}", self.records.explain());
            eprintln!("the group: {}", self.group.explain());
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
    let synced = seed % 2 == 1;
    println!("chaos: seed {seed}, {} s", length.as_secs());
    let properties = if synced {
        "log.flush.interval.messages=1"
    } else {
        ""
    };
    let mut cluster = Cluster::start(3, 3, properties);
    let mut clients = Clients {
        znodes: Consensus::start(&cluster),
        records: Records::start(&cluster),
        group: Group::start(&cluster),
    };
    clients.wait_for_progress(&cluster, "the start");
    let begin = Instant::now();
    let mut faults = Faults::new(seed, synced);
    while begin.elapsed() < length {
        let name = faults.one(&mut cluster);
        clients.wait_for_progress(&cluster, &name);
        cluster.nobody_died();
    }
    cluster.wait_until_whole();
    cluster.say("the clients end");
    let (znodes, locks) = clients.znodes.finish();
    let records = clients.records.finish();
    let read = clients.group.finish(&records);
    let summary = verdict::znodes(&cluster, &znodes);
    let turns = verdict::locks(&cluster, &locks);
    verdict::no_ephemeral_is_left(&cluster);
    verdict::same_tree_everywhere(&cluster);
    let kept = verdict::records(&cluster, &records);
    println!(
        "chaos: seed {seed}: {} faults; {summary}; {turns} turns with the lock; {kept} records: all kept; the group: {read}",
        faults.count()
    );
}
