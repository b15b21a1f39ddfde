//! Settings of one node: ZooKeeper's `zoo.cfg`, its keys and its defaults.
//!
//! Parsed and validated once, in [`Config::load`]; every room is then handed its own values.
//! A key that ZooKeeper has and that means nothing here is accepted and named in one warning. A
//! key about security that cannot be honoured yet is an error, since ignoring it would be a lie;
//! so is any other key, with the line it stands on and what is allowed.
//!
//! - `config/properties.rs`: the file's format, and where each value came from.
//! - `config/server_line.rs`: the value of `server.N`.
//! - `config/known_keys.rs`: ZooKeeper's keys without meaning here.
//! - `config/metrics_provider.rs`: where metrics are served, if at all.
//!
//! Precedence: `--set key=value`, then the file, then the default.

mod known_keys;
mod metrics_provider;
mod properties;
mod server_line;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use properties::Properties;
use zweig_monitoring::trace::TraceSettings;

pub use metrics_provider::MetricsProvider;
pub use properties::Origin;
pub use server_line::{Endpoint, Role, Server};

/// The keys that have a meaning, as an error about an unknown key lists them.
pub const KEYS: &[&str] = &[
    "dataDir",
    "dataLogDir",
    "clientPort",
    "clientPortAddress",
    "tickTime",
    "initLimit",
    "syncLimit",
    "server.N",
    "minSessionTimeout",
    "maxSessionTimeout",
    "maxClientCnxns",
    "4lw.commands.whitelist",
    "jute.maxbuffer",
    "preAllocSize",
    "znode.container.checkIntervalMs",
    "peerType",
    "quorumListenOnAllIPs",
    "electionTimeoutMs",
    "historyRetentionMs",
    "historyRetentionBytes",
    "metricsProvider.className",
    "metricsProvider.httpHost",
    "metricsProvider.httpPort",
    "otlpEndpoint",
    "otlpSample",
];

/// Why there is no valid configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is not a properties file.
    #[error("{} is not a properties file: {reason}", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// What is wrong, with its line.
        reason: String,
    },
    /// A key that neither ZooKeeper nor this program has.
    #[error("unknown key {key} ({origin}); allowed are {}, and ZooKeeper's other keys", KEYS.join(", "))]
    UnknownKey {
        /// The key.
        key: String,
        /// Where it stands.
        origin: Origin,
    },
    /// A key of ZooKeeper that would be dangerous to ignore.
    #[error("{key} ({origin}) is not supported: {reason}")]
    Unsupported {
        /// The key.
        key: String,
        /// Where it stands.
        origin: Origin,
        /// What to do instead.
        reason: &'static str,
    },
    /// A value that the key does not take.
    #[error("{key} = {value:?} ({origin}): {allowed}")]
    Invalid {
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// Where it stands.
        origin: Origin,
        /// What is allowed.
        allowed: String,
    },
    /// A key without a default is missing.
    #[error("{key} is not set: {needed}")]
    Missing {
        /// The key.
        key: &'static str,
        /// What it is for.
        needed: String,
    },
    /// Which of the `server.N` lines this node is, cannot be told.
    #[error("this node's id is not known: {0}")]
    NodeId(String),
}

/// Which four-letter words are answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FourLetterWords {
    /// All that only read, and cost little.
    Harmless,
    /// All that exist here.
    All,
    /// Those named.
    Only(Vec<String>),
}

impl FourLetterWords {
    /// Is `word` answered?
    pub fn allows(&self, word: &str) -> bool {
        match self {
            FourLetterWords::Harmless => !matches!(word, "crst" | "srst" | "wchc" | "wchp"),
            FourLetterWords::All => true,
            FourLetterWords::Only(words) => words.iter().any(|allowed| allowed == word),
        }
    }
}

