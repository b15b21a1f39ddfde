//! Golden bytes of the protocol, and what malformed bytes must not do.

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;

use super::frame::{BadFrame, put_frame, split_frame};
use super::op::*;
use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// `value` has exactly these bytes, and they read as `value`.
fn golden<T: Jute + PartialEq + std::fmt::Debug>(value: &T, expected: &str) {
    let expected: String = expected.split_whitespace().collect();
    assert_eq!(hex(&value.to_bytes()), expected);
    let again = T::from_bytes(value.to_bytes()).expect("own bytes decode");
    assert_eq!(&again, value);
}

#[test]
fn connect_request_is_44_or_45_bytes_and_its_answer_36_or_37() {
    let mut request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: 0x11,
        timeout_ms: 10_000,
        session: 0x0100_0000_0000_0002,
        password: Some(Bytes::from_static(&[7; 16])),
        read_only: None,
    };
    let head = "00000000 0000000000000011 00002710 0100000000000002 00000010";
    let password = "07".repeat(16);
    golden(&request, &format!("{head} {password}"));
    assert_eq!(request.to_bytes().len(), 44);
    request.read_only = Some(true);
    golden(&request, &format!("{head} {password} 01"));
    assert_eq!(request.to_bytes().len(), 45);

    assert_eq!(ConnectResponse::expired(None).to_bytes().len(), 36);
    let expired = ConnectResponse::expired(Some(false));
    assert_eq!(expired.to_bytes().len(), 37);
    let zeros = "00".repeat(16);
    golden(
        &expired,
        &format!("00000000 00000000 0000000000000000 00000010 {zeros} 00"),
    );
}

#[test]
fn create_request_bytes() {
    let create = CreateRequest {
        path: "/a".into(),
        data: Some(Bytes::from_static(b"xy")),
        acl: vec![Acl::open()],
        flags: create::flags::EPHEMERAL_SEQUENTIAL,
    };
    golden(
        &create,
        "00000002 2f61 00000002 7879 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65
         00000003",
    );
    let null = CreateRequest {
        data: None,
        acl: vec![],
        ..create
    };
    golden(&null, "00000002 2f61 ffffffff 00000000 00000003");
}

#[test]
fn stat_is_68_bytes_in_zookeepers_order() {
    let stat = Stat {
        czxid: 1,
        mzxid: 2,
        ctime: 3,
        mtime: 4,
        version: 5,
        cversion: 6,
        aversion: 7,
        ephemeral_owner: 8,
        data_length: 9,
        num_children: 10,
        pzxid: 11,
    };
    assert_eq!(stat.to_bytes().len(), 68);
    golden(
        &stat,
        "0000000000000001 0000000000000002 0000000000000003 0000000000000004 00000005 00000006
         00000007 0000000000000008 00000009 0000000a 000000000000000b",
    );
}

#[test]
fn reply_header_event_and_watches() {
    let header = ReplyHeader {
        xid: xid::EVENT,
        zxid: -1,
        err: ErrorCode::OK,
    };
    golden(&header, "ffffffff ffffffffffffffff 00000000");
    let event = WatcherEvent {
        kind: watcher_event::kind::NODE_CHILDREN_CHANGED,
        state: watcher_event::state::SYNC_CONNECTED,
        path: "/a".into(),
    };
    golden(&event, "00000004 00000003 00000002 2f61");
    let watches = SetWatchesRequest {
        relative_zxid: 5,
        data: vec!["/a".into()],
        exist: vec![],
        child: vec!["/b".into()],
    };
    golden(
        &watches,
        "0000000000000005 00000001 00000002 2f61 00000000 00000001 00000002 2f62",
    );
    let no_watcher = ReplyHeader {
        xid: 9,
        zxid: 3,
        err: ErrorCode::NO_WATCHER,
    };
    golden(&no_watcher, "00000009 0000000000000003 ffffff87");
}

#[test]
fn multi_and_its_failed_answer() {
    let multi = MultiRequest {
        ops: vec![
            MultiOp::Check(CheckRequest {
                path: "/a".into(),
                version: 3,
            }),
            MultiOp::Delete(DeleteRequest {
                path: "/b".into(),
                version: -1,
            }),
        ],
    };
    golden(
        &multi,
        "0000000d 00 ffffffff 00000002 2f61 00000003
         00000002 00 ffffffff 00000002 2f62 ffffffff
         ffffffff 01 ffffffff",
    );
    let failed = MultiResponse {
        results: vec![
            MultiResult::Error(ErrorCode::OK),
            MultiResult::Error(ErrorCode::NO_NODE),
            MultiResult::Error(ErrorCode::RUNTIME_INCONSISTENCY),
        ],
    };
    golden(
        &failed,
        "ffffffff 00 00000000 00000000
         ffffffff 00 ffffff9b ffffff9b
         ffffffff 00 fffffffe fffffffe
         ffffffff 01 ffffffff",
    );
}

