use proptest::prelude::*;

use super::*;

fn hex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| {
        u8::from_str_radix(std::str::from_utf8(pair).expect("ascii"), 16).expect("hex")
    };
    digits.chunks(2).map(byte).collect::<Vec<_>>().into()
}

fn commit(offset: i64) -> OffsetToCommit {
    OffsetToCommit {
        partition: PartitionName {
            topic: "orders".into(),
            partition: 7,
        },
        stored: StoredOffset {
            offset,
            leader_epoch: 3,
            metadata: "m".into(),
            commit_ms: 1_700_000_000_000,
            expire_ms: None,
        },
    }
}

/// The bytes Kafka 3.9 writes for the same commit.
#[test]
fn golden_offset() {
    let record = offset("g1", &commit(42));
    assert_eq!(record.key, hex("0001 0002 6731 0006 6f7264657273 00000007"));
    let value = record.value.expect("a value");
    assert_eq!(
        value,
        hex("0003 000000000000002a 00000003 0001 6d 0000018bcfe56800")
    );
    assert_eq!(offset_tombstone("g1", &commit(0).partition).key, record.key);
    let mut expiring = commit(42);
    expiring.stored.expire_ms = Some(1_700_000_000_001);
    assert_eq!(
        offset("g1", &expiring).value.expect("a value"),
        hex("0001 000000000000002a 0001 6d 0000018bcfe56800 0000018bcfe56801")
    );
}

#[test]
fn names_are_never_cut_inside_a_character() {
    let name = "x".repeat(MAX_NAME_BYTES - 1) + "\u{e4}";
    let key = decode_key(group_key(&name));
    assert_eq!(key, Ok(Key::Group("x".repeat(MAX_NAME_BYTES - 1))));
}

/// The bytes Kafka 3.9 writes for the same group.
#[test]
fn golden_group() {
    let group = StoredGroup {
        protocol_type: "consumer".into(),
        generation: 5,
        protocol: Some("range".into()),
        leader: Some("c-1".into()),
        state_since_ms: 1_700_000_000_000,
        members: vec![StoredMember {
            id: "c-1".into(),
            instance_id: None,
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
            rebalance_timeout_ms: 60_000,
            session_timeout_ms: 10_000,
            subscription: Bytes::from_static(b"sub"),
            assignment: Bytes::from_static(b"as"),
        }],
    };
    let value = encode_group(&group);
    let golden = "0003 0008 636f6e73756d6572 00000005 0005 72616e6765 0003 632d31 0000018bcfe56800 \
                  00000001 0003 632d31 ffff 0001 63 000a 2f3132372e302e302e31 0000ea60 00002710 \
                  00000003 737562 00000002 6173";
    assert_eq!(value, hex(golden));
    assert_eq!(decode_group(value), Ok(group));
    assert_eq!(group_tombstone("g1").key, hex("0002 0002 6731"));
}

/// Every older version of the values, and the flexible one of Kafka 4.
#[test]
fn other_versions_are_read() {
    let v0 = hex("0000 000000000000002a 0000 0000018bcfe56800");
    let read = decode_offset(v0).expect("version 0");
    assert_eq!(
        (read.offset, read.leader_epoch, read.expire_ms),
        (42, -1, None)
    );
    let v1 = hex("0001 000000000000002a 0000 0000018bcfe56800 0000018bcfe56801");
    let read = decode_offset(v1).expect("version 1");
    assert_eq!(read.expire_ms, Some(1_700_000_000_001));
    let v4 = hex("0004 000000000000002a 00000003 02 6d 0000018bcfe56800 00");
    let read = decode_offset(v4).expect("version 4");
    assert_eq!((read.offset, read.metadata.as_str()), (42, "m"));

    let v0 = "0000 0008 636f6e73756d6572 00000005 ffff ffff 00000001 \
              0001 61 0001 63 0001 68 00002710 00000000 00000000";
    let read = decode_group(hex(v0)).expect("version 0");
    assert_eq!(read.members[0].rebalance_timeout_ms, 10_000);
    let v4 = "0004 09 636f6e73756d6572 00000005 06 72616e6765 02 61 0000018bcfe56800 02 \
              02 61 00 02 63 02 68 0000ea60 00002710 04 737562 03 6173 00 00";
    let read = decode_group(hex(v4)).expect("version 4");
    assert_eq!(read.members[0].assignment, Bytes::from_static(b"as"));
    assert_eq!(
        decode_group(hex("0005")),
        Err(RecordError::Version {
            what: "group value",
            version: 5
        })
    );
    assert_eq!(decode_key(hex("0003 0001 61")), Ok(Key::Other(3)));
}

proptest! {
    #[test]
    fn offsets_survive(
        group in "\\PC{0,20}", topic in "\\PC{0,20}", metadata in "\\PC{0,20}",
        partition: i32, offset_value: i64, leader_epoch: i32, commit_ms: i64,
    ) {
        let partition = PartitionName { topic, partition };
        let stored = StoredOffset {
            offset: offset_value, leader_epoch, metadata, commit_ms, expire_ms: None,
        };
        let commit = OffsetToCommit { partition: partition.clone(), stored: stored.clone() };
        let record = offset(&group, &commit);
        prop_assert_eq!(decode_key(record.key), Ok(Key::Offset { group, partition }));
        prop_assert_eq!(decode_offset(record.value.expect("value")), Ok(stored));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        let _ = decode_key(bytes.clone());
        let _ = decode_offset(bytes.clone());
        let _ = decode_group(bytes);
    }

    /// Bytes that begin like a known version, so that the inner lengths are reached.
    #[test]
    fn damaged_values_never_panic(
        version in 0u8..5, bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let bytes = Bytes::from([&[0, version][..], &bytes[..]].concat());
        let _ = decode_key(bytes.clone());
        let _ = decode_offset(bytes.clone());
        let _ = decode_group(bytes);
    }
}
