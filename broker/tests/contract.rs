//! The played ensemble of `tests/sim` against a real coordinator: the same operations, the same answers. What brokers are
//! proved over is then what they run over.
//!
//! Compared are results, errors, stats, what watchers are shown, and what is left when a session ends; zxids and sessions
//! by the order in which they appear, times and wordings not at all. What a stream shows is compared from its beginning:
//! the port offers no later one.

#![allow(
    clippy::disallowed_methods,
    reason = "a real coordinator lives in real time"
)]
#![allow(dead_code, reason = "shared with the simulator")]

#[path = "sim/ensemble/mod.rs"]
mod ensemble;
#[path = "sim/trace.rs"]
mod trace;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use zweig_broker::config::EnsembleConfig;
use zweig_broker::ensemble::port::{Network, Port, Ports};
use zweig_client::ensemble::{
    ConnectError, CreateMode, Credentials, Error, MultiError, Stat, WatchItem, WriteOp, WriteResult,
};
use zweig_coordinator::Config;
use zweig_coordinator::server::Server;

use ensemble::{Door, SimEnsemble};

const PATIENCE: Duration = Duration::from_secs(30);

/// One thing to do, by one of two sessions.
#[derive(Clone, Debug)]
enum Act {
    Multi(usize, Vec<WriteOp>),
    Batch(usize, (String, i32), Vec<Vec<WriteOp>>),
    Get(usize, String),
    /// Checks by which transaction a znode was created: by the right one, or by another.
    Created(usize, String, bool),
    Sync(usize),
}

/// Numbers that differ between two ensembles, told by the order in which they appear.
#[derive(Default)]
struct Names(BTreeMap<(char, i64), usize>);

impl Names {
    fn of(&mut self, kind: char, number: i64) -> String {
        let next = self.0.len();
        let at = *self.0.entry((kind, number)).or_insert(next);
        format!("{kind}{at}")
    }

    fn stat(&mut self, stat: &Stat) -> String {
        let owner = match stat.ephemeral_owner {
            0 => "none".to_owned(),
            session => self.of('s', session),
        };
        format!(
            "(czxid {} mzxid {} pzxid {} version {} cversion {} aversion {} owner {owner} length {} children {})",
            self.of('z', stat.czxid),
            self.of('z', stat.mzxid),
            self.of('z', stat.pzxid),
            stat.version,
            stat.cversion,
            stat.aversion,
            stat.data_length,
            stat.num_children,
        )
    }

    fn result(&mut self, result: &WriteResult) -> String {
        match result {
            WriteResult::Created(created) => {
                format!("created {} {}", created.path, self.stat(&created.stat))
            }
            WriteResult::Stat(stat) => format!("set {}", self.stat(stat)),
            other => format!("{other:?}"),
        }
    }

    fn results(&mut self, results: &[WriteResult]) -> String {
        let results: Vec<_> = results.iter().map(|result| self.result(result)).collect();
        results.join("; ")
    }
}

fn error(error: &Error) -> String {
    match error {
        Error::BadVersion { path, .. } => format!("bad version of {path}"),
        Error::Fenced(_) => "fenced".to_owned(),
        Error::BadArguments(_) => "bad arguments".to_owned(),
        other => format!("{other:?}"),
    }
}

fn failed(failed: &MultiError) -> String {
    format!("operation {:?}: {}", failed.index, error(&failed.error))
}

