//! What each record batch costs a broker, sockets left out: it is checked, appended, found again and read.
//!
//! `scripts/micro batch`, `append`, `index` and `fetch` run it, on logs in a temporary folder (`TMPDIR`); nothing waits for
//! the disk. Each measurement has been looked at for a right answer before it is timed.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput};
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, Record,
    RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::time::Instant;
use uuid::Uuid;
use zweig_broker::log::format::offset_index::{ENTRY_SIZE, OffsetPosition, encode};
use zweig_broker::log::format::record_batch;
use zweig_broker::log::store::offset_index::OffsetIndex;
use zweig_broker::log::validator::check_for_leader;
use zweig_broker::log::{AppendOrigin, Log, LogConfig, LogManager, TopicPartition};
use zweig_broker::purgatory::fetch::{Bounds, Fetched, Wanted, fetch};
use zweig_broker::replica::hosted::{Partition, ReadFrom, Reader};
use zweig_broker::{clock, disk};

#[allow(dead_code, reason = "shared with the tests")]
#[path = "../tests/wire/mod.rs"]
mod wire;

/// The binary's, since buffers are allocated for each batch.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NOW: i64 = 1_000_000;
/// `batch.size` of a producer, which it fills as far as whole records go.
const BATCH_BYTES: usize = 16 << 10;
/// Most that is fetched of a partition at once, Kafka's default.
const FETCH_BYTES: usize = 1 << 20;
/// Batches in the logs that are read: 128 MiB.
const BATCHES: i64 = 8_192;
/// Logs that are appended to are emptied beyond this, before the system begins to write them to the disk.
const APPENDED_BYTES: u64 = 256 << 20;
/// Prime to the numbers of what is looked for, so that all have their turn in an order that no cache foresees.
const STRIDE: i64 = 61_417;

/// Text that a codec makes a third of, as of JSON.
fn value(length: usize, seed: usize) -> Bytes {
    let mut state = seed as u64 | 1;
    let text = (0..length).map(|at| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        match at % 16 {
            0..10 => b"\"field\":\"v"[at % 16],
            _ => b"0123456789abcdef"[(state >> 60) as usize],
        }
    });
    text.collect()
}

/// One batch of as many records as fit into `batch.size`.
fn batch(value_bytes: usize, compression: Compression) -> Bytes {
    let count = BATCH_BYTES / (value_bytes + 11);
    let records: Vec<Record> = (0..count)
        .map(|i| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            timestamp_type: TimestampType::Creation,
            offset: i as i64,
            sequence: NO_SEQUENCE + i as i32,
            timestamp: NOW,
            key: None,
            value: Some(value(value_bytes, i)),
            headers: Default::default(),
        })
        .collect();
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions {
        version: 2,
        compression,
    };
    RecordBatchEncoder::encode(&mut bytes, &records, &options).expect("a batch");
    assert!(bytes.len() <= BATCH_BYTES);
    bytes.freeze()
}

fn header_of(records: &Bytes) -> record_batch::Header {
    record_batch::parse_whole(records).expect("a whole batch")
}

fn validation(criterion: &mut Criterion) {
    let config = LogConfig::default();
    let check = |records: &Bytes| check_for_leader(records, &config, AppendOrigin::Client, NOW);
    let mut group = criterion.benchmark_group("batch validation, 16 KiB");
    let cases = [
        ("15 records of 1 KiB", 1_024, Compression::None),
        ("147 records of 100 B", 100, Compression::None),
        ("15 records of 1 KiB, lz4", 1_024, Compression::Lz4),
        ("147 records of 100 B, lz4", 100, Compression::Lz4),
        ("147 records of 100 B, zstd", 100, Compression::Zstd),
    ];
    for (name, value_bytes, compression) in cases {
        let records = batch(value_bytes, compression);
        let checked = check(&records).expect("a good batch");
        assert_eq!(checked[0].header.max_timestamp_ms, NOW);
        let mut torn = records.to_vec();
        torn[100] ^= 1;
        assert!(check(&torn.into()).is_err(), "a flipped bit is noticed");
        // Of the batch as it is unpacked, to be comparable.
        let plain = batch(value_bytes, Compression::None).len();
        group.throughput(Throughput::Bytes(plain as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| check(black_box(&records)));
        });
    }
    group.finish();
}

/// A log directory with one log in it.
struct Folder {
    path: TempDir,
    manager: LogManager,
    log: Arc<Log>,
}

impl Folder {
    fn new() -> Folder {
        Folder::open(TempDir::new().expect("a temporary folder"))
    }

