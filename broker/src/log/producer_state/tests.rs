use super::super::format::producer_snapshot;
use super::super::format::record_batch::tests::Batch;
use super::*;

/// The header of a batch of producer 7.
fn header(epoch: i16, base_sequence: i32, records: i32, base_offset: i64) -> Header {
    let batch = Batch {
        base_offset,
        producer_id: 7,
        producer_epoch: epoch,
        base_sequence,
        ..Batch::of(records)
    };
    Header::parse(&batch.bytes()).unwrap()
}

fn append(table: &mut ProducerTable, header: &Header) -> Result<Option<i64>, AppendError> {
    match table.prepare([(header, None)], Source::Client)? {
        Prepared::Duplicate(batch) => Ok(Some(batch.first_offset())),
        Prepared::Fresh(update) => {
            table.commit(update);
            Ok(None)
        }
    }
}

#[test]
fn gaps_are_refused_and_retries_are_answered_with_their_offsets() {
    let mut table = ProducerTable::default();
    for at in 0..7 {
        assert_eq!(
            append(&mut table, &header(0, at * 2, 2, 100 + i64::from(at) * 2)).unwrap(),
            None
        );
    }
    for at in 2..7 {
        let retry = header(0, at * 2, 2, 900);
        assert_eq!(
            append(&mut table, &retry).unwrap(),
            Some(100 + i64::from(at) * 2)
        );
    }
    let forgotten = append(&mut table, &header(0, 2, 2, 900));
    assert!(matches!(
        forgotten,
        Err(AppendError::OutOfOrderSequence {
            expected: 14,
            found: 2,
            ..
        })
    ));
    let partly = append(&mut table, &header(0, 13, 2, 900));
    assert!(matches!(
        partly,
        Err(AppendError::OutOfOrderSequence { .. })
    ));
    let gap = append(&mut table, &header(0, 15, 1, 900));
    assert!(matches!(
        gap,
        Err(AppendError::OutOfOrderSequence {
            expected: 14,
            found: 15,
            ..
        })
    ));
}

#[test]
fn epochs() {
    let mut table = ProducerTable::default();
    append(&mut table, &header(3, 0, 1, 0)).unwrap();
    let old = append(&mut table, &header(2, 1, 1, 1));
    assert!(matches!(
        old,
        Err(AppendError::InvalidProducerEpoch {
            found: 2,
            current: 3,
            ..
        })
    ));
    let not_zero = append(&mut table, &header(4, 1, 1, 1));
    assert!(matches!(
        not_zero,
        Err(AppendError::OutOfOrderSequence { expected: 0, .. })
    ));
    assert_eq!(append(&mut table, &header(4, 0, 1, 1)).unwrap(), None);
    assert!(append(&mut table, &header(3, 1, 1, 2)).is_err());
}

#[test]
fn sequences_wrap_within_and_between_batches() {
    let mut table = ProducerTable::default();
    append(&mut table, &header(0, i32::MAX - 1, 4, 0)).unwrap();
    assert_eq!(
        append(&mut table, &header(0, i32::MAX - 1, 4, 9)).unwrap(),
        Some(0)
    );
    append(&mut table, &header(0, 2, 1, 4)).unwrap();
    let mut table = ProducerTable::default();
    append(&mut table, &header(0, i32::MAX, 1, 0)).unwrap();
    append(&mut table, &header(0, 0, 1, 1)).unwrap();
}

#[test]
fn an_unknown_producer_begins_anywhere() {
    let mut table = ProducerTable::default();
    append(&mut table, &header(5, 42, 1, 0)).unwrap();
    append(&mut table, &header(5, 43, 1, 1)).unwrap();
    table.expire(1_000 + 86_400_000, 86_400_000);
    assert!(table.is_empty());
    append(&mut table, &header(4, 99, 1, 2)).unwrap();
}

