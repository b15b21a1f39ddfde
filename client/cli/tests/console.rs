//! The console's page: what it lets in and what it refuses, by plain HTTP; and all of it in a real browser.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use futures::stream::{self, StreamExt};
use zweig_client::ensemble::{CreateMode, Ensemble, Options, WriteOp};

use support::{PATIENCE, Ports, Talk, ZWEIG, run, succeeded, wait_for};

struct Dev {
    folder: tempfile::TempDir,
    base: u16,
    talk: Option<Talk>,
    _ports: Ports,
}

impl Dev {
    fn start() -> Self {
        let mut ports = Ports::reserve();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let base = ports.next();
        let mut command = Command::new(ZWEIG);
        command.args(["dev", "--brokers", "2", "--port-base", &base.to_string()]);
        command.arg("--data").arg(folder.path().join("data"));
        let talk = Talk::start(command, folder.path().join("log.txt"));
        while !talk.line().starts_with("data, logs:") {}
        Self {
            folder,
            base,
            talk: Some(talk),
            _ports: ports,
        }
    }

    fn page(&self) -> String {
        format!("127.0.0.1:{}", self.base + 29)
    }

    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.env("ZWEIG_SERVER", format!("127.0.0.1:{}", self.base));
        // Both: the page's test kills one of them.
        let brokers = [30, 31].map(|place| format!("127.0.0.1:{}", self.base + place));
        command.env("ZWEIG_BOOTSTRAP", brokers.join(","));
        command.env("ZWEIG_TIMEOUT", "60");
        command
    }

    fn zweig(&self, arguments: &[&str]) -> String {
        let mut zweig = self.command(ZWEIG);
        zweig.args(arguments);
        succeeded(&format!("{arguments:?}"), &run(zweig, None, 2 * PATIENCE))
    }
}

