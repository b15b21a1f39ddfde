//! The content of znodes, settings, and the records of groups.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use uuid::Uuid;

use super::ROUND_TRIP;
use crate::config::Config;
use crate::ensemble::znode::{
    admin, brokers, cluster, config as configs, controller, own, parse_id, producer_ids, topics,
};
use crate::group::offsets::{OffsetToCommit, PartitionName, StoredOffset};
use crate::group::record::{self, Key, StoredGroup, StoredMember};
use crate::metadata::{Endpoint, PartitionState};

const PATH: &str = "/p";

/// Whatever decodes decodes to the same once it is encoded.
fn round_trip<T: PartialEq + std::fmt::Debug, E>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, E>,
    encode: impl Fn(&T) -> Bytes,
) {
    if let Ok(value) = decode(bytes) {
        assert_eq!(
            decode(&encode(&value)).ok().as_ref(),
            Some(&value),
            "{ROUND_TRIP}"
        );
    }
}

/// The first byte chooses a znode, the others are its content.
pub(super) fn znodes(bytes: &[u8]) {
    let Some((&kind, data)) = bytes.split_first() else {
        return;
    };
    match kind % 12 {
        0 => round_trip(
            data,
            |data| brokers::Registration::decode(PATH, data),
            brokers::Registration::encode,
        ),
        1 => round_trip(
            data,
            |data| topics::TopicNode::decode(PATH, data),
            topics::TopicNode::encode,
        ),
        2 => round_trip(
            data,
            |data| topics::decode_state(PATH, data),
            topics::encode_state,
        ),
        3 => round_trip(
            data,
            |data| configs::decode_configs(PATH, data),
            configs::encode_configs,
        ),
        4 => round_trip(data, admin::decode_election, |asked| {
            admin::encode_election(asked)
        }),
        5 => round_trip(data, cluster::decode_id, |id| cluster::encode_id(id)),
        6 => round_trip(data, controller::decode_controller, |id| {
            controller::encode_controller(*id, 0)
        }),
        7 => round_trip(data, controller::decode_epoch, |epoch| {
            controller::encode_epoch(*epoch)
        }),
        8 => round_trip(
            data,
            |data| own::decode_shutdown(PATH, data),
            |epoch| own::encode_shutdown(*epoch),
        ),
        9 => round_trip(
            data,
            |data| own::decode_log_end(PATH, data),
            own::encode_log_end,
        ),
        10 => block(data),
        _ => names(&String::from_utf8_lossy(data)),
    }
}

fn block(data: &[u8]) {
    if let Ok(block) = producer_ids::Block::decode(data) {
        for broker in [0, 1, i32::MAX] {
            if let Some(next) = producer_ids::Block::after(block, broker) {
                assert_eq!(
                    producer_ids::Block::decode(&next.encode()),
                    Ok(Some(next)),
                    "{ROUND_TRIP}"
                );
            }
        }
    }
}

