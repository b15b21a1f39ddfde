//! Opcodes 14, `multi`, and 22, `multiRead`: a list of operations, each behind a header, ended by
//! a header that says so. The answer has the same form.

use bytes::BytesMut;

use super::{
    CheckRequest, CreateRequest, CreateTtlRequest, DeleteRequest, GetChildrenRequest,
    GetDataRequest, SetDataRequest,
};
use super::{Create2Response, GetChildrenResponse, GetDataResponse};
use crate::zk::jute::{DecodeError, Jute, Reader, record};
use crate::zk::{ErrorCode, OpCode, Stat};

record! {
    /// Stands before each operation, each result, and at the end.
    pub struct MultiHeader {
        /// The operation; -1 for an error and for the end.
        pub kind: i32,
        /// Is this the end?
        pub done: bool,
        /// -1 in requests and at the end; in results 0 or the error.
        pub err: i32,
    }
}

const END: MultiHeader = MultiHeader {
    kind: -1,
    done: true,
    err: -1,
};

/// An operation inside a multi. The two reads belong to `multiRead` alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MultiOp {
    /// Answered with the path.
    Create(CreateRequest),
    /// Answered with the path and the stat.
    Create2(CreateRequest),
    /// As `Create2`.
    CreateTtl(CreateTtlRequest),
    /// Answered with nothing.
    Delete(DeleteRequest),
    /// Answered with the stat.
    SetData(SetDataRequest),
    /// Answered with nothing.
    Check(CheckRequest),
    /// Answered with the children.
    GetChildren(GetChildrenRequest),
    /// Answered with data and stat.
    GetData(GetDataRequest),
}

/// The operations, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultiRequest {
    /// At least none.
    pub ops: Vec<MultiOp>,
}

/// The result of one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MultiResult {
    /// Of `create`: the path.
    Create(String),
    /// Of `create2`.
    Create2(Create2Response),
    /// Of `delete`.
    Delete,
    /// Of `setData`.
    SetData(Stat),
    /// Of `check`.
    Check,
    /// Of `getChildren`.
    GetChildren(GetChildrenResponse),
    /// Of `getData`.
    GetData(GetDataResponse),
    /// It failed; or code 0, for one in front of the one that failed.
    Error(ErrorCode),
}

/// The results, in the order of the operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultiResponse {
    /// As many as there were operations.
    pub results: Vec<MultiResult>,
}

impl Jute for MultiRequest {
    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        let mut ops = Vec::new();
        loop {
            let header = MultiHeader::read(from)?;
            if header.done {
                return Ok(Self { ops });
            }
            ops.push(match OpCode::from_number(header.kind) {
                Some(OpCode::Create) => MultiOp::Create(Jute::read(from)?),
                // The flags tell a container.
                Some(OpCode::Create2 | OpCode::CreateContainer) => {
                    MultiOp::Create2(Jute::read(from)?)
                }
                Some(OpCode::CreateTtl) => MultiOp::CreateTtl(Jute::read(from)?),
                Some(OpCode::Delete) => MultiOp::Delete(Jute::read(from)?),
                Some(OpCode::SetData) => MultiOp::SetData(Jute::read(from)?),
                Some(OpCode::Check) => MultiOp::Check(Jute::read(from)?),
                Some(OpCode::GetChildren) => MultiOp::GetChildren(Jute::read(from)?),
                Some(OpCode::GetData) => MultiOp::GetData(Jute::read(from)?),
                _ => return Err(DecodeError::BadMultiOp(header.kind)),
            });
        }
    }

    fn write(&self, out: &mut BytesMut) {
        for op in &self.ops {
            let (kind, body): (OpCode, &dyn Fn(&mut BytesMut)) = match op {
                MultiOp::Create(create) => (OpCode::Create, &|out| create.write(out)),
                MultiOp::Create2(create) => (OpCode::Create2, &|out| create.write(out)),
                MultiOp::CreateTtl(create) => (OpCode::CreateTtl, &|out| create.write(out)),
                MultiOp::Delete(delete) => (OpCode::Delete, &|out| delete.write(out)),
                MultiOp::SetData(set_data) => (OpCode::SetData, &|out| set_data.write(out)),
                MultiOp::Check(check) => (OpCode::Check, &|out| check.write(out)),
                MultiOp::GetChildren(get) => (OpCode::GetChildren, &|out| get.write(out)),
                MultiOp::GetData(get) => (OpCode::GetData, &|out| get.write(out)),
            };
            put_header(kind as i32, -1, out);
            body(out);
        }
        END.write(out);
    }
}

fn put_header(kind: i32, err: i32, out: &mut BytesMut) {
    let header = MultiHeader {
        kind,
        done: false,
        err,
    };
    header.write(out);
}

impl MultiResult {
    fn read_body(header: &MultiHeader, from: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match OpCode::from_number(header.kind) {
            _ if header.kind == -1 => MultiResult::Error(Jute::read(from)?),
            Some(OpCode::Create) => MultiResult::Create(Jute::read(from)?),
            Some(OpCode::Create2) => MultiResult::Create2(Jute::read(from)?),
            Some(OpCode::Delete) => MultiResult::Delete,
            Some(OpCode::SetData) => MultiResult::SetData(Jute::read(from)?),
            Some(OpCode::Check) => MultiResult::Check,
            Some(OpCode::GetChildren) => MultiResult::GetChildren(Jute::read(from)?),
            Some(OpCode::GetData) => MultiResult::GetData(Jute::read(from)?),
            _ => return Err(DecodeError::BadMultiOp(header.kind)),
        })
    }
}

impl Jute for MultiResponse {
    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        let mut results = Vec::new();
        loop {
            let header = MultiHeader::read(from)?;
            if header.done {
                return Ok(Self { results });
            }
            results.push(MultiResult::read_body(&header, from)?);
        }
    }

    fn write(&self, out: &mut BytesMut) {
        for result in &self.results {
            match result {
                MultiResult::Create(path) => {
                    put_header(OpCode::Create as i32, 0, out);
                    path.write(out);
                }
                MultiResult::Create2(created) => {
                    put_header(OpCode::Create2 as i32, 0, out);
                    created.write(out);
                }
                MultiResult::Delete => put_header(OpCode::Delete as i32, 0, out),
                MultiResult::SetData(stat) => {
                    put_header(OpCode::SetData as i32, 0, out);
                    stat.write(out);
                }
                MultiResult::Check => put_header(OpCode::Check as i32, 0, out),
                MultiResult::GetChildren(children) => {
                    put_header(OpCode::GetChildren as i32, 0, out);
                    children.write(out);
                }
                MultiResult::GetData(data) => {
                    put_header(OpCode::GetData as i32, 0, out);
                    data.write(out);
                }
                MultiResult::Error(code) => {
                    put_header(-1, code.0, out);
                    code.write(out);
                }
            }
        }
        END.write(out);
    }
}
