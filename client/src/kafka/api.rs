//! Which versions of which request this client speaks.
//!
//! One row per API. Ranges end below the newest version where the newer one only changes how
//! topics are named (ids instead of names) or batches what is asked one by one here.
//! A client picks the highest version both ends know.

use kafka_protocol::messages::{
    ApiVersionsRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteGroupsRequest,
    DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest, DescribeGroupsRequest,
    DescribeLogDirsRequest, ElectLeadersRequest, FetchRequest, FindCoordinatorRequest,
    HeartbeatRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest, JoinGroupRequest,
    LeaveGroupRequest, ListGroupsRequest, ListOffsetsRequest, MetadataRequest, OffsetCommitRequest,
    OffsetFetchRequest, ProduceRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::{Request, VersionRange};

/// A request this client sends.
pub trait Api: Request {
    /// Name in errors and logs.
    const NAME: &'static str;
    /// Versions this client speaks.
    const SPOKEN: VersionRange;
}

macro_rules! apis {
    ($($request:ident $name:literal $min:literal..=$max:literal;)*) => {
        $(impl Api for $request {
            const NAME: &'static str = $name;
            const SPOKEN: VersionRange = VersionRange { min: $min, max: $max };
        })*
    };
}

apis! {
    ProduceRequest "Produce" 3..=12;
    FetchRequest "Fetch" 4..=12;
    ListOffsetsRequest "ListOffsets" 1..=7;
    MetadataRequest "Metadata" 1..=12;
    OffsetCommitRequest "OffsetCommit" 2..=8;
    OffsetFetchRequest "OffsetFetch" 1..=7;
    FindCoordinatorRequest "FindCoordinator" 0..=3;
    JoinGroupRequest "JoinGroup" 0..=7;
    HeartbeatRequest "Heartbeat" 0..=4;
    LeaveGroupRequest "LeaveGroup" 0..=4;
    SyncGroupRequest "SyncGroup" 0..=5;
    DescribeGroupsRequest "DescribeGroups" 0..=5;
    ListGroupsRequest "ListGroups" 0..=4;
    ApiVersionsRequest "ApiVersions" 0..=3;
    CreateTopicsRequest "CreateTopics" 2..=7;
    DeleteTopicsRequest "DeleteTopics" 1..=5;
    InitProducerIdRequest "InitProducerId" 0..=4;
    DescribeConfigsRequest "DescribeConfigs" 1..=4;
    DescribeLogDirsRequest "DescribeLogDirs" 1..=4;
    CreatePartitionsRequest "CreatePartitions" 0..=3;
    DeleteGroupsRequest "DeleteGroups" 0..=2;
    ElectLeadersRequest "ElectLeaders" 0..=2;
    IncrementalAlterConfigsRequest "IncrementalAlterConfigs" 0..=1;
    DescribeClusterRequest "DescribeCluster" 0..=1;
}
