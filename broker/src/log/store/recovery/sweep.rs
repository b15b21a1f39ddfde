//! Tidying a partition's folder before it is opened: what an interrupted deletion, compaction or
//! write left behind.
//!
//! A `.swap` file is a finished result of compaction: it takes the place of the segments whose
//! offsets it covers, unless a `.cleaned` file at or before it says that its set is incomplete.

use std::path::Path;

use super::super::super::error::FileError;
use super::super::super::format::names;
use super::super::file;
use super::super::window::{FILE_CHUNK, Window};
use super::scan;
use crate::disk::{Disk, Open};

/// Removes leftovers and finishes interrupted swaps. True when names changed.
pub fn sweep(disk: &dyn Disk, folder: &Path) -> Result<bool, FileError> {
    let before = file::list(disk, folder)?;
    let mut cleaned_from = i64::MAX;
    for name in &before {
        let kind = names::parse_segment_file(name);
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        if let (Some((offset, _)), names::CLEANED) = (kind, ending) {
            cleaned_from = cleaned_from.min(offset);
        }
        if matches!(ending, names::DELETED | names::CLEANED | "tmp") {
            file::remove(disk, &folder.join(name))?;
        }
    }
    finish_swaps(disk, folder, cleaned_from)?;
    remove_orphans(disk, folder)?;
    Ok(file::list(disk, folder)? != before)
}

fn finish_swaps(disk: &dyn Disk, folder: &Path, cleaned_from: i64) -> Result<(), FileError> {
    let mut swaps = Vec::new();
    let mut covered = (i64::MAX, i64::MIN);
    for name in file::list(disk, folder)? {
        let Some((offset, kind)) = names::parse_segment_file(&name) else {
            continue;
        };
        let Some((kind, names::SWAP)) = kind.split_once('.') else {
            continue;
        };
        if offset >= cleaned_from {
            file::remove(disk, &folder.join(&name))?;
            continue;
        }
        if kind == names::LOG {
            let end = end_of(disk, &folder.join(&name))?.unwrap_or(offset);
            covered = (covered.0.min(offset), covered.1.max(end));
        }
        swaps.push((name.clone(), names::segment_file(offset, kind)));
    }
    if swaps.is_empty() {
        return Ok(());
    }
    for name in file::list(disk, folder)? {
        let Some((offset, kind)) = names::parse_segment_file(&name) else {
            continue;
        };
        if !kind.contains('.') && (covered.0..covered.1).contains(&offset) {
            file::remove(disk, &folder.join(&name))?;
        }
    }
    for (from, to) in swaps {
        file::rename(disk, &folder.join(from), &folder.join(to))?;
    }
    Ok(())
}

fn end_of(disk: &dyn Disk, path: &Path) -> Result<Option<i64>, FileError> {
    let failed = |error| FileError::new("open", path, error);
    let file = disk.open(path, Open::Existing).map_err(failed)?;
    let size = file.size().map_err(failed)?;
    let mut window = Window::new(file, size, FILE_CHUNK);
    Ok(scan::next_offset(&mut window))
}

/// Indexes without their log; snapshots that belong to no segment, but for the last one, which a
/// clean stop leaves at the log's end.
fn remove_orphans(disk: &dyn Disk, folder: &Path) -> Result<(), FileError> {
    let names = file::list(disk, folder)?;
    let of_kind = |wanted: &str| -> Vec<i64> {
        let parsed = names
            .iter()
            .filter_map(|name| names::parse_segment_file(name));
        parsed
            .filter(|(_, kind)| *kind == wanted)
            .map(|(offset, _)| offset)
            .collect()
    };
    let logs = of_kind(names::LOG);
    let last_snapshot = of_kind(names::SNAPSHOT).last().copied();
    for name in &names {
        let orphan = match names::parse_segment_file(name) {
            Some((offset, names::OFFSET_INDEX | names::TIME_INDEX | names::TXN_INDEX)) => {
                !logs.contains(&offset)
            }
            Some((offset, names::SNAPSHOT)) => {
                !logs.contains(&offset) && last_snapshot != Some(offset)
            }
            _ => false,
        };
        if orphan {
            file::remove(disk, &folder.join(name))?;
        }
    }
    Ok(())
}
