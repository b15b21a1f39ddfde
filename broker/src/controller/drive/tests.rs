//! Whole brokers' controllers over the ensemble in memory: elections, topics, failures.

use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use crate::config::Config;
use crate::ensemble::fake::{self, FakeEnsemble, FakePort, Fault};
use crate::ensemble::port::Port as _;
use crate::ensemble::topics::CreateTopic;
use crate::ensemble::watcher;

use super::*;

const LIMIT: Duration = Duration::from_secs(60);

struct Node {
    port: Arc<FakePort>,
    cluster: Cluster,
    metadata: Arc<MetadataCache>,
    tasks: Vec<AbortOnDropHandle<()>>,
}

async fn node(ensemble: &FakeEnsemble, id: i32) -> Node {
    let (port, registered) = fake::registered(ensemble, id).await;
    let metadata = Arc::new(MetadataCache::default());
    let inbox = Arc::new(DeltaInbox::default());
    let set = [("zookeeper.connect".to_owned(), "c:1".to_owned())];
    let config = Arc::new(Config::load(None, &set).expect("config"));
    let cluster = Cluster::new(id, registered, metadata.clone(), config.clone(), 1);
    let drive = Drive {
        cluster: cluster.clone(),
        metadata: metadata.clone(),
        inbox: inbox.clone(),
        config: config.controller,
        metrics: Arc::default(),
    };
    let (watched, cache) = (port.clone(), metadata.clone());
    let watch = tokio::spawn(async move {
        let end = watcher::watch(&*watched, &cache, &inbox).await;
        panic!("{end:?}");
    });
    let run = tokio::spawn(drive.run(CancellationToken::new()));
    Node {
        port,
        cluster,
        metadata,
        tasks: vec![AbortOnDropHandle::new(watch), AbortOnDropHandle::new(run)],
    }
}

impl Node {
    fn kill(mut self, ensemble: &FakeEnsemble) {
        self.tasks.clear();
        ensemble.expire(self.port.credentials().session);
    }

    async fn until(&self, what: &str, wanted: impl Fn(&Image) -> bool) -> Arc<Image> {
        let waited = self.metadata.wait_for(LIMIT, wanted).await;
        waited.unwrap_or_else(|e| panic!("{what}: {e}; {:#?}", self.metadata.image()))
    }
}

fn topic(name: &str, partitions: i32, replicas: i16) -> CreateTopic {
    CreateTopic {
        name: name.to_owned(),
        partitions: Some(partitions),
        replication_factor: Some(replicas),
        ..CreateTopic::default()
    }
}

fn all_led(image: &Image, topic: &str) -> bool {
    image.topic(topic).is_some_and(|t| {
        let mut partitions = t.partitions.values();
        partitions.all(|p| p.leader.is_some_and(|l| image.leads(p, l)))
    })
}

#[tokio::test]
async fn one_is_elected_topics_get_leaders_and_fail_over() {
    let ensemble = FakeEnsemble::default();
    let mut nodes = Vec::new();
    for id in 1..=3 {
        nodes.push(node(&ensemble, id).await);
    }
    let image = nodes[0]
        .until("a controller", |i| i.controller.is_some())
        .await;
    assert!(image.foreign_controller().is_none());
    nodes[1]
        .until("three brokers", |i| i.brokers.size() == 3)
        .await;
    nodes[1]
        .cluster
        .create_topic(topic("t", 6, 3))
        .await
        .expect("created");
    let image = nodes[1].until("leaders", |i| all_led(i, "t")).await;
    for partition in image.topic("t").expect("t").partitions.values() {
        assert_eq!(partition.isr.len(), 3);
        assert_eq!(partition.leader, partition.replicas.first().copied());
    }
    // The controller dies: another one is elected, and elects leaders.
    let first = image.controller_id().expect("controller");
    let at = nodes.iter().position(|n| n.cluster.broker_id() == first);
    nodes.remove(at.expect("node")).kill(&ensemble);
    let gone = |i: &Image| i.controller_id().is_some_and(|id| id != first) && all_led(i, "t");
    let image = nodes[0].until("fail-over", gone).await;
    for partition in image.topic("t").expect("t").partitions.values() {
        assert_eq!(partition.isr.len(), 2, "the dead one left");
        assert!(!partition.isr.contains(&first));
    }
    let epoch = image.controller_epoch.expect("epoch");
    assert_eq!(epoch.epoch, 2);
}

