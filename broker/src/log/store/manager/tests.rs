//! Log directories as a broker opens and leaves them.

use std::fs;

use tempfile::TempDir;

use super::super::super::AppendOrigin;
use super::super::super::format::record_batch::tests::Batch;
use super::super::log::tests::{NOW, batches, small};
use super::*;
use crate::disk::real;

struct Broker {
    _base: TempDir,
    dirs: Vec<PathBuf>,
}

impl Broker {
    fn new(dirs: usize) -> Broker {
        let base = tempfile::tempdir().unwrap();
        let dirs = (0..dirs).map(|at| base.path().join(format!("d{at}")));
        Broker {
            dirs: dirs.collect(),
            _base: base,
        }
    }

    fn open(&self) -> LogManager {
        LogManager::open(real(), &self.dirs, small(), &real().boot_id(), NOW).unwrap()
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.dirs[0].join(name)).unwrap()
    }
}

fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new("orders", partition)
}

fn id(number: u128) -> TopicId {
    TopicId::from_u128(number)
}

fn create(manager: &LogManager, partition: i32) -> Arc<Log> {
    let none = BTreeMap::new();
    manager
        .get_or_create(&tp(partition), id(7), &none, NOW)
        .unwrap()
}

fn append(log: &Log, count: usize) {
    for _ in 0..count {
        let batch = Batch::of(2).bytes().into();
        log.append_as_leader(batch, 0, AppendOrigin::Client, NOW)
            .unwrap();
    }
}

#[test]
fn stops_are_told_apart() {
    let broker = Broker::new(2);
    let manager = broker.open();
    assert_eq!(manager.previous_stop(), Stop::Fresh);
    append(&create(&manager, 0), 10);
    drop(manager);
    let manager = broker.open();
    assert_eq!(manager.previous_stop(), Stop::Unclean);
    assert_eq!(manager.get(&tp(0)).unwrap().log_end_offset(), 20);
    manager.shutdown_clean(42).unwrap();
    assert!(manager.get(&tp(0)).unwrap().close().is_ok());
    drop(manager);
    assert_eq!(
        broker.text(".kafka_cleanshutdown"),
        r#"{"version":0,"brokerEpoch":42}"#
    );
    let manager = broker.open();
    assert_eq!(
        manager.previous_stop(),
        Stop::Clean {
            broker_epoch: Some(42)
        }
    );
    assert!(!broker.dirs[0].join(".kafka_cleanshutdown").exists());
    let log = manager.get(&tp(0)).unwrap();
    assert_eq!(
        (log.log_end_offset(), log.recovered().segments_checked),
        (20, 0)
    );
    drop((manager, log));
    assert_eq!(broker.open().previous_stop(), Stop::Unclean);
}

#[test]
fn checkpoints_are_kafkas_text() {
    let broker = Broker::new(1);
    let manager = broker.open();
    let log = create(&manager, 0);
    append(&log, 10);
    append(&create(&manager, 10), 1);
    log.flush().unwrap();
    log.advance_log_start(5).unwrap();
    manager.checkpoint_offsets().unwrap();
    manager
        .write_high_watermarks(&BTreeMap::from([(tp(0), 18)]))
        .unwrap();
    assert_eq!(
        broker.text("recovery-point-offset-checkpoint"),
        "0\n2\norders 0 20\norders 10 0\n"
    );
    assert_eq!(
        broker.text("log-start-offset-checkpoint"),
        "0\n2\norders 0 5\norders 10 0\n"
    );
    assert_eq!(
        broker.text("replication-offset-checkpoint"),
        "0\n2\norders 0 18\norders 10 0\n"
    );
    let metadata = "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAABw";
    assert_eq!(broker.text("orders-0/partition.metadata"), metadata);
    drop((manager, log));
    let manager = broker.open();
    assert_eq!(manager.high_watermarks()[&tp(0)], 18);
    assert_eq!(manager.get(&tp(0)).unwrap().log_start_offset(), 5);
}

#[test]
fn a_directory_has_one_user() {
    let broker = Broker::new(2);
    let manager = broker.open();
    let again = LogManager::open(real(), &broker.dirs[1..], small(), &real().boot_id(), NOW);
    assert!(matches!(again, Err(ManagerError::Locked(_))));
    drop(manager);
    broker.open();
    assert!(matches!(
        LogManager::open(real(), &[], small(), &real().boot_id(), NOW),
        Err(ManagerError::NoDirectory)
    ));
}

