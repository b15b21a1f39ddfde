//! Kafka's requests: one file per API, one row per API in [`REGISTRY`].
//!
//! A row is the whole truth about an API: its key, the versions served, the versions advertised and the
//! handler. ApiVersions answers from these rows; decoding and encoding are the same for all of them
//! ([`crate::wire::codec`]). A handler takes a decoded request, calls one room and puts what it hears into an
//! answer; decisions are made in the rooms. Their errors become Kafka's codes in [`error`], nowhere else.
//!
//! A request begins when those before it on its connection are answered. Produces alone begin behind each other, each
//! polled once before the next: they append before their first wait.
//!
//! Called by `net`; calls `replica::hosted`, `purgatory`, `metadata`, `shard` and, through
//! [`cluster_admin::ClusterAdmin`], the ensemble. Absent on purpose: authorisation and quotas (later), and
//! the RPCs by which Kafka's controller commands its brokers (here the watch stream does that).

mod api_versions;
pub mod cluster_admin;
mod context;
mod create_topics;
mod delete_groups;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod elect_leaders;
pub mod error;
mod fetch;
mod find_coordinator;
mod heartbeat;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_groups;
mod list_offsets;
mod metadata;
mod new_leader;
mod offset_commit;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod sync_group;

pub use crate::wire::codec::RequestError;
pub use context::{Caller, Context, Reachable, Services};
pub use error::KafkaError;
pub use init_producer_id::ProducerIds;

use crate::clock;
use crate::limits::MAX_TOPIC_NAME_BYTES;
use crate::wire::codec::{self, FixedHeader};
use crate::wire::pieces::Pieces;
use crate::wire::skim;
use bytes::{Buf, Bytes};
use futures::future::BoxFuture;
use kafka_protocol::messages::{ApiKey, RequestHeader};
use kafka_protocol::protocol::{Encodable, HeaderVersion, Request};
use std::collections::HashSet;
use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::Arc;

/// What a request is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply<A> {
    /// This.
    Answer(A),
    /// Nothing: `acks=0`.
    Silence,
    /// A closed connection, for this reason.
    Close(String),
}

impl<A> From<A> for Reply<A> {
    fn from(answer: A) -> Self {
        Self::Answer(answer)
    }
}

/// An answer as it goes to the socket, size first.
pub type Frame = Pieces;

/// Decodes, runs and encodes one request of a known API and version.
type Run =
    fn(Context, RequestLine, Bytes) -> BoxFuture<'static, Result<Reply<Frame>, RequestError>>;

/// What the frame of an answer needs to know of its request.
#[derive(Debug, Clone, Copy)]
struct RequestLine {
    version: i16,
    correlation_id: i32,
}

/// One API.
pub struct Api {
    /// Its key.
    pub key: ApiKey,
    /// Lowest version served.
    pub min: i16,
    /// Highest version served, and advertised.
    pub max: i16,
    /// Lowest version advertised.
    pub advertised_min: i16,
    run: Run,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:?} {}..={} (advertised from {})",
            self.key, self.min, self.max, self.advertised_min
        )
    }
}

/// One row: `api!(Key, min..=max, path::to::handler)`.
macro_rules! api {
    ($key:ident, $min:literal ..= $max:literal, $handler:path) => {
        api!($key, $min..=$max, advertised $min, $handler)
    };
    ($key:ident, $min:literal ..= $max:literal, advertised $advertised:literal, $handler:path) => {
        api!($key, $min..=$max, advertised $advertised, $handler, encoded whole)
    };
    ($key:ident, $min:literal ..= $max:literal, advertised $advertised:literal, $handler:path, encoded $encode:path) => {
        Api {
            key: ApiKey::$key,
            min: $min,
            max: $max,
            advertised_min: $advertised,
            run: |context, line, mut body| {
                Box::pin(async move {
                    let request = codec::decode(&mut body, line.version)?;
                    let key = of_request(&request);
                    match reply_to(key, $handler(&context, line.version, request).await) {
                        Reply::Answer(answer) => {
                            $encode(answer, line.version, line.correlation_id).map(Reply::Answer)
                        }
                        Reply::Silence => Ok(Reply::Silence),
                        Reply::Close(reason) => Ok(Reply::Close(reason)),
                    }
                })
            },
        }
    };
}

/// An answer in one piece.
#[expect(
    clippy::needless_pass_by_value,
    reason = "as the encoder that gives pieces of it away"
)]
fn whole<A: Encodable + HeaderVersion>(
    answer: A,
    version: i16,
    correlation_id: i32,
) -> Result<Frame, RequestError> {
    codec::encode(&answer, version, correlation_id).map(Frame::from)
}

/// Remembers the type of a request that is about to be given away.
fn of_request<Q: Request>(_: &Q) -> PhantomData<Q> {
    PhantomData
}

/// What a handler returned, as a reply to the request it was given.
fn reply_to<Q: Request>(
    _: PhantomData<Q>,
    returned: impl Into<Reply<Q::Response>>,
) -> Reply<Q::Response> {
    returned.into()
}

