//! Addresses: `NAME://host:port` lists of listeners, and `host:port,…/chroot` of the ensemble.

use super::parse::{ConfigError, Values};

/// One listener: a name, and where it listens or is advertised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name in `listener.security.protocol.map`.
    pub name: String,
    /// Host name or address without brackets; empty: every interface.
    pub host: String,
    /// Port; 0 lets the system choose (bound listeners only).
    pub port: u16,
}

/// Where metrics are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsListener {
    /// Host name or address without brackets; empty: every interface.
    pub host: String,
    /// Port; 0 lets the system choose.
    pub port: u16,
}

impl std::fmt::Display for MetricsListener {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(out, "[{}]:{}", self.host, self.port),
            false => write!(out, "{}:{}", self.host, self.port),
        }
    }
}

/// The value of `metrics.listener`.
pub(super) fn metrics(values: &Values) -> Result<Option<MetricsListener>, ConfigError> {
    const KEY: &str = "metrics.listener";
    let text = values.text(KEY).trim();
    if text.is_empty() {
        return Ok(None);
    }
    let Some((host, port)) = address(text) else {
        return Err(values.invalid(KEY, "host:port, :port for every interface, or nothing"));
    };
    Ok(Some(MetricsListener { host, port }))
}

const LISTENERS: &str = "a comma-separated list of NAME://host:port with distinct names";

/// The security protocol of every name of a listener.
pub(super) fn protocols(values: &Values) -> Result<Vec<(String, String)>, ConfigError> {
    const KEY: &str = "listener.security.protocol.map";
    let mut map = Vec::new();
    for pair in values.text(KEY).split(',').filter(|p| !p.trim().is_empty()) {
        let Some((name, protocol)) = pair.trim().split_once(':') else {
            return Err(values.invalid(KEY, "a comma-separated list of NAME:PROTOCOL"));
        };
        // Kafka's default map names all four protocols; naming one is fine, using it is not.
        map.push((name.trim().to_uppercase(), protocol.trim().to_uppercase()));
    }
    Ok(map)
}

/// The listeners of a key; each must map to PLAINTEXT.
pub(super) fn listeners(
    values: &Values,
    key: &'static str,
    protocols: &[(String, String)],
) -> Result<Vec<Listener>, ConfigError> {
    let mut listeners: Vec<Listener> = Vec::new();
    for text in values.text(key).split(',').filter(|p| !p.trim().is_empty()) {
        let listener = parse(text.trim()).ok_or_else(|| values.invalid(key, LISTENERS))?;
        if listeners.iter().any(|l| l.name == listener.name) {
            return Err(values.invalid(key, LISTENERS));
        }
        let protocol = protocols.iter().find(|(name, _)| *name == listener.name);
        match protocol.map(|(_, protocol)| protocol.as_str()) {
            Some("PLAINTEXT") => listeners.push(listener),
            Some(other) => {
                let allowed =
                    format!("listeners that map to PLAINTEXT: {other} is not supported yet");
                return Err(values.invalid(key, &allowed));
            }
            None => {
                let allowed = "listeners whose names stand in listener.security.protocol.map";
                return Err(values.invalid(key, allowed));
            }
        }
    }
    Ok(listeners)
}

fn parse(text: &str) -> Option<Listener> {
    let (name, rest) = text.split_once("://")?;
    let (host, port) = address(rest)?;
    let name = Some(name).filter(|name| !name.is_empty())?.to_uppercase();
    Some(Listener { name, host, port })
}

/// `host:port`, an IPv6 address in brackets.
fn address(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host
        .strip_prefix('[')
        .map_or(Some(host), |inner| inner.strip_suffix(']'))?;
    let port = port.parse().ok()?;
    (!host.contains('/')).then(|| (host.to_owned(), port))
}

/// The coordinators and the chroot of `zookeeper.connect`. The chroot is empty or begins with a
/// slash; a missing port is 2181.
pub(super) fn connect(values: &Values) -> Result<(Vec<String>, String), ConfigError> {
    const KEY: &str = "zookeeper.connect";
    const ALLOWED: &str = "host:port,host:port,… then an optional /chroot";
    let text = values.text(KEY);
    if text.is_empty() {
        return Err(ConfigError::Missing {
            key: KEY,
            allowed: ALLOWED,
        });
    }
    let (hosts, chroot) = match text.find('/') {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let chroot = chroot.trim_end_matches('/');
    if chroot.contains("//") {
        return Err(values.invalid(KEY, ALLOWED));
    }
    let mut endpoints = Vec::new();
    for host in hosts.split(',').map(str::trim).filter(|h| !h.is_empty()) {
        let bare = host
            .rsplit_once(':')
            .is_none_or(|(_, port)| port.ends_with(']'));
        let endpoint = if bare {
            format!("{host}:2181")
        } else {
            host.to_owned()
        };
        let port = endpoint
            .rsplit_once(':')
            .map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(1..))) {
            return Err(values.invalid(KEY, ALLOWED));
        }
        endpoints.push(endpoint);
    }
    if endpoints.is_empty() {
        return Err(values.invalid(KEY, ALLOWED));
    }
    Ok((endpoints, chroot.to_owned()))
}