/// Settings of one node, validated. Fields carry the names of their keys.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node's N of `server.N`; from the argument, else from the file `myid` in `dataDir`.
    /// 1 without `server.N` lines. At most 255: it is the top byte of session ids.
    pub node: u64,
    /// `dataDir`: the state. Must be set.
    pub data_dir: PathBuf,
    /// `dataLogDir`: the raft log. Default: `dataDir`.
    pub data_log_dir: PathBuf,
    /// Where clients connect: `clientPort` (default 2181) at `clientPortAddress`, or what stands
    /// behind the `;` of this node's `server.N`. Without either address: loopback if the node
    /// stands alone or its own `server.N` is on loopback, else every interface.
    pub client: Endpoint,
    /// `tickTime`, milliseconds, default 2000: the unit of the limits and of session timeouts.
    pub tick: Duration,
    /// `initLimit`, ticks, default 10: the time a joining node has for its first snapshot.
    pub init_limit: u32,
    /// `syncLimit`, ticks, default 5: how long a request may wait for a leader.
    pub sync_limit: u32,
    /// `minSessionTimeout`, milliseconds, default 2 ticks.
    pub min_session_timeout_ms: u32,
    /// `maxSessionTimeout`, milliseconds, default 20 ticks.
    pub max_session_timeout_ms: u32,
    /// `maxClientCnxns`: connections from one address, by whatever protocol, default 60; 0 is no limit.
    pub max_client_cnxns: u32,
    /// `4lw.commands.whitelist`: comma-separated, `*` for all. Default: all but those that reset counters
    /// (`crst`, `srst`) or list every watch (`wchc`, `wchp`).
    pub four_letter_words: FourLetterWords,
    /// `jute.maxbuffer`: the largest request frame in bytes, default 4 MiB + 64 KiB.
    pub jute_max_buffer: usize,
    /// `jute.maxbuffer` again, if it is set: the most bytes of one znode's data, which a leader makes the
    /// ensemble's. While no leader has it set the ensemble keeps what it has, at first ZooKeeper's
    /// 1048575. At most 32 MiB.
    pub max_data_bytes: Option<u32>,
    /// `znode.container.checkIntervalMs`, default 60000: how often a leader looks for containers that have
    /// lost their last child.
    pub container_check: Duration,
    /// `preAllocSize`, KiB, default 65536: the size of the raft log's files, in bytes here. As much again
    /// is kept in reserve, and a node with less than four times of it free counts as short of space.
    pub pre_alloc_bytes: u64,
    /// The `server.N` lines by N; one made up for a node that stands alone.
    pub servers: Vec<Server>,
    /// `quorumListenOnAllIPs`, default false: peers may connect on every interface.
    pub quorum_listen_on_all_ips: bool,
    /// `electionTimeoutMs`, default 500: the least time without a leader's message before a
    /// follower campaigns; the most is twice as long.
    pub election_timeout: Duration,
    /// `historyRetentionMs`, default one hour: how long changes are kept for watch streams.
    pub history_retention: Duration,
    /// `otlpEndpoint` (`http://host:port`, `none`: nowhere; default what the environment says): where spans of writes that are
    /// followed go. `otlpSample` (0 to 1, default 0): which share of the others is followed as well.
    pub traces: TraceSettings,
    /// `historyRetentionBytes`, default 512 MiB: how much of them is kept at most.
    pub history_retention_bytes: u64,
    /// `metricsProvider.className` and where it serves; off unless it is ZooKeeper's Prometheus one.
    pub metrics_provider: MetricsProvider,
    /// Keys that ZooKeeper has and that mean nothing here, in the order they were found.
    pub ignored: Vec<String>,
}

/// Ports of the one node of an ensemble without `server.N` lines; nothing connects to them.
const ALONE: &str = "127.0.0.1";

impl Config {
    /// Reads the file at `path`, with `overrides` (`--set key=value`) over it; `myid` stands in
    /// for the file of that name.
    pub fn load(
        path: &Path,
        overrides: &[(String, String)],
        myid: Option<u64>,
    ) -> Result<Self, ConfigError> {
        let mut properties = Properties::read(path)?;
        properties.override_with(overrides);
        Self::from_properties(&properties, myid)
    }

    /// The same of a file's bytes; `path` is for messages.
    pub fn parse(
        path: &Path,
        bytes: &[u8],
        overrides: &[(String, String)],
        myid: Option<u64>,
    ) -> Result<Self, ConfigError> {
        let mut properties = Properties::parse(path, bytes)?;
        properties.override_with(overrides);
        Self::from_properties(&properties, myid)
    }

    /// The same without a file: defaults and `overrides` alone.
    pub fn from_overrides(
        overrides: &[(String, String)],
        myid: Option<u64>,
    ) -> Result<Self, ConfigError> {
        let mut properties = Properties::default();
        properties.override_with(overrides);
        Self::from_properties(&properties, myid)
    }

