//! DescribeLogDirs (35; KIP-113, KIP-827): the log directories of this broker, the replicas in them, and their room.

use super::Context;
use crate::replica::hosted::DirView;
use crate::tasks;
use crate::wire::codec::text;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse, TopicName};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// First version that tells the room of the file system.
const ROOM_SINCE: i16 = 4;
/// First version with an error for the request as a whole.
const ERROR_SINCE: i16 = 3;

/// The partitions asked for, by topic.
type Wanted = HashMap<TopicName, HashSet<i32>>;

pub(super) async fn handle(
    ctx: &Context,
    version: i16,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let replicas = Arc::clone(&ctx.replicas);
    // The file system is asked, which may be slow.
    let Ok(dirs) = tasks::blocking(move || replicas.dirs()).await else {
        let failed = ResponseError::KafkaStorageError.code();
        let code = if version >= ERROR_SINCE { failed } else { 0 };
        return DescribeLogDirsResponse::default().with_error_code(code);
    };
    let wanted = request.topics.map(|topics| {
        let mut wanted = Wanted::new();
        for topic in topics {
            wanted
                .entry(topic.topic)
                .or_default()
                .extend(topic.partitions);
        }
        wanted
    });
    let results = dirs.into_iter();
    let results = results.map(|dir| describe(dir, version, wanted.as_ref()));
    DescribeLogDirsResponse::default().with_results(results.collect())
}

fn describe(dir: DirView, version: i16, wanted: Option<&Wanted>) -> DescribeLogDirsResult {
    let mut topics = BTreeMap::<TopicName, Vec<DescribeLogDirsPartition>>::new();
    for replica in dir.replicas {
        let name = TopicName(text(replica.name.topic));
        let index = replica.name.partition;
        let is_wanted = |wanted: &Wanted| wanted.get(&name).is_some_and(|w| w.contains(&index));
        if !wanted.is_none_or(is_wanted) {
            continue;
        }
        let partition = DescribeLogDirsPartition::default()
            .with_partition_index(index)
            .with_partition_size(i64::try_from(replica.size_bytes).unwrap_or(i64::MAX))
            .with_offset_lag(replica.lag);
        topics.entry(name).or_default().push(partition);
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        DescribeLogDirsTopic::default()
            .with_name(name)
            .with_partitions(partitions)
    });
    let result = DescribeLogDirsResult::default()
        .with_log_dir(text(dir.path.display().to_string()))
        .with_topics(topics.collect());
    match dir.space {
        Ok(space) if version >= ROOM_SINCE => result
            .with_total_bytes(i64::try_from(space.total).unwrap_or(i64::MAX))
            .with_usable_bytes(i64::try_from(space.free).unwrap_or(i64::MAX)),
        Ok(_) => result,
        Err(error) => {
            tracing::warn!(log_dir = %dir.path.display(), %error, "the room of a log directory can't be told");
            result.with_error_code(ResponseError::KafkaStorageError.code())
        }
    }
}
