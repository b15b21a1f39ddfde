//! ListGroups (16): the groups this broker coordinates.

use super::{Context, KafkaError};
use crate::wire::codec::text;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};

/// First version that filters by state and tells it.
const STATE_SINCE: i16 = 4;
/// First version that filters by type and tells it.
const TYPE_SINCE: i16 = 5;
/// The one type of groups here.
const CLASSIC: &str = "classic";

pub(super) async fn handle(
    ctx: &Context,
    version: i16,
    request: ListGroupsRequest,
) -> ListGroupsResponse {
    let listed = match ctx.groups.list() {
        Ok(listed) => listed,
        Err(error) => return ListGroupsResponse::default().with_error_code(error.code()),
    };
    let wanted = |filter: &[kafka_protocol::protocol::StrBytes], value: &str| {
        filter.is_empty() || filter.iter().any(|f| f.eq_ignore_ascii_case(value))
    };
    let groups = listed.into_iter().filter(|group| {
        wanted(&request.states_filter, group.state.name()) && wanted(&request.types_filter, CLASSIC)
    });
    let groups = groups.map(|group| {
        let mut listed = ListedGroup::default()
            .with_group_id(GroupId(text(group.group)))
            .with_protocol_type(text(group.protocol_type));
        if version >= STATE_SINCE {
            listed = listed.with_group_state(text(group.state.name()));
        }
        if version >= TYPE_SINCE {
            listed = listed.with_group_type(text(CLASSIC));
        }
        listed
    });
    ListGroupsResponse::default().with_groups(groups.collect())
}
