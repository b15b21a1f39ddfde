//! What is wrong with the coordinators, out of what each says of itself.

use std::collections::BTreeSet;

use zweig_client::ensemble::{Disk, Status};

use super::finding::{Finding, slow, some};
use crate::ensemble::Row;

/// Entries a node may be behind.
const LAG: u64 = 1_000;

/// Milliseconds by which clocks may differ.
const SKEW_MS: i64 = 500;

/// A disk with less than this part of it free is nearly full.
const FREE_PART: u64 = 10;

/// And is as good as full below so many bytes: coordinators refuse what fills it further.
const FREE_BYTES: u64 = 256 << 20;

/// What becomes of a coordinator without room.
const NO_ROOM: &str =
    "Make room; a coordinator without it refuses writes and leaves leading to others.";

/// An answer slower than this is worth a look, if the others are faster.
const SLOW_MS: f64 = 20.0;

/// What one coordinator said, and how long that took.
pub struct Probe {
    /// Its answer, or why there is none.
    pub row: Row,
    /// How long it took, in milliseconds; the median of several.
    pub ms: f64,
    /// By how much its clock is ahead of this one's, in milliseconds, if it says.
    pub ahead_ms: Option<i64>,
    /// What it had applied when it was asked last, some time behind its first answer.
    pub applied: u64,
}

/// Everything there is to say of the coordinators.
pub fn findings(probes: &[Probe]) -> Vec<Finding> {
    let answered: Vec<&Status> = probes
        .iter()
        .filter_map(|p| p.row.status.as_ref())
        .collect();
    let mut found = Vec::new();
    for probe in probes {
        if let Some(failure) = &probe.row.failure {
            let about = format!("coordinator at {}", probe.row.address);
            found.push(
                Finding::error(about, failure).advice("Does it run? Its log says why it ended."),
            );
        }
    }
    found.extend(quorum(&answered));
    found.extend(members(&answered));
    found.extend(lag(probes));
    found.extend(clocks(probes));
    found.extend(sessions(&answered, probes.len()));
    let named = probes
        .iter()
        .filter_map(|p| Some((name(p.row.status.as_ref()?), p.ms)));
    found.extend(slow(&named.collect::<Vec<_>>(), SLOW_MS));
    for status in &answered {
        let disks = status.disks.iter();
        found.extend(disks.filter_map(|disk| nearly_full(&name(status), disk, NO_ROOM)));
    }
    found
}

fn name(status: &Status) -> String {
    format!("coordinator {}", status.node)
}

/// Who leads, and how many more may fail.
fn quorum(answered: &[&Status]) -> Option<Finding> {
    let about = "ensemble";
    let newest = |leading: bool| {
        let those = answered.iter().filter(|s| (s.role == "leader") == leading);
        those.max_by_key(|status| status.term)
    };
    let leader = newest(true);
    let voters: BTreeSet<u64> = leader
        .or_else(|| newest(false))?
        .members
        .iter()
        .filter(|m| m.voter)
        .map(|m| m.node)
        .collect();
    let there = answered
        .iter()
        .filter(|status| voters.contains(&status.node))
        .count();
    let quorum = voters.len() / 2 + 1;
    let Some(leader) = leader else {
        let what = format!(
            "nobody leads, so nothing can be written: {there} of {} coordinators answer, {quorum} have to",
            voters.len()
        );
        return Some(
            Finding::error(about, what).advice("Start the coordinators that do not answer."),
        );
    };
    let led = format!(
        "coordinator {} leads in term {}; {there} of {} answer",
        leader.node,
        leader.term,
        voters.len()
    );
    Some(match there.saturating_sub(quorum) {
        0 if voters.len() > 1 => Finding::warning(
            about,
            format!("{led}: one more that fails stops all writes"),
        )
        .advice("Start those that do not answer before anything else fails."),
        0 => Finding::note(
            about,
            format!("{led}: there is but one, and all stops while it does"),
        )
        .advice("Three coordinators go on when one fails."),
        _ if voters.len().is_multiple_of(2) => Finding::note(
            about,
            format!("{led}: an even number survives no more failures than one fewer would"),
        ),
        more => Finding::well(about, format!("{led}: {more} more may fail")),
    })
}

