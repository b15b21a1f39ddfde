//! The client against an ensemble in this process whose nodes fail on order.

mod fake;

use std::time::Duration;

use bytes::Bytes;

use super::election::Election;
use super::{
    ChangeKind, ConnectError, CreateMode, Ensemble, Error, Options, SessionState, WatchItem,
    WatchStream, WriteOp, status,
};
use fake::{Fake, Fault, soon};

const SEED: u64 = 20_261_122;

fn options(fake: &Fake) -> Options {
    Options {
        session_timeout: Duration::from_millis(900),
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(5),
        seed: Some(SEED),
        ..Options::new(fake.endpoints())
    }
}

async fn connected(fake: &Fake) -> Ensemble {
    let connect = Ensemble::connect(options(fake));
    soon("a session", connect).await.expect("granted")
}

fn data(text: &str) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(text.as_bytes()))
}

async fn create(ensemble: &Ensemble, path: &str) -> Result<(), Error> {
    let created = ensemble.create(path, data("x"), CreateMode::Persistent);
    soon("an answer", created).await.map(|_| ())
}

#[tokio::test]
async fn the_tree_is_written_and_read_below_the_chroot() {
    let fake = Fake::start(1).await;
    let mut options = options(&fake);
    options.chroot = "/app".into();
    let ensemble = Ensemble::connect(options).await.expect("granted");
    ensemble.create_parents("/a/b").await.expect("created");
    let mode = CreateMode::Persistent;
    let created = ensemble
        .create("/a/b", data("one"), mode)
        .await
        .expect("created");
    assert_eq!(created.path, "/a/b");
    let stat = ensemble
        .set("/a/b", data("two"), Some(0))
        .await
        .expect("set");
    assert_eq!(stat.version, 1);
    let (read, _) = ensemble.get("/a/b").await.expect("read");
    assert_eq!(read, data("two"));
    assert_eq!(ensemble.children("/a").await.expect("read").0, ["b"]);

    let twice = ensemble.create("/a/b", None, mode).await;
    assert_eq!(twice, Err(Error::NodeExists("/a/b".into())));
    let stale = ensemble.set("/a/b", None, Some(0)).await;
    assert!(matches!(stale, Err(Error::BadVersion { path, .. }) if path == "/a/b"));
    assert_eq!(ensemble.exists("/none").await, Ok(None));

    let other = Ensemble::connect(Options::new(fake.endpoints()))
        .await
        .expect("granted");
    assert!(other.exists("/app/a/b").await.expect("read").is_some());
    assert_eq!(ensemble.delete_recursive("/a").await, Ok(2));
    ensemble.close().await.expect("closed");
}

#[tokio::test]
async fn a_multi_names_the_operation_that_failed() {
    let fake = Fake::start(1).await;
    let ensemble = connected(&fake).await;
    let ops = vec![WriteOp::check("/", None), WriteOp::delete("/none", None)];
    let failed = ensemble.multi(ops).await.expect_err("one failed");
    assert_eq!(failed.index, Some(1));
    assert_eq!(failed.error, Error::NoNode("/none".into()));
    let fenced = ensemble.fenced_batch("/fence", 3, Vec::new()).await;
    assert!(matches!(fenced, Err(Error::Fenced(_))));
}

#[tokio::test]
async fn a_lost_answer_makes_a_write_unknown_and_the_session_goes_on_elsewhere() {
    let fake = Fake::start(3).await;
    let ensemble = connected(&fake).await;
    let session = ensemble.credentials().session;
    let broken = ensemble.endpoint();
    fake.set_fault(&broken, Fault::LoseAnswers);
    let lost = create(&ensemble, "/a").await;
    assert!(matches!(lost, Err(Error::OutcomeUnknown(_))), "{lost:?}");
    fake.kill(&broken);
    // It had been done, once, and nobody sent it again.
    let exists = soon("an answer", ensemble.exists("/a")).await;
    assert!(exists.expect("read elsewhere").is_some());
    assert_eq!(fake.state.lock().writes_done, 1);
    assert_eq!(ensemble.credentials().session, session);
    assert_ne!(ensemble.endpoint(), broken);
}

