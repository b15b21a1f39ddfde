//! `zweig dev`, from the outside: up, killed in every way, back with its data; and nothing of it lingers.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use support::{PATIENCE, Ports, Talk, ZWEIG, run, send_signal, succeeded, wait_until};

struct Dev {
    folder: tempfile::TempDir,
    base: u16,
    _ports: Ports,
}

impl Dev {
    fn new() -> Self {
        let mut ports = Ports::reserve();
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self {
            folder,
            base: ports.next(),
            _ports: ports,
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(ZWEIG);
        command.args(["dev", "--nodes", "3", "--brokers", "2"]);
        command.args(["--port-base", &self.base.to_string()]);
        command.arg("--data").arg(self.folder.path().join("data"));
        command
    }

    /// Starts it, and waits until it says that all is up.
    fn start(&self, name: &str) -> Talk {
        let dev = Talk::start(
            self.command(),
            self.folder.path().join(format!("{name}-log.txt")),
        );
        while !dev.line().starts_with("data, logs:") {}
        dev
    }

    fn zweig(&self, arguments: &[&str]) -> String {
        let mut zweig = Command::new(ZWEIG);
        zweig
            .args(["--server", &format!("127.0.0.1:{}", self.base)])
            .args(arguments);
        zweig.env("ZWEIG_BOOTSTRAP", format!("127.0.0.1:{}", self.base + 30));
        zweig.env("ZWEIG_TIMEOUT", "60");
        succeeded(&format!("{arguments:?}"), &run(zweig, None, 2 * PATIENCE))
    }

    /// What the process whose metrics are so far behind the first port tells.
    fn metrics(&self, place: u16) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.base + place)).expect("metrics");
        let request = b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n";
        stream.write_all(request).expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        answer
    }

    /// The processes whose command line names its folder.
    fn processes(&self) -> Vec<String> {
        let named = |pid: &Path| std::fs::read(pid.join("cmdline")).unwrap_or_default();
        let folder = self.folder.path().to_string_lossy().into_owned();
        let all = std::fs::read_dir("/proc").expect("/proc").flatten();
        let lines =
            all.map(|entry| String::from_utf8_lossy(&named(&entry.path())).replace('\0', " "));
        lines.filter(|line| line.contains(&folder)).collect()
    }

    /// Until it has said this on standard error.
    fn wait_until_told(&self, name: &str, what: &str) {
        let log = self.folder.path().join(format!("{name}-log.txt"));
        wait_until(&format!("it says {what:?}"), PATIENCE, || {
            std::fs::read_to_string(&log).is_ok_and(|text| text.contains(what))
        });
    }

    fn all_end(&self, how: &str) {
        wait_until(&format!("every process ends after {how}"), PATIENCE, || {
            self.processes().is_empty()
        });
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if std::thread::panicking() {
            support::print_logs(self.folder.path());
        }
    }
}

#[test]
fn it_comes_back_with_its_data_however_it_ended_and_nothing_lingers() {
    let dev = Dev::new();
    let first = dev.start("first");
    assert!(
        dev.metrics(42).contains("zweig_ensemble_build_info{"),
        "coordinator 3"
    );
    assert!(
        dev.metrics(48).contains("zweig_broker_build_info{"),
        "broker 2"
    );
    let scraped = dev.folder.path().join("data/prometheus.yml");
    let scraped = std::fs::read_to_string(scraped).expect("for Prometheus");
    assert!(
        scraped.contains(&format!("127.0.0.1:{}", dev.base + 48)),
        "{scraped}"
    );
    dev.zweig(&["create", "/kept", "one"]);
    dev.zweig(&[
        "topic",
        "create",
        "t",
        "--partitions",
        "3",
        "--replication-factor",
        "2",
    ]);

    let mut second = dev.command();
    second.stdin(Stdio::null());
    let second = run(second, None, PATIENCE);
    let told = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(4), "{told}");
    assert!(told.contains("another `zweig dev` runs in"), "{told}");

    send_signal(first.id(), Signal::TERM);
    first.finish();
    assert_eq!(dev.processes(), [""; 0], "after SIGTERM");

    let second = dev.start("second");
    assert_eq!(dev.zweig(&["get", "/kept"]), "one");
    send_signal(second.id(), Signal::KILL);
    dev.all_end("its parent was killed");
    let log = std::fs::read_to_string(dev.folder.path().join("data/coordinator-1/log.txt"));
    let log = log.expect("its log");
    assert!(
        log.contains("parent gone") && !log.contains("told twice"),
        "a clean end"
    );
    drop(second);

    let mut third = dev.start("third");
    dev.zweig(&["set", "/kept", "two"]);
    third.say("kill broker 2");
    dev.wait_until_told("third", "broker 2 ended: signal: 9");
    assert_eq!(dev.processes().len(), 5);
    third.say("start broker 2");
    dev.wait_until_told("third", "started broker 2");
    assert_eq!(dev.processes().len(), 6);
    send_signal(third.id(), Signal::INT);
    third.finish();
    assert_eq!(dev.processes(), [""; 0], "after Ctrl-C");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let dev = Dev::new();
    let taken = std::net::TcpListener::bind(("127.0.0.1", dev.base + 31)).expect("a port of ours");
    let mut command = dev.command();
    command.stdin(Stdio::null());
    let output = run(command, None, PATIENCE);
    drop(taken);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{told}");
    assert!(
        told.contains(&format!("port {} cannot be had", dev.base + 31)),
        "{told}"
    );
    assert!(told.contains("--port-base"), "{told}");
}

/// What a newcomer with a damaged or foreign folder sees: not only that a process has ended, but why.
#[test]
fn why_a_process_ended_is_told() {
    let dev = Dev::new();
    let state = dev.folder.path().join("data/coordinator-1/data/state");
    std::fs::create_dir_all(state.parent().expect("a folder")).expect("made");
    std::fs::write(&state, "not a folder").expect("written");
    let log = dev.folder.path().join("damaged-log.txt");
    let running = Talk::start(dev.command(), log.clone());
    let told = support::wait_for("coordinator 1 has ended", PATIENCE, || {
        let text = std::fs::read_to_string(&log).ok()?;
        let line = text
            .lines()
            .find(|line| line.contains("coordinator 1 ended"));
        line.map(str::to_owned)
    });
    send_signal(running.id(), Signal::INT);
    running.finish();
    let status = told.find("exit status: 1").expect(&told);
    assert!(
        told[status..].contains("coordinator-1/data/state"),
        "{told}"
    );
}