    fn from_properties(from: &Properties, myid: Option<u64>) -> Result<Self, ConfigError> {
        let ignored = check_keys(from)?;
        let data_dir = from.path("dataDir").ok_or_else(|| ConfigError::Missing {
            key: "dataDir",
            needed: "the folder that holds this node's state".to_owned(),
        })?;
        let mut servers = server_line::all(from)?;
        let node = node_id(&data_dir, &servers, myid)?;
        let client = client_endpoint(from, &servers, node)?;
        check_peer_type(from, &servers, node)?;
        if servers.is_empty() {
            servers.push(Server::alone(node, ALONE));
        }
        let tick_ms: u32 = from.number("tickTime", 2000, 1..=3_600_000)?;
        let (min_session_timeout_ms, max_session_timeout_ms) = session_timeouts(from, tick_ms)?;
        let jute_max_buffer = from.optional_number(
            "jute.maxbuffer",
            1024..=crate::limits::JUTE_MAX_BUFFER_HIGHEST_BYTES,
        )?;
        Ok(Self {
            node,
            data_log_dir: from.path("dataLogDir").unwrap_or_else(|| data_dir.clone()),
            data_dir,
            client,
            tick: Duration::from_millis(u64::from(tick_ms)),
            init_limit: from.number("initLimit", 10, 1..=1_000_000)?,
            sync_limit: from.number("syncLimit", 5, 1..=1_000_000)?,
            min_session_timeout_ms,
            max_session_timeout_ms,
            max_client_cnxns: from.number("maxClientCnxns", 60, 0..=u32::MAX)?,
            four_letter_words: four_letter_words(from),
            jute_max_buffer: jute_max_buffer.unwrap_or(crate::limits::JUTE_MAX_BUFFER_BYTES),
            max_data_bytes: jute_max_buffer.map(|bytes| {
                let bytes = bytes.min(crate::limits::MAX_DATA_HIGHEST_BYTES as usize);
                u32::try_from(bytes).unwrap_or(u32::MAX)
            }),
            container_check: from.millis(
                "znode.container.checkIntervalMs",
                60_000,
                1..=86_400_000,
            )?,
            pre_alloc_bytes: from.number("preAllocSize", 64 << 10, 64..=4 << 20)? << 10,
            servers,
            quorum_listen_on_all_ips: from.boolean("quorumListenOnAllIPs", false)?,
            election_timeout: from.millis("electionTimeoutMs", 500, 50..=60_000)?,
            history_retention: from.millis("historyRetentionMs", 3_600_000, 0..=u64::MAX)?,
            history_retention_bytes: from.number(
                "historyRetentionBytes",
                512 << 20,
                0..=u64::MAX,
            )?,
            metrics_provider: MetricsProvider::read(from)?,
            traces: traces(from)?,
            ignored,
        })
    }

    /// This node's own `server.N`.
    pub fn own_server(&self) -> &Server {
        let own = self.servers.iter().find(|server| server.node == self.node);
        own.expect("`node` was looked up in `servers`")
    }

    /// Every folder of data, each once.
    pub fn folders(&self) -> Vec<&Path> {
        let mut folders = vec![self.data_dir.as_path(), self.data_log_dir.as_path()];
        folders.dedup();
        folders
    }

    /// Where the state lies.
    pub fn state_folder(&self) -> PathBuf {
        self.data_dir.join("state")
    }

    /// Where the raft log lies, with the identity that belongs to it.
    pub fn raft_folder(&self) -> PathBuf {
        self.data_log_dir.join("raft")
    }

    /// What to warn of at start, one line each.
    pub fn warnings(&self) -> Vec<String> {
        match self.ignored.as_slice() {
            [] => Vec::new(),
            keys => {
                let keys = keys.join(", ");
                vec![format!("these keys of ZooKeeper mean nothing here: {keys}")]
            }
        }
    }
}

fn traces(from: &Properties) -> Result<TraceSettings, ConfigError> {
    let sample = match from.get("otlpSample") {
        None => 0.0,
        Some(entry) => {
            let share = entry.value.parse().ok();
            let share = share.filter(|share| (0.0..=1.0).contains(share));
            let wrong = || from.invalid("otlpSample", "allowed is a number from 0 to 1".to_owned());
            share.ok_or_else(wrong)?
        }
    };
    let address = from.get("otlpEndpoint").map(|entry| entry.value.as_str());
    TraceSettings::new(address, sample).map_err(|_| {
        let allowed = "allowed is http://host:port, or none".to_owned();
        from.invalid("otlpEndpoint", allowed)
    })
}

/// Refuses unknown keys; returns those that are ignored.
fn check_keys(from: &Properties) -> Result<Vec<String>, ConfigError> {
    let mut ignored = Vec::new();
    for (key, entry) in from.entries() {
        if KEYS.contains(&key) || server_line::is_key(key) {
            continue;
        }
        if let Some(reason) = known_keys::unsupported(key, &entry.value) {
            return Err(ConfigError::Unsupported {
                key: key.to_owned(),
                origin: entry.origin,
                reason,
            });
        }
        if !known_keys::is_ignored(key) {
            return Err(ConfigError::UnknownKey {
                key: key.to_owned(),
                origin: entry.origin,
            });
        }
        ignored.push(key.to_owned());
    }
    Ok(ignored)
}

