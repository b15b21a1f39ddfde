//! What every request and answer of ZooKeeper's protocol costs before and behind anything is done: jute.
//!
//! `scripts/micro jute` runs it. Each measurement has been looked at for a right answer before it is timed.

use std::hint::black_box;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput};
use zweig_proto::zk::frame::{put_frame, split_frame};
use zweig_proto::zk::op::{
    CreateRequest, GetDataRequest, GetDataResponse, MultiOp, MultiRequest, MultiResponse,
    MultiResult, SetDataRequest,
};
use zweig_proto::zk::{Acl, ErrorCode, Jute, OpCode, Reader, ReplyHeader, RequestHeader, Stat};

/// The binary's, since much of decoding is allocating.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MAX_FRAME: usize = 1 << 20;
const PIPELINED: usize = 1_000;

fn path(i: usize) -> String {
    format!("/app/config/service-{i:04}")
}

fn value() -> Bytes {
    Bytes::from(vec![b'v'; 100])
}

fn set_data(i: usize) -> SetDataRequest {
    SetDataRequest {
        path: path(i),
        data: Some(value()),
        version: -1,
    }
}

fn request(op: OpCode, body: &impl Jute) -> Bytes {
    let mut out = BytesMut::new();
    let header = RequestHeader {
        xid: 7,
        op: op as i32,
    };
    header.write(&mut out);
    body.write(&mut out);
    out.freeze()
}

/// A request as its frame brings it: the header, then the body that belongs to it.
fn decode<T: Jute>(frame: Bytes) -> (RequestHeader, T) {
    let mut reader = Reader::new(frame);
    let header = RequestHeader::read(&mut reader).expect("a header");
    let body = T::read(&mut reader).expect("a body");
    (header, body)
}

fn decoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("jute decode");
    group.throughput(Throughput::Elements(1));

    let set = request(OpCode::SetData, &set_data(1));
    assert_eq!(decode::<SetDataRequest>(set.clone()).1, set_data(1));
    group.bench_function("setData of 100 B", |bencher| {
        bencher.iter(|| decode::<SetDataRequest>(black_box(&set).clone()));
    });

    let create = CreateRequest {
        path: path(1),
        data: Some(value()),
        acl: vec![Acl::open()],
        flags: 0,
    };
    let bytes = request(OpCode::Create, &create);
    assert_eq!(decode::<CreateRequest>(bytes.clone()).1, create);
    group.bench_function("create of 100 B", |bencher| {
        bencher.iter(|| decode::<CreateRequest>(black_box(&bytes).clone()));
    });

    let multi = MultiRequest {
        ops: (0..10).map(|i| MultiOp::SetData(set_data(i))).collect(),
    };
    let bytes = request(OpCode::Multi, &multi);
    assert_eq!(decode::<MultiRequest>(bytes.clone()).1, multi);
    group.throughput(Throughput::Elements(10));
    group.bench_function("multi of 10 setData", |bencher| {
        bencher.iter(|| decode::<MultiRequest>(black_box(&bytes).clone()));
    });
    group.finish();
}

/// Takes every frame off what a socket brought, and decodes it; returns how many there were.
fn drain(stream: &mut BytesMut) -> usize {
    let mut count = 0;
    while let Some(frame) = split_frame(stream, MAX_FRAME).expect("a good length") {
        black_box(decode::<GetDataRequest>(frame));
        count += 1;
    }
    count
}

fn pipelined(criterion: &mut Criterion) {
    let mut stream = BytesMut::new();
    for i in 0..PIPELINED {
        let get = GetDataRequest {
            path: path(i),
            watch: false,
        };
        let request = request(OpCode::GetData, &get);
        put_frame(&mut stream, |out| out.extend_from_slice(&request));
    }
    assert_eq!(drain(&mut stream.clone()), PIPELINED);
    let mut group = criterion.benchmark_group("jute frames");
    group.throughput(Throughput::Elements(PIPELINED as u64));
    group.bench_function("1,000 pipelined getData", |bencher| {
        bencher.iter_batched_ref(|| stream.clone(), drain, BatchSize::NumIterations(8));
    });
    group.finish();
}

fn answer(out: &mut BytesMut, body: &impl Jute) {
    put_frame(out, |out| {
        let header = ReplyHeader {
            xid: 7,
            zxid: 1 << 32,
            err: ErrorCode::OK,
        };
        header.write(out);
        body.write(out);
    });
}

fn encoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("jute encode");
    let mut out = BytesMut::with_capacity(64 << 10);

    let data = GetDataResponse {
        data: Some(value()),
        stat: Stat::default(),
    };
    answer(&mut out, &data);
    assert_eq!(out.len(), 4 + 16 + 4 + 100 + 68);
    group.throughput(Throughput::Elements(1));
    group.bench_function("answer of getData, 100 B", |bencher| {
        bencher.iter(|| {
            out.clear();
            answer(&mut out, black_box(&data));
            out.len()
        });
    });

    let multi = MultiResponse {
        results: vec![MultiResult::SetData(Stat::default()); 10],
    };
    out.clear();
    answer(&mut out, &multi);
    assert_eq!(out.len(), 4 + 16 + 10 * (9 + 68) + 9);
    group.throughput(Throughput::Elements(10));
    group.bench_function("answer of a multi of 10 setData", |bencher| {
        bencher.iter(|| {
            out.clear();
            answer(&mut out, black_box(&multi));
            out.len()
        });
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .without_plots()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    decoding(&mut criterion);
    pipelined(&mut criterion);
    encoding(&mut criterion);
    criterion.final_summary();
}
