use bytes::Bytes;
use zweig_client::kafka::records::{BatchSpec, Compression, Record, encode_batch};

use super::*;

const FOLLOWED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const NOT_FOLLOWED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// One that is followed, another for each number.
fn followed(number: usize) -> String {
    FOLLOWED.replace("b7ad6b7169203331", &format!("{:016x}", number + 1))
}

fn record(traceparent: Option<&str>) -> Record {
    let value = |text: &str| Some(Bytes::copy_from_slice(text.as_bytes()));
    let header = |text: &str| (TraceContext::HEADER.to_owned(), value(text));
    Record {
        key: None,
        value: value("v"),
        headers: traceparent.map(header).into_iter().collect(),
        timestamp_ms: 0,
    }
}

fn traces(compression: Compression, records: &[Record], budget: &mut Budget) -> Traces {
    let spec = BatchSpec {
        compression,
        ..BatchSpec::default()
    };
    let batch = encode_batch(&spec, records).unwrap();
    let header = Header::parse(&batch).unwrap();
    Traces::of(&batch, &header, budget)
}

#[test]
fn a_followed_record_behind_many_others_is_found() {
    let mut records: Vec<_> = (0..499).map(|_| record(Some(NOT_FOLLOWED))).collect();
    records.push(record(Some(FOLLOWED)));
    for compression in [Compression::None, Compression::Zstd] {
        let found = traces(compression, &records, &mut Budget::default());
        assert_eq!((found.followed.len(), found.silent), (1, false));
    }
}

/// Whoever chose not to be followed is not chosen by chance either.
#[test]
fn a_batch_is_silent_if_no_record_says_anything() {
    let silent = |headers: &[Option<&str>]| {
        let records: Vec<_> = headers.iter().map(|header| record(*header)).collect();
        traces(Compression::None, &records, &mut Budget::default()).silent
    };
    assert!(silent(&[None, None]));
    assert!(silent(&[Some("nonsense")]));
    assert!(!silent(&[None, Some(NOT_FOLLOWED)]));
    assert!(!silent(&[Some(FOLLOWED)]));
}

#[test]
fn a_batch_and_a_request_tell_of_so_many_traces_and_of_each_once() {
    let mut budget = Budget::default();
    let records: Vec<_> = (0..2 * OF_A_BATCH)
        .flat_map(|number| {
            [
                record(Some(&followed(number))),
                record(Some(&followed(number))),
            ]
        })
        .collect();
    let mut told = 0;
    for _ in 0..20 {
        let found = traces(Compression::Lz4, &records, &mut budget).followed;
        assert!(found.len() <= OF_A_BATCH);
        assert_eq!(
            found.iter().collect::<std::collections::HashSet<_>>().len(),
            found.len()
        );
        told += found.len();
    }
    assert_eq!(told, OF_A_REQUEST);
}

/// The span of the leader is the parent of what followers tell: theirs, and nobody else's.
#[test]
fn each_batch_has_a_span_of_its_own() {
    let Said::Followed(parent) = TraceContext::of_traceparent(FOLLOWED.as_bytes()) else {
        panic!("it is followed");
    };
    let place = Place {
        topic_id: TopicId::from_u128(7),
        partition: 0,
        base_offset: 0,
        leader_epoch: 0,
    };
    let others = [
        Place {
            topic_id: TopicId::from_u128(8),
            ..place
        },
        Place {
            partition: 1,
            ..place
        },
        Place {
            base_offset: 1,
            ..place
        },
        Place {
            leader_epoch: 1,
            ..place
        },
    ];
    assert_eq!(place.leaders_span(parent), place.leaders_span(parent));
    for other in others {
        assert_ne!(
            place.leaders_span(parent),
            other.leaders_span(parent),
            "{other:?}"
        );
    }
}

#[test]
fn the_batch_that_waits_longest_is_the_one_that_is_waited_for() {
    let followed = Arc::new(Followed::default());
    let contexts: Vec<_> = (0..=WAITING).map(|_| TraceContext::begin()).collect();
    let mut waiting: Vec<_> = contexts.iter().map(|one| followed.begin(*one)).collect();
    assert!(waiting[WAITING].is_none(), "so many and no more are known");
    assert_eq!(followed.first(), Some(contexts[0]));
    waiting[1] = None;
    waiting[0] = None;
    assert_eq!(followed.first(), Some(contexts[2]));
    drop(waiting);
    assert_eq!(followed.first(), None);
}

#[test]
fn what_is_followed_by_chance_counts_too() {
    let service = zweig_monitoring::trace::Service {
        name: "test",
        instance: "1".to_owned(),
        version: "0",
    };
    let kept = zweig_monitoring::trace::Kept::default();
    let tracer = Tracer::over(kept.clone(), &service, 1.0);
    let name = TopicPartition::new("t", 0);
    let batch = encode_batch(&BatchSpec::default(), &[record(None)]).unwrap();
    let mut budget = Budget {
        traces: 1,
        ..Budget::default()
    };
    let first = Producing::begin(&tracer, &name, &batch, &mut budget);
    assert!(first.is_some());
    assert!(Producing::begin(&tracer, &name, &batch, &mut budget).is_none());
    drop(first);
    tracer.stop();
    assert_eq!(kept.take().len(), 1);
}

/// However small they are on the wire, and however many of them one answer holds.
#[test]
fn batches_that_unpack_to_a_lot_are_looked_into_so_far() {
    let mut large = record(None);
    large.value = Some(Bytes::from(vec![0; 1 << 20]));
    let records = [large, record(Some(FOLLOWED))];
    let mut budget = Budget::default();
    let mut looks = 0;
    while !budget.is_over() {
        let found = traces(Compression::Zstd, &records, &mut budget);
        assert!(found.followed.is_empty(), "it stands behind the bound");
        looks += 1;
    }
    assert_eq!(looks, LOOKED_AT_ALL_BYTES / LOOKED_BYTES);
}
