//! Produce and Fetch as bytes, written into and read out of buffers that are used again.
//!
//! For programs that make load: next to nothing per request, no copy of records but the one into the socket's buffer, and none at
//! all of what was fetched. Everything else goes through [`super::connection`], with negotiated versions. The versions here
//! are the newest that name topics, carry all five codecs, and have no flexible fields; Kafka since 2.1 serves them.
//! The layouts are checked against those of the `kafka-protocol` crate.

use bytes::{BufMut, BytesMut};

/// Version of Produce.
pub const PRODUCE_VERSION: i16 = 7;
/// Version of Fetch.
pub const FETCH_VERSION: i16 = 10;

const PRODUCE_KEY: i16 = 0;
const FETCH_KEY: i16 = 1;
/// What a fetch says of its session (KIP-227).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchSession {
    /// Its id; 0 for none.
    pub id: i32,
    /// Counts its requests; 0 begins one, -1 wants none.
    pub epoch: i32,
}

impl FetchSession {
    /// A fetch that is complete in itself.
    pub const NONE: Self = Self { id: 0, epoch: -1 };
    /// A fetch that names everything, so that the next ones need not.
    pub const BEGINS: Self = Self { id: 0, epoch: 0 };

    /// Of a request that names everything, in place of this session.
    #[must_use]
    pub fn anew(self) -> Self {
        Self {
            epoch: Self::BEGINS.epoch,
            ..self
        }
    }

    /// Whether a request of it names everything.
    #[must_use]
    pub fn names_all(self) -> bool {
        self.epoch <= 0
    }

    /// Of the next request, when the answer to this one names that session.
    #[must_use]
    pub fn next(self, answered: i32) -> Self {
        match (answered, self.epoch) {
            (0, -1) => Self::NONE,
            (0, _) => Self::BEGINS,
            (id, 0 | i32::MAX) => Self { id, epoch: 1 },
            (id, epoch) => Self {
                id,
                epoch: epoch + 1,
            },
        }
    }
}

/// An answer ends too early, or holds a length that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a malformed answer: {0}")]
pub struct Malformed(&'static str);

fn begin(out: &mut BytesMut, key: i16, version: i16, correlation: i32, client_id: &str) -> usize {
    let frame = out.len();
    out.put_i32(0);
    out.put_i16(key);
    out.put_i16(version);
    out.put_i32(correlation);
    put_string(out, client_id);
    frame
}

/// Names are as short as Kafka lets them be; of a longer one it takes the beginning.
fn put_string(out: &mut BytesMut, text: &str) {
    let length = text.len().min(i16::MAX as usize);
    out.put_i16(length as i16);
    out.put_slice(&text.as_bytes()[..length]);
}

fn fill(out: &mut BytesMut, at: usize, value: i32) {
    out[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

fn length(bytes: usize) -> i32 {
    i32::try_from(bytes).expect("a request is not as long as 2 GiB")
}

/// A Produce request on its way into a buffer; [`Produce::finish`] completes it.
#[derive(Debug)]
pub struct Produce<'a> {
    out: &'a mut BytesMut,
    frame: usize,
    topics: Counted,
    partitions: Counted,
    topic: Option<&'a str>,
}

/// An array whose count stands before it.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    at: usize,
    count: i32,
}

impl Counted {
    fn begin(out: &mut BytesMut) -> Self {
        let at = out.len();
        out.put_i32(0);
        Self { at, count: 0 }
    }

    fn end(self, out: &mut BytesMut) {
        fill(out, self.at, self.count);
    }
}

impl<'a> Produce<'a> {
    /// A request without batches.
    pub fn begin(
        out: &'a mut BytesMut,
        correlation: i32,
        client_id: &str,
        acks: i16,
        timeout_ms: i32,
    ) -> Self {
        let frame = begin(out, PRODUCE_KEY, PRODUCE_VERSION, correlation, client_id);
        out.put_i16(-1); // No transactional id.
        out.put_i16(acks);
        out.put_i32(timeout_ms);
        let topics = Counted::begin(out);
        Self {
            out,
            frame,
            topics,
            partitions: Counted::default(),
            topic: None,
        }
    }

    /// Adds a batch and returns it where it stands now, to be sealed there. Those of one topic come one behind the other,
    /// and of one partition there is one at most.
    pub fn batch(&mut self, topic: &'a str, partition: i32, batch: &[u8]) -> &mut [u8] {
        if self.topic != Some(topic) {
            self.end_topic();
            self.topic = Some(topic);
            self.topics.count += 1;
            put_string(self.out, topic);
            self.partitions = Counted::begin(self.out);
        }
        self.partitions.count += 1;
        self.out.put_i32(partition);
        self.out.put_i32(length(batch.len()));
        let at = self.out.len();
        self.out.put_slice(batch);
        &mut self.out[at..]
    }

    fn end_topic(&mut self) {
        if self.topic.is_some() {
            self.partitions.end(self.out);
        }
    }

    /// Completes the request.
    pub fn finish(mut self) {
        self.end_topic();
        self.topics.end(self.out);
        let bytes = length(self.out.len() - self.frame - 4);
        fill(self.out, self.frame, bytes);
    }
}

/// What came of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Produced<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its partition.
    pub partition: i32,
    /// Kafka's error code, 0 for none.
    pub error: i16,
    /// Offset of its first record.
    pub base_offset: i64,
}

