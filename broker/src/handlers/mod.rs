//! Kafka's requests: one file per API, one row per API in [`REGISTRY`].
//!
//! A row is the whole truth about an API: its key, the versions served, the versions advertised and the
//! handler. ApiVersions answers from these rows, decoding and encoding are the same for all of them
//! ([`codec`]). A handler takes a decoded request, calls one room and puts what it hears into an answer;
//! decisions are made in the rooms. Their errors become Kafka's codes in [`error`], nowhere else.
//!
//! A handler's first poll happens in the order of the requests of its connection: whatever must keep that
//! order (an append, a group's state) is done before the first wait.
//!
//! Called by `net`; calls `replica::hosted`, `purgatory`, `metadata`, `ensemble` and `shard`.
//! Absent on purpose: authorisation and quotas (later), and the RPCs by which Kafka's controller commands its
//! brokers (here the watch stream does that).

mod api_versions;
mod codec;
mod context;
mod guarded;

pub use codec::{RequestError, text};
pub use context::{Caller, Context, Services};

use bytes::Bytes;
use codec::FixedHeader;
use futures::future::BoxFuture;
use kafka_protocol::messages::{ApiKey, RequestHeader};

/// An answer as it goes to the socket, size first; `None` where the protocol wants silence (`acks=0`).
pub type Answer = Option<Bytes>;

/// Decodes, runs and encodes one request of a known API and version.
type Run = fn(Context, RequestLine, Bytes) -> BoxFuture<'static, Result<Answer, RequestError>>;

/// What a handler's frame needs to know of a request besides its body.
#[derive(Debug, Clone, Copy)]
struct RequestLine {
    version: i16,
    correlation_id: i32,
}

/// One API.
pub struct Api {
    /// Its key.
    pub key: ApiKey,
    /// Lowest version served.
    pub min: i16,
    /// Highest version served, and advertised.
    pub max: i16,
    /// Lowest version advertised.
    pub advertised_min: i16,
    run: Run,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:?} {}..={} (advertised from {})",
            self.key, self.min, self.max, self.advertised_min
        )
    }
}

/// One row: `api!(Key, min..=max, path::to::handler)`.
macro_rules! api {
    ($key:ident, $min:literal ..= $max:literal, $handler:path) => {
        api!($key, $min..=$max, advertised $min, $handler)
    };
    ($key:ident, $min:literal ..= $max:literal, advertised $advertised:literal, $handler:path) => {
        Api {
            key: ApiKey::$key,
            min: $min,
            max: $max,
            advertised_min: $advertised,
            run: |context, line, mut body| {
                Box::pin(async move {
                    let request = codec::decode(&mut body, line.version)?;
                    let response = $handler(&context, line.version, request).await;
                    match Option::from(response) {
                        Some(response) => codec::encode(&response, line.version, line.correlation_id).map(Some),
                        None => Ok(None),
                    }
                })
            },
        }
    };
}

/// Every API this broker serves, by key.
pub static REGISTRY: &[Api] = &[api!(ApiVersions, 0..=4, api_versions::handle)];

/// The row of a key.
#[must_use]
pub fn find(key: i16) -> Option<&'static Api> {
    REGISTRY.iter().find(|api| api.key as i16 == key)
}

/// Answers one request frame (without its size). The caller names listener and host; the client id is
/// taken from the frame.
pub async fn answer(mut context: Context, mut frame: Bytes) -> Result<Answer, RequestError> {
    let fixed = FixedHeader::peek(&frame)?;
    let FixedHeader {
        key,
        version,
        correlation_id,
    } = fixed;
    let api = find(key).ok_or(RequestError::UnknownApi { key, version })?;
    if !(api.min..=api.max).contains(&version) {
        // A client that begins with a version from the future learns the range from this one answer.
        if api.key == ApiKey::ApiVersions {
            return codec::encode(&api_versions::unsupported(), 0, correlation_id).map(Some);
        }
        return Err(RequestError::UnsupportedVersion {
            api: api.key,
            version,
        });
    }
    let header: RequestHeader = codec::decode(&mut frame, api.key.request_header_version(version))?;
    context.caller.client_id = header.client_id.map(|id| id.to_string());
    (api.run)(
        context,
        RequestLine {
            version,
            correlation_id,
        },
        frame,
    )
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_unique_and_within_what_the_codec_knows() {
        for pair in REGISTRY.windows(2) {
            assert!((pair[0].key as i16) < pair[1].key as i16, "{:?}", pair[1]);
        }
        for api in REGISTRY {
            let known = api.key.valid_versions();
            let legacy = api.key == ApiKey::Produce;
            assert!(
                api.advertised_min <= api.min && api.min <= api.max,
                "{api:?}"
            );
            assert!(
                (known.min <= api.min || legacy) && api.max <= known.max,
                "{api:?}, codec {known}"
            );
        }
    }
}