/// Does one thing; what came of it, as text.
async fn act(ports: &[Arc<dyn Port>], act: &Act, names: &mut Names) -> String {
    match act {
        Act::Multi(who, ops) => match ports[*who].multi(ops.clone()).await {
            Ok(batch) => {
                let zxid = names.of('z', batch.zxid);
                format!("{zxid}: {}", names.results(&batch.results))
            }
            Err(error) => failed(&error),
        },
        Act::Batch(who, fence, groups) => {
            let done = ports[*who].fenced_batch(fence.clone(), groups.clone());
            match done.await {
                Ok(batch) => {
                    let mut text = names.of('z', batch.zxid);
                    for group in &batch.results {
                        let group = match group {
                            Ok(results) => names.results(results),
                            Err(error) => failed(error),
                        };
                        write!(text, " [{group}]").expect("text in memory");
                    }
                    text
                }
                Err(failure) => error(&failure),
            }
        }
        Act::Get(who, path) => match ports[*who].get(path.clone()).await {
            Ok(None) => "nothing".to_owned(),
            Ok(Some((data, stat))) => format!("{data:?} {}", names.stat(&stat)),
            Err(failure) => error(&failure),
        },
        Act::Created(who, path, right) => {
            let found = ports[*who].get(path.clone()).await.expect("an answer");
            let czxid = found.map_or(0, |(_, stat)| stat.czxid) - i64::from(!right);
            let check = WriteOp::CheckCreated {
                path: path.clone(),
                czxid,
            };
            match ports[*who].multi(vec![check]).await {
                Ok(batch) => names.results(&batch.results),
                Err(error) => failed(&error),
            }
        }
        Act::Sync(who) => format!("{:?}", ports[*who].sync().await),
    }
}

/// What a watcher is shown until it has seen the znode `/end`.
async fn watched(port: &dyn Port, names: &mut Names) -> Vec<String> {
    let mut stream = port.watch().expect("a stream");
    let mut lines = Vec::new();
    loop {
        let item = stream.next().await.expect("the stream goes on");
        match item {
            WatchItem::Node {
                path, data, stat, ..
            } if path.len() > 1 => {
                lines.push(format!("{path} {data:?} {}", names.stat(&stat)));
            }
            WatchItem::Change {
                kind,
                path,
                data,
                stat,
                zxid,
                ..
            } => {
                let stat = stat.map(|stat| names.stat(&stat));
                let zxid = names.of('z', zxid);
                lines.push(format!("{zxid} {kind:?} {path} {data:?} {stat:?}"));
                if path == "/end" {
                    return lines;
                }
            }
            WatchItem::SubtreeEnd { .. } => {
                lines.push("that was all".to_owned());
                let end = WriteOp::create("/end", "", CreateMode::Ephemeral);
                for ops in [vec![WriteOp::set("/a", "seen", None)], vec![end]] {
                    port.multi(ops).await.expect("written");
                }
            }
            _ => {}
        }
    }
}

/// All of it over one ensemble. `expire` ends the second session without its doing.
async fn played(
    ports: Vec<Arc<dyn Port>>,
    reconnect: impl AsyncFn(Credentials) -> Result<Arc<dyn Port>, ConnectError>,
    expire: impl AsyncFnOnce(Arc<dyn Port>),
    acts: &[Act],
) -> Vec<String> {
    let mut names = Names::default();
    let mut lines = Vec::new();
    for one in acts {
        let came = act(&ports, one, &mut names).await;
        lines.push(format!("{one:?}\n    {came}"));
    }
    lines.extend(watched(&*ports[0], &mut names).await);
    let [first, second] = <[_; 2]>::try_from(ports).unwrap_or_else(|_| panic!("two sessions"));
    let mine = WriteOp::create("/mine", "", CreateMode::Ephemeral);
    let theirs = WriteOp::create("/theirs", "", CreateMode::Ephemeral);
    first.multi(vec![mine]).await.expect("created");
    second.multi(vec![theirs]).await.expect("created");
    let credentials = second.credentials();
    expire(second).await;
    let gone = async {
        while first
            .get("/theirs".to_owned())
            .await
            .expect("an answer")
            .is_some()
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let gone = tokio::time::timeout(PATIENCE, gone).await;
    gone.expect("an ephemeral goes with its session");
    for path in ["/theirs", "/mine"] {
        let found = first
            .get(path.to_owned())
            .await
            .map(|found| found.is_some());
        lines.push(format!(
            "after the end of the second session: {path} {found:?}"
        ));
    }
    let again = reconnect(credentials).await.map(|_| ());
    lines.push(format!("taken up again: {again:?}"));
    let credentials = first.credentials();
    drop(first);
    let resumed = reconnect(credentials).await.expect("it lives");
    let kept = resumed.get("/mine".to_owned()).await;
    let kept = kept.map(|found| found.is_some());
    lines.push(format!("of the first, taken up again: /mine {kept:?}"));
    resumed.close().await.expect("closed");
    let other = reconnect(credentials).await.map(|_| ());
    lines.push(format!("after its end: {other:?}"));
    lines
}

fn over_the_played_one(acts: &[Act]) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let ensemble = SimEnsemble::new(7, trace::Trace::new(false));
        let expiring = tokio::spawn(ensemble.clone().expire());
        let door = |broker| Door {
            ensemble: ensemble.clone(),
            broker,
        };
        let mut ports = Vec::new();
        for broker in 1..=2 {
            ports.push(door(broker).connect(None).await.expect("a session"));
        }
        let lines = played(
            ports,
            async |credentials| door(1).connect(Some(credentials)).await,
            async |_port| ensemble.expire_now(2),
            acts,
        )
        .await;
        expiring.abort();
        lines
    })
}

