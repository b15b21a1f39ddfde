//! The records of `__consumer_offsets`: Kafka's own bytes, both ways.
//!
//! Every key and value begins with an i16 version; strings are an i16 length and UTF-8, byte
//! strings an i32 length; -1 is null. From value version 4 on lengths are unsigned varints, plus
//! one, and each structure ends with tagged fields.
//! ```text
//! key 0, 1  offset   group string, topic string, partition i32     (Kafka writes 1)
//! key 2     group    group string
//! offset value 0: offset i64, metadata string, commit time i64     1: and expire time i64
//!              2: as 0                     3: offset, leader epoch i32, metadata, commit time
//! group value 0: protocol type string, generation i32, protocol nullable, leader nullable,
//!   members: id, client id, client host string, session timeout i32, subscription, assignment bytes
//!            1: members have a rebalance timeout i32 before the session timeout
//!            2: state since i64 before the members    3: nullable instance id after member ids
//! ```
//! Written are key 1 or 2 and value 3, what Kafka 2.3 to 3.9 write, and offset value 1 where the committer chose
//! when it lapses; all versions up to 4 are read.
//! Keys of other versions (Kafka 4 keeps other kinds of groups here) are passed over.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::member::Member;
use super::offsets::{OffsetToCommit, PartitionName, StoredOffset};
use super::{Group, LogRecord};

/// Bytes that are not what the version says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes end too early, or a length cannot be.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// A value version this broker does not know.
    #[error("{what} has version {version}, newer than this broker reads")]
    Version {
        /// Which value.
        what: &'static str,
        /// Its version.
        version: i16,
    },
}

/// What a key names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// A committed offset.
    Offset {
        /// Group id.
        group: String,
        /// Of what.
        partition: PartitionName,
    },
    /// A group's members.
    Group(String),
    /// A kind of record this broker passes over.
    Other(i16),
}

/// A group as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredGroup {
    /// Kind of its members.
    pub protocol_type: String,
    /// Its generation.
    pub generation: i32,
    /// Protocol of the generation.
    pub protocol: Option<String>,
    /// Id of the leader.
    pub leader: Option<String>,
    /// Wall-clock time of the last change of state; -1 if not known.
    pub state_since_ms: i64,
    /// Its members with their assignments.
    pub members: Vec<StoredMember>,
}

/// A member as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMember {
    /// Its id.
    pub id: String,
    /// `group.instance.id`.
    pub instance_id: Option<String>,
    /// Name its client gave itself.
    pub client_id: String,
    /// Where it came from.
    pub client_host: String,
    /// How long a rebalance waits for it.
    pub rebalance_timeout_ms: i32,
    /// How long it may be silent.
    pub session_timeout_ms: i32,
    /// Its metadata for the protocol.
    pub subscription: Bytes,
    /// What it is assigned.
    pub assignment: Bytes,
}

/// The longest id, name or note that a record can hold.
pub const MAX_NAME_BYTES: usize = i16::MAX as usize;

const KEY_OFFSET: i16 = 1;
const KEY_GROUP: i16 = 2;
const VALUE_WRITTEN: i16 = 3;
/// Of an offset that lapses at a time its committer chose, which version 3 has no place for.
const VALUE_EXPIRING: i16 = 1;
const VALUE_FLEXIBLE: i16 = 4;

/// The record of a committed offset.
pub fn offset(group: &str, commit: &OffsetToCommit) -> LogRecord {
    let stored = &commit.stored;
    let mut value = BytesMut::new();
    match stored.expire_ms {
        Some(expire_ms) => {
            value.put_i16(VALUE_EXPIRING);
            value.put_i64(stored.offset);
            put_string(&mut value, &stored.metadata);
            value.put_i64(stored.commit_ms);
            value.put_i64(expire_ms);
        }
        None => {
            value.put_i16(VALUE_WRITTEN);
            value.put_i64(stored.offset);
            value.put_i32(stored.leader_epoch);
            put_string(&mut value, &stored.metadata);
            value.put_i64(stored.commit_ms);
        }
    }
    LogRecord {
        key: offset_key(group, &commit.partition),
        value: Some(value.freeze()),
    }
}

/// The record that deletes a committed offset.
pub fn offset_tombstone(group: &str, partition: &PartitionName) -> LogRecord {
    LogRecord {
        key: offset_key(group, partition),
        value: None,
    }
}

/// The record that deletes a group.
pub fn group_tombstone(group: &str) -> LogRecord {
    LogRecord {
        key: group_key(group),
        value: None,
    }
}

