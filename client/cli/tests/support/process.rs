//! Programs of the tests: each ends by its deadline, and with the test, however that ends; what it said is shown
//! when it failed.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Patience for anything that happens by itself; generous, since CI shares its machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks `what` every 50 ms until it says yes.
///
/// # Panics
/// After `patience`, with `name`.
pub fn wait_until(name: &str, patience: Duration, mut what: impl FnMut() -> bool) {
    wait_for(name, patience, || what().then_some(()));
}

/// Asks `what` every 50 ms until it has an answer.
///
/// # Panics
/// After `patience`, with `name`.
pub fn wait_for<T>(name: &str, patience: Duration, mut what: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = what() {
            return answer;
        }
        assert!(
            Instant::now() < deadline,
            "waited {patience:?} in vain until {name}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A child that is killed, by its id, when nobody holds it any more.
pub struct Owned(pub Child);

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Owned {
    /// Waits for its end; `None` when it goes on after `patience`.
    pub fn wait(&mut self, patience: Duration) -> Option<std::process::ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.0.try_wait().expect("its status") {
                return Some(status);
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Runs a program to its end, with `input` (nothing, if not given) as its standard input.
///
/// # Panics
/// If it can't be started, or has not ended by `patience`: with what it had said.
pub fn run(mut command: Command, input: Option<File>, patience: Duration) -> Output {
    let name = format!(
        "{:?} {:?}",
        command.get_program(),
        command.get_args().collect::<Vec<_>>()
    );
    command
        .stdin(input.map_or_else(Stdio::null, Stdio::from))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn();
    let mut child =
        Owned(child.unwrap_or_else(|failed| panic!("{name} can't be started: {failed}")));
    let out = collect(child.0.stdout.take().expect("its standard output"));
    let err = collect(child.0.stderr.take().expect("its standard error"));
    let status = child.wait(patience);
    drop(child);
    let all = |from: Receiver<Vec<u8>>| from.recv_timeout(PATIENCE).unwrap_or_default();
    let (stdout, stderr) = (all(out), all(err));
    let Some(status) = status else {
        panic!(
            "{name} did not end within {patience:?}\n{} bytes of output; standard error:\n{}",
            stdout.len(),
            String::from_utf8_lossy(&stderr)
        );
    };
    Output {
        status,
        stdout,
        stderr,
    }
}

fn collect(mut from: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, all) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    all
}

/// What a program printed.
///
/// # Panics
/// If it did not succeed, with both its outputs (the last 4 kB of each).
pub fn succeeded(name: &str, output: &Output) -> String {
    let tail = |bytes: &[u8]| {
        String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(4096)..]).into_owned()
    };
    assert!(
        output.status.success(),
        "{name}: {}\n{}\n{}",
        output.status,
        tail(&output.stdout),
        tail(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A program that is talked to while it runs: it says lines, and is told that something has happened. Its
/// standard error goes to a file, which is shown when the test fails.
pub struct Talk {
    name: String,
    child: Owned,
    say: ChildStdin,
    lines: Receiver<String>,
}

impl Talk {
    /// Starts it.
    pub fn start(mut command: Command, errors: PathBuf) -> Self {
        let name = format!(
            "{:?} {:?}",
            command.get_program(),
            command.get_args().collect::<Vec<_>>()
        );
        let errors = File::create(errors).expect("a file for its standard error");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors);
        let child = command.spawn();
        let mut child = child.unwrap_or_else(|failed| panic!("{name} can't be started: {failed}"));
        let out = child.stdout.take().expect("its standard output");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let say = child.stdin.take().expect("its standard input");
        Self {
            name,
            child: Owned(child),
            say,
            lines,
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.0.id()
    }

    /// The next line, if there is one already.
    pub fn line_at_once(&self) -> Option<String> {
        self.lines.try_recv().ok()
    }

    /// The next line.
    ///
    /// # Panics
    /// If none comes in time, or the output ends.
    pub fn line(&self) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line.trim_end().to_owned(),
            Err(RecvTimeoutError::Timeout) => panic!("{}: no line in {PATIENCE:?}", self.name),
            Err(RecvTimeoutError::Disconnected) => panic!("{}: its output has ended", self.name),
        }
    }

    /// An empty line for it.
    pub fn tell(&mut self) {
        self.say("");
    }

    /// A line for it.
    pub fn say(&mut self, line: &str) {
        self.say
            .write_all(format!("{line}\n").as_bytes())
            .expect("told");
    }

    /// The rest of what it says.
    ///
    /// # Panics
    /// If it does not end, or not well.
    pub fn finish(mut self) -> String {
        let Some(status) = self.child.wait(2 * PATIENCE) else {
            panic!("{} did not end within {:?}", self.name, 2 * PATIENCE);
        };
        let rest: Vec<_> = self.lines.iter().collect();
        let rest = rest.join("\n");
        assert!(
            status.success(),
            "{} ended with {status}: {rest}",
            self.name
        );
        rest.trim().to_owned()
    }
}

/// Says how long something took; seen with `--nocapture`, and when the test fails.
pub struct Timed {
    topic: String,
    since: Instant,
}

impl Timed {
    /// From now on.
    pub fn begin(topic: &str) -> Self {
        Self {
            topic: topic.to_owned(),
            since: Instant::now(),
        }
    }

    /// From now on, again.
    pub fn again(&mut self) {
        self.since = Instant::now();
    }

    /// Says the time since.
    pub fn lap(&self, what: &str) {
        println!("{}: {what} took {:.1?}", self.topic, self.since.elapsed());
    }
}

/// Prints the last lines of the logs in a folder and its subfolders.
pub fn print_logs(folder: &std::path::Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let log = name.to_string_lossy().ends_with("log.txt");
        if path.is_dir() {
            print_logs(&path);
        } else if log && let Ok(text) = fs::read(&path) {
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<_> = text.lines().collect();
            eprintln!("--- {}, its last lines", path.display());
            for line in &lines[lines.len().saturating_sub(60)..] {
                eprintln!("{line}");
            }
        }
    }
}

/// Sends a signal to a process that this test started.
pub fn send_signal(id: u32, signal: rustix::process::Signal) {
    let pid = i32::try_from(id)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(pid.expect("a process id"), signal).expect("signal sent");
}