async fn over_a_real_one(acts: &[Act]) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data_dir = folder.path().display().to_string();
    let settings = [
        ("dataDir", &*data_dir),
        ("clientPort", "0"),
        ("tickTime", "200"),
    ];
    let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let config = Config::from_overrides(&settings, None).expect("valid settings");
    let server = Server::start(config).await.expect("the node starts");
    let network = Network {
        config: EnsembleConfig {
            endpoints: vec![server.client_address().to_string()],
            chroot: "/contract".to_owned(),
            disconnect_timeout: None,
            session_timeout: Duration::from_secs(2),
            connection_timeout: Some(PATIENCE),
        },
    };
    let ports = vec![
        network.connect(None).await.expect("a session"),
        network.connect(None).await.expect("a session"),
    ];
    // Nobody renews it any more.
    let expire = async |port: Arc<dyn Port>| drop(port);
    let reconnect = async |credentials| network.connect(Some(credentials)).await;
    let lines = played(ports, reconnect, expire, acts).await;
    server.stop().await;
    lines
}

/// Each kind of operation, well and ill.
fn by_hand() -> Vec<Act> {
    use CreateMode::{Ephemeral, EphemeralSequential, Persistent, PersistentSequential};
    let create = |path: &str, mode| WriteOp::create(path, "x", mode);
    let fence = |version| ("/epoch".to_owned(), version);
    vec![
        Act::Multi(0, vec![create("/a", Persistent)]),
        Act::Multi(0, vec![create("/a", Persistent)]),
        Act::Multi(0, vec![create("/no/b", Persistent)]),
        Act::Multi(1, vec![create("/a/e", Ephemeral)]),
        Act::Multi(1, vec![create("/a/e/below", Persistent)]),
        Act::Multi(0, vec![create("/a/q-", PersistentSequential)]),
        Act::Multi(1, vec![create("/a/q-", EphemeralSequential)]),
        Act::Multi(0, vec![WriteOp::delete("/a/q-0000000001", None)]),
        Act::Multi(0, vec![create("/a/q-", PersistentSequential)]),
        Act::Get(1, "/a".to_owned()),
        Act::Multi(0, vec![WriteOp::delete("/a", None)]),
        Act::Multi(0, vec![WriteOp::delete("/none", None)]),
        Act::Multi(0, vec![WriteOp::set("/a", "yy", Some(0))]),
        Act::Multi(0, vec![WriteOp::set("/a", "z", Some(0))]),
        Act::Multi(0, vec![WriteOp::set("/none", "z", None)]),
        Act::Multi(1, vec![WriteOp::check("/a", Some(1))]),
        Act::Multi(1, vec![WriteOp::check("/a", Some(4))]),
        Act::Multi(1, vec![WriteOp::check("/none", None)]),
        Act::Created(1, "/a".to_owned(), true),
        Act::Created(1, "/a".to_owned(), false),
        Act::Created(1, "/none".to_owned(), true),
        Act::Multi(
            0,
            vec![
                create("/m", Persistent),
                create("/m/n", Persistent),
                WriteOp::set("/m", "twice", Some(0)),
                WriteOp::delete("/m/n", Some(0)),
            ],
        ),
        Act::Multi(
            0,
            vec![
                create("/m/o", Persistent),
                WriteOp::delete("/a/e", None),
                WriteOp::check("/m", Some(7)),
                create("/m/p", Persistent),
            ],
        ),
        Act::Get(0, "/m".to_owned()),
        Act::Get(0, "/a/e".to_owned()),
        Act::Multi(0, vec![create("/epoch", Persistent)]),
        Act::Batch(
            0,
            fence(0),
            vec![
                vec![WriteOp::set("/m", "one", None)],
                vec![create("/m/r", Persistent), WriteOp::check("/m", Some(9))],
                vec![create("/m/s", Ephemeral)],
            ],
        ),
        Act::Batch(0, fence(3), vec![vec![WriteOp::set("/m", "two", None)]]),
        Act::Batch(
            0,
            ("/no-fence".to_owned(), 0),
            vec![vec![WriteOp::set("/m", "two", None)]],
        ),
        Act::Sync(1),
        Act::Get(1, "/m".to_owned()),
        Act::Get(1, "/nothing".to_owned()),
    ]
}