fn offset_key(group: &str, partition: &PartitionName) -> Bytes {
    let mut key = BytesMut::new();
    key.put_i16(KEY_OFFSET);
    put_string(&mut key, group);
    put_string(&mut key, &partition.topic);
    key.put_i32(partition.partition);
    key.freeze()
}

fn group_key(group: &str) -> Bytes {
    let mut key = BytesMut::new();
    key.put_i16(KEY_GROUP);
    put_string(&mut key, group);
    key.freeze()
}

impl Group {
    /// The record of this group with the assignments its members have.
    pub(super) fn to_record(&self) -> LogRecord {
        self.record_with(|member| member.assignment.clone())
    }

    /// The record of this group with assignments that are about to hold.
    pub(super) fn to_record_with(&self, assignments: &[(String, Bytes)]) -> LogRecord {
        self.record_with(|member| {
            let given = assignments.iter().find(|(id, _)| *id == member.id);
            given.map(|(_, bytes)| bytes.clone()).unwrap_or_default()
        })
    }

    fn record_with(&self, assignment: impl Fn(&Member) -> Bytes) -> LogRecord {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let stored = StoredGroup {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            state_since_ms: self.state_since_wall_ms,
            members: self
                .members
                .values()
                .map(|m| StoredMember {
                    id: m.id.clone(),
                    instance_id: m.instance_id.clone(),
                    client_id: m.client_id.clone(),
                    client_host: m.client_host.clone(),
                    rebalance_timeout_ms: m.rebalance_timeout_ms,
                    session_timeout_ms: m.session_timeout_ms,
                    subscription: m.metadata(protocol),
                    assignment: assignment(m),
                })
                .collect(),
        };
        LogRecord {
            key: group_key(&self.id),
            value: Some(encode_group(&stored)),
        }
    }
}

/// The bytes of a group's value, version 3.
pub fn encode_group(group: &StoredGroup) -> Bytes {
    let mut value = BytesMut::new();
    value.put_i16(VALUE_WRITTEN);
    put_string(&mut value, &group.protocol_type);
    value.put_i32(group.generation);
    put_nullable(&mut value, group.protocol.as_deref());
    put_nullable(&mut value, group.leader.as_deref());
    value.put_i64(group.state_since_ms);
    value.put_i32(group.members.len() as i32);
    for member in &group.members {
        put_string(&mut value, &member.id);
        put_nullable(&mut value, member.instance_id.as_deref());
        put_string(&mut value, &member.client_id);
        put_string(&mut value, &member.client_host);
        value.put_i32(member.rebalance_timeout_ms);
        value.put_i32(member.session_timeout_ms);
        put_bytes(&mut value, &member.subscription);
        put_bytes(&mut value, &member.assignment);
    }
    value.freeze()
}

fn put_string(buf: &mut BytesMut, string: &str) {
    // Requests with longer names are refused, see `MAX_NAME_BYTES`.
    let whole = string.floor_char_boundary(MAX_NAME_BYTES);
    buf.put_i16(i16::try_from(whole).unwrap_or(i16::MAX));
    buf.put_slice(&string.as_bytes()[..whole]);
}

fn put_nullable(buf: &mut BytesMut, string: Option<&str>) {
    match string {
        None => buf.put_i16(-1),
        Some(string) => put_string(buf, string),
    }
}

fn put_bytes(buf: &mut BytesMut, bytes: &[u8]) {
    buf.put_i32(bytes.len() as i32);
    buf.put_slice(bytes);
}

/// Reads a key.
///
/// # Errors
/// [`RecordError::Malformed`].
pub fn decode_key(bytes: Bytes) -> Result<Key, RecordError> {
    let mut reader = Reader {
        bytes,
        flexible: false,
        what: "record key",
    };
    match reader.i16()? {
        0 | 1 => Ok(Key::Offset {
            group: reader.string()?,
            partition: PartitionName {
                topic: reader.string()?,
                partition: reader.i32()?,
            },
        }),
        2 => Ok(Key::Group(reader.string()?)),
        other => Ok(Key::Other(other)),
    }
}

/// Reads an offset's value.
///
/// # Errors
/// [`RecordError`].
pub fn decode_offset(bytes: Bytes) -> Result<StoredOffset, RecordError> {
    let mut reader = Reader {
        bytes,
        flexible: false,
        what: "offset value",
    };
    let version = reader.version()?;
    let offset = reader.i64()?;
    let leader_epoch = if version >= 3 { reader.i32()? } else { -1 };
    let metadata = reader.string()?;
    let commit_ms = reader.i64()?;
    let expire_ms = if version == 1 {
        Some(reader.i64()?).filter(|&t| t >= 0)
    } else {
        None
    };
    Ok(StoredOffset {
        offset,
        leader_epoch,
        metadata,
        commit_ms,
        expire_ms,
    })
}

