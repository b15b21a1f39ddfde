//! What a connection is: versions, the order of answers, garbage.

use super::*;

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
        let range = |key: i16| {
            let row = answer
                .api_keys
                .iter()
                .find(|k| k.api_key == key)
                .expect("a row");
            (row.min_version, row.max_version)
        };
        assert_eq!((range(18), range(0), range(1)), ((0, 4), (0, 12), (4, 17)));
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
    broker.shared.create("t", &[1], &[]);
    broker.apply().await;
    let mut wire = Wire::connect(broker.address()).await;
    wire.produce("t", 1, batch(&["x"])).await;
    // The first waits for bytes that never come.
    let mut ids = vec![wire.send_quietly(
        ApiKey::Fetch,
        12,
        &fetch_request("t", 1).with_max_wait_ms(50),
    )];
    ids.extend((0..300).map(|_| wire.send_quietly(ApiKey::ApiVersions, 3, &api_versions())));
    wire.flush().await;
    for id in ids {
        let answer = wire.receive_frame().await.expect("an answer");
        assert_eq!(answer[..4], id.to_be_bytes());
    }
}

#[tokio::test]
async fn a_request_begins_when_those_before_it_are_answered() {
    let broker = broker().await;
    broker.shared.create("t", &[1], &[]);
    broker.apply().await;
    let mut wire = Wire::connect(broker.address()).await;
    let fetch = fetch_request("t", 0).with_max_wait_ms(500);
    wire.send_quietly(ApiKey::Fetch, 12, &fetch);
    wire.send_produce("t", 1, batch(&["x"]));
    wire.flush().await;
    let mut fetched = wire.receive_frame().await.expect("the fetch");
    ResponseHeader::decode(&mut fetched, 1).expect("header");
    let fetched = FetchResponse::decode(&mut fetched, 12).expect("answer");
    // It was appended behind the fetch, so the fetch cannot have seen it.
    let records = fetched.responses[0].partitions[0].records.clone();
    assert_eq!(values(records), []);
    assert_eq!(wire.receive_produced().await, (0, 0));
    let fetched = wire.fetch("t", 0, 40_000).await;
    assert_eq!(values(fetched.records), [(0, "x".to_owned())]);
}

#[tokio::test]
async fn garbage_closes_the_connection_and_nothing_else() {
    let broker = broker().await;
    for garbage in [
        &b"\xff\xff\xff\xff"[..],                                  // a negative size
        b"\x7f\xff\xff\xff",                                       // a size out of bounds
        b"\0\0\0\x02\0\x12",                                       // shorter than a header
        b"\0\0\0\x0a\x7f\xff\0\0\0\0\0\0\xff\xff",                 // an unknown key
        b"\0\0\0\x0a\0\x01\0\x63\0\0\0\0\xff\xff",                 // a version that is not served
        b"\0\0\0\x0e\0\x03\0\x01\0\0\0\0\xff\xff\x7f\xff\xff\xff", // two milliard topics
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        let mut wire = Wire::connect(broker.address()).await;
        wire.send_raw(garbage).await;
        assert_eq!(wire.receive_frame().await, None::<Bytes>, "{garbage:?}");
    }
    let mut wire = Wire::connect(broker.address()).await;
    let _: ApiVersionsResponse = wire.call(ApiKey::ApiVersions, 3, &api_versions()).await;
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_no_more() {
    let broker = cluster(1, &[("max.connections.per.ip", "2")]).await;
    let first = Wire::connect(broker.address()).await;
    let mut second = Wire::connect(broker.address()).await;
    let _: ApiVersionsResponse = second.call(ApiKey::ApiVersions, 3, &api_versions()).await;
    let mut third = Wire::connect(broker.address()).await;
    assert_eq!(third.receive_frame().await, None::<Bytes>);
    drop(first);
    // The broker hears of that a little later.
    let mut again = 0;
    loop {
        let mut wire = Wire::connect(broker.address()).await;
        wire.send_quietly(ApiKey::ApiVersions, 3, &api_versions());
        wire.flush().await;
        if wire.receive_frame().await.is_some() {
            break;
        }
        again += 1;
        assert!(again < 1_000, "the place is not given back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
