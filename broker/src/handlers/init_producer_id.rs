//! InitProducerId (22): ids for idempotent producers, from blocks that the ensemble hands out.
//!
//! Transactions do not exist yet: a transactional id is refused.

use super::cluster_admin::{AdminError, ClusterAdmin};
use super::{Context, KafkaError};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};
use std::ops::Range;
use tokio::sync::Mutex;
use tracing::warn;

/// The rest of this broker's block. The lock is held while a new block is fetched, so that many producers
/// that start at once need one.
#[derive(Debug)]
pub struct ProducerIds(Mutex<Range<i64>>);

impl Default for ProducerIds {
    fn default() -> Self {
        Self(Mutex::new(0..0))
    }
}

impl ProducerIds {
    /// An id that nobody else gets.
    pub async fn next(&self, admin: &dyn ClusterAdmin) -> Result<i64, AdminError> {
        let mut block = self.0.lock().await;
        if block.is_empty() {
            *block = admin.producer_id_block().await?;
        }
        block
            .next()
            .ok_or_else(|| AdminError::NotDone("an empty block of producer ids".to_owned()))
    }
}

pub(super) async fn handle(
    ctx: &Context,
    _: i16,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    let refused = |code| {
        InitProducerIdResponse::default()
            .with_error_code(code)
            .with_producer_epoch(-1)
    };
    if request.transactional_id.is_some() {
        return refused(ResponseError::UnsupportedVersion.code());
    }
    match ctx.producer_ids.next(&*ctx.admin).await {
        Ok(id) => InitProducerIdResponse::default().with_producer_id(ProducerId(id)),
        Err(error) => {
            warn!(%error, "no producer id");
            // As Kafka: the client tries again.
            match error.response_error() {
                ResponseError::RequestTimedOut => {
                    refused(ResponseError::CoordinatorLoadInProgress.code())
                }
                other => refused(other.code()),
            }
        }
    }
}
