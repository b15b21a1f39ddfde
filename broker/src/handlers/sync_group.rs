//! SyncGroup (14). Answered when the leader's assignment is committed.

use super::{Context, KafkaError};
use crate::group::SyncRequest;
use crate::wire::codec::text;
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};

/// First version whose answers name protocol and type.
const PROTOCOL_SINCE: i16 = 5;

pub(super) async fn handle(
    ctx: &Context,
    version: i16,
    request: SyncGroupRequest,
) -> SyncGroupResponse {
    let sync = SyncRequest {
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.map(|id| id.to_string()),
        generation: request.generation_id,
        protocol_type: request.protocol_type.map(|t| t.to_string()),
        protocol: request.protocol_name.map(|p| p.to_string()),
        assignments: request
            .assignments
            .into_iter()
            .map(|given| (given.member_id.to_string(), given.assignment))
            .collect(),
    };
    let response = SyncGroupResponse::default();
    match ctx.groups.sync(&request.group_id, sync).await {
        Err(error) => response.with_error_code(error.code()),
        Ok(synced) => {
            let named = version >= PROTOCOL_SINCE;
            response
                .with_protocol_type(synced.protocol_type.filter(|_| named).map(text))
                .with_protocol_name(synced.protocol.filter(|_| named).map(text))
                .with_assignment(synced.assignment)
        }
    }
}
