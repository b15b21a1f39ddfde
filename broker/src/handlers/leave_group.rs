//! LeaveGroup (13).

use super::{Context, KafkaError};
use crate::group::heartbeat::Leaving;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

/// First version in which several members leave at once.
const BATCH_SINCE: i16 = 3;

pub(super) async fn handle(
    ctx: &Context,
    version: i16,
    request: LeaveGroupRequest,
) -> LeaveGroupResponse {
    let leaving: Vec<Leaving> = if version >= BATCH_SINCE {
        let member =
            |member: &kafka_protocol::messages::leave_group_request::MemberIdentity| Leaving {
                member_id: member.member_id.to_string(),
                instance_id: member.group_instance_id.as_ref().map(|id| id.to_string()),
            };
        request.members.iter().map(member).collect()
    } else {
        vec![Leaving {
            member_id: request.member_id.to_string(),
            instance_id: None,
        }]
    };
    let response = LeaveGroupResponse::default();
    let left = match ctx.groups.leave(&request.group_id, &leaving) {
        Ok(left) => left,
        Err(error) => return response.with_error_code(error.code()),
    };
    let codes = left
        .into_iter()
        .map(|result| result.map_or_else(|error| error.code(), |()| 0));
    if version < BATCH_SINCE {
        return response.with_error_code(codes.into_iter().next().unwrap_or(0));
    }
    let members = request
        .members
        .into_iter()
        .zip(codes)
        .map(|(member, code)| {
            MemberResponse::default()
                .with_member_id(member.member_id)
                .with_group_instance_id(member.group_instance_id)
                .with_error_code(code)
        });
    response.with_members(members.collect())
}
