//! Frames of a client on a connection without a socket, and four-letter words.

use std::net::{Ipv4Addr, SocketAddr};

use zweig_proto::zk::op::*;
use zweig_proto::zk::{Acl, ReplyHeader, WatcherEvent};

use super::super::{ClientInfo, encode};
use super::*;
use crate::Config;
use crate::fuzz::Choices;
use crate::request::fuzz::Door;
use crate::wire::detect;
use crate::wire::zk::four_letter;

fn services(door: &Door) -> Arc<Services> {
    let overrides = [("dataDir", "/nowhere"), ("4lw.commands.whitelist", "*")];
    let overrides = overrides.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let config = Config::from_overrides(&overrides, None).expect("a plain configuration");
    Services::new(door.door.clone(), config)
}

fn client(services: &Arc<Services>, door: &Door) -> Arc<Client> {
    let outbox = Outbox::new();
    let connection = door.open(outbox.clone(), None).expect("a session");
    let session = connection.session().expect("a session");
    let info = Arc::new(ClientInfo {
        peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
        session: AtomicI64::new(session.0),
        timeout_ms: AtomicU64::new(5_000),
        received: AtomicU64::new(1),
        sent: AtomicU64::new(1),
    });
    Arc::new(Client {
        connection,
        services: Arc::clone(services),
        outbox,
        info,
    })
}

/// What stands in the outbox, as its client reads it: how many answers there are, and whether no more will come.
fn read_answers(outbox: &Outbox, answers: &mut Vec<i32>) -> bool {
    let mut items = Vec::new();
    let end = outbox.take(&mut items);
    let mut bytes = BytesMut::new();
    for item in &items {
        if encode::put(item, &mut bytes).is_err() {
            return true;
        }
    }
    while let Some(frame) = split_frame(&mut bytes, usize::MAX).expect("our own frames") {
        let mut reader = Reader::new(frame);
        let header = ReplyHeader::read(&mut reader).expect("a header");
        match header.xid {
            xid::EVENT => {
                WatcherEvent::read(&mut reader).expect("an event");
                assert_eq!(reader.left(), 0);
            }
            xid => {
                let failed = header.err != ErrorCode::OK;
                assert!(!failed || reader.left() == 0, "an error has no body");
                answers.push(xid);
            }
        }
    }
    assert!(bytes.is_empty(), "whole frames are written");
    end.is_some()
}

/// The operations by number: those with a name, and one without.
fn op(choice: u8) -> i32 {
    let named = OpCode::ALL.get(usize::from(choice) % (OpCode::ALL.len() + 1));
    named.map_or(77, |op| *op as i32)
}

/// Requests of two clients: for each three bytes (the operation; whose it is, and whether what was submitted is applied
/// before the next one; a length) and a body.
pub(crate) fn connection(bytes: &[u8]) {
    let door = Door::new();
    let services = services(&door);
    let clients = [client(&services, &door), client(&services, &door)];
    let (mut sent, mut got) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    let mut open = [true, true];
    let mut choices = Choices(bytes);
    let mut next_xid = 1;
    while !choices.is_empty() && next_xid < 100 {
        let (op, how) = (op(choices.byte()), choices.byte());
        let length = usize::from(choices.byte());
        let body = choices.take(length);
        let who = usize::from(how >> 7);
        if !open[who] {
            continue;
        }
        let mut buffer = BytesMut::new();
        zweig_proto::zk::frame::put_frame(&mut buffer, |out| {
            RequestHeader { xid: next_xid, op }.write(out);
            out.extend_from_slice(body);
        });
        let room = Arc::new(Semaphore::new(limits::PIPELINE_COST as usize));
        let started =
            futures::FutureExt::now_or_never(start_all(&clients[who], &mut buffer, &room));
        let started = started.expect("there is room for all of them");
        // A ping's answer has a number of its own, `auth` is answered outside of the order.
        if op != OpCode::Ping as i32 && op != OpCode::Auth as i32 {
            sent[who].push(next_xid);
        }
        open[who] = matches!(started, Ok(Goes::On));
        next_xid += 1;
        if how & 0x40 != 0 {
            door.settle();
        }
    }
    door.settle();
    for who in [0, 1] {
        let ended = read_answers(&clients[who].outbox, &mut got[who]);
        got[who].retain(|xid| sent[who].contains(xid));
        assert!(
            sent[who].starts_with(&got[who]),
            "answers come in the order of requests, once each"
        );
        assert!(
            ended || got[who] == sent[who],
            "every request is answered: {:?} of {:?}",
            got[who],
            sent[who]
        );
    }
    door.audit();
}

fn request(op: OpCode, how: u8, body: &impl Jute) -> Vec<u8> {
    let number = OpCode::ALL
        .iter()
        .position(|known| *known == op)
        .expect("it is in the list");
    let body = body.to_bytes();
    [&[number as u8, how, body.len() as u8][..], &body[..]].concat()
}

fn a() -> String {
    "/a".to_owned()
}

