//! DeleteGroups (42): groups without members, with their offsets.

use super::{Context, KafkaError};
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

pub(super) async fn handle(
    ctx: &Context,
    _version: i16,
    request: DeleteGroupsRequest,
) -> DeleteGroupsResponse {
    let mut results = Vec::with_capacity(request.groups_names.len());
    for group in request.groups_names {
        let deleted = ctx.groups.delete(&group).await;
        let code = deleted.map_or_else(|error| error.code(), |()| 0);
        results.push(
            DeletableGroupResult::default()
                .with_group_id(group)
                .with_error_code(code),
        );
    }
    DeleteGroupsResponse::default().with_results(results)
}
