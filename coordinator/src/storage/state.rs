//! The state on disk: RocksDB without its own log, since raft's log already holds every change.
//!
//! Called by `overlay`, which reads through it and hands it whole batches. A batch ends at an entry's end
//! and carries that entry's index, so that whatever part of the batches survives a crash is the state
//! at one index: the column families are flushed atomically, and raft's log gives the rest again.
//!
//! Invariant: [`Database::persisted`] is what would be found after a loss of power just now; raft's log
//! must be kept from there on.
mod cache;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    FlushOptions, IteratorMode, LogLevel, Options, ReadOptions, ReadTier, WriteBatch, WriteOptions,
};

use super::checkpoint::{self, CheckpointError};
use super::database::{Database, Sessions};
use super::history::{self, Spans};
use super::keys::{self, child, ephemeral, meta, node, session};
use super::overlay::Layer;
use super::{HistoryBounds, HistoryError, Meta, StoreError};
use crate::octets::DecodeError;
use crate::session::SessionId;
use crate::tree::{Node, Transaction, Zxid};
use cache::NodeCache;

const NODES: &str = "nodes";
const CHILDREN: &str = "children";
const SESSIONS: &str = "sessions";
const EPHEMERALS: &str = "ephemerals";
const HISTORY: &str = "history";
const META: &str = "meta";
const FAMILIES: [&str; 6] = [NODES, CHILDREN, SESSIONS, EPHEMERALS, HISTORY, META];

const BLOCK_CACHE_BYTES: usize = 96 << 20;
/// Memtables of all column families together; when they hold this much they go to disk.
const MEMTABLE_BYTES: usize = 128 << 20;

/// One state database.
pub struct StateDb {
    db: DB,
    folder: PathBuf,
    cache: NodeCache,
    history: Mutex<Spans>,
    /// Held from the freezing of a layer until it is written: layers are written in order.
    turn: Mutex<()>,
}

impl std::fmt::Debug for StateDb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateDb")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl StateDb {
    /// Opens the database in `folder`, or makes an empty one there.
    pub fn open(folder: &Path, bounds: HistoryBounds) -> Result<StateDb, StoreError> {
        let mut options = options();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
        let families =
            FAMILIES.map(|name| ColumnFamilyDescriptor::new(name, family_options(name, &cache)));
        let db = DB::open_cf_descriptors(&options, folder, families)
            .map_err(failed("open the database"))?;
        let spans = read_spans(&db, bounds)?;
        let state = StateDb {
            db,
            folder: folder.to_owned(),
            cache: NodeCache::new(),
            history: Mutex::new(spans),
            turn: Mutex::new(()),
        };
        state.meta()?;
        Ok(state)
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The database itself, for checkpoints.
    pub(super) fn raw(&self) -> &DB {
        &self.db
    }

    fn put_tree(&self, batch: &mut WriteBatch, layer: &Layer) {
        let (nodes, children) = (family(&self.db, NODES), family(&self.db, CHILDREN));
        let mut value = Vec::new();
        for (path, node) in layer.nodes() {
            match node {
                Some(node) => {
                    value.clear();
                    node::encode(node, &mut value);
                    batch.put_cf(nodes, node::key(path), &value);
                }
                None => batch.delete_cf(nodes, node::key(path)),
            }
        }
        for (path, is_there) in layer.children() {
            match (child::key(path), is_there) {
                (Some(key), true) => batch.put_cf(children, key, []),
                (Some(key), false) => batch.delete_cf(children, key),
                (None, _) => {}
            }
        }
    }

    fn put_sessions(&self, batch: &mut WriteBatch, layer: &Layer) {
        let (sessions, ephemerals) = (family(&self.db, SESSIONS), family(&self.db, EPHEMERALS));
        for (id, state) in layer.sessions() {
            match state {
                Some(state) => batch.put_cf(sessions, session::key(id), session::encode(state)),
                None => batch.delete_cf(sessions, session::key(id)),
            }
        }
        for (owner, path, is_there) in layer.ephemerals() {
            let key = ephemeral::key(owner, path);
            if is_there {
                batch.put_cf(ephemerals, key, [])
            } else {
                batch.delete_cf(ephemerals, key)
            }
        }
    }

    fn put_history(&self, batch: &mut WriteBatch, layer: &Layer) {
        let (records, numbers) = (family(&self.db, HISTORY), family(&self.db, META));
        for run in layer.history() {
            batch.put_cf(records, keys::history::key(run.first()), run.value());
        }
        let step = self.history.lock().take_in(layer.history());
        for span in &step.changed {
            batch.put_cf(numbers, meta::span_key(span.first), meta::encode_span(span));
        }
        for first in &step.cut {
            batch.delete_cf(numbers, meta::span_key(*first));
        }
        if let Some(floor) = step.floor {
            let (from, to) = (Zxid(0), floor.next());
            batch.delete_range_cf(records, keys::history::key(from), keys::history::key(to));
            batch.put_cf(numbers, meta::HISTORY_FLOOR, meta::encode_floor(floor));
        }
    }

    fn each_key(
        &self,
        name: &'static str,
        prefix: &[u8],
        start: &[u8],
        mut take: impl FnMut(&[u8]) -> Result<bool, DecodeError>,
    ) -> Result<(), StoreError> {
        let mut keys = self.db.raw_iterator_cf(family(&self.db, name));
        keys.seek(start);
        while let Some(key) = keys.key().filter(|key| key.starts_with(prefix)) {
            if !take(key).map_err(damaged(name))? {
                return Ok(());
            }
            keys.next();
        }
        keys.status().map_err(failed("list keys"))
    }
}

