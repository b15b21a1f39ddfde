//! The tools of Kafka and ZooKeeper beside ours, on the same cluster: who leads, elections by request, what lies on disks, groups,
//! znodes. What ours show is what the page shows, which the tests of the console hold against them.

mod support;

use std::collections::BTreeMap;

use serde_json::Value;
use support::kafka::{all_can_be_read, create_topic, produce};
use support::{Cluster, PATIENCE, Role, run, succeeded, wait_until};

/// What one of Kafka's tools printed.
fn tool(cluster: &Cluster, class: &str, arguments: &[&str]) -> String {
    let mut java = cluster.java(class);
    java.args(["--bootstrap-server", &cluster.bootstrap()]);
    java.args(arguments);
    let output = run(java, None, PATIENCE);
    succeeded(class, &output);
    String::from_utf8(output.stdout).expect("text")
}

fn json(cluster: &Cluster, arguments: &[&str]) -> Value {
    let told = cluster.zweig_ok(&[arguments, &["--output", "json"]].concat());
    serde_json::from_str(&told).expect("JSON")
}

/// By partition: leader, replicas, in-sync replicas.
type Seen = BTreeMap<i64, (i64, Vec<i64>, Vec<i64>)>;

fn ids(list: &Value) -> Vec<i64> {
    let list = list.as_array().expect("a list").iter();
    list.map(|id| id.as_i64().expect("an id")).collect()
}

fn as_we_tell(cluster: &Cluster, topic: &str) -> Seen {
    let described = json(cluster, &["topic", "describe", topic]);
    let partitions = described["partitions"].as_array().expect("partitions");
    let partitions = partitions.iter().map(|p| {
        let seen = (
            p["leader"].as_i64().unwrap_or(-1),
            ids(&p["replicas"]),
            ids(&p["isr"]),
        );
        (p["partition"].as_i64().expect("an index"), seen)
    });
    partitions.collect()
}