/// Every API this broker serves, by key.
#[rustfmt::skip]
pub static REGISTRY: &[Api] = &[
    api!(Produce, 3..=12, advertised 0, produce::handle),
    api!(Fetch, 4..=17, advertised 4, fetch::handle, encoded fetch::encode),
    api!(ListOffsets, 1..=9, list_offsets::handle),
    api!(Metadata, 0..=12, metadata::handle),
    api!(OffsetCommit, 2..=9, offset_commit::handle),
    api!(OffsetFetch, 1..=9, offset_fetch::handle),
    api!(FindCoordinator, 0..=4, find_coordinator::handle),
    api!(JoinGroup, 0..=9, join_group::handle),
    api!(Heartbeat, 0..=4, heartbeat::handle),
    api!(LeaveGroup, 0..=5, leave_group::handle),
    api!(SyncGroup, 0..=5, sync_group::handle),
    api!(DescribeGroups, 0..=6, describe_groups::handle),
    api!(ListGroups, 0..=5, list_groups::handle),
    api!(ApiVersions, 0..=4, api_versions::handle),
    api!(CreateTopics, 2..=7, create_topics::handle),
    api!(DeleteTopics, 1..=6, delete_topics::handle),
    api!(InitProducerId, 0..=4, init_producer_id::handle),
    api!(OffsetForLeaderEpoch, 2..=4, offset_for_leader_epoch::handle),
    api!(DescribeConfigs, 1..=4, describe_configs::handle),
    api!(DescribeLogDirs, 1..=4, describe_log_dirs::handle),
    api!(DeleteGroups, 0..=2, delete_groups::handle),
    api!(ElectLeaders, 0..=2, elect_leaders::handle),
    api!(DescribeCluster, 0..=1, describe_cluster::handle),
];

/// Stands for operations nobody asked about.
const NO_OPERATIONS: i32 = i32::MIN;
/// Everything that can be done to a topic, as Kafka's bits: read, write, create, delete, alter, describe, and
/// describe and alter its settings.
const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// Everything that can be done to a cluster: create, alter, describe, cluster action, describe and alter its
/// settings, idempotent write.
const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;

/// Whether a topic belongs to the brokers themselves.
fn is_internal(topic: &str) -> bool {
    matches!(topic, "__consumer_offsets" | "__transaction_state")
}

/// A topic's name to look for: none where it is longer than any topic's, as it may be copied for each of its partitions.
fn findable(topic: &str) -> &str {
    match topic.len() <= MAX_TOPIC_NAME_BYTES {
        true => topic,
        false => "",
    }
}

/// What a request lists, each once: the first of those with the same key. Answering what is named again and again would
/// let a small request ask for a huge answer.
fn distinct<T, K: Eq + Hash>(listed: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut seen = HashSet::with_capacity(listed.len());
    let mut listed = listed;
    listed.retain(|one| seen.insert(key(one)));
    listed
}

/// The row of a key.
#[must_use]
pub fn find(key: i16) -> Option<&'static Api> {
    REGISTRY.iter().find(|api| api.key as i16 == key)
}

/// Whether a request may begin while others of its kind are not answered yet: all it does in an order it does at its
/// first poll.
#[must_use]
pub fn is_pipelined(frame: &Bytes) -> bool {
    FixedHeader::peek(frame).is_ok_and(|header| header.key == ApiKey::Produce as i16)
}

/// Answers one request frame (without its size). The caller names listener and host; the client id is
/// taken from the frame.
pub async fn answer(mut context: Context, mut frame: Bytes) -> Result<Reply<Frame>, RequestError> {
    let FixedHeader {
        key,
        version,
        correlation_id,
    } = FixedHeader::peek(&frame)?;
    let api = find(key).ok_or(RequestError::UnknownApi { key, version })?;
    let served = (api.min..=api.max).contains(&version);
    if !served && api.key == ApiKey::ApiVersions {
        // A client that begins with a version from the future learns the range from this one answer.
        return whole(api_versions::unsupported(), 0, correlation_id).map(Reply::Answer);
    }
    if !(api.advertised_min..=api.max).contains(&version) {
        return Err(RequestError::UnsupportedVersion {
            api: api.key,
            version,
        });
    }
    if api.key != ApiKey::Produce && frame.len() > crate::limits::MAX_PLAIN_REQUEST_BYTES {
        return Err(RequestError::TooLarge {
            api: api.key,
            size: frame.len(),
        });
    }
    let mut head = frame.slice(..frame.len().min(crate::limits::MAX_HEADER_BYTES));
    let whole = head.len();
    let header: RequestHeader = codec::decode(&mut head, api.key.request_header_version(version))?;
    frame.advance(whole - head.len());
    if api.key == ApiKey::Produce {
        let shape = skim::produce(version, &frame);
        shape.map_err(|error| RequestError::Malformed {
            what: "produce request",
            version,
            reason: error.to_string(),
        })?;
    }
    context.caller.client_id = header.client_id.map(|id| id.to_string());
    if !served {
        return produce::refuse_legacy(version, correlation_id, &frame);
    }
    let metrics = Arc::clone(context.replicas.metrics());
    let line = RequestLine {
        version,
        correlation_id,
    };
    let begun = clock::now();
    let answered = (api.run)(context, line, frame).await;
    metrics.answered(api.key, clock::now().saturating_duration_since(begun));
    answered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_unique_and_within_what_the_codec_knows() {
        for pair in REGISTRY.windows(2) {
            assert!((pair[0].key as i16) < pair[1].key as i16, "{:?}", pair[1]);
        }
        for api in REGISTRY {
            let known = api.key.valid_versions();
            assert!(
                api.advertised_min <= api.min && api.min <= api.max,
                "{api:?}"
            );
            assert!(
                known.min <= api.min && api.max <= known.max,
                "{api:?}, codec {known}"
            );
        }
    }

    #[test]
    fn only_produce_is_advertised_below_what_is_served() {
        let below = REGISTRY.iter().filter(|api| api.advertised_min < api.min);
        assert_eq!(
            below.map(|api| api.key as i16).collect::<Vec<_>>(),
            [ApiKey::Produce as i16]
        );
    }
}
