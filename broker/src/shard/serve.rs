//! The requests, as handlers ask them. Each decides before its first wait, so that the order of a
//! connection's requests is the order of decisions.

use tokio::sync::oneshot;

use super::Shards;
use super::hosted::Waiter;
use crate::group::describe::{Described, Listed};
use crate::group::heartbeat::Leaving;
use crate::group::offsets::{StoredOffset, refuse};
use crate::group::{
    CommitRequest, Committed, GroupError, GroupState, Groups, JoinRequest, Joined, PartitionName,
    SyncRequest, Synced,
};

impl Shards {
    /// Joins a group; answered when the rebalance is complete.
    pub async fn join(&self, group: &str, request: JoinRequest) -> Joined {
        let member = request.member_id.clone();
        let (waiter, answer) = oneshot::channel();
        let ticket = self.ticket();
        let decided = self.shard(group).and_then(|shard| {
            shard.decide(
                Some((ticket, Waiter::Join(waiter))),
                |groups, now, config, out| {
                    groups.join(group, request, ticket, now, config, out);
                },
            )
        });
        match decided {
            Ok(()) => answer
                .await
                .unwrap_or_else(|_| Joined::refused(&member, GroupError::NotCoordinator)),
            Err(error) => Joined::refused(&member, error),
        }
    }

    /// Fetches an assignment; answered when the leader's is committed.
    ///
    /// # Errors
    /// [`GroupError`].
    pub async fn sync(&self, group: &str, request: SyncRequest) -> Result<Synced, GroupError> {
        let (waiter, answer) = oneshot::channel();
        let ticket = self.ticket();
        let shard = self.shard(group)?;
        shard.decide(
            Some((ticket, Waiter::Sync(waiter))),
            |groups, now, _, out| {
                groups.sync(group, &request, ticket, now, out);
            },
        )?;
        answer.await.unwrap_or(Err(GroupError::NotCoordinator))
    }

    /// Keeps a member alive.
    ///
    /// # Errors
    /// [`GroupError`].
    pub fn heartbeat(
        &self,
        group: &str,
        member: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<(), GroupError> {
        let mut answer = Ok(());
        self.shard(group)?.decide(None, |groups, now, _, _| {
            answer = groups.heartbeat(group, member, instance, generation, now);
        })?;
        answer
    }

    /// Members leave.
    ///
    /// # Errors
    /// [`GroupError`] for all of them; else one result for each.
    pub fn leave(
        &self,
        group: &str,
        members: &[Leaving],
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let mut answers = Vec::new();
        self.shard(group)?
            .decide(None, |groups, now, config, out| {
                answers = groups.leave(group, members, now, config, out);
            })?;
        Ok(answers)
    }

    /// Commits offsets; answered when they are committed in the log.
    pub async fn commit(&self, group: &str, request: CommitRequest) -> Vec<Committed> {
        let offsets = request.offsets.clone();
        let (waiter, answer) = oneshot::channel();
        let ticket = self.ticket();
        let decided = self.shard(group).and_then(|shard| {
            shard.decide(
                Some((ticket, Waiter::Commit(waiter))),
                |groups, now, config, out| {
                    groups.commit(group, request, ticket, now, config, out);
                },
            )
        });
        match decided {
            Ok(()) => answer
                .await
                .unwrap_or_else(|_| refuse(&offsets, GroupError::NotCoordinator)),
            Err(error) => refuse(&offsets, error),
        }
    }

    /// What is committed of `partitions`, in their order.
    ///
    /// # Errors
    /// [`GroupError`].
    pub fn offsets(
        &self,
        group: &str,
        partitions: &[PartitionName],
    ) -> Result<Vec<Option<StoredOffset>>, GroupError> {
        self.shard(group)?.read(|groups| {
            partitions
                .iter()
                .map(|p| groups.offset(group, p).cloned())
                .collect()
        })
    }

    /// Everything a group has committed, in order.
    ///
    /// # Errors
    /// [`GroupError`].
    pub fn all_offsets(
        &self,
        group: &str,
    ) -> Result<Vec<(PartitionName, StoredOffset)>, GroupError> {
        self.shard(group)?.read(|groups| {
            let found = groups.get(group);
            let offsets = found.into_iter().flat_map(|g| g.offsets());
            offsets.map(|(p, o)| (p.clone(), o.clone())).collect()
        })
    }

    /// A group in detail; an unknown one is dead.
    ///
    /// # Errors
    /// [`GroupError`].
    pub fn describe(&self, group: &str) -> Result<Described, GroupError> {
        self.shard(group)?.read(|groups| groups.describe(group))
    }

    /// Every group coordinated here.
    ///
    /// # Errors
    /// [`GroupError::LoadInProgress`] while some are still being read.
    pub fn list(&self) -> Result<Vec<Listed>, GroupError> {
        let mut listed = Vec::new();
        for shard in self.all() {
            match shard.read(|groups| groups.list().collect::<Vec<_>>()) {
                Ok(groups) => listed.extend(groups),
                Err(GroupError::NotCoordinator) => {}
                Err(error) => return Err(error),
            }
        }
        listed.sort_by(|a, b| a.group.cmp(&b.group));
        Ok(listed)
    }

    /// Where every group stands; those that are still being read are left out.
    pub fn states(&self) -> Vec<GroupState> {
        let look = |groups: &Groups| groups.list().map(|group| group.state).collect::<Vec<_>>();
        let all = self.all();
        let states = all.iter().filter_map(|shard| shard.read(look).ok());
        states.flatten().collect()
    }

    /// Deletes a group without members; answered when that is committed.
    ///
    /// # Errors
    /// [`GroupError`].
    pub async fn delete(&self, group: &str) -> Result<(), GroupError> {
        let (waiter, answer) = oneshot::channel();
        let ticket = self.ticket();
        let shard = self.shard(group)?;
        shard.decide(
            Some((ticket, Waiter::Delete(waiter))),
            |groups, now, _, out| {
                groups.delete(group, ticket, now, out);
            },
        )?;
        answer.await.unwrap_or(Err(GroupError::NotCoordinator))
    }
}
