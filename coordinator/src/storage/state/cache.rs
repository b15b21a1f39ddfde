//! Znodes that were read lately, decoded: a read that finds its znode here costs the database nothing.
//!
//! Invariant: what is in the cache is what the database has. A reader puts in what it found while it holds the lock of
//! the state; a layer is written between its freezing and its being dropped, and in that time every reader finds
//! the layer's znodes in the layer. So nobody can put in a former value behind [`NodeCache::written`].

use std::sync::Arc;

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::storage::overlay::Layer;
use crate::tree::Node;

/// Bytes that the cached znodes may take, about.
const CAPACITY: u64 = 32 << 20;

/// What a znode takes beside its path and data: its numbers, the entry, three allocations.
const OVERHEAD: u64 = 260;

/// Bytes of one of the cached ones, at a guess; only for the size of the tables.
const TYPICAL: usize = 400;

#[derive(Clone)]
struct ByBytes;

impl Weighter<Arc<str>, Arc<Node>> for ByBytes {
    fn weight(&self, path: &Arc<str>, node: &Arc<Node>) -> u64 {
        OVERHEAD + path.len() as u64 + node.data_length() as u64
    }
}

/// See the module.
pub struct NodeCache(Cache<Arc<str>, Arc<Node>, ByBytes>);

impl NodeCache {
    pub fn new() -> Self {
        Self(Cache::with_weighter(
            CAPACITY as usize / TYPICAL,
            CAPACITY,
            ByBytes,
        ))
    }

    pub fn get(&self, path: &str) -> Option<Arc<Node>> {
        self.0.get(path)
    }

    /// It was just read from the database.
    pub fn read(&self, path: &str, node: &Arc<Node>) {
        self.0.insert(path.into(), Arc::clone(node));
    }

    /// A layer is in the database now: former values of its znodes are none any more. Those that were here are replaced,
    /// by copies: the layer's data share the memory of the whole entries they came with.
    pub fn written(&self, layer: &Layer) {
        for (path, node) in layer.nodes() {
            if !self.0.contains_key(&**path) {
                continue;
            }
            let copy = node.map(|node| Node {
                data: node.data.as_deref().map(Bytes::copy_from_slice),
                ..Node::clone(node)
            });
            let kept = copy.is_some_and(|copy| {
                let replaced = self.0.replace(Arc::clone(path), Arc::new(copy), true);
                replaced.is_ok()
            });
            if !kept {
                self.0.remove(&**path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::SessionId;
    use crate::tree::{Acl, Zxid};

    fn node(length: usize) -> Arc<Node> {
        let data = Bytes::from(vec![0; length]);
        let node = Node::new(Some(data), Acl::open(), SessionId(0), Zxid(1), 2);
        Arc::new(node)
    }

    #[test]
    fn what_was_read_is_found_until_it_is_written() {
        let cache = NodeCache::new();
        cache.read("/a", &node(3));
        cache.read("/b", &node(4));
        assert_eq!(cache.get("/a"), Some(node(3)));
        let mut layer = Layer::default();
        layer.put("/a", None);
        layer.put("/b", Some(node(5)));
        layer.put("/c", Some(node(6)));
        cache.written(&layer);
        assert_eq!(cache.get("/a"), None);
        assert_eq!(cache.get("/b"), Some(node(5)));
        assert_eq!(cache.get("/c"), None, "nobody has read it");
    }

    #[test]
    fn it_does_not_grow_without_bound() {
        let cache = NodeCache::new();
        for number in 0..1_000 {
            cache.read(&format!("/{number}"), &node(100_000));
        }
        assert!(cache.0.weight() <= CAPACITY);
        assert!(cache.get("/999").is_some() || cache.get("/1").is_some());
    }
}
