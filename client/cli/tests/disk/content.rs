//! The bytes of one file, twice: as everybody sees them now, and as they would be found after a power cut.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::Rng as _;
use rand::rngs::StdRng;

use super::fate::Fate;

/// The unit in which a system writes its cache to the disk.
pub const PAGE: usize = 4096;
/// The unit that a disk writes whole or not at all.
const SECTOR: usize = 512;

/// A page that takes room on the disk.
#[derive(Debug, Clone)]
enum Page {
    /// Reserved by `fallocate`; reads as zeroes.
    Reserved,
    Bytes(Arc<[u8; PAGE]>),
}

impl Page {
    fn read(page: Option<&Self>) -> &[u8; PAGE] {
        const ZEROES: &[u8; PAGE] = &[0; PAGE];
        match page {
            Some(Self::Bytes(bytes)) => bytes,
            Some(Self::Reserved) | None => ZEROES,
        }
    }

    fn write(slot: &mut Self) -> &mut [u8; PAGE] {
        if matches!(slot, Self::Reserved) {
            *slot = Self::Bytes(Arc::new([0; PAGE]));
        }
        match slot {
            Self::Bytes(bytes) => Arc::make_mut(bytes),
            Self::Reserved => unreachable!("it was replaced above"),
        }
    }
}

/// One version. Pages that are absent are holes.
#[derive(Debug, Clone, Default)]
struct Version {
    pages: BTreeMap<u64, Page>,
    size: u64,
}

/// How many pages it takes to hold so many bytes.
fn pages_of(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE as u64)
}

impl Version {
    /// Shorter, or longer by a hole. What stood behind the new end reads as zeroes if the file grows again.
    fn resize(&mut self, size: u64) {
        if size < self.size {
            self.pages.split_off(&pages_of(size));
            let rest = usize::try_from(size % PAGE as u64).expect("less than a page");
            if rest > 0
                && let Some(page @ Page::Bytes(_)) = self.pages.get_mut(&(size / PAGE as u64))
            {
                Page::write(page)[rest..].fill(0);
            }
        }
        self.size = size;
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Content {
    now: Version,
    durable: Version,
    /// Pages of `now` that the next fsync has to write.
    dirty: BTreeSet<u64>,
    /// The smallest size since the last fsync, if it was cut below what is durable.
    cut_to: Option<u64>,
}

impl Content {
    /// Bytes it has.
    pub fn size(&self) -> u64 {
        self.now.size
    }

    /// Pages it takes on the disk.
    pub fn pages(&self) -> u64 {
        self.now.pages.len() as u64
    }

    /// Whether an fsync would have something to do.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty() || self.now.size != self.durable.size
    }

    /// What stands at `offset`, at most `length` bytes.
    pub fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let end = self.now.size.min(offset + length as u64);
        let mut bytes = Vec::with_capacity(length);
        let mut at = offset;
        while at < end {
            let within = usize::try_from(at % PAGE as u64).expect("less than a page");
            let count = (PAGE - within).min(usize::try_from(end - at).expect("at most `length`"));
            let page = Page::read(self.now.pages.get(&(at / PAGE as u64)));
            bytes.extend_from_slice(&page[within..within + count]);
            at += count as u64;
        }
        bytes
    }