/// As many znodes under one parent as the page is to bear, made the quick way.
fn make_many_znodes(dev: &Dev) {
    let made = async {
        let nodes = [0, 1, 2].map(|place| format!("127.0.0.1:{}", dev.base + place));
        let mut options = Options::new(nodes);
        (options.connect_timeout, options.request_timeout) = (PATIENCE, PATIENCE);
        let ensemble = Ensemble::connect(options).await.expect("a session");
        let create = |path: String| WriteOp::Create {
            path,
            data: None,
            mode: CreateMode::Persistent,
            acl: Vec::new(),
        };
        let parent = vec![create("/many".to_owned())];
        ensemble.multi(parent).await.expect("the parent");
        // Small ones: a node reads its history by 512 transactions at a time, and answers nobody meanwhile.
        let batches = (0..5_000).map(|batch| {
            let numbers = batch * 20..(batch + 1) * 20;
            let creates = numbers.map(|number| create(format!("/many/node-{number:06}")));
            ensemble.multi(creates.collect())
        });
        let made = stream::iter(batches).buffer_unordered(64);
        made.for_each(async |made| drop(made.expect("twenty")))
            .await;
        ensemble.close().await.expect("closed");
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(made);
}

impl Drop for Dev {
    fn drop(&mut self) {
        if std::thread::panicking() {
            support::print_logs(self.folder.path());
        }
        // Its children go with it.
        self.talk = None;
    }
}

/// Status and body of one request, as some client writes it.
fn ask(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("the page's address");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut request = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    (
        status.unwrap_or_else(|| panic!("no status in {answer:?}")),
        answer,
    )
}

fn token_of(page: &str) -> String {
    let (_, rest) = page
        .split_once("name=\"zweig-token\" content=\"")
        .expect("a token's place");
    rest.split('"').next().expect("its end").to_owned()
}

#[test]
fn foreign_pages_change_nothing_and_see_nothing() {
    let dev = Dev::start();
    let page = dev.page();
    let host = ("host", page.as_str());
    let (status, index) = ask(&page, "GET", "/", &[host], "");
    assert_eq!(status, 200, "{index}");
    assert!(
        index.contains("content-security-policy: default-src 'self'"),
        "{index}"
    );
    let token = token_of(&index);
    assert_eq!(token.len(), 32, "{index}");

    let rebound = [("host", "evil.example:80")];
    assert_eq!(ask(&page, "GET", "/", &rebound, "").0, 403);
    assert_eq!(ask(&page, "GET", "/api/znode?path=/", &rebound, "").0, 403);

    let body = r#"{"name":"made","partitions":2,"replication_factor":2}"#;
    let json = ("content-type", "application/json");
    let secret = ("x-zweig-token", token.as_str());
    let foreign = ("origin", "http://evil.example");
    let refused: [&[(&str, &str)]; 3] = [
        &[host, json],
        &[host, json, ("x-zweig-token", "0")],
        &[host, json, foreign, secret],
    ];
    for headers in refused {
        let (status, answer) = ask(&page, "POST", "/api/topics", headers, body);
        assert_eq!(status, 403, "{headers:?}: {answer}");
    }
    assert_eq!(
        dev.zweig(&["topic", "list", "--output", "json"]).trim(),
        "[]"
    );

    let own = format!("http://{page}");
    let whole = [host, json, ("origin", own.as_str()), secret];
    let (status, answer) = ask(&page, "POST", "/api/topics", &whole, body);
    assert_eq!(status, 200, "{answer}");
    let (status, answer) = ask(&page, "POST", "/api/topics", &whole, body);
    assert_eq!((status, answer.contains("exists")), (409, true), "{answer}");
    let (status, answer) = ask(&page, "POST", "/api/topics", &whole, "not JSON");
    assert_eq!(status, 400, "{answer}");
    assert_eq!(
        dev.zweig(&["topic", "list", "--output", "json"]).trim(),
        r#"["made"]"#
    );

    reads_only_unless_told_otherwise(&dev);
}

/// A console of its own, beside that of `zweig dev`.
fn reads_only_unless_told_otherwise(dev: &Dev) {
    let mut command = dev.command(ZWEIG);
    command.args(["console", "--listen", "127.0.0.1:0"]);
    let console = Talk::start(command, dev.folder.path().join("console-log.txt"));
    let line = console.line();
    let page = line
        .trim()
        .strip_prefix("console: http://")
        .expect("its address");
    let host = ("host", page);
    let (_, index) = ask(page, "GET", "/", &[host], "");
    assert_eq!(
        token_of(&index),
        "",
        "no token where nothing may be changed"
    );
    let (status, answer) = ask(page, "DELETE", "/api/topics/made", &[host], "");
    assert_eq!(
        (status, answer.contains("--allow-writes")),
        (403, true),
        "{answer}"
    );
    for (path, expected) in [
        ("/api/znode?path=/none", 404),
        ("/api/znode?path=none", 400),
        ("/api/znode", 400),
        ("/api/records?topic=none&partition=0&from=latest", 404),
        ("/api/records?topic=made&partition=0&from=soon", 400),
        ("/api/records?topic=made&partition=0&from=time:-1", 400),
        ("/api/records?topic=made&partition=0&from=time:0", 200),
        ("/api/history?path=none", 400),
        ("/api/history?path=/none", 200),
        ("/api/explain?topic=made&partition=1", 200),
        ("/api/explain?topic=made&partition=7", 404),
        ("/assets/none.js", 404),
        ("/none", 404),
    ] {
        let (status, answer) = ask(page, "GET", path, &[host], "");
        assert_eq!(status, expected, "{path}: {answer}");
    }
    let (_, brokers) = ask(page, "GET", "/api/znode?path=/brokers/ids", &[host], "");
    assert!(brokers.contains(r#""children":["1","2"]"#), "{brokers}");
    the_stream_begins_with_the_picture(page);
}

fn the_stream_begins_with_the_picture(page: &str) {
    let made = wait_for("the stream shows the topic", PATIENCE, || {
        let mut stream = TcpStream::connect(page).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        write!(stream, "GET /api/events HTTP/1.1\r\nhost: {page}\r\n\r\n").ok()?;
        let lines = BufReader::new(stream).lines();
        let mut lines = lines.map_while(Result::ok);
        lines.find(|line| line == "event: topics")?;
        lines
            .next()
            .filter(|line| line.contains(r#""name":"made""#))
    });
    let topics: serde_json::Value =
        serde_json::from_str(made.trim_start_matches("data: ")).expect("JSON");
    assert_eq!(
        topics[0]["partitions"]["1"]["replicas"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
}

/// Where Playwright is, if it is; and Chromium.
fn browser() -> Option<(PathBuf, PathBuf)> {
    let playwright = PathBuf::from(std::env::var_os("ZWEIG_TEST_PLAYWRIGHT")?);
    let chromium = ["/usr/bin/chromium", "/usr/bin/chromium-browser"];
    let chromium = chromium
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists())?;
    playwright
        .join("index.mjs")
        .exists()
        .then_some((playwright, chromium))
}

#[test]
fn a_browser_sees_it_live() {
    let Some((playwright, chromium)) = browser() else {
        println!("SKIPPED: no Chromium or no Playwright here; `scripts/setup --test` tells why");
        return;
    };
    let dev = Dev::start();
    make_many_znodes(&dev);
    let mut node = dev.command("node");
    node.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/page.mjs"));
    node.env("PAGE", format!("http://{}", dev.page()));
    node.env("PLAYWRIGHT", playwright);
    node.env("CHROMIUM", chromium);
    node.env("ZWEIG", ZWEIG);
    let told = succeeded("the page in a browser", &run(node, None, 10 * PATIENCE));
    println!("{told}");
    assert!(told.ends_with("well\n"), "{told}");
}
