//! One frame: a big-endian `i32` size, then that many bytes. Reading never trusts the size further
//! than the bytes that arrived.

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The most that is reserved ahead of the bytes, so that a size alone costs the peer's bytes, not ours.
const RESERVE_BYTES: usize = 1024 * 1024;

/// Bytes of the size field.
const PREFIX_BYTES: usize = 4;

/// Why no frame could be read.
#[derive(Debug, Error)]
pub enum FrameError {
    /// The size is negative or over `socket.request.max.bytes`.
    #[error("frame of {size} bytes, allowed are 0 to {max}")]
    Size {
        /// What the peer announced.
        size: i32,
        /// `socket.request.max.bytes`.
        max: usize,
    },
    /// The peer closed in the middle of a frame.
    #[error("closed inside a frame after {got} bytes")]
    Torn {
        /// Bytes of the unfinished frame, its size field included.
        got: usize,
    },
    /// The socket failed.
    #[error("read failed: {0}")]
    Io(#[from] std::io::Error),
}

/// Gathers bytes of one connection and cuts them into frames.
#[derive(Debug)]
pub struct FrameReader {
    pending: BytesMut,
    max: usize,
}

impl FrameReader {
    /// A reader that refuses frames of more than `max` bytes.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            pending: BytesMut::new(),
            max,
        }
    }

    /// The next frame without its size, or `None` at a clean end. Safe to drop between polls: bytes
    /// already read stay in the reader.
    pub async fn next<R: AsyncRead + Unpin>(
        &mut self,
        socket: &mut R,
    ) -> Result<Option<Bytes>, FrameError> {
        loop {
            let missing = match self.cut()? {
                Ok(frame) => return Ok(Some(frame)),
                Err(missing) => missing,
            };
            self.pending.reserve(missing.clamp(4096, RESERVE_BYTES));
            if socket.read_buf(&mut self.pending).await? == 0 {
                return match self.pending.len() {
                    0 => Ok(None),
                    got => Err(FrameError::Torn { got }),
                };
            }
        }
    }

    /// A whole frame, or how many bytes are still missing (at least one).
    fn cut(&mut self) -> Result<Result<Bytes, usize>, FrameError> {
        let Some(prefix) = self.pending.first_chunk::<PREFIX_BYTES>() else {
            return Ok(Err(PREFIX_BYTES - self.pending.len()));
        };
        let announced = i32::from_be_bytes(*prefix);
        let size = usize::try_from(announced)
            .ok()
            .filter(|size| *size <= self.max)
            .ok_or(FrameError::Size {
                size: announced,
                max: self.max,
            })?;
        if self.pending.len() < PREFIX_BYTES + size {
            return Ok(Err(PREFIX_BYTES + size - self.pending.len()));
        }
        self.pending.advance(PREFIX_BYTES);
        Ok(Ok(self.pending.split_to(size).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn cuts_frames_however_they_arrive() {
        let mut socket = trickle(&[0, 0, 0, 3, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 1, 9]);
        let mut reader = FrameReader::new(10);
        for expected in [&[1u8, 2, 3][..], &[], &[9]] {
            assert_eq!(reader.next(&mut socket).await.unwrap().unwrap(), expected);
        }
        assert!(reader.next(&mut socket).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn refuses_sizes_out_of_bounds_and_torn_frames() {
        for (bytes, expected) in [
            (
                &[0u8, 0, 0, 11][..],
                "frame of 11 bytes, allowed are 0 to 10",
            ),
            (
                &[0xff, 0xff, 0xff, 0xff],
                "frame of -1 bytes, allowed are 0 to 10",
            ),
            (&[0, 0, 0, 2, 7], "closed inside a frame after 5 bytes"),
            (&[0, 0], "closed inside a frame after 2 bytes"),
        ] {
            let mut socket = trickle(bytes);
            let error = FrameReader::new(10).next(&mut socket).await.unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    /// A reader that hands out at most two bytes per read.
    fn trickle(bytes: &[u8]) -> tokio::io::DuplexStream {
        let (mut near, far) = tokio::io::duplex(2);
        let bytes = bytes.to_vec();
        tokio::spawn(async move {
            // A reader that refuses a size drops its end; then this write fails, which is fine.
            let _ = tokio::io::AsyncWriteExt::write_all(&mut near, &bytes).await;
        });
        far
    }
}