/// Reads an answer to Produce, without its length and correlation id.
///
/// # Errors
/// [`Malformed`], or the first error of `each`.
pub fn produced<'a, E: From<Malformed>>(
    answer: &'a [u8],
    mut each: impl FnMut(Produced<'a>) -> Result<(), E>,
) -> Result<(), E> {
    let mut reader = Reader(answer);
    for _ in 0..reader.count()? {
        let topic = reader.string()?;
        for _ in 0..reader.count()? {
            let (partition, error, base_offset) = (reader.i32()?, reader.i16()?, reader.i64()?);
            let (_append_time, _log_start) = (reader.i64()?, reader.i64()?);
            each(Produced {
                topic,
                partition,
                error,
                base_offset,
            })?;
        }
    }
    let _throttle_ms = reader.i32()?;
    Ok(reader.end()?)
}

/// How much a fetch waits for and brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLimits {
    /// How long the broker may wait for `min_bytes`.
    pub max_wait_ms: i32,
    /// Bytes that are worth an answer.
    pub min_bytes: i32,
    /// Bytes of an answer.
    pub max_bytes: i32,
    /// Bytes of each partition in it.
    pub partition_max_bytes: i32,
}

/// Writes a Fetch request: partitions with the offset each is read from, those of one topic one behind the other. In a
/// session, those alone that are read from elsewhere than before.
pub fn put_fetch<'a>(
    out: &mut BytesMut,
    correlation: i32,
    client_id: &str,
    limits: &FetchLimits,
    session: FetchSession,
    partitions: impl IntoIterator<Item = (&'a str, i32, i64)>,
) {
    let frame = begin(out, FETCH_KEY, FETCH_VERSION, correlation, client_id);
    out.put_i32(-1); // No replica.
    out.put_i32(limits.max_wait_ms);
    out.put_i32(limits.min_bytes);
    out.put_i32(limits.max_bytes);
    out.put_i8(0); // Read uncommitted.
    out.put_i32(session.id);
    out.put_i32(session.epoch);
    let mut topics = Counted::begin(out);
    let mut current: Option<(&str, Counted)> = None;
    for (topic, partition, offset) in partitions {
        if current.is_none_or(|(name, _)| name != topic) {
            if let Some((_, partitions)) = current {
                partitions.end(out);
            }
            topics.count += 1;
            put_string(out, topic);
            current = Some((topic, Counted::begin(out)));
        }
        if let Some((_, partitions)) = &mut current {
            partitions.count += 1;
        }
        out.put_i32(partition);
        out.put_i32(-1); // Whatever the leader epoch.
        out.put_i64(offset);
        out.put_i64(-1); // No log start offset: that is for followers.
        out.put_i32(limits.partition_max_bytes);
    }
    if let Some((_, partitions)) = current {
        partitions.end(out);
    }
    topics.end(out);
    out.put_i32(0); // Nothing forgotten.
    let bytes = length(out.len() - frame - 4);
    fill(out, frame, bytes);
}

/// What came of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetched<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its number.
    pub partition: i32,
    /// Kafka's error code, 0 for none.
    pub error: i16,
    /// Behind the last record that may be read.
    pub high_watermark: i64,
    /// Record batches, the last one perhaps cut off.
    pub records: &'a [u8],
}

/// What an answer to Fetch says as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WholeFetch {
    /// Kafka's error code, 0 for none.
    pub error: i16,
    /// Id of the session, 0 for none.
    pub session: i32,
}

/// Reads an answer to Fetch, without its length and correlation id.
///
/// # Errors
/// [`Malformed`], or the first error of `each`.
pub fn fetched<'a, E: From<Malformed>>(
    answer: &'a [u8],
    mut each: impl FnMut(Fetched<'a>) -> Result<(), E>,
) -> Result<WholeFetch, E> {
    let mut reader = Reader(answer);
    let _throttle_ms = reader.i32()?;
    let (error, session) = (reader.i16()?, reader.i32()?);
    for _ in 0..reader.count()? {
        let topic = reader.string()?;
        for _ in 0..reader.count()? {
            let (partition, error, high_watermark) = (reader.i32()?, reader.i16()?, reader.i64()?);
            let (_last_stable, _log_start) = (reader.i64()?, reader.i64()?);
            for _ in 0..reader.count()? {
                let (_producer, _first_offset) = (reader.i64()?, reader.i64()?);
            }
            let records = reader.count()?;
            let records = reader.take(records)?;
            each(Fetched {
                topic,
                partition,
                error,
                high_watermark,
                records,
            })?;
        }
    }
    reader.end()?;
    Ok(WholeFetch { error, session })
}

/// Bytes of an answer that are not read yet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(Malformed("it is cut off"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self
            .0
            .split_first_chunk()
            .ok_or(Malformed("it is cut off"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn i16(&mut self) -> Result<i16, Malformed> {
        self.array().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_be_bytes)
    }

    /// Of elements or bytes; -1, null, is none.
    fn count(&mut self) -> Result<usize, Malformed> {
        match self.i32()? {
            -1 => Ok(0),
            count => usize::try_from(count).map_err(|_| Malformed("a negative length")),
        }
    }

    fn string(&mut self) -> Result<&'a str, Malformed> {
        let length = usize::try_from(self.i16()?).map_err(|_| Malformed("a negative length"))?;
        std::str::from_utf8(self.take(length)?).map_err(|_| Malformed("a name is not UTF-8"))
    }

    fn end(&self) -> Result<(), Malformed> {
        match self.0 {
            [] => Ok(()),
            _ => Err(Malformed("bytes behind its end")),
        }
    }
}

#[cfg(test)]
mod tests;
