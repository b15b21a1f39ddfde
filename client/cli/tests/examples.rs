//! Every command has an example in its help, and every example does what it says: run word by word as it stands there, by a
//! shell, on the usual ports, in a network of its own (`unshare --net`; skipped where that is not allowed).

mod support;

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use support::{
    PATIENCE, Talk, ZWEIG, print_logs, run, send_signal, succeeded, wait_for, wait_until,
};

/// Set for the run that is in its own network.
const INSIDE: &str = "ZWEIG_TEST_EXAMPLES_INSIDE";

/// What these begin with goes on by itself until it is interrupted, once it has said something.
const GOES_ON: &[&str] = &[
    "zweig dev",
    "zweig coordinator --",
    "zweig broker --",
    "zweig console",
    "zweig watch",
    "zweig tree / --data --watch",
    "zweig create --ephemeral",
    "zweig consume orders --group",
];

/// The parts of a command line's help.
struct Help {
    commands: Vec<String>,
    examples: Vec<String>,
}

fn help_of(words: &[String]) -> Help {
    let mut zweig = Command::new(ZWEIG);
    // No line is to be broken.
    zweig.args(words).arg("--help").env("COLUMNS", "1000");
    let text = succeeded(&format!("{words:?} --help"), &run(zweig, None, PATIENCE));
    let mut help = Help {
        commands: Vec::new(),
        examples: Vec::new(),
    };
    let mut part = "";
    for line in text.lines() {
        let indented = line
            .strip_prefix("  ")
            .filter(|rest| !rest.starts_with(' '));
        match (indented, part) {
            (None, _) if !line.is_empty() && !line.starts_with(' ') => part = line,
            (Some(rest), "Commands:") => {
                let name = rest.split_whitespace().next().unwrap_or_default();
                help.commands.push(name.to_owned());
            }
            (Some(rest), "Example:" | "Examples:") => help.examples.push(rest.to_owned()),
            _ => {}
        }
    }
    help.commands.retain(|name| name != "help");
    help
}

/// Every example, in the order of the help; and the commands that do something and have none.
fn all_examples() -> (Vec<String>, Vec<String>) {
    let (mut examples, mut without) = (Vec::new(), Vec::new());
    let mut left = VecDeque::from([Vec::new()]);
    while let Some(words) = left.pop_front() {
        let help = help_of(&words);
        if help.commands.is_empty() && help.examples.is_empty() {
            without.push(words.join(" "));
        }
        examples.extend(help.examples);
        for command in help.commands {
            left.push_back([words.clone(), vec![command]].concat());
        }
    }
    (examples, without)
}

/// Where the examples are typed: a folder of their own with the files they name, and `zweig` on the path.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let desk = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        let file = |name: &str, content: &str| desk.file(name, content);
        file("zoo.cfg", "dataDir=data/zoo\nclientPort=2191\n");
        file(
            "server.properties",
            "broker.id=9\nlisteners=PLAINTEXT://127.0.0.1:9099\nlog.dirs=data/nine\nzookeeper.connect=127.0.0.1:2181\n",
        );
        file("orders.tsv", "key\tvalue\n");
        for shell in ["bash-completion/completions", "man"] {
            fs::create_dir_all(desk.path(&format!(".local/share/{shell}"))).expect("a folder");
        }
        fs::create_dir_all(desk.path(".zfunc")).expect("a folder");
        fs::create_dir_all(desk.path(".config/fish/completions")).expect("a folder");
        // Not every machine of the tests has man.
        file(
            "bin/man",
            "#!/bin/sh\nexec test -s \"$HOME/.local/share/man/man1/$1.1\"\n",
        );
        let mut chmod = Command::new("chmod");
        chmod.arg("+x").arg(desk.path("bin/man"));
        succeeded("chmod", &run(chmod, None, PATIENCE));
        std::os::unix::fs::symlink(ZWEIG, desk.path("bin/zweig")).expect("a link to the binary");
        desk
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("its folder");
        fs::write(path, content).expect("the file written");
    }

    fn shell(&self, line: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("bash");
        shell.args(["-c", line]).current_dir(self.folder.path());
        shell.env("PATH", format!("{}:{path}", self.path("bin").display()));
        shell
            .env("HOME", self.folder.path())
            .env("ZWEIG_TIMEOUT", "30");
        shell
    }

    fn does(&self, line: &str) -> String {
        succeeded(line, &run(self.shell(line), None, 3 * PATIENCE))
    }

    /// Starts what goes on by itself.
    fn begins(&self, line: &str) -> Talk {
        Talk::start(
            self.shell(&format!("exec {line}")),
            self.path("begun-log.txt"),
        )
    }

    /// Whether it has said something, on either of its outputs.
    fn has_spoken(&self, begun: &Talk) -> bool {
        let log = fs::read_to_string(self.path("begun-log.txt")).unwrap_or_default();
        begun.line_at_once().is_some() || log.contains("serving") || log.contains("this node runs")
    }
}

/// Until it has said something; `stir` makes something happen meanwhile. Then Ctrl-C, and it ends well.
fn speaks_and_ends(desk: &Desk, line: &str, mut stir: impl FnMut()) {
    let begun = desk.begins(line);
    wait_until(&format!("`{line}` says something"), 2 * PATIENCE, || {
        stir();
        desk.has_spoken(&begun)
    });
    send_signal(begun.id(), Signal::INT);
    begun.finish();
}

