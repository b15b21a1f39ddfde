//! Checkpoints on the election port, so that heartbeats never queue behind them.
//!
//! A transfer is one connection: hello, the raft message that announces the checkpoint, its files in chunks, a
//! last frame with the totals; the receiver answers once all of it is durable in a folder aside. Only then
//! does raft there hear of the message, and only then the sender reports success.
//!
//! Blocking code on threads of its own kind: a transfer is long, rare, and limited to one at a time.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use raft::eraftpb::{Message, MessageType};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::frame::{self, Frame, HEADER_BYTES, Hello};
use super::membership::server_of;
use super::node::PeerMessage;
use super::transport::{Identity, check_hello};

const CHUNK_BYTES: usize = 1 << 20;
const SILENCE: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A checkpoint that has arrived: who sent it, its message, and where it lies.
pub struct Arrived {
    pub from: u64,
    pub boot: u64,
    pub message: Box<Message>,
    pub folder: PathBuf,
}

/// Takes what has arrived; never blocks.
pub type Arrivals = Arc<dyn Fn(Arrived) + Send + Sync>;

/// Sends the files of `folder` to the raft id `to` at `address`; returns when the receiver has them durably. Blocks.
///
/// # Errors
/// When the transfer breaks, or the receiver refuses.
pub fn send(
    identity: &Identity,
    to: u64,
    address: &str,
    message: Message,
    folder: &Path,
) -> io::Result<()> {
    let stream = connect(address)?;
    let mut out = BufWriter::with_capacity(CHUNK_BYTES, &stream);
    let hello = Hello {
        from: identity.node,
        to: server_of(to),
        boot: identity.boot,
        cluster: identity.cluster.clone(),
    };
    out.write_all(&frame::encode(&Frame::Hello(hello)))?;
    out.write_all(&frame::encode(&Frame::Peer(PeerMessage::Raft(Box::new(
        message,
    )))))?;
    let (mut files, mut bytes) = (0, 0);
    let mut chunk = vec![0; CHUNK_BYTES];
    for path in files_below(folder)? {
        let mut file = File::open(folder.join(&path))?;
        let name = path
            .to_str()
            .ok_or_else(|| io::Error::other("a checkpoint's file has no plain name"))?;
        let size = file.metadata()?.len();
        out.write_all(&frame::encode(&Frame::File {
            bytes: size,
            path: name.to_owned(),
        }))?;
        loop {
            let read = file.read(&mut chunk)?;
            if read == 0 {
                break;
            }
            bytes += read as u64;
            out.write_all(&frame::encode(&Frame::Chunk(Bytes::copy_from_slice(
                &chunk[..read],
            ))))?;
        }
        files += 1;
    }
    out.write_all(&frame::encode(&Frame::End { files, bytes }))?;
    out.flush()?;
    match read_frame(&mut BufReader::new(&stream), frame::HELLO_FRAME_BYTES)? {
        Frame::Done => Ok(()),
        _ => Err(io::Error::other("the receiver did not confirm")),
    }
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for resolved in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&resolved, CONNECT_TIMEOUT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(SILENCE))?;
                stream.set_write_timeout(Some(SILENCE))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// All files below `folder`, as relative paths in order.
