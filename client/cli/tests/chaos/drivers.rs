//! The clients, in Python, on the clients' host: kazoo on znodes, librdkafka with records. They tell their progress
//! in files, end when a file appears, and leave behind what they saw.

#![allow(
    clippy::disallowed_methods,
    reason = "real processes live in real time"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};

use super::cluster::{Cluster, PARTITIONS, TOPIC};

/// Sessions of kazoo.
const CLIENTS: usize = 4;

fn start(cluster: &Cluster, script: &str, arguments: &[String], folder: &Path) -> Child {
    let python = std::env::var("ZWEIG_TEST_PYTHON").expect(
        "ZWEIG_TEST_PYTHON names a Python with kazoo and confluent-kafka: run scripts/chaos, or scripts/test",
    );
    let file = |name: &str| fs::File::create(folder.join(name)).expect("a file for its output");
    cluster
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
        .expect("the clients start")
}

fn ended(child: Child, folder: &Path) -> Output {
    let output = child.wait_with_output().expect("the clients end");
    if !output.status.success() {
        let errors = fs::read_to_string(folder.join("errors")).unwrap_or_default();
        panic!("the clients ended with {}: {errors}", output.status);
    }
    output
}

fn folder(cluster: &Cluster, name: &str) -> PathBuf {
    let folder = cluster.hosts.folder().join(name);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// kazoo's clients.
pub struct Consensus {
    child: Child,
    folder: PathBuf,
}

impl Consensus {
    /// They begin at once.
    pub fn start(cluster: &Cluster) -> Self {
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
        self.child.try_wait().expect("their status").is_some()
    }

    /// Where each of them is now.
    pub fn explain(&self) -> String {
        let pid = rustix::process::Pid::from_child(&self.child);
        let asked = rustix::process::kill_process(pid, rustix::process::Signal::USR1);
        std::thread::sleep(std::time::Duration::from_secs(1));
        let text = fs::read_to_string(self.folder.join("errors")).unwrap_or_default();
        format!(
            "kazoo's clients: {:?} calls; asked {asked:?}: {text}",
            self.progress()
        )
    }

    /// What each client saw, a line of JSON for each call.
    pub fn finish(self) -> Vec<Vec<serde_json::Value>> {
        fs::write(self.folder.join("stop"), "").expect("the stop file");
        ended(self.child, &self.folder);
        let read = |client: usize| {
            let text = fs::read_to_string(self.folder.join(format!("history-{client}")));
            let text = text.expect("its history");
            let lines = text
                .lines()
                .map(|line| serde_json::from_str(line).expect("a line of JSON"));
            lines.collect()
        };
        (0..CLIENTS).map(read).collect()
    }
}

/// librdkafka's idempotent producer.
pub struct Records {
    child: Child,
    folder: PathBuf,
}

impl Records {
    /// It begins at once.
    pub fn start(cluster: &Cluster) -> Self {
        let folder = folder(cluster, "records");
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
        self.child.try_wait().expect("its status").is_some()
    }

    /// How many records were acknowledged.
    pub fn progress(&self) -> u64 {
        let text = fs::read_to_string(self.folder.join("progress")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// By partition: the numbers acknowledged, with their offsets.
    pub fn finish(self) -> BTreeMap<usize, Vec<(u64, i64)>> {
        fs::write(self.folder.join("stop"), "").expect("the stop file");
        let output = ended(self.child, &self.folder);
        serde_json::from_slice(&output.stdout).expect("what it acknowledged, as JSON")
    }
}