    fn open(path: TempDir) -> Folder {
        let dirs = [path.path().to_owned()];
        let manager = LogManager::open(disk::real(), &dirs, LogConfig::default(), "", NOW);
        let manager = manager.expect("a log directory");
        let partition = TopicPartition::new("t", 0);
        let log = manager.get_or_create(&partition, Uuid::from_u128(1), &BTreeMap::new(), NOW);
        let log = log.expect("a log");
        Folder { path, manager, log }
    }

    /// Stops and starts as a broker does.
    fn reopened(self) -> Folder {
        let Folder { path, manager, log } = self;
        manager.shutdown_clean(1).expect("a clean stop");
        // With the last of them goes the lock.
        drop((manager, log));
        Folder::open(path)
    }

    /// Empties a log that has grown, and hands out the batch in memory of its own, as a connection does.
    fn next(&self, records: &Bytes) -> Bytes {
        if self.log.size_bytes() > APPENDED_BYTES {
            let end = self.log.log_end_offset();
            let emptied = self.log.truncate_fully_and_start_at(end);
            emptied.expect("an empty log");
        }
        let mut owned = BytesMut::with_capacity(records.len());
        owned.extend_from_slice(records);
        owned.freeze()
    }
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append, 16 KiB");
    for (name, value_bytes) in [
        ("15 records of 1 KiB", 1_024),
        ("147 records of 100 B", 100),
    ] {
        let records = batch(value_bytes, Compression::None);
        let count = i64::from(header_of(&records).record_count);
        group.throughput(Throughput::Bytes(records.len() as u64));

        let folder = Folder::new();
        let append = |records| {
            let appended = folder
                .log
                .append_as_leader(records, 0, AppendOrigin::Client, NOW);
            appended.expect("appended")
        };
        assert_eq!(append(folder.next(&records)).last_offset, count - 1);
        assert_eq!(append(folder.next(&records)).first_offset, count);
        let read = folder.log.read(count, FETCH_BYTES, i64::MAX, true);
        assert_eq!(
            header_of(&read.expect("it is there").bytes).crc,
            header_of(&records).crc
        );
        group.bench_function(format!("by a leader, {name}"), |bencher| {
            // Few at a time, so that they lie in the cache still, as when a socket has just brought them.
            let few = BatchSize::NumIterations(16);
            bencher.iter_batched(|| folder.next(&records), append, few);
        });

        let folder = Folder::new();
        let fetched = || {
            let mut fetched = BytesMut::from(&folder.next(&records)[..]);
            record_batch::set_offset_and_epoch(&mut fetched, folder.log.log_end_offset(), 0);
            fetched.freeze()
        };
        let append = |records| {
            folder
                .log
                .append_as_follower(records, NOW)
                .expect("appended")
        };
        assert_eq!(append(fetched()).last_offset, count - 1);
        assert_eq!(append(fetched()).first_offset, count);
        group.bench_function(format!("by a follower, {name}"), |bencher| {
            bencher.iter_batched(fetched, append, BatchSize::PerIteration);
        });
    }
    group.finish();
}

/// The index of a segment of 1 GiB, full.
fn index_lookup(criterion: &mut Criterion) {
    const ENTRIES: i64 = (1 << 30) / 4_096;
    const RECORDS_BETWEEN: i64 = 40;
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("00000000000000000000.index");
    let entry = |at: i64| OffsetPosition {
        offset: at * RECORDS_BETWEEN,
        position: (at * 4_096) as u32,
    };
    let bytes: Vec<u8> = (1..=ENTRIES).flat_map(|at| encode(entry(at), 0)).collect();
    assert_eq!(bytes.len() as u64, ENTRIES as u64 * ENTRY_SIZE);
    std::fs::write(&path, bytes).expect("an index file");
    let index = OffsetIndex::open(&disk::FileDisk, &path, 0).expect("an index");
    let look_up = |offset| index.lookup(offset).expect("an entry");
    for at in [1, ENTRIES / 3, ENTRIES] {
        let found = entry(at);
        assert_eq!(look_up(found.offset), u64::from(found.position));
        assert_eq!(look_up(found.offset + 1), u64::from(found.position));
    }
    let mut group = criterion.benchmark_group("index lookup");
    group.throughput(Throughput::Elements(1));
    let mut at = 0;
    group.bench_function("an offset among 262,144 entries", |bencher| {
        bencher.iter(|| {
            at = (at + STRIDE) % ENTRIES;
            look_up(black_box(at * RECORDS_BETWEEN))
        });
    });
    group.finish();
}

/// Offsets in a log of [`BATCHES`], from which as much can be read as a fetch may have.
struct Turn {
    at: i64,
    records: i64,
}

