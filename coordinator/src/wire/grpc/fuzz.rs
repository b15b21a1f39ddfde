//! Messages of a session's stream, without the stream.

use std::sync::Arc;

use parking_lot::Mutex;
use prost::Message as _;
use zweig_proto::grpc as proto;
use zweig_proto::grpc::session_request::Request as Asked;
use zweig_proto::grpc::write_op::Op as ProtoOp;

use super::values;
use crate::fuzz::Choices;
use crate::request::fuzz::Door;
use crate::request::{Closed, EventSink, ReadReply, Request, RequestError, Response};
use crate::state_machine::Reply;
use crate::watch::Event;

struct Deaf;

impl EventSink for Deaf {
    fn event(&self, _: Event) {}
    fn closed(&self, _: Closed) {}
}

/// Messages, each behind its length in two bytes.
pub(crate) fn session(bytes: &[u8]) {
    let door = Door::new();
    let connection = door.open(Arc::new(Deaf), None).expect("a session");
    let answers = Arc::new(Mutex::new(0));
    let mut asked = 0;
    let mut choices = Choices(bytes);
    while !choices.is_empty() && asked < 50 {
        let length = usize::from(choices.byte()) << 8 | usize::from(choices.byte());
        let Ok(message) = proto::SessionRequest::decode(choices.take(length)) else {
            continue;
        };
        let request = match message.request {
            Some(Asked::Write(write)) => values::write(write).map(Request::Write),
            Some(Asked::FencedBatch(batch)) => values::fenced_batch(batch).map(Request::Write),
            Some(Asked::Read(read)) => values::read(read).map(Request::Read),
            Some(Asked::AddAuth(add)) => {
                let auth = add.auth.unwrap_or_default();
                let _ = connection.add_auth(&auth.scheme, auth.id.as_bytes());
                continue;
            }
            _ => continue,
        };
        asked += 1;
        let answers = Arc::clone(&answers);
        let reply = move |answer: crate::request::Answer| {
            *answers.lock() += 1;
            encode(answer.result);
        };
        connection.send([(
            request.unwrap_or_else(Request::Refuse),
            Box::new(reply) as crate::request::ReplyTo,
        )]);
        if length & 1 == 0 {
            door.settle();
        }
    }
    door.settle();
    assert_eq!(*answers.lock(), asked, "every request is answered");
    door.audit();
}

fn encode(result: Result<Response, RequestError>) {
    match result {
        Ok(Response::Written(Reply::FencedBatch(groups))) => {
            values::fenced_batch_result(groups).encode_to_vec();
        }
        Ok(Response::Written(reply)) => {
            values::write_results(Ok(reply)).encode_to_vec();
        }
        Ok(Response::Read(ReadReply::Many(replies))) => {
            values::read_results(replies).encode_to_vec();
        }
        Ok(Response::Read(other)) => panic!("{other:?} is no answer to a read of this API"),
        Err(RequestError::Op(failed)) => {
            values::write_results(Err(failed)).encode_to_vec();
        }
        Err(_) => {}
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let create = |path: &str, ephemeral, sequential| proto::WriteOp {
        op: Some(ProtoOp::Create(proto::Create {
            path: path.to_owned(),
            data: Some("d".into()),
            ephemeral,
            sequential,
            ..proto::Create::default()
        })),
    };
    let check = proto::WriteOp {
        op: Some(ProtoOp::Check(proto::Check {
            path: "/a".to_owned(),
            version: 0,
        })),
    };
    let write = |ops| proto::Write { ops };
    let batch = proto::FencedBatch {
        fence_path: "/a".to_owned(),
        fence_version: 0,
        ops: vec![
            write(vec![create("/b", false, true)]),
            write(vec![check.clone()]),
        ],
    };
    let reads = (0..4).map(|kind| proto::ReadOp {
        kind,
        path: "/a".to_owned(),
    });
    let read = proto::Read {
        ops: reads.collect(),
        ..proto::Read::default()
    };
    let asked = [
        Asked::Write(write(vec![create("/a", false, false)])),
        Asked::Write(write(vec![check, create("/a/e", true, false)])),
        Asked::FencedBatch(batch),
        Asked::Read(read),
    ];
    let messages: Vec<u8> = asked
        .into_iter()
        .flat_map(|request| {
            let message = proto::SessionRequest {
                id: 1,
                trace: Some(proto::TraceParent {
                    trace: bytes::Bytes::from_static(&[7; 16]),
                    span: bytes::Bytes::from_static(&[8; 8]),
                }),
                request: Some(request),
            };
            let bytes = message.encode_to_vec();
            [&(bytes.len() as u16).to_be_bytes(), &bytes[..]].concat()
        })
        .collect();
    vec![messages]
}
