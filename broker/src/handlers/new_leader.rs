//! What Produce and Fetch tell beside an error since KIP-951: who leads instead, and where that broker is reached.
//! The two APIs have types of their own for it, alike in all but the name.

/// Makes `leader` and `endpoints` out of one API's types.
macro_rules! in_the_types_of {
    ($messages:ident) => {
        use crate::handlers::Context;
        use crate::wire::codec::text;
        use kafka_protocol::messages::BrokerId;
        use kafka_protocol::messages::$messages::{LeaderIdAndEpoch, NodeEndpoint};

        /// A leader and its epoch.
        pub fn leader((leader, epoch): (i32, i32)) -> LeaderIdAndEpoch {
            LeaderIdAndEpoch::default()
                .with_leader_id(BrokerId(leader))
                .with_leader_epoch(epoch)
        }

        /// Where the leaders named in an answer can be reached.
        pub fn endpoints<'a>(
            ctx: &Context,
            named: impl Iterator<Item = &'a LeaderIdAndEpoch>,
        ) -> Vec<NodeEndpoint> {
            let reachable = ctx.endpoints_of(named.map(|leader| leader.leader_id.0));
            let endpoint = |broker: crate::handlers::Reachable| {
                NodeEndpoint::default()
                    .with_node_id(BrokerId(broker.id))
                    .with_host(text(broker.host))
                    .with_port(broker.port)
                    .with_rack(broker.rack.map(text))
            };
            reachable.into_iter().map(endpoint).collect()
        }
    };
}

/// For Produce.
pub mod produce {
    in_the_types_of!(produce_response);
}

/// For Fetch.
pub mod fetch {
    in_the_types_of!(fetch_response);
}