impl Database for StateDb {
    fn turn(&self) -> &Mutex<()> {
        &self.turn
    }

    fn meta(&self) -> Result<Option<Meta>, StoreError> {
        read_meta(&self.db, &ReadOptions::default())
    }

    fn persisted(&self) -> Result<Option<Meta>, StoreError> {
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::Persisted);
        read_meta(&self.db, &options)
    }

    fn persist(&self) -> Result<(), StoreError> {
        let families = FAMILIES.map(|name| family(&self.db, name));
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.db
            .flush_cfs_opt(&families, &options)
            .map_err(failed("flush"))
    }

    fn write(&self, layer: &Arc<Layer>) -> Result<(), StoreError> {
        let mut batch = WriteBatch::with_capacity_bytes(layer.size_bytes());
        self.put_tree(&mut batch, layer);
        self.put_sessions(&mut batch, layer);
        self.put_history(&mut batch, layer);
        batch.put_cf(
            family(&self.db, META),
            meta::STATE,
            meta::encode(layer.meta()),
        );
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db
            .write_opt(batch, &options)
            .map_err(failed("write a batch"))?;
        self.cache.written(layer);
        Ok(())
    }

    fn node(&self, path: &str) -> Result<Option<Arc<Node>>, StoreError> {
        if let Some(node) = self.cache.get(path) {
            return Ok(Some(node));
        }
        let value = self
            .db
            .get_cf(family(&self.db, NODES), node::key(path))
            .map_err(failed("read a znode"))?;
        let Some(value) = value else { return Ok(None) };
        let node = Arc::new(node::decode(value.into()).map_err(damaged("znode"))?);
        self.cache.read(path, &node);
        Ok(Some(node))
    }

    fn each_child(
        &self,
        parent: &str,
        after: Option<&str>,
        take: &mut dyn FnMut(&str) -> bool,
    ) -> Result<(), StoreError> {
        let prefix = child::prefix(parent);
        // The least key behind a name is that name with one byte 0 more, which no name holds.
        let start = after.map_or_else(
            || prefix.clone(),
            |after| [&prefix, after.as_bytes(), &[0]].concat(),
        );
        self.each_key(CHILDREN, &prefix, &start, |key| {
            let name = child::name(key, &prefix).ok_or(DecodeError::NotUtf8 { field: "child" })?;
            Ok(take(name))
        })
    }

    fn ephemerals(&self, session: SessionId) -> Result<Vec<Arc<str>>, StoreError> {
        let (prefix, mut paths) = (ephemeral::prefix(session), Vec::new());
        self.each_key(EPHEMERALS, &prefix, &prefix, |key| {
            let path =
                ephemeral::path(key, session).ok_or(DecodeError::NotUtf8 { field: "ephemeral" })?;
            paths.push(Arc::from(path));
            Ok(true)
        })?;
        Ok(paths)
    }

    fn sessions(&self) -> Result<Sessions, StoreError> {
        let mut sessions = Vec::new();
        for item in self
            .db
            .iterator_cf(family(&self.db, SESSIONS), IteratorMode::Start)
        {
            let (key, value) = item.map_err(failed("read sessions"))?;
            let id = session::id(Bytes::from(key)).map_err(damaged("session"))?;
            sessions.push((
                id,
                session::decode(Bytes::from(value)).map_err(damaged("session"))?,
            ));
        }
        Ok(sessions)
    }

    fn history(
        &self,
        after: Zxid,
        until: Zxid,
        max: usize,
    ) -> Result<Vec<Arc<Transaction>>, HistoryError> {
        let read = || -> Result<Vec<Arc<Transaction>>, StoreError> {
            let mut runs = self.db.raw_iterator_cf(family(&self.db, HISTORY));
            // The run that `after` stands in, or in front of.
            runs.seek_for_prev(keys::history::key(after.next()));
            if !runs.valid() {
                runs.seek_to_first();
            }
            let mut transactions = Vec::new();
            while let Some((key, value)) = runs.item() {
                for transaction in history::decode(key, Bytes::copy_from_slice(value))? {
                    if transaction.zxid > until || transactions.len() == max {
                        return Ok(transactions);
                    }
                    if transaction.zxid > after {
                        transactions.push(Arc::new(transaction));
                    }
                }
                runs.next();
            }
            runs.status().map_err(failed("read history"))?;
            Ok(transactions)
        };
        let transactions = if after < until { read()? } else { Vec::new() };
        // Asked for last: what was cut while the iterator went on would be missing above.
        let floor = self.history.lock().floor();
        if after < floor {
            return Err(HistoryError::TooOld {
                asked: after,
                floor,
            });
        }
        Ok(transactions)
    }

    fn checkpoint(&self, folder: &Path) -> Result<Meta, CheckpointError> {
        checkpoint::make(self, folder)
    }
}

