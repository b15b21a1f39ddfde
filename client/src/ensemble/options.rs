//! How to reach an ensemble, and as whom.

use std::fmt;
use std::time::Duration;

use super::chroot::Chroot;
use super::error::ConnectError;

/// The session's key: whoever has it can resume the session from anywhere.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// The session's id, never 0.
    pub session: i64,
    /// Its password, as the ensemble granted it.
    pub password: [u8; 16],
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials(session {:#x})", self.session)
    }
}

/// Somebody to authenticate as.
#[derive(Clone, PartialEq, Eq)]
pub struct Auth {
    /// `digest`.
    pub scheme: String,
    /// `user:password`, in clear.
    pub id: String,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Auth({})", self.scheme)
    }
}

/// How to reach an ensemble, and as whom.
#[derive(Debug, Clone)]
pub struct Options {
    /// `host:port` of the client port of each node, at least one.
    pub endpoints: Vec<String>,
    /// What `/` means to this client: empty, or an absolute path.
    pub chroot: String,
    /// What to ask for; the ensemble may grant another one. Default 10 s.
    pub session_timeout: Duration,
    /// Once this process has died, which closes its connection, the session ends after this instead of its timeout; so it
    /// does after a break of the connection that the node sees as the client's own, unless it is resumed by then.
    /// `None` (the default): it lives for its timeout, as in ZooKeeper. Whole milliseconds, at least 1.
    pub disconnect_timeout: Option<Duration>,
    /// Resume this session instead of opening one.
    pub resume: Option<Credentials>,
    /// Whom to authenticate as, on every connection.
    pub auth: Vec<Auth>,
    /// How long `connect` tries before it gives up. Default 15 s.
    pub connect_timeout: Duration,
    /// How long a request waits unsent for a connection. Default 10 s.
    pub request_timeout: Duration,
    /// Of the order in which nodes are tried and of the jitter; `None` takes one from the system.
    pub seed: Option<u64>,
}

impl Options {
    /// The defaults, for these nodes.
    pub fn new<S: Into<String>>(endpoints: impl IntoIterator<Item = S>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            chroot: String::new(),
            session_timeout: Duration::from_secs(10),
            disconnect_timeout: None,
            resume: None,
            auth: Vec::new(),
            connect_timeout: Duration::from_secs(15),
            request_timeout: Duration::from_secs(10),
            seed: None,
        }
    }

    /// Parses ZooKeeper's connect string, `host[:port][,host[:port]...][/chroot]`. The port is 2181
    /// unless written.
    ///
    /// # Errors
    /// `BadOptions` names the part that is malformed.
    pub fn parse(connect: &str) -> Result<Self, ConnectError> {
        let (hosts, chroot) = match connect.find('/') {
            Some(at) => connect.split_at(at),
            None => (connect, ""),
        };
        let mut options = Self::new(Vec::<String>::new());
        for host in hosts.split(',').map(str::trim).filter(|h| !h.is_empty()) {
            options.endpoints.push(with_port(host)?);
        }
        options.chroot = chroot.trim_end_matches('/').to_owned();
        options.validated()
    }

    /// Checks what can be checked without a network.
    ///
    /// # Errors
    /// `BadOptions` says what is wrong.
    pub fn validated(self) -> Result<Self, ConnectError> {
        let bad = |what: String| Err(ConnectError::BadOptions(what));
        if self.endpoints.is_empty() {
            return bad("no endpoint, at least one host:port is needed".into());
        }
        if self.session_timeout < Duration::from_millis(1)
            || self.session_timeout > Duration::from_millis(u64::from(u32::MAX))
        {
            return bad(format!(
                "session timeout {:?} is out of range",
                self.session_timeout
            ));
        }
        if let Some(timeout) = self.disconnect_timeout
            && !(1..=u128::from(u32::MAX)).contains(&timeout.as_millis())
        {
            return bad(format!("disconnect timeout {timeout:?} is out of range"));
        }
        Chroot::new(&self.chroot).map_err(|e| ConnectError::BadOptions(e.to_string()))?;
        for endpoint in &self.endpoints {
            with_port(endpoint)?;
        }
        Ok(self)
    }
}

/// The default client port, ZooKeeper's.
const CLIENT_PORT: u16 = 2181;

fn with_port(host: &str) -> Result<String, ConnectError> {
    let bad = || ConnectError::BadOptions(format!("'{host}' is not host:port"));
    let bracket_end = host.rfind(']');
    let (name, port) = match host.rfind(':') {
        Some(colon) if bracket_end.is_none_or(|end| colon > end) => (
            &host[..colon],
            host[colon + 1..].parse().map_err(|_| bad())?,
        ),
        _ => (host, CLIENT_PORT),
    };
    let bare_v6 = name.contains(':') && bracket_end.is_none();
    if name.is_empty() || bare_v6 || port == 0 || name.contains(char::is_whitespace) {
        return Err(bad());
    }
    Ok(format!("{name}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connect_string_is_hosts_then_chroot() {
        let options = Options::parse("a:1, b,[::1]:3/kafka/").expect("parses");
        assert_eq!(options.endpoints, ["a:1", "b:2181", "[::1]:3"]);
        assert_eq!(options.chroot, "/kafka");
        assert_eq!(Options::parse("h/").expect("parses").chroot, "");
    }

    #[test]
    fn what_is_malformed_is_named() {
        for (connect, part) in [
            ("", "no endpoint"),
            ("/kafka", "no endpoint"),
            ("a:b", "'a:b'"),
            ("a:0", "'a:0'"),
            (":1", "':1'"),
            ("::1", "'::1'"),
            ("a//b", "//b"),
        ] {
            let refused = Options::parse(connect).expect_err(connect).to_string();
            assert!(refused.contains(part), "{connect}: {refused}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let auth = Auth {
            scheme: "digest".into(),
            id: "u:secret".into(),
        };
        let credentials = Credentials {
            session: 1,
            password: [7; 16],
        };
        let printed = format!("{auth:?} {credentials:?}");
        assert!(!printed.contains("secret") && !printed.contains('7'));
    }
}
