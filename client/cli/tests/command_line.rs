//! The command line as somebody meets it who gets everything wrong at first: what is told, what the exit code is, that
//! programs can read the output, that a reader may go away.

mod support;

use support::{Cluster, PATIENCE, Role, ZWEIG, kafka, run};

const USAGE: i32 = 2;
const NOT_FOUND: i32 = 3;
const CONFLICT: i32 = 4;
const UNAVAILABLE: i32 = 5;
const NOT_ALLOWED: i32 = 7;

/// The exit code, and that standard error has `told` in it and looks like no accident.
fn fails(cluster: &Cluster, arguments: &[&str], code: i32, told: &str) {
    let output = cluster.zweig(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
    assert!(error.contains(told), "{arguments:?}: {error}");
    for accident in ["panicked", "backtrace", "Error {", "Some("] {
        assert!(!error.contains(accident), "{arguments:?}: {error}");
    }
    assert!(output.stdout.is_empty() || arguments.contains(&"status"));
}

/// What is typed (with a coordinator's and a broker's address for ENSEMBLE and KAFKA), the exit code, what is told.
const MISTAKES: &[(&str, i32, &str)] = &[
    ("ls nope", USAGE, "'nope' does not begin with /"),
    ("ls /nope", NOT_FOUND, "no node /nope"),
    ("ls --server ENSEMBLE/nowhere", NOT_FOUND, "below /nowhere"),
    ("ls --server a:b", USAGE, "'a:b'"),
    (
        "ls --server 127.0.0.1:1 --timeout 2",
        UNAVAILABLE,
        "--server",
    ),
    (
        "ls --server KAFKA --timeout 2",
        UNAVAILABLE,
        "coordinator's client port",
    ),
    ("ls --auth digest:x", USAGE, "digest:user:password"),
    (
        "ensemble status --server KAFKA --timeout 2",
        UNAVAILABLE,
        "no leader",
    ),
    ("create /kafka", CONFLICT, "exists"),
    ("topic create t", CONFLICT, "exists"),
    ("topic create a/b", USAGE, "a/b"),
    ("topic create u --config x=1", USAGE, "x"),
    ("topic create u -r 9", USAGE, "zweig broker list"),
    ("topic describe none", NOT_FOUND, "zweig topic list"),
    ("topic delete none", NOT_FOUND, "zweig topic list"),
    ("consume none --exit-at-end", NOT_FOUND, "zweig topic list"),
    (
        "consume none -g g --exit-at-end",
        NOT_FOUND,
        "zweig topic list",
    ),
    (
        "consume t -p 17 --exit-at-end",
        NOT_FOUND,
        "no partition 17",
    ),
    ("group describe none", NOT_FOUND, "none"),
    ("group delete none", NOT_FOUND, "zweig group list"),
    (
        "broker list -b 127.0.0.1:1 --timeout 2",
        UNAVAILABLE,
        "--bootstrap",
    ),
    ("broker list -b nowhere", USAGE, "'nowhere'"),
    (
        "broker list -b ENSEMBLE --timeout 2",
        UNAVAILABLE,
        "broker's port",
    ),
];

#[test]
fn every_mistake_has_its_exit_code_and_says_what_to_do() {
    let cluster = Cluster::start(1, 1);
    cluster.zweig_ok(&["topic", "create", "t"]);
    for (typed, code, told) in MISTAKES {
        let typed = typed.replace("KAFKA", &cluster.broker(1));
        let typed = typed.replace("ENSEMBLE", &cluster.coordinator(1));
        let arguments: Vec<_> = typed.split(' ').collect();
        fails(&cluster, &arguments, *code, told);
    }
}

#[test]
fn a_server_whose_port_is_taken_says_so_and_is_not_to_be_tried_again() {
    let cluster = Cluster::start(1, 1);
    let (_, taken) = cluster
        .coordinator(1)
        .rsplit_once(':')
        .map(|(h, p)| (h.to_owned(), p.to_owned()))
        .expect("a port");
    let data = |name: &str| cluster.path(name).display().to_string();
    let coordinator = [
        format!("dataDir={}", data("other-node")),
        format!("clientPort={taken}"),
    ];
    let broker = [
        "broker.id=9".to_owned(),
        format!("log.dirs={}", data("other-broker")),
        format!("zookeeper.connect={}/kafka", cluster.coordinator(1)),
        format!("listeners=PLAINTEXT://{}", cluster.broker(1)),
    ];
    let arguments = |server: &str, settings: &[String]| {
        let set = settings
            .iter()
            .flat_map(|one| ["--set".to_owned(), one.clone()]);
        std::iter::once(server.to_owned())
            .chain(set)
            .collect::<Vec<_>>()
    };
    for (server, settings) in [("coordinator", &coordinator[..]), ("broker", &broker[..])] {
        let arguments = arguments(server, settings);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        fails(&cluster, &arguments, CONFLICT, "in use");
    }
}

#[test]
fn whom_a_znode_is_for_needs_no_other_tool() {
    let cluster = Cluster::start(1, 0);
    let ada = ["--auth", "digest:ada:secret"];
    cluster.zweig_ok(&[&ada[..], &["create", "/hers", "x", "--acl", "auth::cdrwa"]].concat());
    fails(&cluster, &["get", "/hers"], NOT_ALLOWED, "--auth");
    fails(
        &cluster,
        &["--auth", "digest:ada:guess", "get", "/hers"],
        NOT_ALLOWED,
        "--auth",
    );
    assert_eq!(
        cluster.zweig_ok(&[&ada[..], &["get", "/hers"]].concat()),
        "x"
    );
    let told = cluster.zweig_ok(&[&ada[..], &["stat", "/hers", "--acl"]].concat());
    assert!(
        told.contains("digest:ada:") && !told.contains("secret"),
        "{told}"
    );
}

#[test]
fn programs_can_read_what_every_command_prints() {
    let cluster = Cluster::start(1, 1);
    kafka::produce(&cluster, "auto", "one\ntwo\n");
    for command in [
        "create /j x",
        "set /j y",
        "get /j",
        "stat /j --acl",
        "ls /",
        "ls -l /",
        "tree /",
        "tree / --data",
        "delete /j",
        "ensemble status",
        "topic create t",
        "topic create t --if-not-exists",
        "topic list",
        "topic describe t",
        "topic describe",
        "consume auto -f earliest -e",
        "consume auto -g g -f earliest -e",
        "group list",
        "group describe g",
        "group delete g",
        "broker list",
        "topic delete t",
        "produce auto",
    ] {
        let arguments: Vec<_> = command.split(' ').chain(["--output", "json"]).collect();
        let printed = cluster.zweig_ok(&arguments);
        assert!(!printed.is_empty(), "{command}");
        for line in printed.lines() {
            let parsed: Result<serde_json::Value, _> = serde_json::from_str(line);
            assert!(parsed.is_ok(), "{command}: {line}");
        }
    }
}

#[test]
fn a_group_has_read_what_was_printed_and_no_more() {
    let cluster = Cluster::start(1, 1);
    cluster.zweig_ok(&["topic", "create", "t", "--partitions", "3"]);
    let lines: Vec<_> = (0..1000).map(|number| format!("{number:04}")).collect();
    kafka::produce(&cluster, "t", &format!("{}\n", lines.join("\n")));
    let mut read = Vec::new();
    for most in [7, 400, 1_000_000] {
        let most_as_text = most.to_string();
        let text = cluster.zweig_ok(&[
            "consume",
            "t",
            "-g",
            "g",
            "-f",
            "earliest",
            "-e",
            "-n",
            &most_as_text,
        ]);
        let before = read.len();
        read.extend(text.lines().map(str::to_owned));
        assert!(most > 1000 || read.len() - before == most);
    }
    read.sort();
    assert_eq!(read, lines, "each line once");
}

#[test]
fn a_reader_that_goes_away_ends_the_command_without_a_word() {
    let cluster = Cluster::start(1, 1);
    kafka::produce(&cluster, "t", "one\ntwo\n");
    for command in [
        "tree /",
        "watch /",
        "tree / --watch",
        "topic list",
        "--help",
        "consume t --from earliest",
        "consume t --from latest",
    ] {
        let mut head = cluster.command("sh");
        // The reader is gone before the first line.
        head.arg("-c")
            .arg(format!("{ZWEIG} {command} | true; echo ended"));
        let output = run(head, None, PATIENCE);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "ended\n",
            "{command}"
        );
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{command}");
    }
}

