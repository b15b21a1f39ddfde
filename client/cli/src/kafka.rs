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
        default_value = "127.0.0.1:9092",
        value_name = "HOST:PORT[,..]"
    )]
    pub bootstrap: String,
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

/// The exit code that goes with an error of the brokers.
pub fn failed(error: &KafkaError) -> anyhow::Error {
    Failure::error(code_of(error), error.to_string())
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