/// Whether all mean the same ensemble and the same software.
fn members(answered: &[&Status]) -> Vec<Finding> {
    let mut found = Vec::new();
    let known = |status: &Status| -> Vec<u64> { status.members.iter().map(|m| m.node).collect() };
    let Some(first) = answered.first() else {
        return found;
    };
    for other in answered.iter().filter(|other| known(other) != known(first)) {
        let what = format!(
            "its ensemble is {:?}, that of {} is {:?}",
            known(other),
            name(first),
            known(first)
        );
        found.push(
            Finding::error(name(other), what).advice("Give all of them the same server.N lines."),
        );
    }
    let versions: BTreeSet<&str> = answered
        .iter()
        .map(|status| status.version.as_str())
        .collect();
    if versions.len() > 1 {
        let versions: Vec<String> = versions.into_iter().map(str::to_owned).collect();
        found.push(Finding::note(
            "ensemble",
            format!("versions differ: {}", some(&versions)),
        ));
    }
    found
}

/// Who has not applied in the end what was committed in the beginning.
fn lag(probes: &[Probe]) -> Vec<Finding> {
    let answered = || {
        probes
            .iter()
            .filter_map(|p| Some((p.row.status.as_ref()?, p.applied)))
    };
    let committed = answered()
        .map(|(status, _)| status.committed)
        .max()
        .unwrap_or(0);
    let behind = answered().map(|(status, applied)| (status, committed.saturating_sub(applied)));
    behind
        .filter(|(_, behind)| *behind > LAG)
        .map(|(status, behind)| {
            let what = format!("is {behind} entries behind: its clients see an old state");
            Finding::warning(name(status), what)
                .advice("If it does not catch up, look at its disk and its network.")
        })
        .collect()
}

/// Each clock against the median of them.
fn clocks(probes: &[Probe]) -> Vec<Finding> {
    let told = probes
        .iter()
        .filter_map(|p| Some((name(p.row.status.as_ref()?), p.ahead_ms?)));
    let told: Vec<(String, i64)> = told.collect();
    let mut ahead: Vec<i64> = told.iter().map(|(_, ms)| *ms).collect();
    ahead.sort_unstable();
    let Some(&median) = ahead.get(ahead.len().saturating_sub(1) / 2) else {
        return Vec::new();
    };
    let mut found: Vec<Finding> = told
        .iter()
        .filter(|(_, ms)| ms.saturating_sub(median).unsigned_abs() > SKEW_MS.unsigned_abs())
        .map(|(who, ms)| skewed(who, ms.saturating_sub(median), "the other coordinators"))
        .collect();
    if median.unsigned_abs() > SKEW_MS.unsigned_abs() {
        found.push(skewed(
            "this machine",
            median.saturating_neg(),
            "the coordinators",
        ));
    }
    found
}

/// A clock that is off.
pub fn skewed(who: &str, ahead_ms: i64, others: &str) -> Finding {
    let side = if ahead_ms > 0 { "ahead of" } else { "behind" };
    let by = humantime::format_duration(std::time::Duration::from_millis(ahead_ms.unsigned_abs()));
    let what = format!("its clock is {by} {side} that of {others}");
    Finding::warning(who, what).advice(
        "Sessions do not mind; times of znodes and records do, and retention by time. Run an NTP daemon.",
    )
}

/// Sessions without a connection end when their timeout has passed.
fn sessions(answered: &[&Status], nodes: usize) -> Option<Finding> {
    let sessions = answered.iter().map(|status| status.sessions).max()?;
    let connected: u64 = answered.iter().map(|status| status.connections).sum();
    if answered.len() < nodes {
        // Who does not answer may have clients all the same.
        return None;
    }
    Some(match sessions.saturating_sub(connected) {
        0 => Finding::well("sessions", format!("{sessions}, all of them connected")),
        lost => Finding::warning(
            "sessions",
            format!("{lost} of {sessions} have no connection: they and their ephemeral znodes end with their timeouts"),
        )
        .advice("Clients that were killed or cut off; `zweig history / --recursive` shows what went with them."),
    })
}

