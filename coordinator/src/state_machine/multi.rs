//! Groups of operations, each all or nothing, in one transaction.
use super::Failure;
use super::command::Op;
use super::outcome::{OpError, Reply};
use super::write::Draft;
use crate::mutants::{self, Mutant};
use crate::storage::Store;

impl<S: Store> Draft<'_, S> {
    /// All of `ops` or none. If one fails the answer has an error for it, [`Reply::Done`] for those
    /// before it, and [`OpError::RuntimeInconsistency`] for those behind it, which were not tried.
    pub fn group(&mut self, ops: Vec<Op>) -> Result<Vec<Result<Reply, OpError>>, Failure> {
        let mark = self.mark();
        let total = ops.len();
        let mut results = Vec::with_capacity(total);
        for op in ops {
            match self.perform(op) {
                Ok(reply) => results.push(Ok(reply)),
                Err(Failure::Op(error)) => {
                    if !mutants::is(Mutant::MultiPartly) {
                        self.take_back(mark)?;
                    }
                    results
                        .iter_mut()
                        .for_each(|result| *result = Ok(Reply::Done));
                    results.push(Err(error));
                    results.resize(total, Err(OpError::RuntimeInconsistency));
                    return Ok(results);
                }
                Err(Failure::Store(error)) => return Err(error.into()),
            }
        }
        Ok(results)
    }

    /// Nothing if the fence has another version (-1: any, but it must be there); else each group on
    /// its own, where a later one sees what an earlier one did.
    pub fn fenced_batch(
        &mut self,
        fence_path: String,
        fence_version: i32,
        groups: Vec<Vec<Op>>,
    ) -> Result<Reply, Failure> {
        let found = self.version_of(&fence_path)?;
        let holds = found.is_some_and(|found| fence_version == -1 || found == fence_version);
        if !holds {
            return Err(OpError::Fenced {
                path: fence_path,
                expected: fence_version,
                found,
            }
            .into());
        }
        let results: Result<_, Failure> =
            groups.into_iter().map(|group| self.group(group)).collect();
        Ok(Reply::FencedBatch(results?))
    }
}
