//! A frame in pieces, so that records which were read for it need not be copied into it.

use bytes::Bytes;

/// A frame to be written, its size first: pieces one behind the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pieces {
    pieces: Vec<Bytes>,
    length: usize,
}

impl From<Bytes> for Pieces {
    fn from(whole: Bytes) -> Self {
        Self {
            length: whole.len(),
            pieces: vec![whole],
        }
    }
}

impl Pieces {
    /// Adds a piece at the end.
    pub fn push(&mut self, piece: Bytes) {
        self.length += piece.len();
        self.pieces.push(piece);
    }

    /// Bytes of all of them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

impl IntoIterator for Pieces {
    type Item = Bytes;
    type IntoIter = std::vec::IntoIter<Bytes>;

    fn into_iter(self) -> Self::IntoIter {
        self.pieces.into_iter()
    }
}
