//! DescribeGroups (15).

use super::{Context, KafkaError, NO_OPERATIONS, distinct};
use crate::group::describe::Described;
use crate::group::{GroupError, GroupState};
use crate::wire::codec::text;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse};

/// First version that may ask for operations on groups.
const OPERATIONS_SINCE: i16 = 3;
/// First version that knows static members.
const INSTANCE_SINCE: i16 = 4;
/// First version that says of an unknown group that it is one.
const NOT_FOUND_SINCE: i16 = 6;
/// Everything that can be done to a group, as Kafka's bits: read, delete, describe.
const GROUP_OPERATIONS: i32 = 0b1_0100_1000;

pub(super) async fn handle(
    ctx: &Context,
    version: i16,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let wants = request.include_authorized_operations && version >= OPERATIONS_SINCE;
    let operations = if wants {
        GROUP_OPERATIONS
    } else {
        NO_OPERATIONS
    };
    let ids = distinct(request.groups, Clone::clone);
    let groups = ids.into_iter().map(|id| {
        let answer = match ctx.groups.describe(&id) {
            Ok(described) => to_group(version, described),
            Err(error) => DescribedGroup::default().with_error_code(error.code()),
        };
        answer
            .with_group_id(id)
            .with_authorized_operations(operations)
    });
    DescribeGroupsResponse::default().with_groups(groups.collect())
}

fn to_group(version: i16, group: Described) -> DescribedGroup {
    let members = group.members.into_iter().map(|member| {
        let instance = member.instance_id.filter(|_| version >= INSTANCE_SINCE);
        DescribedGroupMember::default()
            .with_member_id(text(member.id))
            .with_group_instance_id(instance.map(text))
            .with_client_id(text(member.client_id))
            .with_client_host(text(member.client_host))
            .with_member_metadata(member.metadata)
            .with_member_assignment(member.assignment)
    });
    let unknown = group.state == GroupState::Dead && version >= NOT_FOUND_SINCE;
    DescribedGroup::default()
        .with_error_code(if unknown {
            GroupError::NotFound.code()
        } else {
            0
        })
        .with_group_state(text(group.state.name()))
        .with_protocol_type(text(group.protocol_type))
        .with_protocol_data(text(group.protocol))
        .with_members(members.collect())
}