fn files_below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(below) = folders.pop() {
        for item in fs::read_dir(folder.join(&below))? {
            let item = item?;
            let path = below.join(item.file_name());
            if item.file_type()?.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Accepts transfers until stopped, one at a time, into folders below `aside`.
pub async fn accept(
    listener: TcpListener,
    identity: Identity,
    known: Vec<u64>,
    aside: PathBuf,
    arrivals: Arrivals,
    stop: CancellationToken,
) {
    let busy = Arc::new(AtomicBool::new(false));
    let mut number = 0_u64;
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let Ok((stream, address)) = accepted else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        if busy.swap(true, Ordering::AcqRel) {
            // The sender reports failure and raft tries again later.
            continue;
        }
        number += 1;
        let folder = aside.join(format!("incoming-{number}"));
        let (identity, known, arrivals, busy) = (
            identity.clone(),
            known.clone(),
            arrivals.clone(),
            busy.clone(),
        );
        tokio::task::spawn_blocking(move || {
            let received = receive(stream, &identity, &known, &folder, &arrivals);
            if let Err(error) = received {
                tracing::warn!(%address, %error, "a checkpoint did not arrive");
                // It may not even have been begun.
                let _ = fs::remove_dir_all(&folder);
            }
            busy.store(false, Ordering::Release);
        });
    }
}

fn receive(
    stream: tokio::net::TcpStream,
    identity: &Identity,
    known: &[u64],
    folder: &Path,
    arrivals: &Arrivals,
) -> io::Result<()> {
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    let mut reader = BufReader::with_capacity(CHUNK_BYTES, &stream);
    let first = read_frame(&mut reader, frame::HELLO_FRAME_BYTES)?;
    let hello = check_hello(first, identity, known).map_err(io::Error::other)?;
    let Frame::Peer(PeerMessage::Raft(message)) = read_frame(&mut reader, CHUNK_BYTES)? else {
        return Err(io::Error::other("no announcement"));
    };
    if message.get_msg_type() != MessageType::MsgSnapshot || message.from != hello.from {
        return Err(io::Error::other(
            "the announcement is not that of a checkpoint",
        ));
    }
    receive_files(&mut reader, folder)?;
    arrivals(Arrived {
        from: hello.from,
        boot: hello.boot,
        message,
        folder: folder.to_owned(),
    });
    (&stream).write_all(&frame::encode(&Frame::Done))
}

pub(super) fn receive_files(reader: &mut impl Read, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let (mut files, mut bytes) = (0, 0);
    let mut current: Option<(File, u64)> = None;
    loop {
        let frame = read_frame(reader, CHUNK_BYTES + 1024)?;
        if let Frame::Chunk(chunk) = &frame {
            let Some((file, left)) = current.as_mut() else {
                return Err(io::Error::other("a chunk of no file"));
            };
            let length = chunk.len() as u64;
            *left = left
                .checked_sub(length)
                .ok_or_else(|| io::Error::other("a file is longer than announced"))?;
            file.write_all(chunk)?;
            bytes += length;
            continue;
        }
        if let Some((file, left)) = current.take() {
            if left != 0 {
                return Err(io::Error::other("a file is shorter than announced"));
            }
            file.sync_all()?;
            files += 1;
        }
        match frame {
            Frame::File { bytes: size, path } => {
                let path = folder.join(safe(&path)?);
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent)?;
                }
                current = Some((File::create_new(path)?, size));
            }
            Frame::End {
                files: all_files,
                bytes: all_bytes,
            } if (all_files, all_bytes) == (files, bytes) => {
                return sync_folders(folder);
            }
            _ => return Err(io::Error::other("the transfer is not complete")),
        }
    }
}

/// A relative path that stays below its folder.
fn safe(path: &str) -> io::Result<&Path> {
    let path = Path::new(path);
    let plain = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if plain && path.components().next().is_some() {
        Ok(path)
    } else {
        Err(io::Error::other("a path leads outside"))
    }
}

fn sync_folders(folder: &Path) -> io::Result<()> {
    for item in fs::read_dir(folder)? {
        let item = item?;
        if item.file_type()?.is_dir() {
            sync_folders(&item.path())?;
        }
    }
    File::open(folder)?.sync_all()?;
    if let Some(parent) = folder.parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

fn read_frame(reader: &mut impl Read, limit: usize) -> io::Result<Frame> {
    let mut header = [0; HEADER_BYTES];
    reader.read_exact(&mut header)?;
    let (length, crc) = frame::decode_header(header, limit).map_err(io::Error::other)?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    frame::decode(crc, Bytes::from(body)).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_their_folder() {
        assert!(safe("state/000012.sst").is_ok());
        for outside in ["../x", "/etc/passwd", "a/../../x", ""] {
            assert!(safe(outside).is_err(), "{outside:?}");
        }
    }

    #[tokio::test]
    async fn a_folder_arrives_as_it_was() {
        let (from, aside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(from.path().join("sub")).unwrap();
        fs::write(from.path().join("sub/large"), vec![7; 3 * CHUNK_BYTES + 5]).unwrap();
        fs::write(from.path().join("empty"), []).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (arrived, mut arrivals) = tokio::sync::mpsc::unbounded_channel();
        let take: Arrivals = Arc::new(move |folder| drop(arrived.send(folder)));
        let receiver = Identity {
            node: 2,
            boot: 1,
            cluster: "z".to_owned(),
        };
        let stop = CancellationToken::new();
        tokio::spawn(accept(
            listener,
            receiver,
            vec![1, 2],
            aside.path().to_owned(),
            take,
            stop.clone(),
        ));
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgSnapshot);
        message.from = 1;
        let sender = Identity {
            node: 1,
            boot: 9,
            cluster: "z".to_owned(),
        };
        let source = from.path().to_owned();
        tokio::task::spawn_blocking(move || send(&sender, 2, &address, message, &source))
            .await
            .unwrap()
            .unwrap();
        let got = arrivals.recv().await.unwrap();
        assert_eq!((got.from, got.boot), (1, 9));
        assert_eq!(
            fs::read(got.folder.join("sub/large")).unwrap(),
            vec![7; 3 * CHUNK_BYTES + 5]
        );
        assert_eq!(fs::read(got.folder.join("empty")).unwrap(), [0; 0]);
        stop.cancel();
    }
}
