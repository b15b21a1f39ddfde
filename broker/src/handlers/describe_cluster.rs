//! DescribeCluster (60): brokers, controller, cluster id.

use super::{CLUSTER_OPERATIONS, Context, NO_OPERATIONS};
use crate::wire::codec::text;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse};

/// Kafka's number of the kind of endpoint that brokers are.
const BROKERS: i8 = 1;

pub(super) async fn handle(
    ctx: &Context,
    version: i16,
    request: DescribeClusterRequest,
) -> DescribeClusterResponse {
    if version >= 1 && request.endpoint_type != BROKERS {
        return DescribeClusterResponse::default()
            .with_error_code(ResponseError::MismatchedEndpointType.code())
            .with_error_message(Some(text("this is a broker")));
    }
    let image = ctx.image();
    let brokers = ctx
        .endpoints_of(image.brokers.keys().copied())
        .into_iter()
        .map(|broker| {
            DescribeClusterBroker::default()
                .with_broker_id(BrokerId(broker.id))
                .with_host(text(broker.host))
                .with_port(broker.port)
                .with_rack(broker.rack.map(text))
        });
    let operations = if request.include_cluster_authorized_operations {
        CLUSTER_OPERATIONS
    } else {
        NO_OPERATIONS
    };
    DescribeClusterResponse::default()
        .with_cluster_id(text(image.cluster_id.as_deref().unwrap_or_default()))
        .with_controller_id(BrokerId(image.controller_id().unwrap_or(-1)))
        .with_brokers(brokers.collect())
        .with_cluster_authorized_operations(operations)
}