#[test]
fn directories_belong_to_one_broker_of_one_cluster() {
    let broker = Broker::new(2);
    let manager = broker.open();
    assert_eq!(manager.identity().unwrap(), None);
    let identity = Identity {
        cluster_id: "abc".into(),
        broker_id: 1,
    };
    manager.set_identity(&identity).unwrap();
    manager.set_identity(&identity).unwrap();
    assert_eq!(manager.identity().unwrap(), Some(identity.clone()));
    assert_eq!(
        broker.text("meta.properties"),
        "#\nbroker.id=1\ncluster.id=abc\nversion=0\n"
    );
    let other = Identity {
        broker_id: 2,
        ..identity
    };
    let refused = manager.set_identity(&other);
    assert!(matches!(refused, Err(ManagerError::WrongIdentity { .. })));
}

#[test]
fn partitions_go_where_the_fewest_are() {
    let broker = Broker::new(3);
    let manager = broker.open();
    for partition in 0..9 {
        create(&manager, partition);
    }
    for dir in &broker.dirs {
        let folders = fs::read_dir(dir)
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().path().is_dir());
        assert_eq!(folders.count(), 3);
    }
    drop(manager);
    let copy = broker.dirs[1].join("orders-0");
    fs::create_dir_all(copy).unwrap();
    let twice = LogManager::open(real(), &broker.dirs, small(), &real().boot_id(), NOW);
    assert!(
        matches!(twice, Err(ManagerError::Twice { .. })),
        "{twice:?}"
    );
}

#[test]
fn a_topic_of_another_id_gets_a_log_of_its_own() {
    let broker = Broker::new(1);
    let manager = broker.open();
    append(&create(&manager, 0), 5);
    let none = BTreeMap::new();
    let wrong = manager.get_or_create(&tp(0), id(8), &none, NOW);
    assert!(matches!(wrong, Err(OpenError::WrongTopicId { .. })));
    let aside = manager.set_aside(&tp(0), NOW).unwrap().unwrap();
    assert!(aside.to_string_lossy().ends_with("-stray"));
    let log = manager.get_or_create(&tp(0), id(8), &none, NOW).unwrap();
    assert_eq!((log.log_end_offset(), log.topic_id()), (0, Some(id(8))));
    drop((manager, log));
    let manager = broker.open();
    assert_eq!(manager.all().len(), 1);
    assert!(aside.join("00000000000000000000.log").exists());
}

#[test]
fn deletion_renames_at_once_and_removes_later() {
    let broker = Broker::new(1);
    let manager = broker.open();
    let log = create(&manager, 0);
    append(&log, 5);
    log.flush().unwrap();
    manager.checkpoint_offsets().unwrap();
    assert!(manager.delete(&tp(0), NOW).unwrap());
    assert!(!manager.delete(&tp(0), NOW).unwrap());
    assert!(manager.get(&tp(0)).is_none());
    assert!(log.append_as_follower(bytes::Bytes::new(), NOW).is_err());
    let folders = || {
        fs::read_dir(&broker.dirs[0])
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().path().is_dir())
            .count()
    };
    assert_eq!(folders(), 1);
    // A topic of the same name at once: shorter than the old one was, and no damage for that.
    append(&create(&manager, 0), 1);
    assert_eq!(manager.remove_due(NOW + 59_999).unwrap(), 0);
    assert_eq!(manager.remove_due(NOW + 60_000).unwrap(), 1);
    assert_eq!(folders(), 1);
    manager.delete(&tp(0), NOW).unwrap();
    create(&manager, 0);
    drop((manager, log));
    let manager = broker.open();
    assert!(manager.damaged().is_empty());
    assert_eq!(
        manager.remove_due(NOW).unwrap(),
        1,
        "found again after a restart"
    );
}

#[test]
fn damaged_logs_are_offline_until_someone_asks_for_the_cut() {
    let broker = Broker::new(1);
    let manager = broker.open();
    append(&create(&manager, 0), 3);
    append(&create(&manager, 1), 3);
    drop(manager);
    let path = broker.dirs[0].join("orders-0/00000000000000000000.log");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let manager = broker.open();
    assert!(manager.get(&tp(0)).is_none());
    assert_eq!(manager.get(&tp(1)).unwrap().log_end_offset(), 6);
    assert_eq!(manager.damaged().len(), 1);
    let refused = manager.get_or_create(&tp(0), id(7), &BTreeMap::new(), NOW);
    assert!(
        matches!(refused, Err(OpenError::Damaged { offset: 2, .. })),
        "{refused:?}"
    );
    let log = manager.cut_damaged(&tp(0), NOW).unwrap().unwrap();
    assert_eq!(batches(&log), [(0, 1, 0)]);
    assert!(manager.damaged().is_empty());
    assert_eq!(create(&manager, 0).log_end_offset(), 2);
}

