//! What lies in a broker's log directories (KIP-113, KIP-827).

use kafka_protocol::messages::DescribeLogDirsRequest;

use super::Admin;
use crate::kafka::ErrorCode;
use crate::kafka::client::Lane;
use crate::kafka::error::{KafkaError, check};

/// A log directory of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDir {
    /// Its path on the broker's machine.
    pub path: String,
    /// What is wrong with it: KAFKA_STORAGE_ERROR.
    pub error: Option<ErrorCode>,
    /// Bytes of its file system; `None` from brokers before Kafka 3.3.
    pub bytes: Option<u64>,
    /// Bytes that can still be written; `None` from brokers before Kafka 3.3.
    pub free_bytes: Option<u64>,
    /// The replicas in it.
    pub replicas: Vec<LogDirReplica>,
}

/// A replica in a log directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDirReplica {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Bytes of its segments.
    pub bytes: u64,
    /// As Kafka counts it: how far its end is behind its own high watermark.
    pub lag: i64,
}

impl Admin {
    /// The log directories of a broker, asked of that broker.
    ///
    /// # Errors
    /// [`KafkaError`] if the broker does not answer.
    pub async fn log_dirs(&self, broker: i32) -> Result<Vec<LogDir>, KafkaError> {
        self.client
            .retry(|| async {
                let connection = self.client.broker(broker, Lane::Control).await?;
                let answer = connection
                    .call(|_| {
                        let mut request = DescribeLogDirsRequest::default();
                        request.topics = None;
                        request
                    })
                    .await?;
                let what = || format!("log directories of broker {broker}");
                check(what, answer.error_code)?;
                let mut dirs = Vec::with_capacity(answer.results.len());
                for result in answer.results {
                    let topics = result.topics.into_iter();
                    let replicas = topics.flat_map(|topic| {
                        let name = topic.name.to_string();
                        topic.partitions.into_iter().map(move |p| LogDirReplica {
                            topic: name.clone(),
                            partition: p.partition_index,
                            bytes: u64::try_from(p.partition_size).unwrap_or(0),
                            lag: p.offset_lag,
                        })
                    });
                    dirs.push(LogDir {
                        error: ErrorCode::try_from_code(result.error_code),
                        bytes: u64::try_from(result.total_bytes).ok(),
                        free_bytes: u64::try_from(result.usable_bytes).ok(),
                        replicas: replicas.collect(),
                        path: result.log_dir.to_string(),
                    });
                }
                Ok(dirs)
            })
            .await
    }
}