fn names(name: &str) {
    if let Some((topic, partition, broker)) = own::parse_log_end_name(name) {
        let path = own::log_end_path(topic, partition, broker);
        let name = path.rsplit('/').next().expect("a name");
        assert_eq!(
            own::parse_log_end_name(name),
            Some((topic, partition, broker)),
            "{ROUND_TRIP}"
        );
    }
    let _ = parse_id(name);
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let registration = brokers::Registration {
        endpoints: vec![Endpoint {
            listener: "PLAINTEXT".to_owned(),
            protocol: "PLAINTEXT".to_owned(),
            host: "::1".to_owned(),
            port: 9092,
        }],
        rack: Some("r".to_owned()),
        timestamp_ms: 5,
        intact_since: Some(3),
    };
    let state = PartitionState {
        leader: Some(1),
        leader_epoch: 4,
        controller_epoch: 2,
        isr: vec![1, 3],
        leader_broker_epoch: 77,
        isr_broker_epochs: vec![77, 80],
    };
    let settings = BTreeMap::from([("retention.ms".to_owned(), "5".to_owned())]);
    let block = producer_ids::Block::after(None, 3).expect("the first");
    let contents = [
        registration.encode(),
        topics::TopicNode::new(Uuid::from_u128(1), vec![(0, vec![1, 2])]).encode(),
        topics::encode_state(&state),
        configs::encode_configs(&settings),
        admin::encode_election(&[("t".to_owned(), 0)]),
        cluster::encode_id("AQIDBAUGBwgJCgsMDQ4P_w"),
        controller::encode_controller(1, 1700),
        controller::encode_epoch(12),
        own::encode_shutdown(9),
        Bytes::from_static(br#"{"version":1}"#),
        block.encode(),
        Bytes::from_static(b"AAAAAAAAAAAAAAAAAAAAAQ:0:3"),
    ];
    let numbered = contents.iter().enumerate();
    numbered
        .map(|(kind, content)| [&[kind as u8][..], &content[..]].concat())
        .collect()
}

/// A `server.properties`.
pub(super) fn config(bytes: &[u8]) {
    if let Ok(config) = Config::parse(Path::new("server.properties"), bytes, &[]) {
        for (key, value) in config.all() {
            assert_eq!(config.effective(key), value);
            let _ = config.is_set(key);
        }
        let _ = (config.topic_defaults(), config.warnings());
    }
}

pub(super) fn config_seeds() -> Vec<Vec<u8>> {
    let full = "broker.id=1\nzookeeper.connect=a:2181,b:2181/chroot\nlog.dirs=/x,/y\n\
        listeners=PLAINTEXT://:9092,IN://[::1]:9093\nlistener.security.protocol.map=IN:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
        inter.broker.listener.name=IN\nlog.retention.hours=7\nlog.cleanup.policy=delete\nlog.roll.hours=1\n\
        min.insync.replicas = 2\\\n\n# c\n! d\nk\\u0041\\ b:v\n";
    vec![
        full.as_bytes().to_vec(),
        b"zookeeper.connect=h:1\n".to_vec(),
    ]
}

/// The first byte chooses key, offset or group, the others are its bytes.
pub(super) fn group_records(bytes: &[u8]) {
    let Some((&kind, bytes)) = bytes.split_first() else {
        return;
    };
    let bytes = Bytes::copy_from_slice(bytes);
    match kind % 3 {
        0 => match record::decode_key(bytes) {
            Ok(Key::Group(group)) => {
                let again = record::decode_key(record::group_tombstone(&group).key);
                assert_eq!(again, Ok(Key::Group(group)), "{ROUND_TRIP}");
            }
            Ok(Key::Offset { group, partition }) => {
                let again = record::decode_key(record::offset_tombstone(&group, &partition).key);
                assert_eq!(again, Ok(Key::Offset { group, partition }), "{ROUND_TRIP}");
            }
            Ok(Key::Other(_)) | Err(_) => {}
        },
        1 => {
            if let Ok(stored) = record::decode_offset(bytes) {
                offset(stored);
            }
        }
        _ => {
            if let Ok(group) = record::decode_group(bytes) {
                assert_eq!(
                    record::decode_group(record::encode_group(&group)),
                    Ok(group),
                    "{ROUND_TRIP}"
                );
            }
        }
    }
}

fn offset(stored: StoredOffset) {
    let partition = PartitionName {
        topic: "t".to_owned(),
        partition: 0,
    };
    let commit = OffsetToCommit { partition, stored };
    let value = record::offset("g", &commit).value.expect("a value");
    let again = record::decode_offset(value).expect("our own bytes");
    // The version that knows an expiry has no place for the epoch.
    let leader_epoch = match commit.stored.expire_ms {
        Some(_) => -1,
        None => commit.stored.leader_epoch,
    };
    assert_eq!(
        again,
        StoredOffset {
            leader_epoch,
            ..commit.stored
        },
        "{ROUND_TRIP}"
    );
}

pub(super) fn group_record_seeds() -> Vec<Vec<u8>> {
    let partition = PartitionName {
        topic: "orders".to_owned(),
        partition: 7,
    };
    let stored = StoredOffset {
        offset: 42,
        leader_epoch: 3,
        metadata: "m".to_owned(),
        commit_ms: 1_700_000_000_000,
        expire_ms: Some(1_700_000_000_001),
    };
    let member = StoredMember {
        id: "m-1".to_owned(),
        instance_id: Some("i".to_owned()),
        client_id: "c".to_owned(),
        client_host: "/h".to_owned(),
        rebalance_timeout_ms: 1,
        session_timeout_ms: 2,
        subscription: Bytes::from_static(b"sub"),
        assignment: Bytes::from_static(b"as"),
    };
    let group = StoredGroup {
        protocol_type: "consumer".to_owned(),
        generation: 5,
        protocol: Some("range".to_owned()),
        leader: Some("m-1".to_owned()),
        state_since_ms: 1,
        members: vec![member.clone(), member],
    };
    let commit = OffsetToCommit {
        partition: partition.clone(),
        stored: stored.clone(),
    };
    let lasting = OffsetToCommit {
        partition: partition.clone(),
        stored: StoredOffset {
            expire_ms: None,
            ..stored
        },
    };
    let value = |commit| record::offset("g", commit).value.expect("a value");
    let group = record::encode_group(&group);
    let versions = (0..5_u8).map(|version| [&[2, 0, version][..], &group[2..]].concat());
    let others = [
        [&[0][..], &record::offset_tombstone("g", &partition).key[..]].concat(),
        [&[0][..], &record::group_tombstone("g").key[..]].concat(),
        [&[1][..], &value(&commit)[..]].concat(),
        [&[1][..], &value(&lasting)[..]].concat(),
    ];
    versions.chain(others).collect()
}