/// Many more, drawn: few paths, so that they meet.
fn drawn(seed: u64, count: usize) -> Vec<Act> {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut acts = Vec::new();
    for _ in 0..count {
        let who = chance.random_range(0..2);
        acts.push(match chance.random_range(0..20) {
            0..9 => Act::Multi(who, drawn_ops(&mut chance, 1)),
            9..14 => Act::Multi(who, drawn_ops(&mut chance, 4)),
            14..17 => {
                let groups = [3, 1, 2].map(|most| drawn_ops(&mut chance, most));
                Act::Batch(who, ("/a".to_owned(), 0), groups.into())
            }
            17 => {
                let path = drawn_ops(&mut chance, 1)[0].path().to_owned();
                Act::Created(who, path, chance.random_range(0..2) == 0)
            }
            _ => Act::Get(who, drawn_ops(&mut chance, 1)[0].path().to_owned()),
        });
    }
    acts
}

fn drawn_ops(chance: &mut StdRng, most: usize) -> Vec<WriteOp> {
    let paths = ["/a", "/b", "/a/c", "/a/d", "/b/c", "/a/c/e"];
    let modes = [
        CreateMode::Persistent,
        CreateMode::Persistent,
        CreateMode::Ephemeral,
        CreateMode::PersistentSequential,
        CreateMode::EphemeralSequential,
    ];
    let mut ops = Vec::new();
    for _ in 0..chance.random_range(1..=most) {
        let path = paths[chance.random_range(0..paths.len())];
        let version = match chance.random_range(0..3) {
            0 => Some(chance.random_range(0..3)),
            _ => None,
        };
        let mode = modes[chance.random_range(0..modes.len())];
        ops.push(match chance.random_range(0..10) {
            0..4 => WriteOp::create(path, "x", mode),
            4..6 => WriteOp::delete(path, version),
            6..9 => WriteOp::set(path, "yy", version),
            _ => WriteOp::check(path, version),
        });
    }
    ops
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE * 4, what)
        .await
        .expect("in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_played_ensemble_answers_as_a_real_one() {
    let mut acts = by_hand();
    acts.extend(drawn(1, 400));
    // The end of the script wants it there.
    acts.push(Act::Multi(
        0,
        vec![WriteOp::create("/a", "x", CreateMode::Persistent)],
    ));
    let copy = acts.clone();
    let played = tokio::task::spawn_blocking(move || over_the_played_one(&copy));
    let played = played.await.expect("played");
    let real = in_time(over_a_real_one(&acts)).await;
    for (index, (played, real)) in played.iter().zip(&real).enumerate() {
        assert_eq!(
            played, real,
            "line {index}: the played one, and the real one"
        );
    }
    assert_eq!(played.len(), real.len());
    // Both kinds of ends came about.
    let with = |word: &str| real.iter().filter(|line| line.contains(word)).count();
    assert!(with("created") > 40 && with("bad version") > 10 && with("fenced") > 1);
}
