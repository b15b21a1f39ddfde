//! A watch stream whose client does not read.

use tonic::transport::Endpoint;
use zweig_proto::grpc as proto;
use zweig_proto::grpc::ensemble_client::EnsembleClient;
use zweig_proto::grpc::session_request::Request as Asked;
use zweig_proto::grpc::session_response::Response as Said;

use crate::node::{Ended, Node, Seen, Session, create, set, watch};

/// More than are kept for a slow stream and on their way to it together.
const WRITES: usize = 7_000;
const AT_ONCE: usize = 50;

/// Writes `/w` so often; the zxid of each.
async fn write_many(session: &mut Session, writes: usize) -> Vec<i64> {
    let mut zxids = Vec::new();
    for _ in 0..writes / AT_ONCE {
        for _ in 0..AT_ONCE {
            let ops = vec![set("/w", -1)];
            session.send(0, Asked::Write(proto::Write { ops })).await;
        }
        for _ in 0..AT_ONCE {
            let Some(Said::Write(written)) = session.answer().await.response else {
                panic!("not written");
            };
            let stat = written.results[0].stat.as_ref();
            zxids.push(stat.expect("a stat").mzxid);
        }
    }
    zxids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_falls_behind_says_where_and_resumes_without_gap_or_double() {
    let node = Node::start().await;
    let mut session = node.session().await;
    session.write(vec![create("/w", Vec::new())]).await;
    // As little as possible waits in the transport.
    let slow = Endpoint::from_shared(format!("http://{}", node.server.client_address()));
    let slow = slow.expect("an address").initial_stream_window_size(65_535);
    let slow = slow.initial_connection_window_size(65_535);
    let slow = EnsembleClient::new(slow.connect().await.expect("it listens"));
    let mut stream = watch(&slow, "/w", 0).await;
    let mut seen = Seen::default();
    let mut written = write_many(&mut session, AT_ONCE).await;
    let first = *written.last().expect("a zxid");
    assert_eq!(seen.read(&mut stream, first).await, Ended::NotYet);

    // Not read meanwhile.
    written.extend(write_many(&mut session, WRITES).await);
    let last = *written.last().expect("a zxid");
    let Ended::FellBehind(at) = seen.read(&mut stream, last).await else {
        panic!("it did not fall behind: {} changes", seen.zxids.len());
    };
    assert_eq!(at, seen.mark, "up to there all is told");
    assert!(at < last);
    let mut again = watch(&slow, "/w", at).await;
    assert_eq!(seen.read(&mut again, last).await, Ended::NotYet);
    // And on, live.
    written.extend(write_many(&mut session, AT_ONCE).await);
    let last = *written.last().expect("a zxid");
    assert_eq!(seen.read(&mut again, last).await, Ended::NotYet);
    written.retain(|zxid| seen.zxids.first().is_some_and(|first| zxid >= first));
    assert_eq!(seen.zxids, written);
    node.server.stop().await;
}
