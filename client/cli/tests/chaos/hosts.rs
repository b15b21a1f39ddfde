//! Hosts on one machine: a network namespace each, joined by a bridge in a namespace of its own, with a small
//! file system in memory. Nothing outside is touched; what an earlier run left behind is removed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Size of a host's disk: room for the preallocated raft log, its reserve and its watermark.
const DISK_BYTES: u64 = 1 << 30;
/// Nobody's hardware address: what goes there is lost without a word.
const NOWHERE: &str = "02:00:00:00:00:fe";
const PREFIX: &str = "zwchaos";

/// Runs a system command.
///
/// # Errors
/// What it printed, if it failed.
fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|e| format!("{program}: {e}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!(
            "{program} {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}

fn ip(arguments: &[&str]) {
    run("ip", arguments).unwrap_or_else(|why| panic!("{why}"));
}

/// Whether this user on this machine may make namespaces and mount file systems.
///
/// # Errors
/// Why not.
pub fn allowed() -> Result<(), String> {
    let probe = format!("{PREFIX}{}probe", std::process::id());
    run("ip", &["netns", "add", &probe])?;
    let bridge = run(
        "ip",
        &["-n", &probe, "link", "add", "br0", "type", "bridge"],
    );
    run("ip", &["netns", "del", &probe])?;
    bridge?;
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let path = folder.path().to_string_lossy().into_owned();
    run("mount", &["-t", "tmpfs", "-o", "size=1m", PREFIX, &path])?;
    run("umount", &[&path]).map(drop)
}

/// All hosts, and the switch between them. Host 0 is the clients'.
pub struct Hosts {
    switch: String,
    names: Vec<String>,
    folder: tempfile::TempDir,
}

impl Hosts {
    /// Makes `count` hosts, and the clients'.
    pub fn new(count: usize) -> Self {
        remove_what_is_left();
        let run = format!("{PREFIX}{}", std::process::id());
        let hosts = Self {
            switch: format!("{run}s"),
            names: (0..=count).map(|host| format!("{run}h{host}")).collect(),
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        ip(&["netns", "add", &hosts.switch]);
        ip(&["-n", &hosts.switch, "link", "add", "br0", "type", "bridge"]);
        ip(&["-n", &hosts.switch, "link", "set", "br0", "up"]);
        for host in 0..=count {
            hosts.make(host);
        }
        hosts
    }

    fn make(&self, host: usize) {
        let (name, port) = (&self.names[host], port(host));
        ip(&["netns", "add", name]);
        ip(&["-n", name, "link", "set", "lo", "up"]);
        ip(&[
            "-n",
            name,
            "link",
            "add",
            "eth0",
            "type",
            "veth",
            "peer",
            "name",
            &port,
            "netns",
            &self.switch,
        ]);
        let address = format!("{}/24", self.address(host));
        ip(&["-n", name, "addr", "add", &address, "dev", "eth0"]);
        ip(&["-n", name, "link", "set", "eth0", "up"]);
        ip(&["-n", &self.switch, "link", "set", &port, "up"]);
        self.plug_in(host);
        let disk = self.disk(host);
        fs::create_dir_all(&disk).expect("a folder");
        let size = format!("size={DISK_BYTES}");
        let disk = disk.to_string_lossy();
        run("mount", &["-t", "tmpfs", "-o", &size, PREFIX, &disk])
            .unwrap_or_else(|why| panic!("{why}"));
    }

    /// Its address.
    pub fn address(&self, host: usize) -> String {
        format!("10.77.0.{}", host + 1)
    }

    /// Where its disk is.
    pub fn disk(&self, host: usize) -> PathBuf {
        self.folder.path().join(format!("host-{host}"))
    }

    /// A folder that has no bounds.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A command to run on it; the process it becomes keeps the command's id.
    pub fn command(&self, host: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[host], program]);
        command
    }

    /// Whoever it talks to, nothing arrives, either way.
    pub fn pull_out(&self, host: usize) {
        ip(&["-n", &self.switch, "link", "set", &port(host), "nomaster"]);
    }

    /// Ends [`Self::pull_out`].
    pub fn plug_in(&self, host: usize) {
        ip(&[
            "-n",
            &self.switch,
            "link",
            "set",
            &port(host),
            "master",
            "br0",
        ]);
    }

    /// What `from` sends to `to` is lost.
    pub fn lose(&self, from: usize, to: usize) {
        let to = self.address(to);
        ip(&[
            "-n",
            &self.names[from],
            "neigh",
            "replace",
            &to,
            "lladdr",
            NOWHERE,
            "dev",
            "eth0",
            "nud",
            "permanent",
        ]);
    }

    /// Ends [`Self::lose`].
    pub fn find(&self, from: usize, to: usize) {
        let to = self.address(to);
        ip(&["-n", &self.names[from], "neigh", "del", &to, "dev", "eth0"]);
    }

    /// Bounds what the host sends and what is sent to it.
    ///
    /// # Errors
    /// If this kernel can't.
    pub fn slow_down(&self, host: usize, rate: &str) -> Result<(), String> {
        for (namespace, device) in self.ends(host) {
            let tc = |arguments: &[&str]| {
                let mut all = vec!["-n", &namespace];
                all.extend_from_slice(arguments);
                run("tc", &all)
            };
            tc(&[
                "qdisc", "add", "dev", &device, "root", "handle", "1:", "htb", "default", "1",
            ])?;
            tc(&[
                "class", "add", "dev", &device, "parent", "1:", "classid", "1:1", "htb", "rate",
                rate,
            ])?;
        }
        Ok(())
    }

    /// Ends [`Self::slow_down`].
    pub fn speed_up(&self, host: usize) {
        for (namespace, device) in self.ends(host) {
            // It may be there in part.
            let _ = run(
                "tc",
                &["-n", &namespace, "qdisc", "del", "dev", &device, "root"],
            );
        }
    }

    fn ends(&self, host: usize) -> [(String, String); 2] {
        [
            (self.names[host].clone(), "eth0".into()),
            (self.switch.clone(), port(host)),
        ]
    }

    /// Fills its disk to the last byte.
    pub fn fill_disk(&self, host: usize) {
        use std::io::Write as _;
        let mut file =
            fs::File::create(self.disk(host).join("ballast")).expect("a file on the disk");
        let block = vec![1_u8; 1 << 20];
        let mut size = block.len();
        while size > 0 {
            if file.write_all(&block[..size]).is_err() {
                size /= 2;
            }
        }
    }

    /// Ends [`Self::fill_disk`].
    pub fn free_disk(&self, host: usize) {
        fs::remove_file(self.disk(host).join("ballast")).expect("the ballast goes");
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for host in 0..self.names.len() {
            let _ = run("umount", &["-l", &self.disk(host).to_string_lossy()]);
            let _ = run("ip", &["netns", "del", &self.names[host]]);
        }
        let _ = run("ip", &["netns", "del", &self.switch]);
    }
}

fn port(host: usize) -> String {
    format!("p{host}")
}

/// Removes the namespaces of runs whose process is gone.
fn remove_what_is_left() {
    let all = run("ip", &["netns", "list"]).unwrap_or_default();
    for name in all
        .lines()
        .filter_map(|line| line.split_whitespace().next())
    {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let process: String = rest.chars().take_while(char::is_ascii_digit).collect();
        if !Path::new(&format!("/proc/{process}")).exists() {
            let _ = run("ip", &["netns", "del", name]);
        }
    }
}
