//! Byte-level tests: a real socket on one side, requests made by `kafka-protocol` on the other.

mod wire;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::{Decodable, StrBytes};
use wire::{Wire, broker};

fn api_versions() -> ApiVersionsRequest {
    ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("wire"))
        .with_client_software_version(StrBytes::from_static_str("1"))
}

#[tokio::test]
async fn api_versions_is_answered_in_every_version() {
    let broker = broker().await;
    let mut wire = Wire::connect(broker.address()).await;
    for version in 0..=4 {
        let request = match version {
            0..3 => ApiVersionsRequest::default(),
            _ => api_versions(),
        };
        let answer: ApiVersionsResponse = wire.call(ApiKey::ApiVersions, version, &request).await;
        assert_eq!(answer.error_code, 0);
        let own = answer
            .api_keys
            .iter()
            .find(|k| k.api_key == 18)
            .expect("its own row");
        assert_eq!((own.min_version, own.max_version), (0, 4));
    }
}

#[tokio::test]
async fn a_version_from_the_future_learns_the_range() {
    let broker = broker().await;
    let mut wire = Wire::connect(broker.address()).await;
    let mut frame = BytesMut::new();
    frame.put_i16(18);
    frame.put_i16(77);
    frame.put_i32(4711);
    frame.put_slice(b"\xffwhatever a later version says");
    wire.send_frame(&frame).await;
    let mut answer = wire.receive_frame().await.expect("an answer");
    assert_eq!(answer.split_to(4)[..], 4711i32.to_be_bytes());
    let answer = ApiVersionsResponse::decode(&mut answer, 0).expect("version 0");
    assert_eq!(answer.error_code, 35);
    let rows: Vec<_> = answer
        .api_keys
        .iter()
        .map(|k| (k.api_key, k.min_version, k.max_version))
        .collect();
    assert_eq!(rows, [(18, 0, 4)]);
}

#[tokio::test]
async fn answers_leave_in_the_order_of_requests() {
    let broker = broker().await;
    let mut wire = Wire::connect(broker.address()).await;
    let ids: Vec<i32> = (0..300)
        .map(|_| wire.send_quietly(ApiKey::ApiVersions, 3, &api_versions()))
        .collect();
    wire.flush().await;
    for id in ids {
        let answer = wire.receive_frame().await.expect("an answer");
        assert_eq!(answer[..4], id.to_be_bytes());
    }
}

#[tokio::test]
async fn garbage_closes_the_connection_and_nothing_else() {
    let broker = broker().await;
    for garbage in [
        &b"\xff\xff\xff\xff"[..],                  // a negative size
        b"\x7f\xff\xff\xff",                       // a size out of bounds
        b"\0\0\0\x02\0\x12",                       // shorter than a header
        b"\0\0\0\x0a\x7f\xff\0\0\0\0\0\0\xff\xff", // an unknown key
        b"\0\0\0\x0a\0\x01\0\x63\0\0\0\0\xff\xff", // a version that is not served
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        let mut wire = Wire::connect(broker.address()).await;
        wire.send_raw(garbage).await;
        assert_eq!(wire.receive_frame().await, None::<Bytes>, "{garbage:?}");
    }
    let mut wire = Wire::connect(broker.address()).await;
    let _: ApiVersionsResponse = wire.call(ApiKey::ApiVersions, 3, &api_versions()).await;
}