impl Turn {
    fn next(&mut self) -> i64 {
        let whole = BATCHES - (FETCH_BYTES / BATCH_BYTES) as i64 - 8;
        self.at = (self.at + STRIDE) % whole;
        self.at * self.records + self.records / 2
    }
}

/// As a consumer reads one partition.
fn consume(
    partition: &Arc<Partition>,
    offset: i64,
    max_bytes: usize,
) -> impl Future<Output = Fetched> {
    let from = ReadFrom {
        leader_epoch: -1,
        offset,
        last_fetched_epoch: -1,
        max_bytes,
        min_one: false,
    };
    let bounds = Bounds {
        min_bytes: 1,
        max_bytes: 50 << 20,
        deadline: Instant::from_std(clock::now() + Duration::from_millis(500)),
    };
    let wanted = [Wanted {
        partition: Ok(Arc::clone(partition)),
        from,
    }];
    let reader = Reader::Consumer {
        committed_only: false,
    };
    async move { fetch(&wanted, reader, bounds).await }
}

fn fetches(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let records = batch(1_024, Compression::None);
    let cluster = runtime.block_on(async {
        let cluster = wire::broker().await;
        cluster.shared.create("t", &[1], &[]);
        cluster.apply().await;
        cluster
    });
    let partition = cluster.node(1).replicas.partition(&wire::partition());
    let partition = partition.expect("it is led here");
    for _ in 0..BATCHES {
        let appended = partition.append_as_leader(records.clone(), AppendOrigin::Client, false);
        appended.expect("appended");
    }
    let read = |offset, max_bytes| {
        let fetched = runtime.block_on(consume(&partition, offset, max_bytes));
        let records = fetched.into_iter().next().expect("one partition");
        records.expect("it can be read").records
    };
    let mut turn = Turn {
        at: 0,
        records: header_of(&records).record_count.into(),
    };
    let mut group = criterion.benchmark_group("fetch from the page cache");
    for (name, max_bytes) in [("1 MiB", FETCH_BYTES), ("a batch of 16 KiB", BATCH_BYTES)] {
        let offset = turn.next();
        let found = read(offset, max_bytes);
        let first = header_of(&found);
        assert!((first.base_offset..=first.last_offset()).contains(&offset));
        assert_eq!(first.crc, header_of(&records).crc);
        assert_eq!(found.len(), max_bytes / records.len() * records.len());
        group.throughput(Throughput::Bytes(found.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| read(black_box(turn.next()), max_bytes));
        });
    }
    group.finish();
    drop(partition);
    let _inside = runtime.enter();
    drop(cluster);
}

/// What was on the disk when the log was opened is served with its checksums compared.
fn reads_of_old(criterion: &mut Criterion) {
    let records = batch(1_024, Compression::None);
    let folder = Folder::new();
    for _ in 0..BATCHES {
        let appended = folder
            .log
            .append_as_leader(records.clone(), 0, AppendOrigin::Client, NOW);
        appended.expect("appended");
    }
    let folder = folder.reopened();
    let read = |offset| {
        let read = folder.log.read(offset, FETCH_BYTES, i64::MAX, true);
        read.expect("it can be read").bytes
    };
    let count = i64::from(header_of(&records).record_count);
    assert_eq!(folder.log.log_end_offset(), BATCHES * count);
    let mut turn = Turn {
        at: 0,
        records: count,
    };
    let offset = turn.next();
    let found = read(offset);
    assert_eq!(header_of(&found).base_offset, offset / count * count);
    let mut group = criterion.benchmark_group("fetch from the page cache");
    group.throughput(Throughput::Bytes(found.len() as u64));
    group.bench_function("1 MiB from before the start", |bencher| {
        bencher.iter(|| read(black_box(turn.next())));
    });
    group.finish();

    // Where it lies is looked up without reading it, as when a fetch waits.
    let slice = |offset| folder.log.slice(offset, FETCH_BYTES, i64::MAX, true);
    let found = slice(offset).expect("it can be read").expect("a slice");
    assert_eq!(found.first_offset, offset / count * count);
    let mut group = criterion.benchmark_group("index lookup");
    group.throughput(Throughput::Elements(1));
    group.bench_function("an offset's batch in a log of 128 MiB", |bencher| {
        bencher
            .iter(|| slice(black_box(turn.next())).map(|found| found.map(|found| found.position)));
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .without_plots()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    validation(&mut criterion);
    append(&mut criterion);
    index_lookup(&mut criterion);
    fetches(&mut criterion);
    reads_of_old(&mut criterion);
    criterion.final_summary();
}