#[test]
fn multi_results_of_each_kind_come_back() {
    let stat = Stat {
        version: 4,
        ..Stat::default()
    };
    let response = MultiResponse {
        results: vec![
            MultiResult::Create("/a".into()),
            MultiResult::Create2(Create2Response {
                path: "/b".into(),
                stat,
            }),
            MultiResult::Delete,
            MultiResult::SetData(stat),
            MultiResult::Check,
            MultiResult::GetChildren(GetChildrenResponse {
                children: vec!["c".into()],
            }),
            MultiResult::GetData(GetDataResponse { data: None, stat }),
        ],
    };
    assert_eq!(
        MultiResponse::from_bytes(response.to_bytes()).as_ref(),
        Ok(&response)
    );
}

#[test]
fn null_vectors_and_strings_are_empty() {
    let mut bytes = BytesMut::new();
    bytes.put_i64(1);
    for _ in 0..3 {
        bytes.put_i32(-1);
    }
    let watches = SetWatchesRequest::from_bytes(bytes.freeze()).expect("null vectors are empty");
    assert!(watches.data.is_empty() && watches.exist.is_empty() && watches.child.is_empty());
    let null = Bytes::from_static(&[0xff; 4]);
    assert_eq!(String::from_bytes(null).as_deref(), Ok(""));
}

#[test]
fn lengths_that_lie_are_refused_without_allocating() {
    let huge = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff, 0, 0]);
    let error = DecodeError::BadLength {
        length: i32::MAX,
        left: 2,
    };
    assert_eq!(String::from_bytes(huge.clone()), Err(error.clone()));
    assert_eq!(Vec::<String>::from_bytes(huge.clone()), Err(error.clone()));
    assert_eq!(Option::<Bytes>::from_bytes(huge), Err(error));
    let negative = Bytes::from_static(&[0xff, 0xff, 0xff, 0xfe]);
    let error = DecodeError::BadLength {
        length: -2,
        left: 0,
    };
    assert_eq!(Vec::<i64>::from_bytes(negative), Err(error));
}

#[test]
fn frames_are_split_and_bounded() {
    let mut buffer = BytesMut::new();
    put_frame(&mut buffer, |out| out.extend_from_slice(b"abc"));
    put_frame(&mut buffer, |_| ());
    buffer.extend_from_slice(&[0, 0, 0, 9, 1]);
    assert_eq!(
        split_frame(&mut buffer, 10),
        Ok(Some(Bytes::from_static(b"abc")))
    );
    assert_eq!(split_frame(&mut buffer, 10), Ok(Some(Bytes::new())));
    assert_eq!(split_frame(&mut buffer, 10), Ok(None));
    let refused = BadFrame { length: 9, max: 8 };
    assert_eq!(split_frame(&mut buffer, 8), Err(refused));
    let mut negative = BytesMut::from(&[0xff_u8; 4][..]);
    assert!(split_frame(&mut negative, 8).is_err());
}

#[test]
fn every_op_code_has_its_own_number() {
    for code in OpCode::ALL {
        assert_eq!(OpCode::from_number(*code as i32), Some(*code));
    }
    assert_eq!(OpCode::from_number(500), None);
    assert_eq!(OpCode::from_number(10), None);
}

fn decode_everything(bytes: &Bytes) {
    let _ = ConnectRequest::from_bytes(bytes.clone());
    let _ = ConnectResponse::from_bytes(bytes.clone());
    let _ = RequestHeader::from_bytes(bytes.clone());
    let _ = CreateRequest::from_bytes(bytes.clone());
    let _ = MultiRequest::from_bytes(bytes.clone());
    let _ = MultiResponse::from_bytes(bytes.clone());
    let _ = SetWatches2Request::from_bytes(bytes.clone());
    let _ = GetAclResponse::from_bytes(bytes.clone());
    let _ = WhoAmIResponse::from_bytes(bytes.clone());
    let _ = split_frame(&mut BytesMut::from(&bytes[..]), 1 << 20);
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        decode_everything(&Bytes::from(bytes));
    }

    #[test]
    fn no_damage_to_a_multi_makes_it_panic(at in 0_usize..120, byte in any::<u8>(), cut in 0_usize..120) {
        let create = CreateRequest {
            path: "/some/path".into(),
            data: Some(Bytes::from_static(b"some data")),
            acl: vec![Acl::open(), Acl::open()],
            flags: 3,
        };
        let ops = vec![MultiOp::Create(create.clone()), MultiOp::Create2(create)];
        let mut bytes = MultiRequest { ops }.to_bytes().to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.truncate(bytes.len() - cut % bytes.len());
        decode_everything(&Bytes::from(bytes));
    }

    #[test]
    fn create_requests_come_back(path in ".*", data in proptest::option::of(".*"), flags in any::<i32>()) {
        let create = CreateRequest { path, data: data.map(Bytes::from), acl: vec![Acl::open()], flags };
        prop_assert_eq!(CreateRequest::from_bytes(create.to_bytes()), Ok(create));
    }
}
