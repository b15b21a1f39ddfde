//! Which folder holds the checkpoint that raft announces; pure.
//!
//! While a newer one is made, raft goes on announcing the one before: what is sent must be that one's folder. So the
//! newer folder counts only once raft was told of it. And an announcement that raft made just before that, and that leaves only
//! now, finds its folder gone: the transfer fails and begins again, with the newer one.

use raft::eraftpb::Message;

use super::Position;

/// The folders of one life of a node, by number.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checkpoints {
    begun: u64,
    announced: Option<(u64, Position)>,
}

impl Checkpoints {
    /// A new one is to be made, in the folder of this number.
    pub fn begin(&mut self) -> u64 {
        self.begun += 1;
        self.begun
    }

    /// The one begun last was made and holds the state at `position`, and raft is told of it now. The folder before it is
    /// needed no more.
    pub fn made(&mut self, position: Position) -> Option<u64> {
        let former = self.announced.replace((self.begun, position));
        former.map(|(number, _)| number)
    }

    /// The folder to send with raft's announcement, if what it announces is still there.
    pub fn announced_by(&self, announcement: &Message) -> Option<u64> {
        let metadata = announcement.get_snapshot().get_metadata();
        let position = Position {
            index: metadata.index,
            term: metadata.term,
        };
        let (number, _) = self.announced.filter(|(_, held)| *held == position)?;
        Some(number)
    }

    /// Raft announces none any more: its folder, to be removed.
    pub fn dropped(&mut self) -> Option<u64> {
        self.announced.take().map(|(number, _)| number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(index: u64) -> Position {
        Position { index, term: 1 }
    }

    fn announcement(index: u64) -> Message {
        let mut message = Message::default();
        let metadata = message.mut_snapshot().mut_metadata();
        (metadata.index, metadata.term) = (index, 1);
        message
    }

    #[test]
    fn what_is_announced_stays_while_the_next_one_is_made() {
        let mut checkpoints = Checkpoints::default();
        let announced =
            |checkpoints: &Checkpoints, index| checkpoints.announced_by(&announcement(index));
        assert_eq!(announced(&checkpoints, 7), None);
        assert_eq!((checkpoints.begin(), announced(&checkpoints, 7)), (1, None));
        assert_eq!(
            (checkpoints.made(at(7)), announced(&checkpoints, 7)),
            (None, Some(1))
        );
        assert_eq!(
            (checkpoints.begin(), announced(&checkpoints, 7)),
            (2, Some(1))
        );
        assert_eq!(checkpoints.made(at(9)), Some(1), "to be removed");
        assert_eq!(announced(&checkpoints, 9), Some(2));
        // Announced before the newer one was made, and only sent now (seed 60421).
        assert_eq!(announced(&checkpoints, 7), None);
    }

    #[test]
    fn dropping_one_leaves_the_next_one_alone() {
        let mut checkpoints = Checkpoints::default();
        checkpoints.begin();
        checkpoints.made(at(7));
        checkpoints.begin();
        assert_eq!(checkpoints.dropped(), Some(1));
        assert_eq!(checkpoints.made(at(9)), None);
        assert_eq!(checkpoints.announced_by(&announcement(9)), Some(2));
    }
}
