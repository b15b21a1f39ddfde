//! What one file holds, in the cache and on the platter.
//!
//! The cache is one run of bytes. Of the platter only what differs is kept, by sector, so that a sync costs as much as
//! was written since the last one, and a read touches nothing but the bytes that are asked for.

use std::collections::BTreeMap;

use super::chance::Chance;

/// Bytes that a disk writes whole or not at all.
pub const SECTOR: u64 = 512;

/// Lengths a file had since its last sync of which one may be found after a crash.
const SIZES: usize = 16;

/// A sector of the platter that may differ from the cache.
#[derive(Debug, Clone)]
struct Kept {
    /// As on the platter; zeros follow.
    bytes: Vec<u8>,
    /// The system gave up writing it (a sync failed): no later sync does, unless it is written to again.
    given_up: bool,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Content {
    bytes: Vec<u8>,
    /// The file's length on the platter.
    durable_size: u64,
    /// Further lengths that may be there.
    sizes: Vec<u64>,
    /// Sectors that differ. One that isn't here is as in the cache if it begins below `durable_size`, else empty.
    platter: BTreeMap<u64, Kept>,
    /// When it was last changed.
    pub modified_ms: i64,
}

impl Content {
    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn read_at(&self, buffer: &mut [u8], position: u64) -> usize {
        let start =
            usize::try_from(position).map_or(self.bytes.len(), |at| at.min(self.bytes.len()));
        let length = buffer.len().min(self.bytes.len() - start);
        buffer[..length].copy_from_slice(&self.bytes[start..start + length]);
        length
    }

    pub fn write_at(&mut self, bytes: &[u8], position: u64) {
        if bytes.is_empty() {
            return;
        }
        let end = position + bytes.len() as u64;
        self.touch(position.min(self.size()), end);
        if self.size() < end {
            self.bytes.resize(end as usize, 0);
            self.note_size();
        }
        self.bytes[position as usize..end as usize].copy_from_slice(bytes);
    }

    pub fn set_size(&mut self, size: u64) {
        let before = self.size();
        if size == before {
            return;
        }
        self.touch(size.min(before), size.max(before));
        self.bytes.resize(size as usize, 0);
        self.note_size();
    }

    /// Keeps what the platter has of sectors that are about to change.
    fn touch(&mut self, from: u64, to: u64) {
        for sector in from / SECTOR..to.div_ceil(SECTOR) {
            if let Some(kept) = self.platter.get_mut(&sector) {
                kept.given_up = false;
            } else if sector * SECTOR < self.durable_size {
                let bytes = self.cached(sector, self.durable_size).to_vec();
                let given_up = false;
                self.platter.insert(sector, Kept { bytes, given_up });
            } else {
                // Nothing on the platter, nor of any sector behind it that isn't kept.
                let behind = self.platter.range_mut(sector..to.div_ceil(SECTOR));
                behind.for_each(|(_, kept)| kept.given_up = false);
                return;
            }
        }
    }

    /// The cache's bytes of a sector, as far as they lie below `end`.
    fn cached(&self, sector: u64, end: u64) -> &[u8] {
        let end = end.min(self.size()).min((sector + 1) * SECTOR);
        let start = (sector * SECTOR).min(end);
        &self.bytes[start as usize..end as usize]
    }

    fn note_size(&mut self) {
        let size = self.size();
        if self.sizes.len() == SIZES {
            self.sizes.remove(0);
        }
        self.sizes.push(size);
    }

    /// All of it is on the platter now, but for what was given up.
    pub fn sync(&mut self) {
        self.platter.retain(|_, kept| kept.given_up);
        self.durable_size = self.size();
        self.sizes.clear();
    }

    /// A sync that failed: by chance some sectors were written; the others count as written.
    pub fn sync_failed(&mut self, chance: &mut Chance) {
        let end = self.size().max(self.durable_size).div_ceil(SECTOR);
        for sector in 0..end {
            let dirty = match self.platter.get(&sector) {
                Some(kept) => !kept.given_up,
                None => sector * SECTOR >= self.durable_size,
            };
            if dirty && chance.flip() {
                self.platter.remove(&sector);
            } else if dirty {
                let kept = self.platter.entry(sector).or_insert(Kept {
                    bytes: Vec::new(),
                    given_up: true,
                });
                kept.given_up = true;
            }
        }
        self.durable_size = self.size();
        self.sizes.clear();
    }

