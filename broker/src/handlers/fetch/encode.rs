//! A fetch's answer as a frame, in which large records are pieces of their own: they go to the socket from where they were
//! read into.
//!
//! `kafka-protocol` encodes all of it but three things: the counts of topics and partitions, and the length of large records.
//! Each of them stands at the end of what is encoded with none of them, before the tagged fields, of which a flexible
//! version has at least the byte that says there are none.

use crate::wire::codec::{self, RequestError};
use crate::wire::pieces::Pieces;
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::FetchResponse;
use kafka_protocol::messages::fetch_response::{
    EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData, SnapshotId,
};
use kafka_protocol::protocol::Encodable;

/// First version with compact lengths and tagged fields.
const FLEXIBLE_SINCE: i16 = 12;

/// Records from this length on are not copied; below it a piece of its own costs more.
const LARGE: usize = 4096;

/// The answer in this version.
pub(in super::super) fn encode(
    answer: FetchResponse,
    version: i16,
    correlation_id: i32,
) -> Result<Pieces, RequestError> {
    let mut partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
    // Where the leaders are that errors name comes behind the topics.
    if !partitions.any(is_large) || !answer.node_endpoints.is_empty() {
        return codec::encode(&answer, version, correlation_id).map(Pieces::from);
    }
    let is_flexible = version >= FLEXIBLE_SINCE;
    let mut answer = answer;
    let topics = std::mem::take(&mut answer.responses);
    let frame = codec::encode(&answer, version, correlation_id)?;
    let mut out = Out {
        version,
        is_flexible,
        written: BytesMut::from(without_count(&frame, is_flexible)),
        pieces: Vec::new(),
        length: 0,
    };
    out.count(topics.len());
    for topic in topics {
        out.topic(topic)?;
    }
    out.no_tags();
    out.finish()
}

fn is_large(data: &PartitionData) -> bool {
    let is_large = |records: &Bytes| records.len() >= LARGE;
    data.records.as_ref().is_some_and(is_large)
        && data.diverging_epoch == EpochEndOffset::default()
        && data.current_leader == LeaderIdAndEpoch::default()
        && data.snapshot_id == SnapshotId::default()
        && data.unknown_tagged_fields.is_empty()
}

/// What stands before a count of nothing and no tags.
fn without_count(encoded: &[u8], is_flexible: bool) -> &[u8] {
    let behind = if is_flexible { 2 } else { 4 };
    &encoded[..encoded.len().saturating_sub(behind)]
}

/// The frame as far as it is written.
struct Out {
    version: i16,
    is_flexible: bool,
    written: BytesMut,
    /// Finished.
    pieces: Vec<Bytes>,
    /// Of those.
    length: usize,
}

impl Out {
    fn topic(&mut self, mut topic: FetchableTopicResponse) -> Result<(), RequestError> {
        let partitions = std::mem::take(&mut topic.partitions);
        self.message_without_count(&topic)?;
        self.count(partitions.len());
        for partition in partitions {
            self.partition(partition)?;
        }
        self.no_tags();
        Ok(())
    }

    fn partition(&mut self, mut data: PartitionData) -> Result<(), RequestError> {
        if !is_large(&data) {
            return self.message(&data);
        }
        let records = data.records.replace(Bytes::new()).unwrap_or_default();
        self.message_without_count(&data)?;
        self.count(records.len());
        let head = self.written.split().freeze();
        self.piece(head);
        self.piece(records);
        self.no_tags();
        Ok(())
    }

    fn message<T: Encodable>(&mut self, message: &T) -> Result<(), RequestError> {
        let encoded = message.encode(&mut self.written, self.version);
        encoded.map_err(|error| RequestError::Encode {
            what: std::any::type_name::<T>(),
            version: self.version,
            reason: error.to_string(),
        })
    }

    /// A message that ends with a count of nothing, up to that.
    fn message_without_count<T: Encodable>(&mut self, message: &T) -> Result<(), RequestError> {
        self.message(message)?;
        let length = without_count(&self.written, self.is_flexible).len();
        self.written.truncate(length);
        Ok(())
    }

