//! Registering over the ensemble in memory: restarts, expiry, foreign owners, ids.

use zweig_client::ensemble::Credentials;

use crate::disk;
use crate::ensemble::fake::{self, FakeEnsemble, Fault};

use super::*;

fn registrar(dir: &tempfile::TempDir) -> Registrar {
    Registrar {
        disk: disk::real(),
        dir: dir.path().to_owned(),
        endpoints: vec![Endpoint {
            listener: "PLAINTEXT".to_owned(),
            protocol: "PLAINTEXT".to_owned(),
            host: "localhost".to_owned(),
            port: 9092,
        }],
        rack: None,
        boot_id: "boot".to_owned(),
        synced: false,
    }
}

async fn settled(ensemble: &FakeEnsemble) -> Arc<dyn Port> {
    let port = ensemble.session();
    settle(&*port, Some(1), 1000, None).await.expect("settled");
    port
}

#[tokio::test]
async fn a_first_broker_creates_all_it_needs_and_registers() {
    let ensemble = FakeEnsemble::default();
    let dir = tempfile::tempdir().expect("dir");
    let port = settled(&ensemble).await;
    for path in znode::TOP_LEVEL {
        assert!(ensemble.stat(path).is_some(), "{path}");
    }
    let registered = registrar(&dir)
        .register(port, 1, None)
        .await
        .expect("registered");
    let stat = ensemble.stat("/brokers/ids/1").expect("znode");
    assert_eq!(registered.epoch, stat.czxid);
    assert_eq!(registered.intact_since, stat.czxid);
    let memory = Memory::load(&*disk::real(), dir.path())
        .expect("memory")
        .expect("there");
    assert_eq!(
        (memory.broker_epoch, memory.intact_since),
        (stat.czxid, Some(stat.czxid))
    );
    let image = fake::image(&ensemble).await;
    assert_eq!(image.broker(1).expect("broker").intact_since, None);
}

#[tokio::test(start_paused = true)]
async fn an_ensemble_that_takes_nothing_for_a_while_is_waited_for() {
    let ensemble = FakeEnsemble::default();
    let dir = tempfile::tempdir().expect("dir");
    let (port, registrar) = (settled(&ensemble).await, registrar(&dir));
    ensemble.spoil(&[Fault::NotDone; 5]);
    let put_off = registrar.register(port.clone(), 1, None).await;
    assert!(put_off.is_err_and(|error| error.retriable()));
    let registered = patiently(|| registrar.register(port.clone(), 1, None)).await;
    let stat = ensemble.stat("/brokers/ids/1").expect("znode");
    assert_eq!(registered.expect("registered").epoch, stat.czxid);
    // Somebody else's id is nothing that waiting mends.
    let other = settled(&ensemble).await;
    let taken = patiently(|| registrar.register(other.clone(), 1, None)).await;
    assert!(matches!(
        taken,
        Err(RegistrationError::IdTaken { id: 1, .. })
    ));
}

#[tokio::test]
async fn a_restart_quicker_than_the_session_timeout_two_hundred_times() {
    let ensemble = FakeEnsemble::default();
    let dir = tempfile::tempdir().expect("dir");
    let mut last = 0;
    for round in 0..200 {
        let memory = Memory::load(&*disk::real(), dir.path()).expect("memory");
        close_former(&ensemble, memory.as_ref())
            .await
            .expect("closed");
        let port = settled(&ensemble).await;
        let since = memory.and_then(|m| m.intact_since);
        let registered = registrar(&dir).register(port, 1, since).await;
        let registered = registered.unwrap_or_else(|e| panic!("round {round}: {e}"));
        assert!(registered.epoch > last, "epochs rise");
        last = registered.epoch;
    }
    let image = fake::image(&ensemble).await;
    let broker = image.broker(1).expect("broker");
    assert!(broker.intact_since.is_some_and(|since| since < last));
}

#[tokio::test]
async fn a_live_id_of_a_foreign_session_is_refused() {
    let ensemble = FakeEnsemble::default();
    let dirs = [
        tempfile::tempdir().expect("dir"),
        tempfile::tempdir().expect("dir"),
    ];
    let port = settled(&ensemble).await;
    registrar(&dirs[0])
        .register(port, 1, None)
        .await
        .expect("first");
    let refused = registrar(&dirs[1])
        .register(settled(&ensemble).await, 1, None)
        .await;
    let refused = refused.err().expect("refused");
    assert!(matches!(refused, RegistrationError::IdTaken { id: 1, .. }));
    assert!(!refused.retriable());
}