#[test]
fn losses_are_told() {
    let broker = Broker::new(1);
    let manager = broker.open();
    for partition in 0..5 {
        append(&create(&manager, partition), 20);
    }
    assert!(manager.losses().is_empty());
    manager.shutdown_clean(1).unwrap();
    drop(manager);
    let folder = |partition| broker.dirs[0].join(format!("orders-{partition}"));
    let logs = |partition: i32| -> Vec<PathBuf> {
        let names = file::list(&*real(), &folder(partition)).unwrap();
        let logs = names.iter().filter(|name| name.ends_with(".log"));
        logs.map(|name| folder(partition).join(name)).collect()
    };
    assert!(logs(0).len() >= 3);
    // 0: its folder; 1: its last segment; 2: one in the middle; 3: its first; 4: nothing.
    fs::remove_dir_all(folder(0)).unwrap();
    fs::remove_file(logs(1).last().unwrap()).unwrap();
    fs::remove_file(&logs(2)[1]).unwrap();
    fs::remove_file(&logs(3)[0]).unwrap();
    let manager = broker.open();
    let losses = manager.losses();
    let lost: BTreeMap<i32, &str> = losses
        .iter()
        .map(|(name, loss)| (name.partition, loss.as_str()))
        .collect();
    assert!(lost[&0].contains("folder is gone"), "{lost:?}");
    assert!(lost[&1].contains("was flushed"), "{lost:?}");
    assert!(lost[&2].contains("no segment holds"), "{lost:?}");
    assert!(
        lost[&3].contains("no segment holds the offsets 0.."),
        "{lost:?}"
    );
    assert_eq!(lost.len(), 4, "{lost:?}");
    // Known not to be compacted, what lacks a segment is not served, until a peer has the rest.
    let none = BTreeMap::new();
    let refused = manager.get_or_create(&tp(2), id(7), &none, NOW);
    assert!(
        matches!(refused, Err(OpenError::Damaged { .. })),
        "{refused:?}"
    );
    assert!(manager.get(&tp(2)).is_none());
    let cut = manager.cut_damaged(&tp(2), NOW).unwrap().unwrap();
    assert!(cut.log_end_offset() > 0 && cut.log_end_offset() < 40);
    create(&manager, 2);
    let compacted = BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]);
    assert!(
        manager
            .get_or_create(&tp(3), id(7), &compacted, NOW)
            .is_ok()
    );
}

#[test]
fn topic_settings_reach_open_logs() {
    let broker = Broker::new(1);
    let manager = broker.open();
    let log = create(&manager, 0);
    let overrides = BTreeMap::from([
        ("retention.bytes".to_owned(), "99".to_owned()),
        ("nonsense".to_owned(), "1".to_owned()),
    ]);
    manager
        .get_or_create(&tp(0), id(7), &overrides, NOW)
        .unwrap();
    assert_eq!(log.config().retention_bytes, 99);
}

#[test]
fn passes_flush_and_expire() {
    let broker = Broker::new(1);
    let manager = broker.open();
    let overrides = BTreeMap::from([
        ("retention.bytes".to_owned(), "0".to_owned()),
        ("flush.ms".to_owned(), "10".to_owned()),
    ]);
    let log = manager
        .get_or_create(&tp(0), id(7), &overrides, NOW)
        .unwrap();
    let exempt = manager
        .get_or_create(&tp(1), id(7), &overrides, NOW)
        .unwrap();
    append(&log, 10);
    append(&exempt, 10);
    manager.flush_dirty(NOW + 10).unwrap();
    assert_eq!(log.flushed_end_offset(), 20);
    assert!(
        broker
            .text("recovery-point-offset-checkpoint")
            .contains("orders 0 20\n")
    );
    let marks = |partition: &TopicPartition| (partition.partition == 0).then_some(20);
    assert!(manager.retention_pass(NOW, &marks).unwrap() > 0);
    assert_eq!((log.log_start_offset(), exempt.log_start_offset()), (20, 0));
    assert!(
        broker
            .text("log-start-offset-checkpoint")
            .contains("orders 0 20\n")
    );
}

#[test]
fn folders_without_a_topic_id_are_taken_over() {
    let broker = Broker::new(1);
    let manager = broker.open();
    append(&create(&manager, 0), 5);
    drop(manager);
    let path = broker.dirs[0].join("orders-0/partition.metadata");
    fs::remove_file(&path).unwrap();
    let manager = broker.open();
    let log = create(&manager, 0);
    assert_eq!((log.log_end_offset(), log.topic_id()), (10, Some(id(7))));
    append(&log, 1);
    assert!(path.exists());
}