/// The numbers in a database that nobody has open, without changing its files.
pub(super) fn read_only_meta(folder: &Path) -> Result<Option<Meta>, StoreError> {
    let db = DB::open_cf_for_read_only(&options(), folder, FAMILIES, false);
    read_meta(
        &db.map_err(failed("open a checkpoint"))?,
        &ReadOptions::default(),
    )
}

fn read_meta(db: &DB, options: &ReadOptions) -> Result<Option<Meta>, StoreError> {
    let value = db.get_cf_opt(family(db, META), meta::STATE, options);
    let value = value.map_err(failed("read the state's numbers"))?;
    value
        .map(|value| meta::decode(value.into()).map_err(damaged("state's numbers")))
        .transpose()
}

fn options() -> Options {
    let mut options = Options::default();
    // One flush takes all column families, so that what is on disk is the state at one index.
    options.set_atomic_flush(true);
    options.set_db_write_buffer_size(MEMTABLE_BYTES);
    options.set_max_background_jobs(2);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(2);
    options.set_max_open_files(256);
    options
}

fn family_options(name: &str, cache: &Cache) -> Options {
    let mut options = Options::default();
    options.set_compression_type(DBCompressionType::Lz4);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    if name == NODES {
        // Creating a znode looks for one that is not there.
        table.set_bloom_filter(10.0, false);
    }
    options.set_block_based_table_factory(&table);
    options
}

fn family<'a>(db: &'a DB, name: &str) -> &'a ColumnFamily {
    db.cf_handle(name)
        .expect("every column family was opened with the database")
}

fn read_spans(db: &DB, bounds: HistoryBounds) -> Result<Spans, StoreError> {
    let numbers = family(db, META);
    let floor = db
        .get_cf(numbers, meta::HISTORY_FLOOR)
        .map_err(failed("read the history's floor"))?;
    let floor = match floor {
        Some(floor) => meta::decode_floor(floor.into()).map_err(damaged("history's floor"))?,
        None => Zxid(0),
    };
    let mut spans = Vec::new();
    let from = IteratorMode::From(meta::HISTORY_SPAN, rocksdb::Direction::Forward);
    for item in db.iterator_cf(numbers, from) {
        let (key, value) = item.map_err(failed("read the history's spans"))?;
        if !key.starts_with(meta::HISTORY_SPAN) {
            break;
        }
        let span = meta::decode_span(Bytes::from(key), Bytes::from(value));
        spans.push(span.map_err(damaged("history's spans"))?);
    }
    Ok(Spans::new(bounds, floor, spans))
}

pub(super) fn failed(operation: &'static str) -> impl Fn(rocksdb::Error) -> StoreError {
    move |source| StoreError::Database {
        operation,
        source: source.into(),
    }
}

fn damaged(what: &'static str) -> impl Fn(DecodeError) -> StoreError {
    move |source| StoreError::Damaged { what, source }
}
