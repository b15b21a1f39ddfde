//! ApiVersions (18): which versions of which APIs are served here.
//!
//! The answer's header is always version 0, so that a client of any age can read it; the codec's
//! `HeaderVersion` knows that. No features are announced: they would switch newer clients to
//! transactions v2 and the new group protocol.

use super::{Context, REGISTRY};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};

pub(super) async fn handle(_: &Context, _: i16, _: ApiVersionsRequest) -> ApiVersionsResponse {
    ApiVersionsResponse::default().with_api_keys(REGISTRY.iter().map(row).collect())
}

/// The answer, in version 0, to a version of ApiVersions that is not served: the range that is.
pub(super) fn unsupported() -> ApiVersionsResponse {
    let own = REGISTRY
        .iter()
        .filter(|api| api.key == ApiKey::ApiVersions)
        .map(row)
        .collect();
    ApiVersionsResponse::default()
        .with_error_code(ResponseError::UnsupportedVersion.code())
        .with_api_keys(own)
}

fn row(api: &super::Api) -> ApiVersion {
    ApiVersion::default()
        .with_api_key(api.key as i16)
        .with_min_version(api.advertised_min)
        .with_max_version(api.max)
}
