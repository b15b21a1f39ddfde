//! A moving window over a log file: batches are read from it without a system call each.

use std::sync::Arc;

use super::super::format::record_batch::{self, BatchError, HEADER_SIZE, Header};
use crate::disk::DiskFile;

/// Enough for the headers between two index entries.
pub const HEADERS_CHUNK: usize = 8 << 10;
/// The first that is read where one or two headers may be all that is needed: copying more costs more than asking twice.
pub const FIRST_CHUNK: usize = 512;
/// For passing over a whole file.
pub const FILE_CHUNK: usize = 1 << 20;

/// Why a batch could not be taken from a file.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// What stands there is no batch.
    #[error("at position {position}: {error}")]
    Batch {
        /// Byte in the file.
        position: u64,
        /// What is wrong with it.
        error: BatchError,
    },
    /// The read failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Reads up to `end`, which never moves.
#[derive(Debug)]
pub struct Window {
    file: Arc<dyn DiskFile>,
    end: u64,
    /// Read next at once.
    chunk: usize,
    largest_chunk: usize,
    buffer: Vec<u8>,
    start: u64,
}

impl Window {
    /// A window over the first `end` bytes that reads `chunk` bytes at a time.
    pub fn new(file: Arc<dyn DiskFile>, end: u64, chunk: usize) -> Window {
        Window {
            file,
            end,
            chunk,
            largest_chunk: chunk,
            buffer: Vec::new(),
            start: 0,
        }
    }

    /// Reads [`FIRST_CHUNK`] first, then twice as much each time.
    pub fn growing(self) -> Window {
        let chunk = FIRST_CHUNK.min(self.largest_chunk);
        Window { chunk, ..self }
    }

    /// Where the window's file ends.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Bytes from a position on: `length` of them, or what there is before the end.
    pub fn bytes(&mut self, position: u64, length: usize) -> std::io::Result<&[u8]> {
        let length = (length as u64).min(self.end.saturating_sub(position)) as usize;
        let inside = position >= self.start
            && position + length as u64 <= self.start + self.buffer.len() as u64;
        if !inside {
            let wanted = length.max(self.chunk) as u64;
            let wanted = wanted.min(self.end.saturating_sub(position)) as usize;
            self.chunk = (2 * self.chunk).min(self.largest_chunk);
            self.buffer.resize(wanted, 0);
            let read = self.file.read_full_at(&mut self.buffer, position);
            self.start = position;
            self.buffer.truncate(*read.as_ref().unwrap_or(&0));
            read?;
        }
        let from = (position - self.start) as usize;
        let until = (from + length).min(self.buffer.len());
        Ok(&self.buffer[from..until])
    }

    /// The header of the batch at a position; `None` at the end. The batch must end before the end.
    pub fn header(&mut self, position: u64) -> Result<Option<Header>, ScanError> {
        if position >= self.end {
            return Ok(None);
        }
        let found = (self.end - position) as usize;
        let header = Header::parse(self.bytes(position, HEADER_SIZE)?).and_then(|header| {
            let needed = header.size();
            if needed > found {
                return Err(BatchError::Cut { needed, found });
            }
            Ok(header)
        });
        header
            .map(Some)
            .map_err(|error| ScanError::Batch { position, error })
    }

    /// The batch at a position, its checksum verified; `None` at the end.
    pub fn batch(&mut self, position: u64) -> Result<Option<(Header, &[u8])>, ScanError> {
        let Some(header) = self.header(position)? else {
            return Ok(None);
        };
        let batch = self.bytes(position, header.size())?;
        record_batch::parse_whole(batch).map_err(|error| ScanError::Batch { position, error })?;
        Ok(Some((header, batch)))
    }
}