fn node_id(data_dir: &Path, servers: &[Server], argument: Option<u64>) -> Result<u64, ConfigError> {
    let node = match argument {
        Some(node) => node,
        None if servers.is_empty() => 1,
        None => read_myid(&data_dir.join("myid"))?,
    };
    if !(1..=255).contains(&node) {
        let problem = format!("{node} is not between 1 and 255");
        return Err(ConfigError::NodeId(problem));
    }
    if !servers.is_empty() && !servers.iter().any(|server| server.node == node) {
        let known: Vec<String> = servers.iter().map(|s| s.node.to_string()).collect();
        let problem = format!("there is no server.{node}, only {}", known.join(", "));
        return Err(ConfigError::NodeId(problem));
    }
    Ok(node)
}

fn read_myid(path: &Path) -> Result<u64, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| {
        let help = "write the N of this node's server.N into it, or give it as an argument";
        ConfigError::NodeId(format!("cannot read {}: {source}; {help}", path.display()))
    })?;
    let number = text.trim().parse();
    number.map_err(|_| {
        let text: String = text.chars().take(40).collect();
        ConfigError::NodeId(format!("{} holds {text:?}, not a number", path.display()))
    })
}

/// See [`Config::client`].
fn client_endpoint(
    from: &Properties,
    servers: &[Server],
    node: u64,
) -> Result<Endpoint, ConfigError> {
    let own = servers.iter().find(|server| server.node == node);
    let port: Option<u16> = from.optional_number("clientPort", 0..=u16::MAX)?;
    let address = from.get("clientPortAddress").map(|entry| &entry.value);
    let behind_semicolon = own.and_then(|server| server.client.clone());
    if let (Some(port), Some(line)) = (port, &behind_semicolon)
        && port != line.port
    {
        let allowed = format!("server.{node} says {}: they must be equal", line.port);
        return Err(from.invalid("clientPort", allowed));
    }
    let host = match (address, &behind_semicolon, own) {
        (Some(address), _, _) => address.clone(),
        (None, Some(line), _) if !line.host.is_empty() => line.host.clone(),
        (None, _, None) => ALONE.to_owned(),
        (None, _, Some(server)) if server.on_loopback() => server.host.clone(),
        (None, _, Some(_)) => "0.0.0.0".to_owned(),
    };
    let port = behind_semicolon.map(|line| line.port).or(port);
    Ok(Endpoint {
        host,
        port: port.unwrap_or(2181),
    })
}

fn check_peer_type(from: &Properties, servers: &[Server], node: u64) -> Result<(), ConfigError> {
    let Some(entry) = from.get("peerType") else {
        return Ok(());
    };
    let own = servers.iter().find(|server| server.node == node);
    let role = own.map_or(Role::Participant, |server| server.role);
    if entry.value.eq_ignore_ascii_case(role.name()) {
        return Ok(());
    }
    let allowed = format!("this node's server.N makes it a {}", role.name());
    Err(from.invalid("peerType", allowed))
}

fn session_timeouts(from: &Properties, tick_ms: u32) -> Result<(u32, u32), ConfigError> {
    let highest = 24 * 3_600_000;
    let unset = |ms: Option<i64>| ms.filter(|ms| *ms != -1);
    let min = unset(from.optional_number("minSessionTimeout", -1..=i64::from(highest))?);
    let max = unset(from.optional_number("maxSessionTimeout", -1..=i64::from(highest))?);
    let ticks = |ticks: u32| i64::from(tick_ms.saturating_mul(ticks).min(highest));
    let (low, high) = (min.unwrap_or(ticks(2)), max.unwrap_or(ticks(20)));
    if low < 1 {
        return Err(from.invalid("minSessionTimeout", "at least 1 millisecond".to_owned()));
    }
    if low > high {
        let key = if max.is_some() {
            "maxSessionTimeout"
        } else {
            "minSessionTimeout"
        };
        let problem = format!("minSessionTimeout {low} must not be above maxSessionTimeout {high}");
        return Err(from.invalid(key, problem));
    }
    let narrow = |ms: i64| u32::try_from(ms).expect("bounded by `highest`");
    Ok((narrow(low), narrow(high)))
}

fn four_letter_words(from: &Properties) -> FourLetterWords {
    let Some(entry) = from.get("4lw.commands.whitelist") else {
        return FourLetterWords::Harmless;
    };
    let words = entry.value.split(',').map(|word| word.trim().to_owned());
    let words: Vec<String> = words.filter(|word| !word.is_empty()).collect();
    match words.iter().any(|word| word == "*") {
        true => FourLetterWords::All,
        false => FourLetterWords::Only(words),
    }
}
