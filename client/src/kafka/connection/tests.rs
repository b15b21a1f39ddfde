//! The connection against a broker made of closures.

use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, HeartbeatRequest, HeartbeatResponse, ResponseHeader,
};
use kafka_protocol::protocol::{Encodable, HeaderVersion};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::*;
use crate::kafka::ErrorCode;

/// A request as the fake broker sees it.
pub(in crate::kafka) struct Seen {
    pub(in crate::kafka) key: i16,
    pub(in crate::kafka) version: i16,
    pub(in crate::kafka) correlation: i32,
}

/// Answers each frame with what `answer` makes of it; `None` ends the connection.
async fn fake(answer: impl FnMut(Seen) -> Option<Vec<u8>> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address").to_string();
    tokio::spawn(serve(listener, answer));
    address
}

/// The same, on a port that is known already, and for as many connections as come.
pub(in crate::kafka) async fn serve(
    listener: TcpListener,
    answer: impl FnMut(Seen) -> Option<Vec<u8>> + Send + 'static,
) {
    let answer = Arc::new(Mutex::new(answer));
    while let Ok((mut socket, _)) = listener.accept().await {
        let answer = Arc::clone(&answer);
        tokio::spawn(async move {
            while let Ok(length) = socket.read_i32().await {
                let mut frame = vec![0; length as usize];
                socket.read_exact(&mut frame).await.expect("a whole frame");
                let mut frame = Bytes::from(frame);
                let seen = Seen {
                    key: frame.get_i16(),
                    version: frame.get_i16(),
                    correlation: frame.get_i32(),
                };
                let answered = (*answer.lock())(seen);
                let Some(bytes) = answered else { return };
                if socket.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// An answer as it goes to the socket.
pub(in crate::kafka) fn frame<M: Encodable + HeaderVersion>(
    correlation: i32,
    message: &M,
    version: i16,
) -> Vec<u8> {
    let mut body = BytesMut::new();
    let mut header = ResponseHeader::default();
    header.correlation_id = correlation;
    header
        .encode(&mut body, M::header_version(version))
        .expect("header");
    message.encode(&mut body, version).expect("body");
    let mut frame = (body.len() as i32).to_be_bytes().to_vec();
    frame.extend_from_slice(&body);
    frame
}

fn versions(correlation: i32, version: i16, error: i16) -> Vec<u8> {
    let range = |key: ApiKey, min, max| {
        let mut api = ApiVersion::default();
        api.api_key = key as i16;
        api.min_version = min;
        api.max_version = max;
        api
    };
    let mut answer = ApiVersionsResponse::default();
    answer.error_code = error;
    answer.api_keys = vec![
        range(ApiKey::ApiVersions, 0, 2),
        range(ApiKey::Heartbeat, 0, 2),
        range(ApiKey::JoinGroup, 90, 99),
    ];
    frame(correlation, &answer, version)
}

/// Negotiates, then answers heartbeats by `heartbeat`.
async fn heartbeating(
    mut heartbeat: impl FnMut(Seen) -> Option<Vec<u8>> + Send + 'static,
) -> Connection {
    let address = fake(move |seen| match seen.key {
        18 => Some(versions(seen.correlation, seen.version, 0)),
        _ => heartbeat(seen),
    })
    .await;
    let opened = Connection::open(&address, &ConnectionOptions::default()).await;
    opened.expect("opened")
}

fn alive(seen: &Seen, code: i16) -> Vec<u8> {
    let mut answer = HeartbeatResponse::default();
    answer.error_code = code;
    frame(seen.correlation, &answer, seen.version)
}

#[tokio::test]
async fn a_broker_that_does_not_know_our_version_is_asked_in_one_it_knows() {
    let address = fake(|seen| {
        assert_eq!(seen.key, 18);
        Some(match seen.version {
            3 => versions(seen.correlation, 0, ErrorCode::UnsupportedVersion.code()),
            version => versions(seen.correlation, version, 0),
        })
    })
    .await;
    let connection = Connection::open(&address, &ConnectionOptions::default())
        .await
        .expect("open");
    assert_eq!(connection.version::<HeartbeatRequest>().expect("common"), 2);
    let none = connection.version::<kafka_protocol::messages::JoinGroupRequest>();
    assert!(
        matches!(none, Err(KafkaError::UnsupportedApi { api_key: 11, .. })),
        "{none:?}"
    );
}

#[tokio::test]
async fn pipelined_requests_get_their_own_answers() {
    let mut count = 0;
    let connection = heartbeating(move |seen| {
        count += 1;
        Some(alive(&seen, count))
    })
    .await;
    let call = || connection.call(|_| HeartbeatRequest::default());
    let (a, b, c) = tokio::join!(call(), call(), call());
    let codes: Vec<i16> = [a, b, c]
        .into_iter()
        .map(|r| r.expect("answer").error_code)
        .collect();
    assert_eq!(codes, [1, 2, 3]);
}

#[tokio::test]
async fn an_answer_to_another_request_ends_the_connection() {
    let connection = heartbeating(|seen| {
        let other = Seen {
            correlation: seen.correlation + 1,
            ..seen
        };
        Some(alive(&other, 0))
    })
    .await;
    let answer = connection.call(|_| HeartbeatRequest::default()).await;
    assert!(
        matches!(answer, Err(KafkaError::Disconnected { .. })),
        "{answer:?}"
    );
    assert!(!connection.alive());
}

#[tokio::test]
async fn a_closed_connection_is_told_to_everyone_who_waits() {
    let connection = heartbeating(|_| None).await;
    let call = || connection.call(|_| HeartbeatRequest::default());
    let (a, b) = tokio::join!(call(), call());
    assert!(a.is_err_and(|e| e.retriable()) && b.is_err_and(|e| e.retriable()));
    let later = connection.call(|_| HeartbeatRequest::default()).await;
    assert!(
        matches!(later, Err(KafkaError::Disconnected { .. })),
        "{later:?}"
    );
}

#[tokio::test]
async fn a_late_answer_closes_the_connection() {
    let connection = heartbeating(|_| Some(Vec::new())).await;
    let limit = Duration::from_millis(50);
    let answer = connection
        .call_within(limit, |_| HeartbeatRequest::default())
        .await;
    assert!(
        matches!(answer, Err(KafkaError::TimedOut { .. })),
        "{answer:?}"
    );
    assert!(!connection.alive());
}

#[tokio::test]
async fn a_length_that_cannot_be_ends_the_connection() {
    let connection = heartbeating(|_| Some(vec![0x7f, 0xff, 0xff, 0xff])).await;
    let answer = connection.call(|_| HeartbeatRequest::default()).await;
    assert!(
        matches!(answer, Err(KafkaError::Disconnected { .. })),
        "{answer:?}"
    );
}

#[tokio::test]
async fn nobody_there_is_said_with_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address").to_string();
    drop(listener);
    let error = Connection::open(&address, &ConnectionOptions::default())
        .await
        .expect_err("none");
    assert!(error.to_string().contains(&address), "{error}");
}
