//! Which folder holds the checkpoint that raft announces; pure.
//!
//! While a newer one is made, raft goes on announcing the one before: what is sent must be that one's folder. So the
//! newer folder counts only once raft was told of it.

/// The folders of one life of a node, by number.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checkpoints {
    begun: u64,
    announced: Option<u64>,
}

impl Checkpoints {
    /// A new one is to be made, in the folder of this number.
    pub fn begin(&mut self) -> u64 {
        self.begun += 1;
        self.begun
    }

    /// The one begun last was made, and raft is told of it now. The folder before it is needed no more.
    pub fn made(&mut self) -> Option<u64> {
        self.announced.replace(self.begun)
    }

    /// The folder to send.
    pub fn announced(&self) -> Option<u64> {
        self.announced
    }

    /// Raft announces none any more: its folder, to be removed.
    pub fn dropped(&mut self) -> Option<u64> {
        self.announced.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_announced_stays_while_the_next_one_is_made() {
        let mut checkpoints = Checkpoints::default();
        assert_eq!(checkpoints.announced(), None);
        assert_eq!((checkpoints.begin(), checkpoints.announced()), (1, None));
        assert_eq!(
            (checkpoints.made(), checkpoints.announced()),
            (None, Some(1))
        );
        assert_eq!((checkpoints.begin(), checkpoints.announced()), (2, Some(1)));
        assert_eq!(checkpoints.made(), Some(1), "to be removed");
        assert_eq!(checkpoints.announced(), Some(2));
    }

    #[test]
    fn dropping_one_leaves_the_next_one_alone() {
        let mut checkpoints = Checkpoints::default();
        checkpoints.begin();
        checkpoints.made();
        checkpoints.begin();
        assert_eq!(checkpoints.dropped(), Some(1));
        assert_eq!(
            (checkpoints.made(), checkpoints.announced()),
            (None, Some(2))
        );
    }
}