#[test]
fn a_failed_write_leaves_no_trace() {
    let mut table = ProducerTable::default();
    append(&mut table, &header(0, 0, 1, 0)).unwrap();
    let before = table.clone();
    let next = header(0, 1, 1, 1);
    assert!(matches!(
        table.prepare([(&next, None)], Source::Client),
        Ok(Prepared::Fresh(_))
    ));
    assert_eq!(table, before);
    assert_eq!(append(&mut table, &next).unwrap(), None);
}

#[test]
fn replication_takes_what_comes() {
    let mut table = ProducerTable::default();
    table.replay(&header(3, 10, 1, 0), None);
    table.replay(&header(2, 50, 1, 1), None);
    assert_eq!(table.producers[&7].epoch, 2);
    assert_eq!(table.producers[&7].last_sequence(), 50);
}

#[test]
fn snapshots_keep_the_last_batch() {
    let mut table = ProducerTable::default();
    for at in 0..3 {
        append(&mut table, &header(1, at, 1, i64::from(at))).unwrap();
    }
    let bytes = producer_snapshot::encode(&table.snapshot());
    let mut read = ProducerTable::from_snapshot(&producer_snapshot::decode(&bytes).unwrap());
    assert_eq!(append(&mut read, &header(1, 2, 1, 77)).unwrap(), Some(2));
    assert!(append(&mut read, &header(1, 1, 1, 77)).is_err());
    assert_eq!(append(&mut read, &header(1, 3, 1, 3)).unwrap(), None);
}

#[test]
fn transactions_hold_the_stable_offset_back_until_their_marker() {
    let mut table = ProducerTable::default();
    let data = Header {
        attributes: 0x10,
        ..header(0, 0, 2, 10)
    };
    append(&mut table, &data).unwrap();
    assert_eq!(table.first_unstable_offset(), Some(10));
    let plain = append(&mut table, &header(0, 2, 1, 12));
    assert!(matches!(plain, Err(AppendError::InvalidTxnState(7))));
    let marker = Header {
        attributes: 0x30,
        ..header(0, -1, 1, 12)
    };
    let end = |coordinator_epoch| {
        Some(EndMarker {
            commit: true,
            coordinator_epoch,
        })
    };
    let prepared = table
        .prepare([(&marker, end(4))], Source::Coordinator)
        .unwrap();
    let Prepared::Fresh(update) = prepared else {
        panic!("{prepared:?}")
    };
    table.commit(update);
    assert_eq!(table.first_unstable_offset(), None);
    let zombie = table.prepare([(&marker, end(3))], Source::Coordinator);
    assert!(matches!(
        zombie,
        Err(AppendError::TransactionCoordinatorFenced { .. })
    ));
    table.expire(i64::MAX, 1);
    assert!(table.is_empty());
}

#[test]
fn what_came_before_a_snapshot_is_recalled_where_it_leads_up_to_it() {
    let mut table = ProducerTable::default();
    let headers: Vec<Header> = (0..7).map(|at| header(1, at, 1, i64::from(at))).collect();
    for header in &headers {
        append(&mut table, header).unwrap();
    }
    let snapshot = table.snapshot();
    let mut whole = ProducerTable::from_snapshot(&snapshot);
    whole.recall(&headers);
    assert_eq!(whole, table);
    for (at, retry) in (0..).zip(&headers).skip(2) {
        assert_eq!(append(&mut whole, retry).unwrap(), Some(at));
    }
    assert!(append(&mut whole, &headers[1]).is_err(), "six batches back");

    // What another epoch wrote, or what does not reach the last batch, says nothing.
    let former: Vec<Header> = (0..7).map(|at| header(0, at, 1, i64::from(at))).collect();
    for before in [&former[..], &headers[..6]] {
        let mut part = ProducerTable::from_snapshot(&snapshot);
        part.recall(before);
        assert!(append(&mut part, &headers[5]).is_err());
        assert_eq!(append(&mut part, &headers[6]).unwrap(), Some(6));
    }
}
