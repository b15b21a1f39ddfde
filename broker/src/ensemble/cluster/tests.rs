//! What brokers write, over the ensemble in memory.

use std::collections::BTreeMap;

use crate::ensemble::elections::AskElectionsError;
use crate::ensemble::fake::{self, FakeEnsemble, FakePort, Fault};
use crate::ensemble::topics::{CreateTopic, CreateTopicError, DeleteTopicError};

use crate::ensemble::znode::admin;
use crate::metadata::ElectionKind;

use super::*;

struct Fixture {
    ensemble: FakeEnsemble,
    port: Arc<FakePort>,
    cluster: Cluster,
}

async fn fixture(set: &[(&str, &str)]) -> Fixture {
    let ensemble = FakeEnsemble::default();
    let (port, registered) = fake::registered(&ensemble, 1).await;
    fake::registered(&ensemble, 2).await;
    let metadata = Arc::new(MetadataCache::default());
    let mut overrides = vec![("zookeeper.connect".to_owned(), "c:1".to_owned())];
    overrides.extend(set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
    let config = Arc::new(Config::load(None, &overrides).expect("config"));
    let cluster = Cluster::new(1, registered, metadata, config, 7);
    let fixture = Fixture {
        ensemble,
        port,
        cluster,
    };
    fixture.refresh().await;
    fixture
}

impl Fixture {
    async fn refresh(&self) {
        let image = fake::image(&self.ensemble).await;
        self.cluster.inner.metadata.store(image, true);
    }
}

fn topic(name: &str) -> CreateTopic {
    CreateTopic {
        name: name.to_owned(),
        ..CreateTopic::default()
    }
}

#[tokio::test]
async fn a_topic_is_settings_then_assignment() {
    let f = fixture(&[("num.partitions", "4"), ("default.replication.factor", "2")]).await;
    let mut wanted = topic("t");
    wanted
        .configs
        .insert("retention.ms".to_owned(), "5".to_owned());
    let created = f
        .cluster
        .create_topic(wanted.clone())
        .await
        .expect("created");
    assert_eq!((created.partitions, created.replication_factor), (4, 2));
    f.refresh().await;
    let image = f.cluster.inner.metadata.image();
    let of_id = image.topic_by_id(&created.id).expect("topic");
    assert_eq!(of_id.partitions.size(), 4);
    assert!(
        !of_id.partitions[&0].has_state(),
        "the controller's to create"
    );
    assert_eq!(image.topic_configs["t"]["retention.ms"], "5");
    let again = f.cluster.create_topic(wanted).await;
    assert_eq!(again, Err(CreateTopicError::Exists("t".to_owned())));
}

#[tokio::test]
async fn settings_left_behind_are_replaced_and_a_race_is_lost_cleanly() {
    let f = fixture(&[]).await;
    let left = WriteOp::create("/config/topics/t", "{}", CreateMode::Persistent);
    f.port.multi(vec![left]).await.expect("left");
    f.cluster.create_topic(topic("t")).await.expect("created");
    let text = f.ensemble.text("/config/topics/t");
    assert_eq!(text.as_deref(), Some(r#"{"version":1,"config":{}}"#));
    // The image does not show it yet: the tree decides.
    let again = f.cluster.create_topic(topic("t")).await;
    assert_eq!(again, Err(CreateTopicError::Exists("t".to_owned())));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let f = fixture(&[]).await;
    f.cluster.create_topic(topic("a.b")).await.expect("created");
    f.refresh().await;
    let long = "x".repeat(250);
    for name in ["", ".", "..", "a/b", "ä", "a_b", &long] {
        let refused = f.cluster.create_topic(topic(name)).await;
        let refused = matches!(refused, Err(CreateTopicError::InvalidName(_)));
        assert!(refused, "{name}");
    }
    let many = CreateTopic {
        replication_factor: Some(3),
        ..topic("many")
    };
    let refused = f.cluster.create_topic(many).await.expect_err("refused");
    assert!(
        refused
            .to_string()
            .contains("larger than available brokers: 2")
    );
    let none = CreateTopic {
        partitions: Some(0),
        ..topic("none")
    };
    let refused = f.cluster.create_topic(none).await;
    assert!(matches!(
        refused,
        Err(CreateTopicError::InvalidPartitions(_))
    ));
    for bad in [vec![1, 1], vec![3], vec![]] {
        let wanted = CreateTopic {
            assignment: Some(BTreeMap::from([(0, bad)])),
            ..topic("assigned")
        };
        let refused = f.cluster.create_topic(wanted).await;
        assert!(matches!(
            refused,
            Err(CreateTopicError::InvalidAssignment(_))
        ));
    }
    let mut dry = topic("dry");
    dry.validate_only = true;
    assert!(
        f.cluster
            .create_topic(dry)
            .await
            .expect("valid")
            .id
            .is_nil()
    );
    assert!(f.ensemble.stat("/brokers/topics/dry").is_none());
}

#[tokio::test]
async fn a_deletion_is_a_marker_for_a_topic_that_exists() {
    let f = fixture(&[]).await;
    let unknown = f.cluster.delete_topic("t").await;
    assert_eq!(unknown, Err(DeleteTopicError::Unknown("t".to_owned())));
    f.cluster.create_topic(topic("t")).await.expect("created");
    f.cluster.delete_topic("t").await.expect("asked");
    f.cluster.delete_topic("t").await.expect("asked twice");
    assert!(f.ensemble.stat("/admin/delete_topics/t").is_some());
    let f = fixture(&[("delete.topic.enable", "false")]).await;
    let disabled = f.cluster.delete_topic("t").await;
    assert_eq!(disabled, Err(DeleteTopicError::Disabled));
}

#[tokio::test]
async fn an_isr_is_changed_only_at_the_version_it_was_decided_from() {
    let f = fixture(&[]).await;
    let tp = TopicPartition::new("t", 0);
    let epoch = f.cluster.broker_epoch();
    let state = PartitionState {
        leader: Some(1),
        leader_epoch: 0,
        controller_epoch: 1,
        isr: vec![1],
        leader_broker_epoch: epoch,
        isr_broker_epochs: vec![epoch],
    };
    let gone = f.cluster.alter_isr(&tp, state.clone(), (1, 0)).await;
    assert_eq!(gone, Err(AlterIsrError::Gone(tp.clone())));
    f.cluster.create_topic(topic("t")).await.expect("created");
    let mode = CreateMode::Persistent;
    let ops = vec![
        WriteOp::create(topics::partitions_path("t"), "", mode),
        WriteOp::create(topics::partition_path("t", 0), "", mode),
        WriteOp::create(
            topics::state_path("t", 0),
            topics::encode_state(&state),
            mode,
        ),
    ];
    let czxid = f.port.multi(ops).await.expect("state").zxid;
    let former_topic = f
        .cluster
        .alter_isr(&tp, state.clone(), (czxid - 1, 0))
        .await;
    assert_eq!(former_topic, Err(AlterIsrError::Stale(tp.clone())));
    assert_eq!(
        f.cluster.alter_isr(&tp, state.clone(), (czxid, 0)).await,
        Ok(1)
    );
    let stale = f.cluster.alter_isr(&tp, state.clone(), (czxid, 0)).await;
    assert_eq!(stale, Err(AlterIsrError::Stale(tp.clone())));
    f.ensemble.spoil(&[Fault::LoseAnswer, Fault::NotDone]);
    let unknown = f.cluster.alter_isr(&tp, state.clone(), (czxid, 1)).await;
    assert!(matches!(unknown, Err(AlterIsrError::OutcomeUnknown(_))));
    let refused = f.cluster.alter_isr(&tp, state.clone(), (czxid, 2)).await;
    assert!(matches!(refused, Err(AlterIsrError::NotDone(_))));
    f.port.silent_for(Duration::from_secs(13));
    assert_eq!(f.cluster.standing(), Standing::InDoubt);
    let doubt = f.cluster.alter_isr(&tp, state.clone(), (czxid, 2)).await;
    assert_eq!(doubt, Err(AlterIsrError::InDoubt));
    f.port.silent_for(Duration::from_secs(11));
    assert_eq!(f.cluster.standing(), Standing::Sure);
    let former = PartitionState {
        leader_broker_epoch: epoch - 1,
        ..state.clone()
    };
    let fenced = f.cluster.alter_isr(&tp, former, (czxid, 2)).await;
    assert_eq!(fenced, Err(AlterIsrError::Fenced));
    f.ensemble.expire(f.port.credentials().session);
    assert_eq!(f.cluster.standing(), Standing::Expired);
    let fenced = f.cluster.alter_isr(&tp, state, (czxid, 2)).await;
    assert_eq!(fenced, Err(AlterIsrError::Fenced));
}

#[tokio::test]
async fn producer_ids_are_never_given_twice() {
    let f = fixture(&[]).await;
    let first = f.cluster.producer_id_block().await.expect("first");
    assert_eq!((first.first, first.len), (0, 1000));
    f.ensemble.spoil(&[Fault::LoseAnswer]);
    let second = f.cluster.producer_id_block().await.expect("second");
    assert_eq!(
        second.first, 2000,
        "the block whose answer was lost is skipped"
    );
}

#[tokio::test]
async fn elections_are_asked_for_beside_those_of_others() {
    let f = fixture(&[]).await;
    let ask = async |kind, topic: &str, index| {
        let partitions = vec![(topic.to_owned(), index)];
        f.cluster.ask_elections(kind, partitions).await
    };
    for (topic, index) in [("b", 1), ("a", 0), ("b", 1)] {
        let asked = ask(ElectionKind::Preferred, topic, index).await;
        let image = fake::image(&f.ensemble).await;
        assert_eq!(asked, Ok(image.zxid), "it is seen from there on");
    }
    ask(ElectionKind::Unclean, "c", 2).await.expect("asked");
    let image = fake::image(&f.ensemble).await;
    let partitions = |kind| {
        image
            .asked_election(kind)
            .map(|asked| asked.partitions.clone())
    };
    let both = vec![("a".to_owned(), 0), ("b".to_owned(), 1)];
    assert_eq!(partitions(ElectionKind::Preferred), Some(both));
    let one = vec![("c".to_owned(), 2)];
    assert_eq!(partitions(ElectionKind::Unclean), Some(one));

    let too_many = (0..20_000).map(|index| ("a topic of a long name".to_owned(), index));
    let refused = f
        .cluster
        .ask_elections(ElectionKind::Preferred, too_many.collect())
        .await;
    assert_eq!(refused, Err(AskElectionsError::TooMany));
    let path = admin::election_path(ElectionKind::Preferred);
    let spoiled = WriteOp::set(path, Bytes::from_static(b"not JSON"), None);
    f.port.multi(vec![spoiled]).await.expect("written");
    let refused = ask(ElectionKind::Preferred, "a", 0).await;
    assert!(matches!(refused, Err(AskElectionsError::Unreadable(_))));
}