#[tokio::test]
async fn a_registration_whose_answer_was_lost_is_found_to_be_ours() {
    for fault in [Fault::LoseAnswer, Fault::LoseRequest] {
        let ensemble = FakeEnsemble::default();
        let dir = tempfile::tempdir().expect("dir");
        let port = settled(&ensemble).await;
        ensemble.spoil(&[fault]);
        let registered = registrar(&dir)
            .register(port, 1, None)
            .await
            .expect("registered");
        let stat = ensemble.stat("/brokers/ids/1").expect("znode");
        assert_eq!(registered.epoch, stat.czxid, "{fault:?}");
    }
}

#[tokio::test]
async fn an_expired_session_registers_anew_with_a_later_epoch() {
    let ensemble = FakeEnsemble::default();
    let dir = tempfile::tempdir().expect("dir");
    let port = settled(&ensemble).await;
    let first = registrar(&dir)
        .register(port, 1, None)
        .await
        .expect("first");
    ensemble.expire(first.port.credentials().session);
    assert!(ensemble.stat("/brokers/ids/1").is_none());
    ensemble.spoil(&[Fault::NotDone, Fault::NotDone]);
    let again = register_anew(&ensemble, &registrar(&dir), 1, first.intact_since).await;
    let again = again.expect("again");
    assert!(again.epoch > first.epoch);
    let image = fake::image(&ensemble).await;
    assert!(image.broker(1).expect("broker").kept_since(first.epoch));
}

#[tokio::test]
async fn ids_are_generated_stored_and_held_against_the_directory() {
    let ensemble = FakeEnsemble::default();
    let port = ensemble.session();
    let one = settle(&*port, None, 1000, None).await.expect("one");
    let two = settle(&*port, None, 1000, None).await.expect("two");
    assert_eq!((one.broker_id, two.broker_id), (1001, 1002));
    assert_eq!(one.cluster_id, two.cluster_id);
    let stored = Some((one.cluster_id.clone(), 1001));
    let again = settle(&*port, None, 1000, stored.clone())
        .await
        .expect("again");
    assert_eq!(again.broker_id, 1001);
    let other = settle(&*port, Some(3), 1000, stored).await;
    assert!(matches!(other, Err(RegistrationError::OtherBroker { .. })));
    let elsewhere = Some(("elsewhere".to_owned(), 1001));
    let other = settle(&*port, None, 1000, elsewhere).await;
    assert!(matches!(other, Err(RegistrationError::OtherCluster { .. })));
}

#[tokio::test]
async fn a_foreign_controller_is_refused_and_ours_is_not() {
    let ensemble = FakeEnsemble::default();
    let port = ensemble.session();
    settle(&*port, Some(1), 1000, None).await.expect("settled");
    let ours = |mode| {
        vec![
            WriteOp::create("/controller", controller::encode_controller(7, 1), mode),
            WriteOp::create(own::CONTROLLER, Bytes::new(), mode),
        ]
    };
    port.multi(ours(CreateMode::Ephemeral)).await.expect("ours");
    settle(&*port, Some(1), 1000, None)
        .await
        .expect("beside ours");
    let delete = WriteOp::delete("/controller", None);
    let foreign = ours(CreateMode::Ephemeral).remove(0);
    port.multi(vec![delete]).await.expect("deleted");
    port.multi(vec![foreign]).await.expect("foreign");
    let refused = settle(&*port, Some(1), 1000, None).await;
    assert!(matches!(
        refused,
        Err(RegistrationError::ForeignController(7))
    ));
}

#[tokio::test]
async fn a_former_session_that_is_gone_or_unknown_is_no_obstacle() {
    let ensemble = FakeEnsemble::default();
    close_former(&ensemble, None).await.expect("none");
    let gone = Credentials {
        session: 99,
        password: [0; 16],
    };
    let memory = Memory::new(gone, "b".to_owned(), false);
    close_former(&ensemble, Some(&memory)).await.expect("gone");
}