fn seed_writes() -> Vec<Vec<u8>> {
    let create = |path: &str, flags| CreateRequest {
        path: path.to_owned(),
        data: Some(Bytes::from_static(b"d")),
        acl: vec![Acl::open()],
        flags,
    };
    let (path, version) = (a(), 0);
    let check = MultiOp::Check(CheckRequest { path, version });
    let multi = MultiRequest { ops: vec![check] };
    let (path, data) = (a(), None);
    let set_data = SetDataRequest {
        path,
        data,
        version: 0,
    };
    let (path, acl) = (a(), vec![Acl::open()]);
    let set_acl = SetAclRequest {
        path,
        acl,
        version: -1,
    };
    let (path, version) = (a(), -1);
    vec![
        request(OpCode::Create, 0x40, &create("/a", 0)),
        request(OpCode::Create2, 0x80, &create("/a/e", 1)),
        request(OpCode::Create, 0, &create("/a/s", 2)),
        request(OpCode::CreateContainer, 0, &create("/c", 4)),
        request(OpCode::SetData, 0x40, &set_data),
        request(OpCode::SetAcl, 0, &set_acl),
        request(OpCode::Multi, 0, &multi),
        request(OpCode::Delete, 0x40, &DeleteRequest { path, version }),
    ]
}

fn seed_reads() -> Vec<Vec<u8>> {
    let root = || "/".to_owned();
    let (path, watch) = (a(), true);
    let get = GetDataRequest { path, watch };
    let many = MultiRequest {
        ops: vec![MultiOp::GetData(get.clone())],
    };
    let path = "/n".to_owned();
    let exists = ExistsRequest { path, watch };
    let path = a();
    let children = GetChildren2Request { path, watch };
    let (path, mode, kind) = (a(), 1, 3);
    let add = AddWatchRequest { path, mode };
    let path = a();
    let remove = RemoveWatchesRequest { path, kind };
    let again = SetWatchesRequest {
        relative_zxid: 1,
        data: vec![a()],
        exist: vec![],
        child: vec![a()],
    };
    let (prefix, path) = (root(), root());
    let count = GetAllChildrenNumberRequest { path };
    let own = GetEphemeralsRequest { prefix };
    vec![
        request(OpCode::GetData, 0xc0, &get),
        request(OpCode::Exists, 0, &exists),
        request(OpCode::GetChildren2, 0, &children),
        request(OpCode::GetAcl, 0, &GetAclRequest { path: a() }),
        request(OpCode::MultiRead, 0, &many),
        request(OpCode::Sync, 0, &SyncRequest { path: a() }),
        request(OpCode::AddWatch, 0x80, &add),
        request(OpCode::RemoveWatches, 0, &remove),
        request(OpCode::GetEphemerals, 0x80, &own),
        request(OpCode::GetAllChildrenNumber, 0, &count),
        request(OpCode::SetWatches, 0, &again),
        request(OpCode::WhoAmI, 0, &0_i32),
        request(OpCode::Ping, 0, &0_i32),
    ]
}

pub(crate) fn connection_seeds() -> Vec<Vec<u8>> {
    let (writes, reads) = (seed_writes(), seed_reads());
    let close = request(OpCode::CloseSession, 0x40, &0_i32);
    let watched = [&writes[0], &reads[0], &reads[1], &reads[6], &writes[4]];
    vec![
        [&writes[..7], &reads, &writes[7..], &[close]]
            .concat()
            .concat(),
        writes.concat(),
        watched.into_iter().flatten().copied().collect(),
    ]
}

/// The first four bytes of a connection, over a state with something in it.
pub(crate) fn words(bytes: &[u8]) {
    let Some((head, rest)) = bytes.split_first_chunk() else {
        return;
    };
    if detect::protocol(*head) != detect::Protocol::FourLetterWord {
        return;
    }
    let door = Door::new();
    let services = services(&door);
    let client = client(&services, &door);
    let _registered = Registered::new(&services, client.connection.id(), Arc::clone(&client.info));
    let path = format!("/{}", String::from_utf8_lossy(rest));
    let create = CreateRequest {
        path: path.clone(),
        data: None,
        acl: vec![Acl::open()],
        flags: 1,
    };
    let watch = AddWatchRequest { path, mode: 0 };
    let mut buffer = BytesMut::new();
    for (op, body) in [
        (OpCode::Create, create.to_bytes()),
        (OpCode::AddWatch, watch.to_bytes()),
    ] {
        zweig_proto::zk::frame::put_frame(&mut buffer, |out| {
            RequestHeader {
                xid: 1,
                op: op as i32,
            }
            .write(out);
            out.extend_from_slice(&body);
        });
    }
    let room = Arc::new(Semaphore::new(limits::PIPELINE_COST as usize));
    let _ = futures::FutureExt::now_or_never(start_all(&client, &mut buffer, &room));
    door.settle();
    let word = String::from_utf8_lossy(head);
    let answer = four_letter::answer(&word, &services);
    assert!(
        answer.is_none_or(|answer| answer.len() < 1 << 20),
        "an answer is small"
    );
}

pub(crate) fn word_seeds() -> Vec<Vec<u8>> {
    let words = [
        "ruok", "isro", "srvr", "stat", "mntr", "cons", "wchs", "wchc", "wchp", "dump", "crst",
        "srst", "conf", "envi",
    ];
    words
        .iter()
        .map(|word| format!("{word}path").into_bytes())
        .collect()
}
