//! The processor time that servers of this machine use while they are under load: with the answers of that time, what one costs.

use std::time::Instant;

use anyhow::Context as _;

/// What `utime` and `stime` of `/proc` are counted in, on every Linux (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;
/// Where the two stand in `/proc/PID/stat`, behind the name, which may hold anything in its parentheses.
const UTIME: usize = 11;
const STIME: usize = 12;

/// Seconds that these processes use between the two times; it waits until the second. Nothing if there are none.
///
/// # Errors
/// If a process is not there, or there is no `/proc`.
pub async fn spent(pids: &[u32], (from, until): (Instant, Instant)) -> anyhow::Result<Option<f64>> {
    if pids.is_empty() {
        return Ok(None);
    }
    tokio::time::sleep_until(from.into()).await;
    let before = total(pids)?;
    tokio::time::sleep_until(until.into()).await;
    Ok(Some(total(pids)? - before))
}

fn total(pids: &[u32]) -> anyhow::Result<f64> {
    pids.iter().map(|&pid| seconds(pid)).sum()
}

fn seconds(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    ticks(&stat)
        .map(|ticks| f64::from(ticks) / TICKS_PER_SECOND)
        .with_context(|| format!("{path} is not as expected: {stat}"))
}

fn ticks(stat: &str) -> Option<u32> {
    let (_, behind_name) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = behind_name.split(' ').collect();
    let field = |index: usize| fields.get(index)?.parse::<u32>().ok();
    field(UTIME)?.checked_add(field(STIME)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 9 9 20 0 1 0 100 1000 10 184467";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("7 (a) S 1 7"), None);
        assert!(seconds(std::process::id()).expect("this process") >= 0.0);
    }
}