    /// Of elements or bytes: four bytes, or one more as a varint.
    fn count(&mut self, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX - 1);
        if !self.is_flexible {
            return self.written.put_u32(count);
        }
        let mut rest = count + 1;
        while rest >= 0x80 {
            self.written.put_u8((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        self.written.put_u8(rest as u8);
    }

    fn no_tags(&mut self) {
        if self.is_flexible {
            self.written.put_u8(0);
        }
    }

    fn piece(&mut self, piece: Bytes) {
        self.length += piece.len();
        self.pieces.push(piece);
    }

    /// The frame, with its size where an empty one's stands.
    fn finish(mut self) -> Result<Pieces, RequestError> {
        let last = std::mem::take(&mut self.written).freeze();
        self.piece(last);
        let size = self.length - SIZE_BYTES;
        let size = i32::try_from(size).map_err(|_| RequestError::Encode {
            what: std::any::type_name::<FetchResponse>(),
            version: self.version,
            reason: "over 2 GiB".to_owned(),
        })?;
        let mut pieces = Pieces::from(Bytes::copy_from_slice(&size.to_be_bytes()));
        let mut all = self.pieces.into_iter();
        if let Some(first) = all.next() {
            pieces.push(first.slice(SIZE_BYTES..));
        }
        all.for_each(|piece| pieces.push(piece));
        Ok(pieces)
    }
}

/// Of the field that says how long a frame is.
const SIZE_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::fetch_response::AbortedTransaction;
    use kafka_protocol::messages::{ProducerId, TopicName};
    use kafka_protocol::protocol::StrBytes;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn partition(index: i32, length: Option<usize>, diverges: bool) -> PartitionData {
        let records = length.map(|length| Bytes::from(vec![index as u8; length]));
        let aborted = AbortedTransaction::default()
            .with_producer_id(ProducerId(7))
            .with_first_offset(8);
        let data = PartitionData::default()
            .with_partition_index(index)
            .with_high_watermark(1 << 40)
            .with_aborted_transactions((index % 2 == 0).then(|| vec![aborted]))
            .with_records(records);
        match diverges {
            true => data.with_diverging_epoch(EpochEndOffset::default().with_epoch(3)),
            false => data,
        }
    }

    fn whole(pieces: Pieces) -> Vec<u8> {
        let length = pieces.len();
        let whole: Vec<u8> = pieces.into_iter().flatten().collect();
        assert_eq!(whole.len(), length);
        whole
    }

    #[test]
    fn large_records_are_not_copied() {
        let data = partition(1, Some(LARGE), false);
        let records = data.records.clone().expect("records");
        let topic = FetchableTopicResponse::default().with_partitions(vec![data]);
        let answer = FetchResponse::default().with_responses(vec![topic]);
        let pieces = encode(answer, 17, 1).expect("a frame");
        let same = |piece: &Bytes| piece.as_ptr() == records.as_ptr();
        assert!(pieces.into_iter().any(|piece| same(&piece)));
    }

    proptest! {
        #[test]
        fn a_frame_is_what_kafka_protocol_makes(
            topics in prop::collection::vec(
                prop::collection::vec((prop::option::of(0..3 * LARGE), prop::bool::weighted(0.1)), 0..4),
                0..4,
            ),
            session in any::<i32>(),
        ) {
            for version in 4..=17 {
                let by_id = version >= 13;
                let responses = topics.iter().enumerate().map(|(nth, partitions)| {
                    let partitions = partitions.iter().zip(0..);
                    let data = partitions.map(|((length, diverges), index)| {
                        partition(index, *length, *diverges && version >= 12)
                    });
                    let topic = FetchableTopicResponse::default().with_partitions(data.collect());
                    let name = TopicName(StrBytes::from_string(format!("topic-{nth}")));
                    match by_id {
                        true => topic.with_topic_id(Uuid::from_u128(nth as u128 + 1)),
                        false => topic.with_topic(name),
                    }
                });
                let answer = FetchResponse::default()
                    .with_session_id(if version >= 7 { session } else { 0 })
                    .with_responses(responses.collect());
                let expected = codec::encode(&answer, version, 77).expect("a frame");
                let pieces = encode(answer, version, 77).expect("a frame");
                prop_assert!(whole(pieces) == expected, "version {version}");
            }
        }
    }
}
