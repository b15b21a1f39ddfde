//! `server.N = host:quorumPort:electionPort[:role][;[clientAddress:]clientPort]`, the form that
//! ZooKeeper has had since 3.5. An IPv6 address stands in brackets.

use std::net::IpAddr;

use super::ConfigError;
use super::properties::Properties;

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an address, an IPv6 one without brackets; empty if only a port was given.
    pub host: String,
    /// 0 lets the system choose, in tests.
    pub port: u16,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Does a node vote?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It votes.
    Participant,
    /// It learns and serves clients, without a vote.
    Observer,
}

impl Role {
    /// As `server.N` and `peerType` write it.
    pub fn name(self) -> &'static str {
        match self {
            Role::Participant => "participant",
            Role::Observer => "observer",
        }
    }
}

/// One node of the ensemble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The N of `server.N`, 1 to 255.
    pub node: u64,
    /// Where its peers reach it.
    pub host: String,
    /// For raft's messages.
    pub quorum_port: u16,
    /// For bulk transfer; ZooKeeper elects there.
    pub election_port: u16,
    /// Does it vote?
    pub role: Role,
    /// What stands behind the `;`.
    pub client: Option<Endpoint>,
}

impl Server {
    /// The one node of an ensemble without `server.N` lines.
    pub(super) fn alone(node: u64, host: &str) -> Self {
        Self {
            node,
            host: host.to_owned(),
            quorum_port: 0,
            election_port: 0,
            role: Role::Participant,
            client: None,
        }
    }

    /// Can only this machine reach it?
    pub fn on_loopback(&self) -> bool {
        let address = self.host.parse::<IpAddr>();
        self.host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }
}

/// Is `key` a `server.N`?
pub fn is_key(key: &str) -> bool {
    key.starts_with("server.")
}

/// Every `server.N`, by N.
pub fn all(from: &Properties) -> Result<Vec<Server>, ConfigError> {
    let mut servers: Vec<Server> = Vec::new();
    for (key, entry) in from.entries().filter(|(key, _)| is_key(key)) {
        let node = key["server.".len()..].parse::<u64>().ok();
        let Some(node) = node.filter(|node| (1..=255).contains(node)) else {
            return Err(from.invalid(key, "the N of server.N is from 1 to 255".to_owned()));
        };
        let server = parse(node, &entry.value).map_err(|problem| {
            let form =
                "host:quorumPort:electionPort[:participant|:observer][;[address:]clientPort]";
            from.invalid(key, format!("{problem}; allowed is {form}"))
        })?;
        servers.push(server);
    }
    servers.sort_by_key(|server| server.node);
    if let Some(twice) = servers.windows(2).find(|pair| pair[0].node == pair[1].node) {
        let key = format!("server.{}", twice[0].node);
        return Err(from.invalid(&key, "this node stands there twice".to_owned()));
    }
    if !servers.is_empty() && !servers.iter().any(|s| s.role == Role::Participant) {
        let key = format!("server.{}", servers[0].node);
        return Err(from.invalid(&key, "at least one node must be a participant".to_owned()));
    }
    Ok(servers)
}

fn parse(node: u64, value: &str) -> Result<Server, String> {
    let (peer, client) = match value.split_once(';') {
        Some((peer, client)) => (peer, Some(parse_client(client)?)),
        None => (value, None),
    };
    if peer.contains('|') {
        return Err("several addresses of one node are not supported".to_owned());
    }
    let (host, rest) = split_host(peer)?;
    let mut parts = rest.split(':');
    let quorum_port = parse_port("quorumPort", parts.next())?;
    let election_port = parse_port("electionPort", parts.next())?;
    let role = match parts.next().map(str::to_ascii_lowercase).as_deref() {
        None | Some("participant") => Role::Participant,
        Some("observer") => Role::Observer,
        Some(other) => return Err(format!("{other:?} is not a role")),
    };
    if let Some(more) = parts.next() {
        return Err(format!("{more:?} is one part too many"));
    }
    Ok(Server {
        node,
        host,
        quorum_port,
        election_port,
        role,
        client,
    })
}

fn parse_client(text: &str) -> Result<Endpoint, String> {
    let text = text.trim();
    if !text.contains(':') {
        let port = parse_port("clientPort", Some(text))?;
        return Ok(Endpoint {
            host: String::new(),
            port,
        });
    }
    let (host, port) = split_host(text)?;
    let port = parse_port("clientPort", Some(&port))?;
    Ok(Endpoint { host, port })
}

/// The host, and what stands behind its colon.
fn split_host(text: &str) -> Result<(String, String), String> {
    let text = text.trim();
    let (host, rest) = match text.strip_prefix('[') {
        Some(bracketed) => bracketed
            .split_once("]:")
            .ok_or("the bracket is not closed")?,
        None => text.split_once(':').ok_or("there is no port")?,
    };
    match host.is_empty() {
        true => Err("the host is empty".to_owned()),
        false => Ok((host.to_owned(), rest.to_owned())),
    }
}

fn parse_port(name: &str, text: Option<&str>) -> Result<u16, String> {
    let text = text.ok_or_else(|| format!("{name} is missing"))?.trim();
    let port = text.parse::<u16>().ok().filter(|port| *port != 0);
    port.ok_or_else(|| format!("{name} {text:?} is not a port"))
}
