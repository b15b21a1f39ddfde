//! Ports nobody else takes: a block outside the range the kernel gives to outgoing connections, held by a lock on
//! a file, so that a port stays ours also while the process that listens on it is dead. (A port that `bind(0)` gave
//! and that was closed again may be anybody's: another test's, or the near end of a client's connection.)

use std::fs::{self, File};
use std::net::TcpListener;
use std::ops::Range;

/// Ports of one block; more than any cluster of the tests needs.
const BLOCK: u16 = 50;
const FIRST: u16 = 10_000;
const LAST: u16 = 60_000;

/// A block of ports, ours until it is dropped.
pub struct Ports {
    free: Range<u16>,
    _lock: File,
}

impl Ports {
    /// Takes a block of which nobody listens on any port.
    pub fn reserve() -> Self {
        let blocks = blocks();
        assert!(
            !blocks.is_empty(),
            "no port is left outside the kernel's own range"
        );
        // Begin somewhere else than the tests that may run at the same time; the lock decides.
        let begin = std::process::id() as usize % blocks.len();
        let mut turn = blocks.iter().cycle().skip(begin).take(blocks.len());
        let found = turn.find_map(|first| {
            let lock = lock(*first)?;
            let mut block = *first..*first + BLOCK;
            let silent = block
                .clone()
                .all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
            silent.then(|| Self {
                free: std::mem::take(&mut block),
                _lock: lock,
            })
        });
        found.expect("a block of ports nobody uses")
    }

    /// The next port of the block.
    pub fn next(&mut self) -> u16 {
        self.free.next().expect("a block has ports enough")
    }

    /// The next ports of the block.
    pub fn take(&mut self, count: usize) -> Vec<u16> {
        (0..count).map(|_| self.next()).collect()
    }
}

/// The first port of each block outside the kernel's range.
fn blocks() -> Vec<u16> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut numbers = range
        .split_whitespace()
        .filter_map(|number| number.parse::<u16>().ok());
    let (low, high) = (
        numbers.next().unwrap_or(32_768),
        numbers.next().unwrap_or(60_999),
    );
    let all = (FIRST..LAST).step_by(usize::from(BLOCK));
    all.filter(|first| first + BLOCK <= low || *first > high)
        .collect()
}

/// `None`: somebody else has it.
fn lock(first: u16) -> Option<File> {
    let folder = std::env::temp_dir().join("zweig-test-ports");
    let _ = fs::create_dir_all(&folder);
    let file = File::options()
        .create(true)
        .append(true)
        .open(folder.join(first.to_string()));
    let file = file.ok()?;
    file.try_lock().ok()?;
    Some(file)
}