/// From lines such as `Topic: t  Partition: 0  Leader: 1  Replicas: 1,2  Isr: 1,2`.
fn as_kafka_tells(cluster: &Cluster, topic: &str) -> Seen {
    let class = "org.apache.kafka.tools.TopicCommand";
    let told = tool(cluster, class, &["--describe", "--topic", topic]);
    let field = |line: &str, name: &str| -> String {
        let rest = line.split(&format!("{name}: ")).nth(1).expect(name);
        rest.split('\t')
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let list = |text: String| -> Vec<i64> {
        let ids = text.split(',').filter(|id| !id.is_empty());
        ids.map(|id| id.trim().parse().expect("an id")).collect()
    };
    let lines = told.lines().filter(|line| line.contains("Partition: "));
    let partitions = lines.map(|line| {
        let leader = field(line, "Leader").parse().unwrap_or(-1);
        let seen = (
            leader,
            list(field(line, "Replicas")),
            list(field(line, "Isr")),
        );
        (field(line, "Partition").parse().expect("an index"), seen)
    });
    partitions.collect()
}

fn preferred_lead(seen: &Seen) -> bool {
    let mut partitions = seen.values();
    partitions.all(|(leader, replicas, _)| replicas.first() == Some(leader))
}

/// Its leaderships go to others and stay there when it is back.
fn leave_and_come_back(cluster: &mut Cluster, broker: usize) {
    cluster.kill(Role::Broker(broker));
    wait_until("others lead", PATIENCE, || {
        as_we_tell(cluster, "orders").values().all(|(leader, ..)| {
            *leader != -1 && usize::try_from(*leader).is_ok_and(|id| id != broker)
        })
    });
    cluster.start_process(Role::Broker(broker));
    wait_until("all are in sync again", PATIENCE, || {
        (0..3).all(|index| cluster.in_sync("orders", index) == 3)
    });
    assert!(!preferred_lead(&as_we_tell(cluster, "orders")));
}

fn elect(cluster: &Cluster, arguments: &[&str]) -> String {
    tool(
        cluster,
        "org.apache.kafka.tools.LeaderElectionCommand",
        arguments,
    )
}

#[test]
fn preferred_leaders_by_kafkas_tool_and_by_ours() {
    let mut cluster = Cluster::start(1, 3);
    create_topic(&cluster, "orders");
    leave_and_come_back(&mut cluster, 2);
    assert_eq!(
        as_we_tell(&cluster, "orders"),
        as_kafka_tells(&cluster, "orders")
    );

    let all = ["--election-type", "preferred", "--all-topic-partitions"];
    let told = elect(&cluster, &all);
    assert!(
        told.contains("Successfully completed leader election"),
        "{told}"
    );
    wait_until("every broker has heard of it", PATIENCE, || {
        preferred_lead(&as_we_tell(&cluster, "orders"))
    });
    let again = elect(&cluster, &all);
    assert!(!again.contains("Successfully completed"), "{again}");
    let one = [
        "--election-type",
        "preferred",
        "--topic",
        "orders",
        "--partition",
        "0",
    ];
    let told = elect(&cluster, &one);
    assert!(told.contains("Valid replica already elected"), "{told}");

    leave_and_come_back(&mut cluster, 1);
    let elected = json(&cluster, &["topic", "elect"]);
    let elected = elected.as_array().expect("a list");
    assert!(!elected.is_empty() && elected.iter().all(|one| one["elected"] == true));
    wait_until("every broker has heard of it", PATIENCE, || {
        preferred_lead(&as_we_tell(&cluster, "orders"))
    });
    let told = cluster.zweig_ok(&["topic", "elect", "orders", "0"]);
    assert!(told.contains("not needed"), "{told}");
    let left = cluster.zweig(&["get", "/admin/preferred_replica_election"]);
    assert!(!left.status.success(), "what asked for it is gone");
}

#[test]
fn a_leader_whatever_it_costs() {
    let mut cluster = Cluster::start(1, 2);
    let alone = ["--config", "min.insync.replicas=1"];
    cluster.zweig_ok(
        &[
            &["topic", "create", "risky", "-p", "1", "-r", "2"][..],
            &alone,
        ]
        .concat(),
    );
    produce(&cluster, "risky", "both have it\n");
    let leader = cluster.any_leader_of("risky", 0);
    let follower = 3 - leader;
    cluster.kill(Role::Broker(follower));
    wait_until("the leader is alone", PATIENCE, || {
        cluster.in_sync("risky", 0) == 1
    });
    produce(&cluster, "risky", "only the leader has it\n");
    cluster.kill(Role::Broker(leader));
    // It is the only one that could be the controller.
    cluster.start_process(Role::Broker(follower));
    wait_until("nobody leads", PATIENCE, || {
        cluster.leader_of("risky", 0).is_none()
    });

    let refused = cluster.zweig(&["topic", "elect", "risky"]);
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(told.contains("gone or not in sync"), "{told}");
    assert_eq!(cluster.leader_of("risky", 0), None);

    let one = [
        "--election-type",
        "unclean",
        "--topic",
        "risky",
        "--partition",
        "0",
    ];
    let told = elect(&cluster, &one);
    assert!(
        told.contains("Successfully completed leader election"),
        "{told}"
    );
    assert_eq!(cluster.any_leader_of("risky", 0), follower);
    all_can_be_read(&cluster, "risky", &["both have it".to_owned()]);
    let told = cluster.zweig_ok(&["topic", "elect", "risky", "--unclean"]);
    assert!(told.contains("not needed"), "{told}");

    cluster.start_process(Role::Broker(leader));
    wait_until("the former leader follows", PATIENCE, || {
        cluster.in_sync("risky", 0) == 2
    });
    all_can_be_read(&cluster, "risky", &["both have it".to_owned()]);
}

#[test]
fn disks_as_kafkas_tool_tells_them() {
    let cluster = Cluster::start(1, 3);
    create_topic(&cluster, "orders");
    produce(&cluster, "orders", &"a line\n".repeat(1_000));
    let class = "org.apache.kafka.tools.LogDirsCommand";
    let told = tool(&cluster, class, &["--describe", "--broker-list", "1,2,3"]);
    let told: Value = told
        .lines()
        .find_map(|line| serde_json::from_str(line).ok())
        .expect("a line of JSON");
    let by_kafka = told["brokers"].as_array().expect("brokers").iter();
    let mut by_kafka: Vec<_> = by_kafka
        .map(|broker| {
            let dir = &broker["logDirs"][0];
            assert_eq!(dir["error"], Value::Null);
            let replicas = dir["partitions"].as_array().expect("partitions");
            let sizes = replicas.iter().map(|p| p["size"].as_u64().expect("a size"));
            let folder = dir["logDir"].as_str().expect("a path").to_owned();
            let id = broker["broker"].as_i64().expect("an id");
            (id, folder, replicas.len(), sizes.sum::<u64>())
        })
        .collect();
    by_kafka.sort();
    let ours = json(&cluster, &["broker", "disks"]);
    let ours = ours.as_array().expect("a list").iter();
    let ours: Vec<_> = ours
        .map(|dir| {
            assert!(dir["free_bytes"].as_u64() <= dir["bytes"].as_u64() && dir["bytes"] != 0);
            (
                dir["broker"].as_i64().expect("an id"),
                dir["folder"].as_str().expect("a path").to_owned(),
                usize::try_from(dir["replicas"].as_u64().expect("a count")).expect("few"),
                dir["bytes_of_replicas"].as_u64().expect("a size"),
            )
        })
        .collect();
    assert_eq!(ours, by_kafka);
    assert!(
        ours.iter()
            .all(|(_, _, replicas, bytes)| *replicas == 3 && *bytes > 1_000)
    );
    let folder = cluster.data_of(Role::Broker(1));
    assert_eq!(ours[0].1, folder.display().to_string());
}

#[test]
fn groups_as_kafkas_tool_tells_them() {
    let cluster = Cluster::start(1, 3);
    create_topic(&cluster, "orders");
    produce(&cluster, "orders", &"a line\n".repeat(300));
    let some = [
        "--group",
        "readers",
        "--from",
        "earliest",
        "--max-messages",
        "100",
    ];
    let read = cluster.zweig_ok(&[&["consume", "orders"], &some[..]].concat());
    assert_eq!(read.lines().count(), 100);

    let class = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
    let told = tool(&cluster, class, &["--describe", "--group", "readers"]);
    let rows = told.lines().filter(|line| line.starts_with("readers"));
    let mut by_kafka: Vec<Vec<String>> = rows
        .map(|row| {
            row.split_whitespace()
                .skip(1)
                .take(5)
                .map(str::to_owned)
                .collect()
        })
        .collect();
    by_kafka.sort();
    let ours = json(&cluster, &["group", "describe", "readers"]);
    let ours = ours["partitions"].as_array().expect("partitions").iter();
    let ours: Vec<Vec<String>> = ours
        .map(|row| {
            let number = |key: &str| row[key].as_i64().map_or("-".to_owned(), |n| n.to_string());
            let topic = row["topic"].as_str().expect("a topic").to_owned();
            let numbers = ["partition", "committed", "end", "lag"].map(number);
            [vec![topic], numbers.to_vec()].concat()
        })
        .collect();
    assert_eq!(ours, by_kafka);
    let sum = |column: usize| -> i64 {
        let numbers = ours
            .iter()
            .filter_map(|row| row[column].parse::<i64>().ok());
        numbers.sum()
    };
    assert_eq!((sum(2), sum(3)), (100, 300), "{ours:?}");
}

#[test]
fn znodes_as_zookeepers_shell_tells_them() {
    let cluster = Cluster::start(1, 1);
    cluster.zweig_ok(&["create", "-p", "/shop/orders", "three of them"]);
    cluster.zweig_ok(&["set", "/shop/orders", "four of them"]);
    cluster.zweig_ok(&["create", "/shop/orders/one", ""]);
    let shell = |words: &[&str]| -> String {
        let mut java = cluster.java("org.apache.zookeeper.ZooKeeperMain");
        java.args(["-server", &cluster.connect_string()])
            .args(words);
        let output = run(java, None, PATIENCE);
        succeeded("ZooKeeper's shell", &output);
        String::from_utf8(output.stdout).expect("text")
    };
    for path in ["/shop", "/shop/orders", "/shop/orders/one"] {
        let told = shell(&["stat", path]);
        let field = |name: &str| -> i64 {
            let line = told
                .lines()
                .find_map(|line| line.strip_prefix(&format!("{name} = ")));
            let value = line.unwrap_or_else(|| panic!("{name} in {told}")).trim();
            match value.strip_prefix("0x") {
                Some(hex) => i64::from_str_radix(hex, 16).expect("a number"),
                None => value.parse().expect("a number"),
            }
        };
        let ours = json(&cluster, &["stat", path]);
        for (theirs, name) in [
            ("cZxid", "czxid"),
            ("mZxid", "mzxid"),
            ("pZxid", "pzxid"),
            ("cversion", "cversion"),
            ("dataVersion", "version"),
            ("aclVersion", "aversion"),
            ("ephemeralOwner", "ephemeral_owner"),
            ("dataLength", "data_length"),
            ("numChildren", "num_children"),
        ] {
            assert_eq!(ours[name].as_i64(), Some(field(theirs)), "{path}: {name}");
        }
    }
    let data = shell(&["get", "/shop/orders"]);
    assert!(data.lines().any(|line| line == "four of them"), "{data}");
    let children = shell(&["ls", "/shop"]);
    assert!(
        children.lines().any(|line| line == "[orders]"),
        "{children}"
    );
    assert_eq!(cluster.zweig_ok(&["ls", "/shop"]), "orders\n");
}
