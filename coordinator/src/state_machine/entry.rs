//! The data of one raft entry: a header and the commands a leader put together.
//!
//! Layout: u8 format (1), u64 term, i64 time_ms, then commands until the end; see `command`. Every entry
//! begins with its format, so that a later version can tell its own from this one's.
use bytes::{BufMut, Bytes, BytesMut};

use super::command::{COMMAND_MIN_BYTES, Command};
use crate::octets::{DecodeError, Reader};

/// The format that this build writes.
pub const FORMAT: u8 = 1;
const HEADER_BYTES: usize = 1 + 8 + 8;

/// The data of one raft entry: a leader's batch of commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The term in which its leader built it; an entry that ends up in another is ignored.
    pub term: u64,
    /// The leader's clock, milliseconds since 1970. Leaders keep it from going back where they can;
    /// `apply` takes the last entry's time for one that does.
    pub time_ms: i64,
    /// In order.
    pub commands: Vec<Command>,
}

/// Builds the bytes of an [`Entry`] while its commands arrive.
#[derive(Debug)]
pub struct EntryBuilder {
    bytes: BytesMut,
}

impl EntryBuilder {
    /// An entry without commands.
    pub fn new(term: u64, time_ms: i64) -> EntryBuilder {
        let mut bytes = BytesMut::with_capacity(4096);
        bytes.put_u8(FORMAT);
        bytes.put_u64(term);
        bytes.put_i64(time_ms);
        EntryBuilder { bytes }
    }

    /// Adds a command.
    pub fn push(&mut self, command: &Command) {
        command.encode(&mut self.bytes);
    }

    /// Adds the bytes that [`Command::encode`] wrote elsewhere, as forwarded commands arrive.
    pub fn push_encoded(&mut self, command: &[u8]) {
        self.bytes.put_slice(command);
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether no command was added yet.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == HEADER_BYTES
    }

    /// The entry's bytes.
    pub fn finish(self) -> Bytes {
        self.bytes.freeze()
    }
}

impl Entry {
    /// The bytes of this entry.
    pub fn encode(&self) -> Bytes {
        let mut builder = EntryBuilder::new(self.term, self.time_ms);
        for command in &self.commands {
            builder.push(command);
        }
        builder.finish()
    }

    /// Reads an entry; its data shares the memory of `bytes`.
    pub fn decode(bytes: Bytes) -> Result<Entry, DecodeError> {
        let mut reader = Reader::new(bytes);
        match reader.u8("entry format")? {
            FORMAT => {}
            value => {
                return Err(DecodeError::Unknown {
                    field: "entry format",
                    value: value.into(),
                });
            }
        }
        let term = reader.u64("entry term")?;
        let time_ms = reader.i64("entry time")?;
        let mut commands = Vec::with_capacity(reader.remaining() / (COMMAND_MIN_BYTES * 2));
        while reader.remaining() > 0 {
            commands.push(Command::read(&mut reader)?);
        }
        Ok(Entry {
            term,
            time_ms,
            commands,
        })
    }
}
