//! A whole node on a file system that is full to the last byte: reads go on, writes are refused with an error of
//! their own, and all is well again once there is space. Needs the right to mount a tmpfs.

#[allow(dead_code, reason = "the other test of it uses all")]
#[path = "wire_zk/client.rs"]
mod client;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use client::{Node, Socket, create, node_with};
use tokio_stream::wrappers::ReceiverStream;
use zweig_coordinator::storage::raft_log::free_bytes;
use zweig_proto::grpc as proto;
use zweig_proto::grpc::ensemble_client::EnsembleClient;
use zweig_proto::grpc::session_request::Request as Asked;
use zweig_proto::grpc::session_response::Response as Said;
use zweig_proto::zk::op::{CreateResponse, DeleteRequest, GetDataRequest, GetDataResponse};
use zweig_proto::zk::{ErrorCode, OpCode};

const PATIENCE: Duration = Duration::from_secs(60);
/// Below what the node needs to go on, above what it has begun to write.
const NEARLY_FULL: u64 = 512 << 10;

/// A small file system of our own.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]);
        let mounted = mount.arg(folder.path()).output();
        let why = match &mounted {
            Ok(output) if output.status.success() => return Some(Self(folder)),
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        println!("SKIPPED: no tmpfs can be mounted here: {why}");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    /// Takes space until only so much is left.
    fn fill(&self, leave: u64) {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.filler());
        let mut file: File = file.expect("a file to fill the disk with");
        loop {
            let free = free_bytes(self.path()).expect("a number");
            if free <= leave {
                return;
            }
            let bytes = (free - leave).min(64 << 10) as usize;
            if file.write_all(&vec![7; bytes]).is_err() {
                return;
            }
        }
    }

    fn node(&self) -> impl Future<Output = Node> {
        let data_dir = self.path().join("data").display().to_string();
        // Small files, so that a small file system has room for them.
        async move { node_with(&[("dataDir", &data_dir), ("preAllocSize", "256")]).await }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // What can't be unmounted goes with the machine.
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}

async fn try_create(socket: &mut Socket, path: &str) -> Result<CreateResponse, ErrorCode> {
    let request = create(path, Bytes::from_static(b"data"), 0);
    socket.ask(1, OpCode::Create, &request).await
}

/// Creates znodes until the answer is the one that is waited for; returns the number of the last.
async fn create_until(socket: &mut Socket, prefix: &str, wanted: Option<ErrorCode>) -> usize {
    let created = async {
        for number in 0.. {
            match (
                try_create(socket, &format!("/{prefix}{number}")).await,
                wanted,
            ) {
                (Err(code), Some(wanted)) if code == wanted => return number,
                (Ok(_), None) => return number,
                (Ok(_), Some(_)) | (Err(ErrorCode::SYSTEM_ERROR), None) => {}
                (other, _) => panic!("{other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        unreachable!("numbers do not end")
    };
    let created = tokio::time::timeout(PATIENCE, created).await;
    created.unwrap_or_else(|_| panic!("{prefix}: no {wanted:?} within {PATIENCE:?}"))
}

/// What the native API says to a create.
async fn native_code(node: &Node, path: &str) -> proto::Code {
    let address = format!("http://{}", node.address);
    let mut client = EnsembleClient::connect(address).await.expect("it listens");
    let (ask, queue) = tokio::sync::mpsc::channel(4);
    let answers = client.session(ReceiverStream::new(queue)).await;
    let mut answers = answers.expect("served").into_inner();
    let open = proto::OpenSession {
        timeout_ms: 10_000,
        ..proto::OpenSession::default()
    };
    let create = proto::Create {
        path: path.to_owned(),
        ..proto::Create::default()
    };
    let op = Some(proto::write_op::Op::Create(create));
    let write = proto::Write {
        ops: vec![proto::WriteOp { op }],
    };
    for asked in [Asked::Open(open), Asked::Write(write)] {
        let request = proto::SessionRequest {
            id: 0,
            trace: None,
            request: Some(asked),
        };
        ask.send(request).await.expect("the stream is open");
    }
    let mut answer = async || {
        answers
            .message()
            .await
            .expect("no failure")
            .expect("an answer")
    };
    let opened = answer().await.response;
    assert!(matches!(opened, Some(Said::Opened(_))), "{opened:?}");
    match answer().await.response {
        Some(Said::Error(error)) => error.code(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_answers_reads_and_heals() {
    let Some(disk) = Tmpfs::mount() else { return };
    let mut node = disk.node().await;
    let mut socket = node.session().await;
    try_create(&mut socket, "/a").await.expect("there is space");

    disk.fill(NEARLY_FULL);
    let before = create_until(&mut socket, "filling", Some(ErrorCode::SYSTEM_ERROR)).await;
    // The ballast was given up by now. Not a byte is left.
    disk.fill(0);
    let free = free_bytes(disk.path()).expect("a number");
    assert!(free < 64 << 10, "{free} bytes are left");
    let refused = try_create(&mut socket, "/refused").await;
    assert_eq!(refused.err(), Some(ErrorCode::SYSTEM_ERROR));
    assert_eq!(native_code(&node, "/refused").await, proto::Code::NoSpace);
    let get = GetDataRequest {
        path: "/a".to_owned(),
        watch: false,
    };
    let read: GetDataResponse = socket.ask(2, OpCode::GetData, &get).await.expect("a read");
    assert_eq!(read.data.as_deref(), Some(&b"data"[..]));
    // Sessions come and go, and what frees space is done.
    let mut other = node.session().await;
    let delete = DeleteRequest {
        path: "/a".to_owned(),
        version: -1,
    };
    assert_eq!(other.code(1, OpCode::Delete, &delete).await, ErrorCode::OK);

    std::fs::remove_file(disk.filler()).expect("space is given back");
    let healed = create_until(&mut socket, "healed", None).await;
    let healed = format!("/healed{healed}");
    node.stop().await;
    let again = disk.node().await;
    let mut socket = again.session().await;
    for (path, there) in [("/a", false), ("/refused", false), (&healed, true)] {
        let created = try_create(&mut socket, path).await;
        assert_eq!(
            created.err() == Some(ErrorCode::NODE_EXISTS),
            there,
            "{path}"
        );
    }
    for number in 0..before {
        let created = try_create(&mut socket, &format!("/filling{number}")).await;
        assert_eq!(created.err(), Some(ErrorCode::NODE_EXISTS), "{number}");
    }
}
