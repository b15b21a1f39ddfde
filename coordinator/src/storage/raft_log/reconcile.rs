//! At start: the log and the applied state must fit together.

use super::{Disk, LogError, Position, RaftLog, Recovered};

impl<D: Disk> RaftLog<D> {
    /// Makes the log contain the applied index. A log that lacks it (a checkpoint was installed, and the process
    /// died before the reset) begins anew behind it; term and vote stay.
    ///
    /// # Errors
    /// When entries between the applied index and the log are missing, or what is committed contradicts it.
    pub fn reconcile(
        &mut self,
        mut recovered: Recovered,
        applied: Position,
    ) -> Result<Recovered, LogError> {
        let base = recovered.base;
        if applied.index < base.index {
            return Err(LogError::Gap {
                applied: applied.index,
                first: base.index + 1,
            });
        }
        let offset = usize::try_from(applied.index - base.index).unwrap_or(usize::MAX);
        let term = match offset {
            0 => Some(base.term),
            _ => recovered.entries.get(offset - 1).map(|entry| entry.term),
        };
        if term == Some(applied.term) {
            return Ok(recovered);
        }
        let mut hard_state = std::mem::take(&mut recovered.hard_state);
        if let Some(term) = term
            && hard_state.commit >= applied.index
        {
            return Err(LogError::Contradiction { applied, term });
        }
        tracing::warn!(
            index = applied.index,
            term = applied.term,
            "the raft log lacks the applied index: it begins anew"
        );
        if hard_state.term < applied.term {
            hard_state.term = applied.term;
            hard_state.vote = 0;
        }
        hard_state.commit = applied.index;
        self.reset(applied, &hard_state)?;
        Ok(Recovered {
            hard_state,
            base: applied,
            entries: Vec::new(),
        })
    }
}
