//! The clients, in Python: kazoo on znodes, librdkafka with records. They tell their progress
//! in files, end when a file appears, and leave behind what they saw.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use super::{Acknowledged, PARTITIONS, Site, TOPIC};

/// Sessions of kazoo.
const CLIENTS: usize = 4;

/// A program that is killed, by its id, when nobody holds it any more.
struct Running(Option<Child>);

impl Running {
    /// They may not end before they are told to.
    fn has_ended(&mut self) -> bool {
        let child = self.0.as_mut().expect("it was not waited for");
        child.try_wait().expect("their status").is_some()
    }

    fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(self.0.as_ref().expect("it was not waited for"))
    }

    /// Its end, which has to be a good one.
    fn end(mut self, folder: &Path) -> Output {
        let child = self.0.take().expect("it was not waited for");
        let output = child.wait_with_output().expect("the clients end");
        if !output.status.success() {
            let errors = fs::read_to_string(folder.join("errors")).unwrap_or_default();
            panic!("the clients ended with {}: {errors}", output.status);
        }
        output
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn start(cluster: &impl Site, script: &str, arguments: &[String], folder: &Path) -> Running {
    let python = std::env::var("ZWEIG_TEST_PYTHON").expect(
        "ZWEIG_TEST_PYTHON names a Python with kazoo and confluent-kafka: run scripts/chaos, or scripts/test",
    );
    let file = |name: &str| fs::File::create(folder.join(name)).expect("a file for its output");
    let child = cluster
        .client(&python)
        .arg(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tests/peers")
                .join(script),
        )
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(file("errors"))
        .spawn()
        .expect("the clients start");
    Running(Some(child))
}

fn folder(cluster: &impl Site, name: &str) -> PathBuf {
    let folder = cluster.folder().join(name);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// kazoo's clients.
pub struct Consensus {
    child: Running,
    folder: PathBuf,
}

impl Consensus {
    /// They begin at once.
    pub fn start(cluster: &impl Site) -> Self {
        let folder = folder(cluster, "znodes");
        let arguments = [folder.display().to_string(), CLIENTS.to_string()];
        let child = start(cluster, "kazoo/chaos.py", &arguments, &folder);
        Self { child, folder }
    }

    /// How many of its calls each client knows the outcome of.
    pub fn progress(&self) -> Vec<u64> {
        let one = |client: usize| {
            let text = fs::read_to_string(self.folder.join(format!("progress-{client}")));
            text.ok()
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(0)
        };
        (0..CLIENTS).map(one).collect()
    }

    /// They may not end before they are told to.
    pub fn has_ended(&mut self) -> bool {
        self.child.has_ended()
    }

    /// Where each of them is now.
    pub fn explain(&self) -> String {
        let pid = self.child.pid();
        let said = || fs::read_to_string(self.folder.join("errors")).unwrap_or_default();
        let before = said();
        let asked = rustix::process::kill_process(pid, rustix::process::Signal::USR1);
        // It writes a stack for each thread, that of its first thread last.
        let deadline = Instant::now() + Duration::from_secs(10);
        while !said()[before.len()..].contains("<module>") && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        let text = said();
        format!(
            "kazoo's clients: {:?} calls; asked {asked:?}: {text}",
            self.progress()
        )
    }

    /// What each client saw, a line of JSON for each call; and who had the lock when.
    pub fn finish(self) -> (Vec<Vec<serde_json::Value>>, Vec<serde_json::Value>) {
        fs::write(self.folder.join("stop"), "").expect("the stop file");
        self.child.end(&self.folder);
        let read = |name: String| -> Vec<_> {
            let text = fs::read_to_string(self.folder.join(name)).expect("its history");
            let lines = text
                .lines()
                .map(|line| serde_json::from_str(line).expect("a line of JSON"));
            lines.collect()
        };
        let histories = (0..CLIENTS).map(|client| read(format!("history-{client}")));
        (histories.collect(), read("locks".to_owned()))
    }
}

/// librdkafka's idempotent producer.
pub struct Records {
    child: Running,
    folder: PathBuf,
}

impl Records {
    /// It begins at once.
    pub fn start(cluster: &impl Site) -> Self {
        let folder = folder(cluster, "records");
        // Of one before.
        for name in ["stop", "progress"] {
            let _ = fs::remove_file(folder.join(name));
        }
        let file = |name: &str| folder.join(name).display().to_string();
        let arguments = [
            TOPIC.into(),
            PARTITIONS.to_string(),
            file("progress"),
            file("stop"),
        ];
        let child = start(cluster, "idempotent_producer.py", &arguments, &folder);
        Self { child, folder }
    }

    /// It may not end before it is told to.
    pub fn has_ended(&mut self) -> bool {
        self.child.has_ended()
    }

    /// What it complained of.
    pub fn explain(&self) -> String {
        fs::read_to_string(self.folder.join("errors")).unwrap_or_default()
    }

    /// How many records were acknowledged.
    pub fn progress(&self) -> u64 {
        let text = fs::read_to_string(self.folder.join("progress")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// By partition, what was acknowledged.
    pub fn finish(self) -> Acknowledged {
        fs::write(self.folder.join("stop"), "").expect("the stop file");
        let output = self.child.end(&self.folder);
        serde_json::from_slice(&output.stdout).expect("what it acknowledged, as JSON")
    }
}

/// Members of the group.
const MEMBERS: usize = 3;

/// librdkafka's consumers, as a group; they check what they are given themselves.
pub struct Group {
    child: Running,
    folder: PathBuf,
}

impl Group {
    /// They begin at once.
    pub fn start(cluster: &impl Site) -> Self {
        let folder = folder(cluster, "group");
        let arguments = [
            TOPIC.into(),
            MEMBERS.to_string(),
            folder.display().to_string(),
        ];
        let child = start(cluster, "group_through_chaos.py", &arguments, &folder);
        Self { child, folder }
    }

    /// They may not end before they are told to.
    pub fn has_ended(&mut self) -> bool {
        self.child.has_ended()
    }

    /// How many records they have read.
    pub fn progress(&self) -> u64 {
        let text = fs::read_to_string(self.folder.join("progress")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// What they complained of.
    pub fn explain(&self) -> String {
        fs::read_to_string(self.folder.join("errors")).unwrap_or_default()
    }

    /// Until they have read all of these; how many they have read and committed of each partition.
    pub fn finish(self, acknowledged: &Acknowledged) -> String {
        let counts: BTreeMap<_, _> = acknowledged
            .iter()
            .map(|(partition, records)| (partition, records.len()))
            .collect();
        let counts = serde_json::to_string(&counts).expect("JSON");
        let (aside, stop) = (self.folder.join("stop.new"), self.folder.join("stop"));
        fs::write(&aside, counts)
            .and_then(|()| fs::rename(aside, stop))
            .expect("the stop file");
        let output = self.child.end(&self.folder);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}
