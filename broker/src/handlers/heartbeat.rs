//! Heartbeat (12).

use super::{Context, KafkaError};
use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

pub(super) async fn handle(
    ctx: &Context,
    _version: i16,
    request: HeartbeatRequest,
) -> HeartbeatResponse {
    let alive = ctx.groups.heartbeat(
        &request.group_id,
        &request.member_id,
        request.group_instance_id.as_deref(),
        request.generation_id,
    );
    HeartbeatResponse::default().with_error_code(alive.map_or_else(|error| error.code(), |()| 0))
}
