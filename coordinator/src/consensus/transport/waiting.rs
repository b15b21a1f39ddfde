//! What waits to be sent to one peer: two lanes over one connection.
//!
//! Raft's votes, and the reports that keep sessions alive, must not wait behind megabytes of data: whoever hears no
//! acknowledgement in time closes its clients. So they are written before data that waits, as soon as the frame that has
//! been begun is through. Each lane keeps its order. Heartbeats stay behind the entries before them: by the answer to one raft
//! knows that these have arrived, and sends more. So do reports of clients that have left, behind what these asked for.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, BytesMut};
use raft::eraftpb::MessageType;

use super::socket::forget_large;
use crate::consensus::frame::{self, Frame};
use crate::consensus::node::PeerMessage;

/// Frames for one peer.
#[derive(Debug, Default)]
pub struct Waiting {
    /// Bytes left of a frame of `data` of which a part was written.
    begun: usize,
    urgent: BytesMut,
    data: BytesMut,
    /// Of the frames of `data` that were not begun.
    lengths: VecDeque<usize>,
}

impl Waiting {
    /// Behind those of its lane.
    pub fn put(&mut self, message: PeerMessage) {
        if is_urgent(&message) {
            frame::put(&Frame::Peer(message), &mut self.urgent);
            return;
        }
        let before = self.data.len();
        frame::put(&Frame::Peer(message), &mut self.data);
        self.lengths.push_back(self.data.len() - before);
    }

    /// Whether the lane of `message` holds less than so many bytes.
    pub fn has_room(&self, message: &PeerMessage, bytes: usize) -> bool {
        match is_urgent(message) {
            true => self.urgent.len() < bytes,
            false => self.data.len() < bytes,
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.data.is_empty()
    }

    /// Hands what waits to `write`, in order, and takes away as many bytes as it took.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn write(
        &mut self,
        write: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let (begun, behind) = self.data.split_at(self.begun);
        let written = write(&[
            IoSlice::new(begun),
            IoSlice::new(&self.urgent),
            IoSlice::new(behind),
        ])?;
        self.take(written);
        Ok(written)
    }

    fn take(&mut self, mut bytes: usize) {
        let ended = bytes.min(self.begun);
        self.data.advance(ended);
        self.begun -= ended;
        bytes -= ended;
        let urgent = bytes.min(self.urgent.len());
        self.urgent.advance(urgent);
        bytes -= urgent;
        self.data.advance(bytes);
        while bytes > 0
            && let Some(length) = self.lengths.pop_front()
        {
            self.begun = length.saturating_sub(bytes);
            bytes = bytes.saturating_sub(length);
        }
        forget_large(&mut self.data);
    }
}

/// Late if it waits.
fn is_urgent(message: &PeerMessage) -> bool {
    match message {
        PeerMessage::Report(report) => report.left.is_empty(),
        PeerMessage::Reported { .. } => true,
        PeerMessage::Raft(message) => matches!(
            message.get_msg_type(),
            MessageType::MsgRequestVote
                | MessageType::MsgRequestVoteResponse
                | MessageType::MsgRequestPreVote
                | MessageType::MsgRequestPreVoteResponse
                | MessageType::MsgReadIndex
                | MessageType::MsgReadIndexResp
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::report::Report;

    fn data(life: u64) -> PeerMessage {
        PeerMessage::Blank { life }
    }

    fn urgent(sequence: u64) -> PeerMessage {
        PeerMessage::Report(Report {
            sequence,
            ..Report::default()
        })
    }

    fn encoded(messages: &[PeerMessage]) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        for message in messages {
            frame::put(&Frame::Peer(message.clone()), &mut bytes);
        }
        bytes.to_vec()
    }

    /// At most `room` bytes, as a socket that takes no more.
    fn write(waiting: &mut Waiting, room: usize) -> Vec<u8> {
        let mut taken = Vec::new();
        let written = waiting.write(|slices| {
            slices
                .iter()
                .for_each(|slice| taken.extend_from_slice(slice));
            taken.truncate(room);
            Ok(taken.len())
        });
        assert_eq!(written.expect("a write"), taken.len());
        taken
    }

    #[test]
    fn what_is_urgent_goes_first_but_into_no_frame() {
        let frame_bytes = encoded(&[data(1)]).len();
        for first in 0..=2 * frame_bytes {
            let mut waiting = Waiting::default();
            (1..=3).for_each(|life| waiting.put(data(life)));
            let mut sent = write(&mut waiting, first);
            waiting.put(urgent(7));
            waiting.put(data(4));
            while !waiting.is_empty() {
                sent.extend(write(&mut waiting, 3));
            }
            let begun = first.div_ceil(frame_bytes);
            let mut expected = vec![data(1), data(2), data(3), data(4)];
            expected.insert(begun, urgent(7));
            assert_eq!(sent, encoded(&expected), "{first} bytes were sent before");
        }
    }

    #[test]
    fn each_lane_keeps_its_order() {
        let mut waiting = Waiting::default();
        let mixed = [data(1), urgent(1), data(2), urgent(2)];
        mixed.into_iter().for_each(|message| waiting.put(message));
        assert!(waiting.has_room(&data(3), encoded(&[data(1), data(2)]).len() + 1));
        assert!(!waiting.has_room(&data(3), encoded(&[data(1), data(2)]).len()));
        assert!(waiting.has_room(&urgent(3), encoded(&[urgent(1), urgent(2)]).len() + 1));
        let expected = [urgent(1), urgent(2), data(1), data(2)];
        assert_eq!(write(&mut waiting, usize::MAX), encoded(&expected));
        assert!(waiting.is_empty() && waiting.lengths.is_empty() && waiting.begun == 0);
    }
}
