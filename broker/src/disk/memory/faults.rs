//! What goes wrong on request, and when.

use std::fmt::Arguments;
use std::io::{Error, Result};
use std::path::Path;

use rustix::io::Errno;

/// Kinds of file operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A new file or folder.
    Create,
    /// Reading from a file.
    Read,
    /// Writing to a file.
    Write,
    /// Cutting or lengthening a file.
    SetSize,
    /// Making a file durable.
    Sync,
    /// Renaming.
    Rename,
    /// Removing a file or folder.
    Remove,
    /// Making names durable.
    SyncFolder,
}

/// An operation that is to fail.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Of this kind.
    pub operation: Operation,
    /// On paths that have this in them.
    pub path: String,
    /// So many of them succeed before.
    pub after: u32,
    /// So many of them fail.
    pub times: u32,
    /// With this answer.
    pub errno: Errno,
}

impl Fault {
    /// The next operation of that kind fails as on a broken disk (`EIO`).
    #[must_use]
    pub fn broken(operation: Operation, path: &str) -> Fault {
        Fault {
            operation,
            path: path.to_owned(),
            after: 0,
            times: 1,
            errno: Errno::IO,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Faults {
    /// How many operations were begun.
    pub operations: u64,
    /// With more operations than these the disk stands still.
    pub frozen_at: Option<u64>,
    /// With more operations than these no byte more fits.
    pub full_at: Option<u64>,
    pub capacity: u64,
    pub planned: Vec<Fault>,
    pub trace: Option<Vec<String>>,
}

impl Default for Faults {
    fn default() -> Faults {
        Faults {
            operations: 0,
            frozen_at: None,
            full_at: None,
            capacity: u64::MAX,
            planned: Vec::new(),
            trace: None,
        }
    }
}

impl Faults {
    /// A restart ends faults that have come, but not a full disk.
    pub fn clear(&mut self) {
        if self.alive().is_err() {
            self.frozen_at = None;
        }
        self.planned.clear();
    }

    /// Fails once the disk stands still.
    pub fn alive(&self) -> Result<()> {
        match self.frozen_at {
            Some(at) if self.operations > at => Err(Error::other("the disk stands still")),
            _ => Ok(()),
        }
    }

    /// True in an operation that fails, and not because the disk stood still before.
    pub fn interrupts(&self) -> bool {
        self.frozen_at.is_none_or(|at| self.operations <= at + 1)
    }

    /// Counts an operation that changes something; an error is its answer.
    pub fn begin(
        &mut self,
        kind: Operation,
        path: &Path,
        detail: Arguments<'_>,
        used: u64,
    ) -> Result<()> {
        self.operations += 1;
        self.alive()?;
        if let Some(trace) = &mut self.trace {
            let at = self.operations;
            trace.push(format!("{at}: {kind:?} {} {detail}", path.display()));
        }
        if self.full_at.is_some_and(|at| self.operations > at) {
            self.full_at = None;
            self.capacity = used;
        }
        self.planned_for(kind, path)
    }

    pub fn reads(&mut self, path: &Path) -> Result<()> {
        self.alive()?;
        self.planned_for(Operation::Read, path)
    }

    /// Bytes that still fit.
    pub fn room(&self, used: u64) -> u64 {
        self.capacity.saturating_sub(used)
    }

    fn planned_for(&mut self, operation: Operation, path: &Path) -> Result<()> {
        let text = path.to_string_lossy();
        for fault in &mut self.planned {
            if fault.operation != operation || !text.contains(&fault.path) {
                continue;
            }
            if fault.after > 0 {
                fault.after -= 1;
            } else if fault.times > 0 {
                fault.times -= 1;
                return Err(fault.errno.into());
            }
        }
        Ok(())
    }
}