/// Reads a group's value.
///
/// # Errors
/// [`RecordError`].
pub fn decode_group(bytes: Bytes) -> Result<StoredGroup, RecordError> {
    let mut reader = Reader {
        bytes,
        flexible: false,
        what: "group value",
    };
    let version = reader.version()?;
    let protocol_type = reader.string()?;
    let generation = reader.i32()?;
    let protocol = reader.nullable()?;
    let leader = reader.nullable()?;
    let state_since_ms = if version >= 2 { reader.i64()? } else { -1 };
    let count = reader.count()?;
    let mut members = Vec::new();
    for _ in 0..count {
        let id = reader.string()?;
        let instance_id = if version >= 3 {
            reader.nullable()?
        } else {
            None
        };
        let client_id = reader.string()?;
        let client_host = reader.string()?;
        let rebalance = if version >= 1 {
            Some(reader.i32()?)
        } else {
            None
        };
        let session_timeout_ms = reader.i32()?;
        members.push(StoredMember {
            id,
            instance_id,
            client_id,
            client_host,
            rebalance_timeout_ms: rebalance.unwrap_or(session_timeout_ms),
            session_timeout_ms,
            subscription: reader.byte_string()?,
            assignment: reader.byte_string()?,
        });
        reader.tags()?;
    }
    Ok(StoredGroup {
        protocol_type,
        generation,
        protocol,
        leader,
        state_since_ms,
        members,
    })
}

/// Takes values off the front of bytes that may end anywhere.
struct Reader {
    bytes: Bytes,
    flexible: bool,
    what: &'static str,
}

impl Reader {
    fn version(&mut self) -> Result<i16, RecordError> {
        let version = self.i16()?;
        if !(0..=VALUE_FLEXIBLE).contains(&version) {
            return Err(RecordError::Version {
                what: self.what,
                version,
            });
        }
        self.flexible = version >= VALUE_FLEXIBLE;
        Ok(version)
    }

    fn need(&self, bytes: usize) -> Result<(), RecordError> {
        if self.bytes.len() < bytes {
            Err(RecordError::Malformed(self.what))
        } else {
            Ok(())
        }
    }

    fn i16(&mut self) -> Result<i16, RecordError> {
        self.need(2)?;
        Ok(self.bytes.get_i16())
    }

    fn i32(&mut self) -> Result<i32, RecordError> {
        self.need(4)?;
        Ok(self.bytes.get_i32())
    }

    fn i64(&mut self) -> Result<i64, RecordError> {
        self.need(8)?;
        Ok(self.bytes.get_i64())
    }

    fn varint(&mut self) -> Result<u32, RecordError> {
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            self.need(1)?;
            let byte = self.bytes.get_u8();
            value |= u32::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(RecordError::Malformed(self.what))
    }

    /// A length; `None` for null.
    fn length(&mut self, wide: bool) -> Result<Option<usize>, RecordError> {
        let length = if self.flexible {
            i64::from(self.varint()?) - 1
        } else if wide {
            i64::from(self.i32()?)
        } else {
            i64::from(self.i16()?)
        };
        match length {
            -1 => Ok(None),
            _ => usize::try_from(length)
                .map(Some)
                .map_err(|_| RecordError::Malformed(self.what)),
        }
    }

    fn count(&mut self) -> Result<usize, RecordError> {
        Ok(self.length(true)?.unwrap_or(0))
    }

    fn nullable(&mut self) -> Result<Option<String>, RecordError> {
        let Some(length) = self.length(false)? else {
            return Ok(None);
        };
        self.need(length)?;
        let bytes = self.bytes.split_to(length);
        std::str::from_utf8(&bytes)
            .map(|s| Some(s.to_owned()))
            .map_err(|_| RecordError::Malformed(self.what))
    }

    fn string(&mut self) -> Result<String, RecordError> {
        self.nullable()?.ok_or(RecordError::Malformed(self.what))
    }

    fn byte_string(&mut self) -> Result<Bytes, RecordError> {
        let length = self.length(true)?.unwrap_or(0);
        self.need(length)?;
        Ok(self.bytes.split_to(length))
    }

    fn tags(&mut self) -> Result<(), RecordError> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.varint()? {
            self.varint()?;
            let length = self.varint()? as usize;
            self.need(length)?;
            self.bytes.advance(length);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