/// `zweig dev` with everything up.
fn dev(desk: &Desk) -> Talk {
    let dev = desk.begins("zweig dev");
    while !dev.line().starts_with("data, logs:") {}
    dev
}

#[test]
fn every_command_has_an_example_that_works() {
    if std::env::var_os(INSIDE).is_some() {
        return work_through_all();
    }
    let unshare = |script: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--net", "--map-root-user", "sh", "-c", script, "sh"]);
        unshare
    };
    let probe = run(unshare("ip link set lo up"), None, PATIENCE);
    if !probe.status.success() {
        println!(
            "SKIPPED: no network of its own here: {}",
            String::from_utf8_lossy(&probe.stderr)
        );
        return;
    }
    let mut inside = unshare("ip link set lo up && exec \"$@\"");
    inside.arg(std::env::current_exe().expect("this program"));
    inside.args([
        "--exact",
        "every_command_has_an_example_that_works",
        "--nocapture",
    ]);
    inside.env(INSIDE, "1");
    let told = succeeded("the examples", &run(inside, None, Duration::from_secs(900)));
    println!("{told}");
}

fn work_through_all() {
    let (examples, without) = all_examples();
    assert_eq!(without, Vec::<String>::new(), "commands without an example");
    assert!(examples.len() > 50, "{examples:?}");
    let desk = Desk::new();
    let server = |line: &String| {
        let servers = ["dev", "coordinator", "broker --", "console"];
        servers
            .iter()
            .any(|name| line.starts_with(&format!("zweig {name}")))
    };
    let (servers, tools): (Vec<String>, Vec<String>) = examples.into_iter().partition(server);
    let outcome = std::panic::catch_unwind(|| {
        the_servers(&desk, &servers);
        the_tools(&desk, &tools);
    });
    if outcome.is_err() {
        print_logs(desk.folder.path());
        panic!("see above");
    }
}

/// Those that are servers, before the usual ports are taken by a cluster.
fn the_servers(desk: &Desk, lines: &[String]) {
    let (users, others): (Vec<_>, Vec<_>) = lines
        .iter()
        .partition(|line| line.starts_with("zweig broker") || line.starts_with("zweig console"));
    for line in others {
        println!("{line}");
        match line.as_str() {
            wipe if wipe.starts_with("zweig coordinator wipe") => {
                // The only node there is: it refuses, and says how to insist.
                let output = run(desk.shell(wipe), None, PATIENCE);
                let told = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(!output.status.success() && told.contains("--"), "{told}");
            }
            line => speaks_and_ends(desk, line, || ()),
        }
    }
    let coordinator =
        desk.begins("zweig coordinator --set dataDir=data/for-brokers --set clientPort=2181");
    wait_until("a coordinator for them", PATIENCE, || {
        desk.has_spoken(&coordinator)
    });
    for line in users {
        println!("{line}");
        speaks_and_ends(desk, line, || ());
    }
    send_signal(coordinator.id(), Signal::INT);
    coordinator.finish();
}

/// Those that need a cluster, each with what it works on there.
fn the_tools(desk: &Desk, lines: &[String]) {
    let cluster = dev(desk);
    let zxid = a_zxid(desk);
    for line in lines {
        println!("{line}");
        prepare(desk, line);
        // Figures are of no use here.
        let quick = if line.contains("zweig bench") {
            " --warm-up 0 --seconds 1"
        } else {
            ""
        };
        let quick = if line.contains("--seconds") {
            " --warm-up 0"
        } else {
            quick
        };
        let line = format!("{}{quick}", line.replace("0x1a3", &zxid));
        if GOES_ON.iter().any(|begins| line.starts_with(begins)) {
            speaks_and_ends(desk, &line, || {
                // The same again: a change all the same.
                desk.does("zweig get /brokers/topics/orders | zweig set /brokers/topics/orders -");
                desk.does("echo stirred | zweig produce orders --quiet");
            });
        } else {
            desk.does(&line);
        }
    }
    send_signal(cluster.id(), Signal::INT);
    cluster.finish();
}

/// One that changed /controller.
fn a_zxid(desk: &Desk) -> String {
    let history = wait_for("a controller", PATIENCE, || {
        let told = desk.does("zweig history /controller --output json");
        let changes: serde_json::Value = serde_json::from_str(&told).expect("JSON");
        changes.as_array().and_then(|all| all.first().cloned())
    });
    history["zxid"].to_string()
}

/// What the examples take for granted: a topic with records, a group that has read it, a znode.
fn prepare(desk: &Desk, line: &str) {
    if line.starts_with("zweig topic create") {
        desk.does("zweig topic delete orders >/dev/null 2>&1; true");
        // It is gone for some time after it is said to be.
        wait_until("the topic is gone", PATIENCE, || {
            let described = run(desk.shell("zweig topic describe orders"), None, PATIENCE);
            described.status.code() == Some(3)
        });
        return;
    }
    desk.does("zweig topic create orders -p 3 -r 3 --if-not-exists");
    if line.contains("billing") {
        desk.does("echo read | zweig produce orders --quiet");
        desk.does("zweig consume orders --group billing --from earliest --exit-at-end");
    }
    match line {
        line if line.starts_with("zweig create --parents") => {
            desk.does("zweig delete -r /app >/dev/null 2>&1; true");
        }
        line if line.contains(" /app") => {
            desk.does("zweig create /app x >/dev/null 2>&1; true");
        }
        _ => {}
    }
}
