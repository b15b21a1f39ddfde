//! The apply thread: drives the [`Applier`] with what is committed.

use std::sync::mpsc::{Receiver, Sender};

use super::{ApplyJob, Event, Events, LogJob};
use crate::consensus::applier::{Applier, Committed, Fatal};
use crate::consensus::node::NodeInput;

/// Entries applied in one go.
const APPLY_ENTRIES: usize = 4_096;

/// Runs until the raft thread is gone.
pub fn run(
    mut applier: Box<dyn Applier>,
    jobs: &Receiver<ApplyJob>,
    log: &Sender<LogJob>,
    events: &Events,
) -> Result<(), Fatal> {
    let mut held = None;
    while let Some(job) = held.take().or_else(|| jobs.recv().ok()) {
        match job {
            ApplyJob::Apply(mut entries) => {
                while entries.len() < APPLY_ENTRIES {
                    match jobs.try_recv() {
                        Ok(ApplyJob::Apply(more)) => entries.extend(more),
                        Ok(other) => {
                            held = Some(other);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                apply(applier.as_mut(), entries, events)?;
            }
            ApplyJob::Install { install, folder } => {
                let mark = applier.install(&folder)?;
                if mark.at != install.mark.at {
                    return Err(Fatal::new(format!(
                        "the checkpoint holds index {} of term {}, its announcement says {} of {}",
                        mark.at.index, mark.at.term, install.mark.at.index, install.mark.at.term
                    )));
                }
                let sessions = applier.sessions();
                // Only now may the log be reset: before, it and the old state still belong together.
                let _ = log.send(LogJob::Reset {
                    install,
                    sessions,
                    digest: applier.digest(),
                });
            }
            ApplyJob::Checkpoint(folder) => {
                let mark = applier.checkpoint(&folder)?;
                let _ = events.send(Event::Node(Box::new(NodeInput::Checkpoint(mark))));
            }
        }
    }
    Ok(())
}

fn apply(applier: &mut dyn Applier, entries: Vec<Committed>, events: &Events) -> Result<(), Fatal> {
    let Some(last) = entries.last() else {
        return Ok(());
    };
    let (index, term) = (last.index, last.term);
    let feedback = applier.apply(entries)?;
    let flushed = applier.flushed_index();
    // Without a raft thread there is nobody to tell, and the job queue ends next.
    let _ = events.send(Event::Node(Box::new(NodeInput::Applied {
        index,
        term,
        feedback,
        flushed,
    })));
    Ok(())
}