    /// Writes as much as `free` further pages hold; how many bytes that was.
    pub fn write(&mut self, offset: u64, bytes: &[u8], mut free: u64) -> usize {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let number = at / PAGE as u64;
            let within = usize::try_from(at % PAGE as u64).expect("less than a page");
            let count = (PAGE - within).min(bytes.len() - done);
            if !self.now.pages.contains_key(&number) {
                if free == 0 {
                    break;
                }
                free -= 1;
            }
            let slot = self.now.pages.entry(number).or_insert(Page::Reserved);
            Page::write(slot)[within..within + count].copy_from_slice(&bytes[done..done + count]);
            self.dirty.insert(number);
            done += count;
        }
        self.now.size = self.now.size.max(offset + done as u64);
        done
    }

    /// `ftruncate`.
    pub fn resize(&mut self, size: u64) {
        if size < self.now.size {
            self.dirty.split_off(&pages_of(size));
            if !size.is_multiple_of(PAGE as u64) {
                self.dirty.insert(size / PAGE as u64);
            }
            if size < self.durable.size {
                let before = self.cut_to.unwrap_or(u64::MAX);
                self.cut_to = Some(before.min(size));
            }
        }
        self.now.resize(size);
    }

    /// Reserves room; false if it takes more than `free` further pages.
    pub fn reserve(&mut self, offset: u64, length: u64, keep_size: bool, free: u64) -> bool {
        let numbers = offset / PAGE as u64..pages_of(offset + length);
        let there = self.now.pages.range(numbers.clone()).count() as u64;
        if numbers.end - numbers.start > free + there {
            return false;
        }
        for number in numbers {
            if let std::collections::btree_map::Entry::Vacant(slot) = self.now.pages.entry(number) {
                slot.insert(Page::Reserved);
                self.dirty.insert(number);
            }
        }
        if !keep_size {
            self.now.size = self.now.size.max(offset + length);
        }
        true
    }

    /// Whole pages become holes, parts of pages zeroes.
    pub fn punch(&mut self, offset: u64, length: u64) {
        let end = (offset + length).min(pages_of(self.now.size) * PAGE as u64);
        let mut at = offset;
        while at < end {
            let number = at / PAGE as u64;
            let within = usize::try_from(at % PAGE as u64).expect("less than a page");
            let count = (PAGE - within).min(usize::try_from(end - at).expect("a hole fits memory"));
            if count == PAGE {
                self.now.pages.remove(&number);
            } else if let Some(page) = self.now.pages.get_mut(&number) {
                Page::write(page)[within..within + count].fill(0);
            }
            self.dirty.insert(number);
            at += count as u64;
        }
    }

    /// An fsync that does what it says.
    pub fn sync(&mut self) {
        if let Some(size) = self.cut_to.take() {
            self.durable.resize(size);
        }
        for number in std::mem::take(&mut self.dirty) {
            match self.now.pages.get(&number) {
                Some(page) => self.durable.pages.insert(number, page.clone()),
                None => self.durable.pages.remove(&number),
            };
        }
        self.durable.resize(self.now.size);
    }

    /// An fsync that failed. As on Linux, everybody goes on to see what was written, the system takes it for
    /// written, and no later fsync writes it.
    pub fn sync_failed(&mut self) {
        self.dirty.clear();
        self.cut_to = None;
    }

    /// Nobody can see it any more: only what is durable counts.
    pub fn forsake(&mut self) {
        self.now = Version::default();
        self.dirty.clear();
        self.cut_to = None;
    }

    /// The power is cut: what was not synced survives as `fate` has it. How many pages were at stake, and how many
    /// of them did not survive whole.
    pub fn lose_power(&mut self, fate: &Fate, chance: &mut StdRng) -> (usize, usize) {
        let dirty = std::mem::take(&mut self.dirty);
        let at_stake = dirty.len();
        let mut lost = 0;
        let mut lost_from = None;
        let mut left = std::mem::take(&mut self.durable);
        let cut_to = self.cut_to.take();
        let cut_survives = fate.survives(chance);
        // What came behind a cut that did not survive did not either: sizes are written in their order.
        let limit = match cut_to {
            Some(size) if !cut_survives => size / PAGE as u64,
            _ => u64::MAX,
        };
        if let Some(size) = cut_to.filter(|_| cut_survives) {
            left.resize(size);
        }
        for number in dirty {
            let new = self.now.pages.get(&number);
            let may = number < limit && lost_from.is_none();
            let whole = may && fate.survives(chance);
            let torn = may && !whole && fate.tears(chance);
            lost += usize::from(!whole);
            if !whole && lost_from.is_none() && fate.is_in_order() {
                lost_from = Some((number + u64::from(torn)) * PAGE as u64);
            }
            match new {
                Some(new) if whole => drop(left.pages.insert(number, new.clone())),
                None if whole => drop(left.pages.remove(&number)),
                Some(new) if torn => {
                    let new = Page::read(Some(new));
                    let old = left.pages.entry(number).or_insert(Page::Reserved);
                    let old = Page::write(old);
                    for at in (0..PAGE).step_by(SECTOR) {
                        if chance.random_bool(0.5) {
                            old[at..at + SECTOR].copy_from_slice(&new[at..at + SECTOR]);
                        }
                    }
                }
                _ => {}
            }
        }
        if limit == u64::MAX && self.now.size > left.size {
            let size = fate.size(left.size, self.now.size, lost_from, chance);
            left.size = size;
        }
        // Nothing stands behind the end, not even what was reserved there.
        let size = std::mem::replace(&mut left.size, u64::MAX);
        left.resize(size);
        self.now = left.clone();
        self.durable = left;
        (at_stake, lost)
    }
}