#[test]
fn shells_and_man_learn_every_command() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let zweig = |arguments: &[&str]| {
        let mut zweig = std::process::Command::new(ZWEIG);
        zweig.args(arguments);
        let told = support::succeeded(&format!("{arguments:?}"), &run(zweig, None, PATIENCE));
        assert!(!told.is_empty());
        told
    };
    let script = folder.path().join("zweig.bash");
    std::fs::write(&script, zweig(&["completions", "bash"])).expect("written");
    // What bash itself would offer behind `zweig topic`.
    let asked = r#"source "$1"; COMP_WORDS=(zweig topic ""); COMP_CWORD=2; _zweig zweig "" topic; echo "${COMPREPLY[@]}""#;
    let mut bash = std::process::Command::new("bash");
    bash.args(["-c", asked, "bash"]).arg(&script);
    let offered = support::succeeded("bash", &run(bash, None, PATIENCE));
    for command in ["create", "list", "describe", "delete"] {
        assert!(
            offered.split_whitespace().any(|word| word == command),
            "{offered}"
        );
    }
    zweig(&["man", &folder.path().join("man1").to_string_lossy()]);
    for page in ["zweig.1", "zweig-console.1", "zweig-topic-create.1"] {
        let text = std::fs::read_to_string(folder.path().join("man1").join(page));
        assert!(text.expect("a page").contains(".SH SYNOPSIS"), "{page}");
    }
}

/// Beside servers that run on the same files: nothing is opened, locked or bound.
#[test]
fn a_configuration_is_checked_without_a_server() {
    let cluster = Cluster::start(1, 1);
    for (role, wrong) in [
        (Role::Coordinator(1), "tickTime=soon"),
        (Role::Broker(1), "num.partitions=none"),
    ] {
        let server = match role {
            Role::Coordinator(_) => "coordinator",
            Role::Broker(_) => "broker",
        };
        let file = cluster.config_of(role).display().to_string();
        let check = [server, "--config", &file, "--check-config"];
        let told = cluster.zweig_ok(&check);
        assert_eq!(told, format!("{file} can be used\n"));
        let key = wrong.split('=').next().expect("a key");
        fails(&cluster, &[&check[..], &["--set", wrong]].concat(), 2, key);
    }
}