#[tokio::test]
async fn topics_are_deleted_while_a_broker_is_down() {
    let ensemble = FakeEnsemble::default();
    let first = node(&ensemble, 1).await;
    let second = node(&ensemble, 2).await;
    first.until("two brokers", |i| i.brokers.size() == 2).await;
    first
        .cluster
        .create_topic(topic("t", 3, 2))
        .await
        .expect("created");
    first.until("leaders", |i| all_led(i, "t")).await;
    second.kill(&ensemble);
    first.cluster.delete_topic("t").await.expect("asked");
    first
        .until("deleted", |i| {
            i.topic("t").is_none() && i.deleting.is_empty()
        })
        .await;
    let left: Vec<_> = ensemble
        .paths()
        .into_iter()
        .filter(|p| p.ends_with("/t"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
    // The same name again is another topic.
    first
        .cluster
        .create_topic(topic("t", 1, 1))
        .await
        .expect("again");
    first.until("leaders again", |i| all_led(i, "t")).await;
}

#[tokio::test]
async fn lost_answers_and_refusals_are_decided_again() {
    let ensemble = FakeEnsemble::default();
    let one = node(&ensemble, 1).await;
    one.until("a controller", |i| i.controller.is_some()).await;
    one.cluster
        .create_topic(topic("a", 2, 1))
        .await
        .expect("created");
    one.until("leaders", |i| all_led(i, "a")).await;
    for fault in [Fault::LoseAnswer, Fault::LoseRequest, Fault::NotDone] {
        let name = format!("{fault:?}");
        // The first write to come is the controller's own: nobody else writes here.
        let mut ops = vec![];
        let node = crate::ensemble::znode::topics::TopicNode::new(
            uuid::Uuid::new_v4(),
            vec![(0, vec![1]), (1, vec![1])],
        );
        let path = crate::ensemble::znode::topics::topic_path(&name);
        let mode = zweig_client::ensemble::CreateMode::Persistent;
        ops.push(zweig_client::ensemble::WriteOp::create(
            path,
            node.encode(),
            mode,
        ));
        one.port.multi(ops).await.expect("topic");
        ensemble.spoil(&[fault]);
        one.until(&name, |i| all_led(i, &name)).await;
    }
}

#[tokio::test]
async fn a_controller_deposed_by_hand_writes_nothing_more() {
    let ensemble = FakeEnsemble::default();
    let one = node(&ensemble, 1).await;
    one.until("a controller", |i| i.controller.is_some()).await;
    let delete = zweig_client::ensemble::WriteOp::delete("/controller", None);
    let epoch = one.metadata.image().controller_epoch.expect("epoch").epoch;
    one.port.multi(vec![delete]).await.expect("deleted");
    let again = |i: &Image| i.controller_epoch.is_some_and(|e| e.epoch == epoch + 1);
    let image = one.until("elected again", again).await;
    assert!(image.controller.is_some() && image.foreign_controller().is_none());
    one.cluster
        .create_topic(topic("t", 1, 1))
        .await
        .expect("created");
    let image = one.until("leaders", |i| all_led(i, "t")).await;
    let partition = image.partition("t", 0).expect("partition");
    assert_eq!(partition.controller_epoch, epoch + 1);
}

#[tokio::test]
async fn a_controlled_shutdown_moves_leaders_away_first() {
    let ensemble = FakeEnsemble::default();
    let mut nodes = Vec::new();
    for id in 1..=3 {
        nodes.push(node(&ensemble, id).await);
    }
    nodes[0]
        .until("three brokers", |i| i.brokers.size() == 3)
        .await;
    nodes[0]
        .cluster
        .create_topic(topic("t", 6, 2))
        .await
        .expect("created");
    nodes[0].until("leaders", |i| all_led(i, "t")).await;
    let stopping = nodes.pop().expect("third");
    let left = stopping
        .cluster
        .controlled_shutdown(LIMIT)
        .await
        .expect("asked");
    assert_eq!(left, 0);
    let image = stopping.metadata.image();
    let states = image.topic("t").expect("t").partitions.values();
    assert!(states.into_iter().all(|p| p.leader != Some(3)));
    let gone = |i: &Image| {
        let mut partitions = i.topic("t").expect("t").partitions.values();
        partitions.all(|p| !p.isr.contains(&3))
    };
    stopping.until("out of every ISR", gone).await;
}

/// On a thread of its own: one that never yields would hold up the test too.
#[test]
fn a_controller_whose_session_ended_before_its_image_says_so_waits() {
    let (told, waited) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let ensemble = FakeEnsemble::default();
            let mut one = node(&ensemble, 1).await;
            one.until("a controller", |i| i.controller.is_some()).await;
            // It hears of nothing any more but that its session is over.
            drop(one.tasks.remove(0));
            ensemble.expire(one.port.credentials().session);
            // Virtual time (`start_paused`): it passes when nothing else on this thread has anything to do, and never while
            // the controller spins.
            tokio::time::sleep(5 * LOOK).await;
            assert!(one.metadata.image().controller.is_some());
        });
        told.send(()).expect("the test waits");
    });
    let waited = waited.recv_timeout(LIMIT);
    waited.expect("everything else on its thread goes on");
}
