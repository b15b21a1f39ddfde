//! JoinGroup (11). Answered when the rebalance it takes part in is complete.

use super::{Context, KafkaError};
use crate::chance;
use crate::group::{JoinRequest, Joined};
use crate::wire::codec::text;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};

/// First version with a rebalance timeout of its own; before, the session's counts.
const REBALANCE_TIMEOUT_SINCE: i16 = 1;
/// First version whose clients come back with the id they are given.
const KNOWN_ID_SINCE: i16 = 4;
/// First version that knows static members.
const INSTANCE_SINCE: i16 = 5;
/// As much of the client's own name goes into a new member's id.
const FRESH_ID_BYTES: usize = 1024;
/// First version whose answers name the protocol's type, and may lack the protocol.
const PROTOCOL_TYPE_SINCE: i16 = 7;
/// First version whose leaders can be told to skip the assignment.
const SKIP_ASSIGNMENT_SINCE: i16 = 9;

pub(super) async fn handle(
    ctx: &Context,
    version: i16,
    request: JoinGroupRequest,
) -> JoinGroupResponse {
    let group = request.group_id.to_string();
    let joined = ctx
        .groups
        .join(&group, to_join(ctx, version, request))
        .await;
    to_response(version, joined)
}

fn to_join(ctx: &Context, version: i16, request: JoinGroupRequest) -> JoinRequest {
    let client_id = ctx.caller.client_id.clone().unwrap_or_default();
    let instance_id = request
        .group_instance_id
        .filter(|_| version >= INSTANCE_SINCE)
        .map(|i| i.to_string());
    let fresh = instance_id.as_deref().unwrap_or(&client_id);
    let fresh = &fresh[..fresh.floor_char_boundary(FRESH_ID_BYTES)];
    JoinRequest {
        fresh_id: format!("{fresh}-{}", chance::uuid()),
        member_id: request.member_id.to_string(),
        instance_id,
        client_id,
        client_host: format!("/{}", ctx.caller.host),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: if version >= REBALANCE_TIMEOUT_SINCE {
            request.rebalance_timeout_ms
        } else {
            request.session_timeout_ms
        },
        protocol_type: request.protocol_type.to_string(),
        protocols: request
            .protocols
            .into_iter()
            .map(|protocol| (protocol.name.to_string(), protocol.metadata))
            .collect(),
        requires_known_id: version >= KNOWN_ID_SINCE,
        can_skip_assignment: version >= SKIP_ASSIGNMENT_SINCE,
    }
}

fn to_response(version: i16, joined: Joined) -> JoinGroupResponse {
    let members = joined
        .members
        .into_iter()
        .map(|member| {
            JoinGroupResponseMember::default()
                .with_member_id(text(member.id))
                .with_group_instance_id(
                    member
                        .instance_id
                        .filter(|_| version >= INSTANCE_SINCE)
                        .map(text),
                )
                .with_metadata(member.metadata)
        })
        .collect();
    let named = version >= PROTOCOL_TYPE_SINCE;
    let protocol = match joined.protocol {
        None if !named => Some(String::new()),
        protocol => protocol,
    };
    JoinGroupResponse::default()
        .with_error_code(joined.error.map_or(0, |error| error.code()))
        .with_generation_id(joined.generation)
        .with_protocol_type(joined.protocol_type.filter(|_| named).map(text))
        .with_protocol_name(protocol.map(text))
        .with_leader(text(joined.leader))
        .with_skip_assignment(joined.skip_assignment && version >= SKIP_ASSIGNMENT_SINCE)
        .with_member_id(text(joined.member_id))
        .with_members(members)
}
