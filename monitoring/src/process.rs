//! What is told of any process, under the names Prometheus' own clients use: `process_*`.

use std::fs;
use std::io;
use std::path::Path;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::page::Page;

/// Room on the disk of a folder, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What this process may still take.
    pub free: u64,
    /// All of it.
    pub size: u64,
}

/// The room there is where a folder lies.
///
/// # Errors
/// The system's.
pub fn space(folder: &Path) -> io::Result<Space> {
    let seen = rustix::fs::statvfs(folder)?;
    Ok(Space {
        free: seen.f_bavail.saturating_mul(seen.f_frsize),
        size: seen.f_blocks.saturating_mul(seen.f_frsize),
    })
}

/// Open files of this process.
pub fn open_files() -> Option<usize> {
    fs::read_dir("/proc/self/fd").ok().map(Iterator::count)
}

/// Files this process may open; `None`: no limit.
pub fn most_open_files() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Puts all that the system tells of this process, which began `started_ms` after 1970.
pub fn put(page: &mut Page, started_ms: i64) {
    page.gauge(
        "process_start_time_seconds",
        "When this process began, seconds since 1970.",
        started_ms as f64 / 1e3,
    );
    let used = clock_gettime(ClockId::ProcessCPUTime);
    page.family(
        crate::Kind::Counter,
        "process_cpu_seconds_total",
        "Processor time, of the system on behalf of it too.",
    )
    .sample(&[], used.tv_sec as f64 + used.tv_nsec as f64 / 1e9);
    if let Some(open) = open_files() {
        page.gauge("process_open_fds", "Open files.", open);
    }
    if let Some(most) = most_open_files() {
        page.gauge("process_max_fds", "Files it may open.", most);
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let rows = [
        (
            "VmRSS:",
            "process_resident_memory_bytes",
            "Memory that is in use.",
            1024,
        ),
        (
            "VmSize:",
            "process_virtual_memory_bytes",
            "Addresses that are in use.",
            1024,
        ),
        ("Threads:", "process_threads", "Threads.", 1),
    ];
    for (key, name, help, unit) in rows {
        if let Some(number) = number(&status, key) {
            page.gauge(name, help, number * unit);
        }
    }
}

/// The number behind a key of `/proc/self/status`.
fn number(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_tells_of_itself() {
        let mut page = Page::default();
        put(&mut page, 1_500);
        let text = page.into_text();
        assert!(text.contains("process_start_time_seconds 1.5\n"), "{text}");
        for name in [
            "process_cpu_seconds_total",
            "process_open_fds",
            "process_resident_memory_bytes",
        ] {
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split(' ').nth(1)?.parse::<f64>().ok());
            assert!(value > Some(0.0), "{name} in {text}");
        }
    }

    #[test]
    fn room_is_part_of_the_disk() {
        let space = space(Path::new("/")).expect("there is one");
        assert!(space.size > 0 && space.free <= space.size, "{space:?}");
    }
}
