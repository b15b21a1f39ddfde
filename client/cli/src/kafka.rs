//! What the tools of the brokers share: where the brokers are, and how their errors end the program.

use std::time::Duration;

use zweig_client::kafka::{Admin, Client, ClientOptions, ErrorCode, KafkaError};

use crate::failure::{Code, Failure};

/// Options of every tool that talks to brokers.
#[derive(Debug, Clone, clap::Args)]
pub struct Brokers {
    /// Brokers to begin with, host:port by commas; one that answers is enough.
    #[arg(
        long,
        short = 'b',
        global = true,
        env = "ZWEIG_BOOTSTRAP",
        hide_env_values = true,
        default_value = "127.0.0.1:9092",
        value_name = "HOST:PORT[,..]",
        value_parser = addresses
    )]
    pub bootstrap: String,
}

/// `host:port`, several by commas; the whole text again if it is that.
fn addresses(text: &str) -> Result<String, String> {
    let mut addresses = text.split(',').map(str::trim).peekable();
    while let Some(address) = addresses.next() {
        let last_is_empty = address.is_empty() && addresses.peek().is_none() && text.contains(':');
        let port = address
            .rsplit_once(':')
            .filter(|(host, _)| !host.is_empty());
        let port = port.and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none_or(|port| port == 0) && !last_is_empty {
            return Err(format!("'{address}' is not host:port"));
        }
    }
    Ok(text.to_owned())
}

impl Brokers {
    /// A client whose operations give up after `patience`.
    pub fn client(&self, patience: Duration) -> Client {
        let mut options = ClientOptions::new(&self.bootstrap);
        options.connection.client_id = "zweig".to_owned();
        options.connection.connect_timeout = patience.min(Duration::from_secs(5));
        options.operation_timeout = patience;
        Client::new(options)
    }

    /// For administration.
    pub fn admin(&self, patience: Duration) -> Admin {
        Admin::new(self.client(patience))
    }
}

/// The exit code that goes with an error of the brokers, and what to do about it.
pub fn failed(error: &KafkaError) -> anyhow::Error {
    Failure {
        code: code_of(error),
        message: error.to_string(),
        hint: hint(error).map(Into::into),
    }
    .into()
}

fn hint(error: &KafkaError) -> Option<&'static str> {
    Some(match error {
        KafkaError::Unreachable { .. } => {
            "Is that a broker's port (not a coordinator's), and does it run? --bootstrap or ZWEIG_BOOTSTRAP says \
             where to look; `zweig dev` starts a cluster."
        }
        KafkaError::Disconnected { .. } | KafkaError::TimedOut { .. } => {
            "It may have been done: look before trying again."
        }
        KafkaError::Broker { code, .. } => match code {
            ErrorCode::UnknownTopicOrPartition => "`zweig topic list` shows the topics there are.",
            ErrorCode::TopicAlreadyExists => "If that is as it should be, add --if-not-exists.",
            ErrorCode::GroupIdNotFound => "`zweig group list` shows the groups there are.",
            ErrorCode::NonEmptyGroup => "It has members: stop its consumers first.",
            ErrorCode::InvalidReplicationFactor => {
                "`zweig broker list` shows the brokers there are."
            }
            ErrorCode::NotEnoughReplicas | ErrorCode::NotEnoughReplicasAfterAppend => {
                "`zweig topic describe` shows which replicas are in sync; the topic wants more of them."
            }
            _ => return None,
        },
        _ => return None,
    })
}

fn code_of(error: &KafkaError) -> Code {
    match error {
        KafkaError::Unreachable { .. } => Code::Unavailable,
        KafkaError::Disconnected { .. } | KafkaError::TimedOut { .. } => Code::OutcomeUnknown,
        KafkaError::Invalid(_) => Code::Usage,
        KafkaError::Broker { code, .. } => match code {
            ErrorCode::UnknownTopicOrPartition
            | ErrorCode::UnknownTopicId
            | ErrorCode::GroupIdNotFound => Code::NotFound,
            ErrorCode::TopicAlreadyExists
            | ErrorCode::NonEmptyGroup
            | ErrorCode::UnknownMemberId
            | ErrorCode::IllegalGeneration
            | ErrorCode::FencedInstanceId => Code::Conflict,
            ErrorCode::RequestTimedOut => Code::OutcomeUnknown,
            ErrorCode::InvalidTopicException
            | ErrorCode::InvalidPartitions
            | ErrorCode::InvalidReplicationFactor
            | ErrorCode::InvalidReplicaAssignment
            | ErrorCode::InvalidConfig
            | ErrorCode::InvalidRequest
            | ErrorCode::InvalidGroupId => Code::Usage,
            ErrorCode::TopicAuthorizationFailed
            | ErrorCode::GroupAuthorizationFailed
            | ErrorCode::ClusterAuthorizationFailed => Code::NotAllowed,
            code if code.is_retriable() => Code::Unavailable,
            _ => Code::Failed,
        },
        _ => Code::Failed,
    }
}

/// `\t`, `\n`, `\r`, `\0` and `\\` as what they stand for.
pub fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            plain.push(letter);
            continue;
        }
        match letters.next() {
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('0') => plain.push('\0'),
            Some('\\') | None => plain.push('\\'),
            Some(other) => plain.extend(['\\', other]),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_hosts_with_ports() {
        for good in ["a:1", "a:1,b:2", "a:1, b:2,", "[::1]:9092"] {
            assert_eq!(addresses(good), Ok(good.to_owned()));
        }
        for bad in ["", "a", "a:", ":1", "a:0", "a:70000", "a:1,,b:2", "a:1,b"] {
            assert!(addresses(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn escapes_stand_for_what_they_name() {
        assert_eq!(unescape(r"a\tb\n\\\x"), "a\tb\n\\\\x");
    }
}
