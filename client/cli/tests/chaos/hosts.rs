//! Hosts on one machine: a network namespace each, joined by a bridge in a namespace of its own, with a small
//! disk that forgets what was not synced when its power is cut (`../disk`), or, where there can be none, a small file
//! system in memory. Each has a boot id and a wall clock of its own. Nothing outside is touched; what an earlier run
//! left behind is removed.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rand::rngs::StdRng;

use super::disk::{self, Disk, Fate, Loss};

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
    /// By host; none where they can't be made.
    disks: Vec<Option<Disk>>,
    /// A library that shifts the wall clock of the process it is loaded into; none where it can't be compiled.
    wall_clock: Option<PathBuf>,
    folder: tempfile::TempDir,
}

impl Hosts {
    /// Makes `count` hosts, and the clients'.
    pub fn new(count: usize) -> Self {
        remove_what_is_left();
        let run = format!("{PREFIX}{}", std::process::id());
        let mut hosts = Self {
            disks: Vec::new(),
            wall_clock: None,
            switch: format!("{run}s"),
            names: (0..=count).map(|host| format!("{run}h{host}")).collect(),
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        hosts.wall_clock = compile_wall_clock(hosts.folder.path());
        ip(&["netns", "add", &hosts.switch]);
        ip(&["-n", &hosts.switch, "link", "add", "br0", "type", "bridge"]);
        ip(&["-n", &hosts.switch, "link", "set", "br0", "up"]);
        for host in 0..=count {
            hosts.make(host);
        }
        hosts
    }

    fn make(&mut self, host: usize) {
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
        self.boot(host, 0);
        self.step_clock(host, 0);
        let disk = self.disk(host);
        fs::create_dir_all(&disk).expect("a folder");
        if host > 0 && disk::allowed().is_ok() {
            let disk = Disk::mount(&disk, DISK_BYTES).expect("a disk");
            self.disks.push(Some(disk));
            return;
        }
        self.disks.push(None);
        let size = format!("size={DISK_BYTES}");
        let disk = disk.to_string_lossy();
        run("mount", &["-t", "tmpfs", "-o", &size, PREFIX, &disk])
            .unwrap_or_else(|why| panic!("{why}"));
    }

    /// A new boot of its kernel.
    pub fn boot(&self, host: usize, id: u128) {
        let file = self.folder.path().join(format!("boot-{host}"));
        fs::write(file, format!("{id:032x}\n")).expect("a boot id");
    }

    /// Its wall clock is that much ahead from now on. False if this machine can't do that.
    pub fn step_clock(&self, host: usize, seconds: i64) -> bool {
        let nanoseconds = (seconds * 1_000_000_000).to_ne_bytes();
        let mut options = fs::OpenOptions::new();
        // In place: processes have it mapped.
        let file = options.create(true).truncate(false).write(true);
        let file = file.open(self.folder.path().join(format!("clock-{host}")));
        let written = file.and_then(|file| file.write_all_at(&nanoseconds, 0));
        written.expect("an offset");
        self.wall_clock.is_some()
    }

    /// Whether power can be cut.
    pub fn can_cut_power(&self) -> bool {
        self.disks.iter().skip(1).all(Option::is_some)
    }

    /// Cuts the power of a host's disk; whoever uses it waits until [`Self::release`].
    pub fn cut_power(&self, host: usize, fate: &Fate, chance: &mut StdRng) -> Loss {
        let disk = self.disks[host].as_ref();
        disk.map(|disk| disk.cut(fate, chance)).unwrap_or_default()
    }

    /// Its processes were sent SIGKILL.
    pub fn release(&self, host: usize) {
        if let Some(disk) = &self.disks[host] {
            disk.release();
        }
    }

    /// Its processes are gone; its power is back.
    pub fn power_on(&mut self, host: usize) {
        if let Some(disk) = &mut self.disks[host] {
            disk.unmount();
            disk.power_on().expect("the disk is mounted again");
        }
    }

    /// The next sync of a file whose name has `log` in it fails.
    pub fn fail_a_sync(&self, host: usize, log: &str) {
        if let Some(disk) = &self.disks[host] {
            disk.fail_syncs(log, 1);
        }
    }

    /// Its address.
    pub fn address(&self, host: usize) -> String {
        format!("10.77.0.{}", host + 1)
    }

    /// Where its disk is.
    pub fn disk(&self, host: usize) -> PathBuf {
        self.folder.path().join(format!("host-{host}"))
    }

    /// A copy of all that was written here, which stays.
    pub fn keep(&self) -> PathBuf {
        let kept = std::env::temp_dir().join(format!("zweig-chaos-{}", std::process::id()));
        let _ = Command::new("cp")
            .args(["-a", "--sparse=always"])
            .arg(self.folder.path())
            .arg(&kept)
            .output();
        kept
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

    /// As [`Self::command`], with the host's boot id and wall clock.
    pub fn server(&self, host: usize, program: &str) -> Command {
        let file = |name: &str| self.folder.path().join(format!("{name}-{host}"));
        let boot = "mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\"";
        let mut command = self.command(host, "sh");
        command.args(["-c", boot]).arg(file("boot"));
        if let Some(library) = &self.wall_clock {
            command.arg("env");
            command.arg(format!("LD_PRELOAD={}", library.display()));
            command.arg(format!("WALL_CLOCK_FILE={}", file("clock").display()));
        }
        command.arg(program);
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

    /// Ends [`Self::fail_a_sync`], if there was no sync to fail.
    pub fn fail_no_sync(&self, host: usize) {
        if let Some(disk) = &self.disks[host] {
            disk.fail_syncs("", 0);
        }
    }

    /// Fills its disk to the last byte.
    pub fn fill_disk(&self, host: usize) {
        use std::io::Write as _;
        if let Some(disk) = &self.disks[host] {
            return disk.fill();
        }
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
        if let Some(disk) = &self.disks[host] {
            return disk.free();
        }
        fs::remove_file(self.disk(host).join("ballast")).expect("the ballast goes");
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        self.disks.clear();
        for host in 0..self.names.len() {
            let _ = run("umount", &["-l", &self.disk(host).to_string_lossy()]);
            let _ = run("ip", &["netns", "del", &self.names[host]]);
        }
        let _ = run("ip", &["netns", "del", &self.switch]);
    }
}

fn compile_wall_clock(folder: &Path) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chaos/wall_clock.c");
    let library = folder.join("wall_clock.so");
    let (source, output) = (source.to_string_lossy(), library.to_string_lossy());
    let compiled = run("cc", &["-O2", "-shared", "-fPIC", "-o", &output, &source]);
    compiled.is_ok().then_some(library)
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
