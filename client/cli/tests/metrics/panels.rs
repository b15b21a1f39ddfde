//! Every panel of every dashboard, asked of a real Prometheus that scrapes a running cluster: each shows something. Debian's, unpacked
//! by `scripts/setup --test`; without one the test says SKIPPED.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::files::{expressions_of_dashboards, folder};
use super::support::{Cluster, Owned, PATIENCE, Ports, Role, kafka, wait_for};
use super::{PROPERTIES, ZOO, address};

const COORDINATORS: &str = "zweig-coordinators";
const BROKERS: &str = "zweig-brokers";

/// A Prometheus; ends with this.
struct Prometheus {
    address: String,
    _process: Owned,
    _ports: Ports,
}

impl Prometheus {
    /// Scrapes all processes each second, under the jobs and with the rules of `monitoring/`.
    fn start(cluster: &Cluster) -> Self {
        let targets = |role: fn(usize) -> Role| {
            let all = (1..=3).map(|id| format!("{:?}", address(cluster, role(id))));
            all.collect::<Vec<_>>().join(", ")
        };
        let config = format!(
            "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nrule_files:\n  - {}\nscrape_configs:\n\
             \x20 - job_name: {COORDINATORS}\n    static_configs:\n      - targets: [{}]\n\
             \x20 - job_name: {BROKERS}\n    static_configs:\n      - targets: [{}]\n",
            folder().join("alerts.yml").display(),
            targets(Role::Coordinator),
            targets(Role::Broker),
        );
        let file = cluster.path("prometheus.yml");
        fs::write(&file, config).expect("its configuration");
        let log = fs::File::create(cluster.path("prometheus-log.txt")).expect("its log");
        let mut ports = Ports::reserve();
        let address = format!("127.0.0.1:{}", ports.next());
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                cluster.path("tsdb").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        Self {
            address,
            _process: Owned(process.expect("prometheus starts")),
            _ports: ports,
        }
    }

    /// What `/api/v1/...` has as its data; nothing while it is not up.
    fn ask(&self, path: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        let limit = stream.set_read_timeout(Some(PATIENCE));
        limit.expect("a limit");
        // In HTTP/1.0 the end of the answer is the end of the connection.
        let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let answer: Value = serde_json::from_str(body).ok()?;
        assert_eq!(answer["status"], "success", "{path}: {head}\n{body}");
        Some(answer["data"].clone())
    }

    /// Whether an expression has a value now, and one that can be drawn.
    fn shows(&self, expression: &str) -> bool {
        let query = format!("/api/v1/query?query={}", escaped(expression));
        let found = self.ask(&query);
        let result = found.as_ref().and_then(|data| data["result"].as_array());
        let number = |series: &Value| series["value"][1].as_str()?.parse::<f64>().ok();
        let mut numbers = result.into_iter().flatten().filter_map(number);
        numbers.any(f64::is_finite)
    }
}

fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// A bit of everything that dashboards draw.
fn load(cluster: &Cluster, round: usize) {
    cluster.zweig_ok(&["set", "/drawn", &round.to_string()]);
    cluster.zweig_ok(&["get", "/drawn"]);
    let lines: String = (0..100).map(|line| format!("{round} {line}\n")).collect();
    kafka::produce(cluster, "drawn", &lines);
    kafka::consume(cluster, "drawn", None, "%s\n");
}

#[test]
fn every_panel_shows_data_from_a_running_cluster() {
    if Command::new("prometheus")
        .arg("--version")
        .output()
        .is_err()
    {
        eprintln!("SKIPPED: there is no prometheus here; scripts/setup --test fetches Debian's");
        return;
    }
    // Or nothing would be synced in the minute that this takes.
    let properties = format!("{PROPERTIES}\nlog.flush.interval.messages=1");
    let cluster = Cluster::start_prepared((3, ZOO), (3, &properties), |_, _| {});
    kafka::create_topic(&cluster, "drawn");
    cluster.zweig_ok(&["create", "/drawn"]);
    let prometheus = Prometheus::start(&cluster);
    let mut asked: Vec<String> = Vec::new();
    for (dashboard, expression) in expressions_of_dashboards() {
        let job = match dashboard.ends_with("ensemble.json") {
            true => COORDINATORS,
            false => BROKERS,
        };
        let expression = expression.replace("$job", job);
        asked.push(expression.replace("$__rate_interval", "15s"));
    }
    assert!(asked.len() > 60, "{} expressions", asked.len());
    let mut round = 0;
    let deadline = 2 * PATIENCE;
    let mut silent = asked;
    let all_shown = wait_for("every panel shows data", deadline, || {
        round += 1;
        load(&cluster, round);
        silent.retain(|expression| !prometheus.shows(expression));
        if round % 5 == 0 {
            eprintln!("round {round}: nothing yet for {silent:#?}");
        }
        silent.is_empty().then_some(round)
    });
    eprintln!("all shown after {all_shown} rounds of load");
    every_rule_is_evaluated(&prometheus);
}

fn every_rule_is_evaluated(prometheus: &Prometheus) {
    let rules = wait_for("every rule was evaluated", PATIENCE, || {
        let groups = prometheus.ask("/api/v1/rules")?["groups"].clone();
        let groups = groups.as_array()?.clone();
        let rules: Vec<Value> = groups
            .iter()
            .flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default())
            .collect();
        let all = rules.iter().all(|rule| rule["health"] != "unknown");
        (all && !rules.is_empty()).then_some(rules)
    });
    assert!(rules.len() > 10, "{} rules", rules.len());
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
}
