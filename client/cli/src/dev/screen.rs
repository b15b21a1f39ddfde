//! The one screen, drawn as text from what is known. Pure.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::layout::Layout;
use super::picture::{Partition, Picture, Tree};
use super::process::{Process, Role};

/// Topics shown before the rest is only counted.
const TOPICS_SHOWN: usize = 12;
/// Columns of a terminal that nobody has made wider.
const WIDTH: usize = 80;

/// The whole screen.
#[must_use]
pub fn render(layout: &Layout, processes: &[Process], picture: &Picture) -> String {
    let tree = picture.tree();
    let mut out = String::new();
    coordinators(&mut out, layout, processes, picture);
    brokers(&mut out, layout, processes, tree);
    topics(&mut out, tree);
    let _ = writeln!(
        out,
        "\nconsole:           http://{}\nmetrics:           http://{}/metrics and up, http://{}/metrics and up (brokers)\nZooKeeper clients: {}\nKafka clients:     {}\ndata, logs:        {}",
        layout.console_address(),
        layout.coordinator_metrics(1),
        layout.broker_metrics(1),
        layout.connect_string(),
        layout.bootstrap(),
        layout.root.display()
    );
    out.push_str(
        "type: kill broker 2 | start broker 2 | kill coordinator 1 ...; Ctrl-C stops all\n",
    );
    out
}

fn pid_of(processes: &[Process], role: Role) -> String {
    let process = processes.iter().find(|process| process.role() == role);
    match process.and_then(Process::pid) {
        Some(pid) => format!("pid {pid}"),
        None => "dead".to_owned(),
    }
}

fn coordinators(out: &mut String, layout: &Layout, processes: &[Process], picture: &Picture) {
    let _ = writeln!(
        out,
        "ENSEMBLE       {:<17}{:<12}{:<11}{:>5} {:>10} {:>8}",
        "address", "process", "role", "term", "zxid", "sessions"
    );
    for (node, status) in (1..=layout.nodes).zip(&picture.nodes) {
        let pid = pid_of(processes, Role::Coordinator(node));
        let address = layout.coordinator_address(node);
        let _ = write!(out, "coordinator {node}  {address:<17}{pid:<12}");
        let _ = match status {
            Some(s) => writeln!(
                out,
                "{:<11}{:>5} {:>#10x} {:>8}",
                s.role, s.term, s.zxid, s.sessions
            ),
            None => writeln!(out, "no answer"),
        };
    }
}

fn brokers(out: &mut String, layout: &Layout, processes: &[Process], tree: &Tree) {
    let _ = writeln!(
        out,
        "\nBROKERS        {:<17}{:<12}{:<14}{:>6} {:>8}",
        "address", "process", "", "leads", "in sync"
    );
    for id in 1..=layout.brokers {
        let pid = pid_of(processes, Role::Broker(id));
        let number = i32::from(id);
        let standing = match (
            tree.controller == Some(number),
            tree.registered.contains(&number),
        ) {
            (true, _) => "controller",
            (false, true) => "registered",
            (false, false) => "-",
        };
        let all = || {
            tree.topics
                .values()
                .flat_map(|partitions| partitions.values())
        };
        let leads = all().filter(|p| p.leader == number).count();
        let in_sync = all().filter(|p| p.isr.contains(&number)).count();
        let address = layout.broker_address(id);
        let _ = writeln!(
            out,
            "broker {id}       {address:<17}{pid:<12}{standing:<14}{leads:>6} {in_sync:>8}"
        );
    }
}

fn topics(out: &mut String, tree: &Tree) {
    if tree.topics.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "\nTOPICS         per partition: leader(epoch) of its in-sync replicas"
    );
    for (name, partitions) in tree.topics.iter().take(TOPICS_SHOWN) {
        let _ = writeln!(out, "{}", topic(name, partitions));
    }
    if tree.topics.len() > TOPICS_SHOWN {
        let _ = writeln!(out, "and {} more topics", tree.topics.len() - TOPICS_SHOWN);
    }
}

/// As many partitions as there is room for; at least one.
fn topic(name: &str, partitions: &BTreeMap<i32, Partition>) -> String {
    let mut line = format!("{name:<15}");
    for (shown, state) in partitions.values().enumerate() {
        let state = partition(state);
        let more = partitions.len() - shown;
        // Room for the count that stands for the rest, unless this is the last one.
        let reserved = if more == 1 {
            0
        } else {
            format!("  and {more} more").len()
        };
        if shown > 0 && line.chars().count() + 2 + state.len() + reserved > WIDTH {
            line.push_str(&format!("  and {more} more"));
            return line;
        }
        line.push_str(if shown == 0 && name.len() < 15 {
            ""
        } else {
            "  "
        });
        line.push_str(&state);
    }
    line
}

/// What to write so that a terminal that shows `drawn` shows `text`. While only lines change and their number stays, the
/// line being typed below them is left alone.
#[must_use]
pub fn update(drawn: &str, text: &str) -> String {
    if drawn == text {
        return String::new();
    }
    if drawn.lines().count() != text.lines().count() {
        return format!("\x1b[H\x1b[2J{text}\n> ");
    }
    let lines: String = text.lines().map(|line| format!("{line}\x1b[K\n")).collect();
    format!("\x1b7\x1b[H{lines}\x1b8")
}

fn partition(partition: &Partition) -> String {
    let isr: Vec<_> = partition.isr.iter().map(ToString::to_string).collect();
    let leader = match partition.leader {
        -1 => "none".to_owned(),
        leader => format!("{leader}({})", partition.leader_epoch),
    };
    format!("{leader} of {}", isr.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_without_a_leader_says_so() {
        let state = |leader| Partition {
            leader,
            leader_epoch: 7,
            isr: vec![1, 3],
        };
        assert_eq!(partition(&state(3)), "3(7) of 1,3");
        assert_eq!(partition(&state(-1)), "none of 1,3");
    }

    #[test]
    fn a_topic_fits_the_terminal_and_says_what_is_left_out() {
        let state = Partition {
            leader: 1,
            leader_epoch: 12,
            isr: vec![1, 2, 3],
        };
        let partitions = |count| (0..count).map(|index| (index, state.clone())).collect();
        let all = topic("orders", &partitions(3));
        assert_eq!(
            all,
            "orders         1(12) of 1,2,3  1(12) of 1,2,3  1(12) of 1,2,3"
        );
        let some = topic("__consumer_offsets", &partitions(50));
        assert!(
            some.ends_with("  and 47 more") && some.len() <= WIDTH,
            "{some}"
        );
    }

    #[test]
    fn what_is_typed_stays_while_the_lines_above_change() {
        assert_eq!(update("a\nb\n", "a\nb\n"), "");
        assert_eq!(
            update("a\nb\n", "a\nc\n"),
            "\x1b7\x1b[Ha\x1b[K\nc\x1b[K\n\x1b8"
        );
        assert!(update("", "a\n").ends_with("a\n\n> "));
    }
}