/// Whether somebody has to make room on a disk, and `advice` on what happens else.
pub fn nearly_full(about: &str, disk: &Disk, advice: &str) -> Option<Finding> {
    if disk.bytes == 0 || disk.free_bytes > disk.bytes / FREE_PART {
        return None;
    }
    let what = format!(
        "{} MiB of {} MiB are free under {}",
        disk.free_bytes >> 20,
        disk.bytes >> 20,
        disk.folder
    );
    let finding = match disk.free_bytes < FREE_BYTES {
        true => Finding::error(about, what),
        false => Finding::warning(about, what),
    };
    Some(finding.advice(advice))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Severity;
    use zweig_client::ensemble::Member;

    fn status(node: u64, role: &str) -> Status {
        let member = |node| Member {
            node,
            quorum_address: String::new(),
            client_address: String::new(),
            voter: true,
            matched: 0,
            reachable: true,
        };
        Status {
            node,
            role: role.to_owned(),
            term: 4,
            leader: Some(1),
            committed: 5_000,
            applied: 5_000,
            zxid: 9,
            sessions: 3,
            connections: 1,
            watches: 0,
            znodes: 7,
            version: "1".to_owned(),
            members: (1..=3).map(member).collect(),
            time_ms: Some(0),
            disks: Vec::new(),
        }
    }

    fn probe(status: Status) -> Probe {
        Probe {
            row: Row {
                address: "h:1".to_owned(),
                status: Some(status),
                failure: None,
            },
            ms: 1.0,
            ahead_ms: Some(0),
            applied: 5_000,
        }
    }

    fn three() -> Vec<Probe> {
        let role = |node| if node == 1 { "leader" } else { "follower" };
        (1..=3)
            .map(|node| probe(status(node, role(node))))
            .collect()
    }

    fn silent() -> Probe {
        Probe {
            row: Row {
                address: "h:3".to_owned(),
                status: None,
                failure: Some("h:3: connection refused".to_owned()),
            },
            ms: 0.0,
            ahead_ms: None,
            applied: 0,
        }
    }

    /// What is found beside what is well.
    fn wrong(probes: &[Probe]) -> Vec<(Severity, String, String)> {
        let found = findings(probes).into_iter();
        let wrong = found.filter(|finding| finding.severity > Severity::Well);
        wrong.map(|f| (f.severity, f.about, f.what)).collect()
    }

    #[test]
    fn three_that_agree_are_well() {
        assert_eq!(wrong(&three()), []);
    }

    #[test]
    fn one_that_is_gone_leaves_no_more_to_lose_and_two_stop_everything() {
        let mut probes = three();
        probes[2] = silent();
        let found = wrong(&probes);
        assert_eq!(found[0].0, Severity::Error);
        assert_eq!(found[0].1, "coordinator at h:3");
        assert!(
            found[1].2.contains("one more that fails stops all writes"),
            "{found:?}"
        );
        probes[0] = silent();
        let found = wrong(&probes);
        assert!(
            found
                .iter()
                .any(|f| f.2.contains("nobody leads") && f.2.contains("1 of 3")),
            "{found:?}"
        );
    }

    #[test]
    fn a_node_that_lags_is_slow_skewed_or_full_is_named() {
        let mut probes = three();
        let edit = |probe: &mut Probe, change: fn(&mut Status)| {
            probe.row.status.iter_mut().for_each(change)
        };
        probes[1].applied = 3_000;
        edit(&mut probes[2], |status| {
            status.disks.push(Disk {
                folder: "/d".to_owned(),
                free_bytes: 100 << 20,
                bytes: 10 << 30,
            });
        });
        probes[0].ahead_ms = Some(-9_000);
        probes[1].ms = 400.0;
        let found = wrong(&probes);
        let has =
            |about: &str, text: &str| found.iter().any(|f| f.1 == about && f.2.contains(text));
        assert!(has("coordinator 2", "2000 entries behind"), "{found:?}");
        assert!(has("coordinator 1", "9s behind"), "{found:?}");
        assert!(has("coordinator 2", "answers after 400 ms"), "{found:?}");
        assert!(has("coordinator 3", "100 MiB of 10240 MiB"), "{found:?}");
    }

    #[test]
    fn sessions_without_a_connection_are_counted_when_all_nodes_answer() {
        let mut probes = three();
        probes
            .iter_mut()
            .flat_map(|p| &mut p.row.status)
            .for_each(|s| s.sessions = 5);
        let found = wrong(&probes);
        assert!(
            found[0].2.starts_with("2 of 5 have no connection"),
            "{found:?}"
        );
        probes[2] = silent();
        assert!(wrong(&probes).iter().all(|f| f.1 != "sessions"));
    }

    #[test]
    fn nodes_of_two_ensembles_are_told_apart() {
        let mut probes = three();
        if let Some(status) = &mut probes[2].row.status {
            status.members.truncate(1);
        }
        let found = wrong(&probes);
        assert_eq!(
            (found[0].0, found[0].1.as_str()),
            (Severity::Error, "coordinator 3")
        );
    }
}