    /// The system writes some of it when it likes.
    pub fn write_back(&mut self, chance: &mut Chance) {
        let first = self.durable_size.div_ceil(SECTOR);
        let end = self.size().div_ceil(SECTOR);
        // Of a long tail only the first sectors are looked at: one call must stay cheap.
        let fresh = (first..end)
            .take(64)
            .filter(|at| !self.platter.contains_key(at));
        let mut sectors: Vec<u64> = fresh.collect();
        sectors.extend(
            self.platter
                .iter()
                .filter(|(_, kept)| !kept.given_up)
                .map(|(&at, _)| at),
        );
        for sector in sectors {
            if !chance.flip() {
                continue;
            }
            if sector * SECTOR < self.durable_size {
                self.platter.remove(&sector);
            } else {
                let bytes = self.cached(sector, u64::MAX).to_vec();
                let given_up = false;
                self.platter.insert(sector, Kept { bytes, given_up });
            }
        }
    }

    /// The file as the platter has it: nothing of what was not synced.
    pub fn lose_all(&mut self) {
        let size = self.durable_size;
        self.settle(size, |_| false);
    }

    /// The file as a power cut leaves it: pieces of so many sectors are there or not, by chance.
    pub fn lose_some(&mut self, sectors: u64, chance: &mut Chance) {
        let size = self.surviving_size(chance);
        // Mostly there, mostly gone, or even.
        let kept_of_eight = [1, 4, 7][chance.below(3) as usize];
        let (mut piece, mut kept) = (None, false);
        self.settle(size, |sector| {
            if piece != Some(sector / sectors) {
                piece = Some(sector / sectors);
                kept = chance.below(8) < kept_of_eight;
            }
            kept
        });
    }

    fn surviving_size(&self, chance: &mut Chance) -> u64 {
        if self.sizes.is_empty() {
            return self.durable_size;
        }
        match chance.below(4) {
            0 => self.durable_size,
            1 => self.size(),
            2 => self.sizes[chance.below(self.sizes.len() as u64) as usize],
            // In the middle of a write: the length grows with what was written so far.
            _ => {
                let low = self.durable_size.min(self.size());
                let high = self.durable_size.max(self.size());
                let at = low + chance.below(high - low + 1);
                let whole = low.max(at / SECTOR * SECTOR);
                if chance.flip() { whole } else { at }
            }
        }
    }

    /// Becomes `size` bytes, all of them on the platter: sectors that differ are as in the cache where `kept` says so.
    fn settle(&mut self, size: u64, mut kept: impl FnMut(u64) -> bool) {
        let mut bytes = std::mem::take(&mut self.bytes);
        let fresh_from = self.durable_size.div_ceil(SECTOR);
        bytes.resize(size as usize, 0);
        for sector in 0..size.div_ceil(SECTOR) {
            let platter = match self.platter.get(&sector) {
                Some(on_platter) => &on_platter.bytes[..],
                None if sector >= fresh_from => &[],
                None => continue,
            };
            let given_up = self.platter.get(&sector).is_some_and(|one| one.given_up);
            if !given_up && kept(sector) {
                continue;
            }
            let start = (sector * SECTOR) as usize;
            let end = bytes.len().min(start + SECTOR as usize);
            let length = platter.len().min(end - start);
            bytes[start..start + length].copy_from_slice(&platter[..length]);
            bytes[start + length..end].fill(0);
        }
        self.bytes = bytes;
        self.durable_size = size;
        self.sizes.clear();
        self.platter.clear();
    }

    /// Inverts one bit, wherever the byte is.
    pub fn flip_bit(&mut self, position: u64, bit: u8) {
        if let Some(byte) = self.bytes.get_mut(position as usize) {
            *byte ^= 1 << bit;
        }
        if let Some(kept) = self.platter.get_mut(&(position / SECTOR))
            && let Some(byte) = kept.bytes.get_mut((position % SECTOR) as usize)
        {
            *byte ^= 1 << bit;
        }
    }
}