#[tokio::test]
async fn a_silent_node_is_left_before_the_session_would_end() {
    let fake = Fake::start(2).await;
    let ensemble = connected(&fake).await;
    let silent = ensemble.endpoint();
    fake.set_fault(&silent, Fault::Silent);
    let renewed = ensemble.last_renewal_sent();
    // A read waits for the silent node, and is then asked again.
    soon("an answer", ensemble.exists("/"))
        .await
        .expect("read elsewhere");
    assert_ne!(ensemble.endpoint(), silent);
    assert!(ensemble.last_renewal_sent() > renewed);
}

#[tokio::test]
async fn pings_renew_an_idle_session() {
    let fake = Fake::start(1).await;
    let ensemble = connected(&fake).await;
    let first = ensemble.last_renewal_sent_boot_time();
    let renewed = async {
        while ensemble.last_renewal_sent_boot_time() == first {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon("a ping's answer", renewed).await;
    assert_eq!(*ensemble.state().borrow(), SessionState::Connected);
}

#[tokio::test]
async fn what_a_node_out_of_touch_says_renews_nothing() {
    let fake = Fake::start(1).await;
    let ensemble = connected(&fake).await;
    fake.set_fault(&ensemble.endpoint(), Fault::OutOfTouch);
    // A ping that was under way may still have been answered well.
    assert!(matches!(
        create(&ensemble, "/a").await,
        Err(Error::NotDone(_))
    ));
    let renewed = ensemble.last_renewal_sent();
    for _ in 0..3 {
        tokio::time::sleep(ensemble.timeout() / 3).await;
        assert!(matches!(
            create(&ensemble, "/a").await,
            Err(Error::NotDone(_))
        ));
    }
    assert_eq!(ensemble.last_renewal_sent(), renewed);
}

#[tokio::test]
async fn a_write_refused_as_moved_is_sent_again_after_attaching_anew() {
    let fake = Fake::start(1).await;
    let ensemble = connected(&fake).await;
    fake.set_fault(&ensemble.endpoint(), Fault::MovedOnce);
    create(&ensemble, "/a").await.expect("done in the end");
    assert_eq!(fake.state.lock().writes_done, 1);
}

#[tokio::test]
async fn expiry_is_told_to_everyone_who_waits_and_is_final() {
    let fake = Fake::start(2).await;
    let ensemble = connected(&fake).await;
    let mut state = ensemble.state();
    fake.expire_sessions();
    assert_eq!(create(&ensemble, "/a").await, Err(Error::SessionExpired));
    let expired = state.wait_for(|state| *state == SessionState::Expired);
    soon("the state", expired).await.expect("told");
    assert_eq!(create(&ensemble, "/b").await, Err(Error::SessionExpired));
    let again = Options {
        resume: Some(ensemble.credentials()),
        ..options(&fake)
    };
    let resumed = Ensemble::connect(again).await;
    assert_eq!(resumed.err(), Some(ConnectError::SessionExpired));
}

#[tokio::test]
async fn a_session_is_resumed_by_its_credentials() {
    let fake = Fake::start(2).await;
    let first = connected(&fake).await;
    let again = Options {
        resume: Some(first.credentials()),
        ..options(&fake)
    };
    let second = Ensemble::connect(again).await.expect("resumed");
    assert_eq!(second.credentials(), first.credentials());
    second.close().await.expect("closed");
}

#[tokio::test]
async fn without_any_node_requests_end_as_unavailable() {
    let fake = Fake::start(2).await;
    let mut options = options(&fake);
    options.request_timeout = Duration::from_millis(300);
    options.connect_timeout = Duration::from_millis(500);
    let ensemble = Ensemble::connect(options.clone()).await.expect("granted");
    for endpoint in fake.endpoints() {
        fake.kill(&endpoint);
    }
    let mut state = ensemble.state();
    let apart = state.wait_for(|state| *state == SessionState::Disconnected);
    soon("the state", apart).await.expect("told");
    let refused = create(&ensemble, "/a").await.expect_err("nobody there");
    assert!(matches!(refused, Error::Unavailable(_)) && refused.retriable());
    match soon("an end", Ensemble::connect(options)).await {
        Err(ConnectError::Unavailable { failures, .. }) => {
            for endpoint in fake.endpoints() {
                assert!(failures.contains(&endpoint), "{failures}");
            }
        }
        other => panic!("{other:?}"),
    }
    let asked = status(&fake.endpoints()[0], Duration::from_millis(300)).await;
    assert!(matches!(asked, Err(Error::Unavailable(_))));
}

#[tokio::test]
async fn a_node_that_refuses_sessions_is_passed_over() {
    let fake = Fake::start(3).await;
    let willing = fake.endpoints()[1].clone();
    for endpoint in fake.endpoints().iter().filter(|e| **e != willing) {
        fake.set_fault(endpoint, Fault::Refuse);
    }
    assert_eq!(connected(&fake).await.endpoint(), willing);
}

/// Reads to the end mark that shows `path`; returns the items on the way.
async fn until_seen(stream: &mut WatchStream, path: &str) -> Vec<WatchItem> {
    let mut items = Vec::new();
    let mut seen = false;
    loop {
        let item = soon(&format!("news of {path}"), stream.next()).await;
        let item = item.expect("the stream goes on");
        seen |= match &item {
            WatchItem::Change { path: changed, .. } | WatchItem::Node { path: changed, .. } => {
                changed == path
            }
            _ => false,
        };
        let mark = matches!(item, WatchItem::End { .. } | WatchItem::SubtreeEnd { .. });
        items.push(item);
        if seen && mark {
            return items;
        }
    }
}

#[tokio::test]
async fn a_watch_begins_with_the_subtree_and_resumes_without_gap_or_repetition() {
    let fake = Fake::start(2).await;
    let ensemble = connected(&fake).await;
    create(&ensemble, "/old").await.expect("created");
    let mut stream = ensemble.watch("/", true).expect("a valid path");
    let items = until_seen(&mut stream, "/old").await;
    assert_eq!(items.first(), Some(&WatchItem::Reset));
    assert!(matches!(items.last(), Some(WatchItem::SubtreeEnd { .. })));

    // Whichever node serves the watch breaks it after the first change, before the end mark.
    for endpoint in fake.endpoints() {
        fake.set_fault(&endpoint, Fault::BreakInsideZxid);
    }
    let both = vec![
        WriteOp::create("/a", "1", CreateMode::Persistent),
        WriteOp::create("/b", "2", CreateMode::Persistent),
    ];
    ensemble.multi(both).await.expect("done");
    // Time for a few broken tries; none of them may hand out half of the transaction.
    let early = tokio::time::timeout(Duration::from_millis(200), stream.next()).await;
    assert!(early.is_err(), "{early:?}");
    for endpoint in fake.endpoints() {
        fake.set_fault(&endpoint, Fault::None);
    }
    let items = until_seen(&mut stream, "/b").await;
    let changed: Vec<&str> = items
        .iter()
        .filter_map(|item| match item {
            WatchItem::Change { path, .. } => Some(path.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(changed, ["/a", "/b"]);
    assert!(!items.contains(&WatchItem::Reset));
}

#[tokio::test]
async fn a_watch_that_is_too_old_begins_afresh() {
    let fake = Fake::start(1).await;
    let ensemble = connected(&fake).await;
    create(&ensemble, "/a").await.expect("created");
    fake.state.lock().floor = 100;
    let mut stream = ensemble
        .watch_from("/", true, Some(1))
        .expect("a valid path");
    let items = until_seen(&mut stream, "/a").await;
    assert_eq!(items.first(), Some(&WatchItem::Reset));
    create(&ensemble, "/b").await.expect("created");
    let items = until_seen(&mut stream, "/b").await;
    assert!(matches!(
        &items[..],
        [
            WatchItem::Change {
                kind: ChangeKind::Created,
                ..
            },
            WatchItem::End { .. }
        ]
    ));
}

#[tokio::test]
async fn leadership_passes_on_when_the_leader_resigns_or_expires() {
    let fake = Fake::start(2).await;
    let (one, two) = (connected(&fake).await, connected(&fake).await);
    let first = Election::enter(&one, "/app/leader", Bytes::from("one"))
        .await
        .expect("entered");
    let second = Election::enter(&two, "/app/leader", Bytes::from("two"))
        .await
        .expect("entered");
    let epoch = soon("the first", first.elected())
        .await
        .expect("leads")
        .czxid;
    let early = tokio::time::timeout(Duration::from_millis(100), second.elected()).await;
    assert!(early.is_err(), "two leaders");
    let node = first.node();
    let lost = async {
        let (lost, resigned) = tokio::join!(first.lost(), one.delete(&node, None));
        lost.and(resigned)
    };
    soon("the loss", lost).await.expect("lost");
    let next = soon("the second", second.elected()).await.expect("leads");
    assert!(next.czxid > epoch);
    fake.expire_sessions();
    soon("the end", second.lost()).await.expect("told");
    first.resign().await.expect_err("its session is gone");
}
