//! `zweig shell`: lines through a pipe, one line as arguments, and somebody at a terminal who presses Tab.

mod support;

use std::io::{Seek, Write};

use support::{Cluster, PATIENCE, ZWEIG, run, succeeded};

const NOT_FOUND: i32 = 3;

/// Exit code, what it printed and what it said.
fn typed(cluster: &Cluster, lines: &str) -> (Option<i32>, String, String) {
    let mut input = tempfile::tempfile().expect("a temporary file");
    input.write_all(lines.as_bytes()).expect("written");
    input.rewind().expect("rewound");
    let mut zweig = cluster.command(ZWEIG);
    zweig.arg("shell");
    let output = run(zweig, Some(input), PATIENCE);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// On three nodes: session and watches may be served by different ones.
#[test]
fn lines_do_what_zookeepers_shell_does() {
    let cluster = Cluster::start(3, 0);
    let (code, printed, told) = typed(
        &cluster,
        "create /app 'two words'\n\
         get -s /app\n\
         create -e /app/member\n\
         create -s /app/n- x\n\
         ls /app\n\
         ls -R /app\n\
         getEphemerals\n\
         getAllChildrenNumber /app\n\
         set -v 0 /app new\n\
         setAcl /app world:anyone:cdrw\n\
         getAcl /app\n\
         whoami\n\
         deleteall /app/n-0000000001\n\
         history\n\
         # a comment\n\
         redo 1\n\
         redo 99\n\
         version\n\
         quit\n\
         get /never-read\n",
    );
    assert_eq!(
        (code, told.as_str()),
        (Some(0), "error: there is no line 99\n"),
        "{printed}"
    );
    for line in [
        "Created /app",
        "two words",
        "dataVersion     0",
        "Created /app/member",
        "Created /app/n-0000000001",
        "[member, n-0000000001]",
        "/app/member",
        "[/app/member]",
        "2",
        "'world,'anyone",
        ": cdrw",
        "deleted 1 znodes",
        "0 - create /app 'two words'",
        "new",
    ] {
        assert!(
            printed.lines().any(|one| one.trim_end() == line),
            "{line:?} in:\n{printed}"
        );
    }
    // Its session went with it.
    assert_eq!(
        cluster.zweig(&["get", "/app/member"]).status.code(),
        Some(NOT_FOUND)
    );
}

#[test]
fn a_line_that_fails_says_why_and_what_was_meant_and_the_others_are_done() {
    let cluster = Cluster::start(1, 0);
    let (code, printed, told) = typed(
        &cluster,
        "create /orders 1\nget /ordesr\nstta /orders\nget 'x\nls /none/below\n",
    );
    assert!(printed.starts_with("Created /orders"), "{printed}");
    for hint in [
        "Did you mean /orders?",
        "Did you mean stat?",
        "quotation mark",
        "no node /none/below",
    ] {
        assert!(told.contains(hint), "{hint}: {told}");
    }
    assert_eq!(code, Some(NOT_FOUND), "the last line's");
    let one = cluster.zweig(&["shell", "get", "/orders"]);
    assert_eq!(succeeded("one line", &one), "1\n");
}

#[test]
fn a_watch_tells_of_what_happens_while_the_shell_goes_on() {
    let cluster = Cluster::start(3, 0);
    let mut zweig = cluster.command(ZWEIG);
    zweig.arg("shell");
    let mut shell = cluster.talk(zweig, "shell");
    shell.say("create /w 0");
    assert_eq!(shell.line(), "Created /w");
    shell.say("get -w /w");
    assert_eq!(shell.line(), "0");
    cluster.zweig_ok(&["set", "/w", "1"]);
    assert!(
        shell
            .line()
            .starts_with("WATCHER:: NodeDataChanged /w zxid 0x")
    );
    shell.say("addWatch /w");
    // Answered behind the line before it, which listens by then.
    shell.say("version");
    assert!(shell.line().starts_with("zweig "));
    cluster.zweig_ok(&["create", "/w/child", ""]);
    assert!(shell.line().starts_with("WATCHER:: NodeCreated /w/child"));
    shell.say("quit");
    assert_eq!(shell.finish(), "");
}

#[test]
fn tab_completes_commands_paths_and_topics() {
    let cluster = Cluster::start(1, 1);
    cluster.zweig_ok(&["topic", "create", "orders", "-p", "1", "-r", "1"]);
    let mut python = cluster.python("shell_with_tab.py");
    // Its history belongs into a folder of the test; and the tree of the brokers is below a chroot here.
    python.env("XDG_STATE_HOME", cluster.folder());
    python.env(
        "ZWEIG_SERVER",
        format!("{}/kafka", cluster.connect_string()),
    );
    python.arg(ZWEIG);
    let told = succeeded("the shell at a terminal", &run(python, None, 2 * PATIENCE));
    assert!(told.ends_with("well\n"), "{told}");
    let kept = std::fs::read_to_string(cluster.folder().join("zweig/history"));
    let kept = kept.expect("what was typed is kept");
    assert!(kept.contains("topic describe orders"), "{kept}");
    assert!(!kept.contains("secret"), "{kept}");
}
