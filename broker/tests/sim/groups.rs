//! Members of a consumer group, in the classic protocol. A member commits numbers of one common counter, so that what
//! a group has committed tells which commit it was. Now and then one stands still past its session's timeout and
//! then commits, as if nothing had happened.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    BrokerId, FindCoordinatorRequest, GroupId, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, OffsetCommitRequest, OffsetFetchRequest,
    SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;
use rand::Rng as _;
use tokio::time::sleep;

use crate::client::{Client, Running, name, text};

/// The group.
pub const GROUP: &str = "g";
/// The topic whose partitions its members share.
const TOPIC: &str = "a";
const PARTITIONS: i32 = 2;
const SESSION_MS: i32 = 3_000;

const REBALANCE_IN_PROGRESS: i16 = 27;
const ILLEGAL_GENERATION: i16 = 22;
const UNKNOWN_MEMBER: i16 = 25;
const MEMBER_ID_REQUIRED: i16 = 79;

fn group() -> GroupId {
    GroupId(StrBytes::from_static_str(GROUP))
}

/// One member.
pub struct Member {
    client: Client,
    id: StrBytes,
    generation: i32,
    coordinator: Option<i32>,
}

enum End {
    /// Join again, under the same id.
    Rejoin,
    /// Under a new one.
    Anew,
    /// The coordinator is to be looked for.
    Lost,
    /// It was told to stop.
    Stopped,
}

/// Is a member until told to stop.
pub async fn take_part(client: Client, running: Running) {
    let mut member = Member {
        client,
        id: StrBytes::default(),
        generation: -1,
        coordinator: None,
    };
    while running.goes_on() {
        match member.generation(&running).await {
            End::Rejoin => {}
            End::Anew => member.id = StrBytes::default(),
            End::Lost => {
                member.coordinator = None;
                member.client.rest(300).await;
            }
            End::Stopped => return,
        }
    }
}

impl Member {
    /// Joins, works, and tells why that ended.
    async fn generation(&mut self, running: &Running) -> End {
        let Some(coordinator) = self.coordinator().await else {
            return End::Lost;
        };
        let joined = match self.join(coordinator).await {
            Ok(joined) => joined,
            Err(end) => return end,
        };
        self.generation = joined.generation_id;
        let parts = match self.sync(coordinator, &joined).await {
            Ok(parts) => parts,
            Err(end) => return end,
        };
        let history = self.client.setting.history.clone();
        history.assigned(self.generation, &self.id, &parts);
        if let Err(end) = self.look_up(coordinator, &parts).await {
            return end;
        }
        self.work(coordinator, &parts, running).await
    }

    async fn work(&mut self, coordinator: i32, parts: &[i32], running: &Running) -> End {
        for _ in 0..self.client.chance.random_range(5..80) {
            if !running.goes_on() {
                return End::Stopped;
            }
            if self.client.chance.random_range(0..60) == 0 {
                // As if stopped by a long pause: then on, with a commit.
                sleep(Duration::from_millis(
                    u64::from(SESSION_MS.unsigned_abs()) * 2,
                ))
                .await;
            } else if let Err(end) = self.heartbeat(coordinator).await {
                return end;
            }
            for part in parts {
                if let Err(end) = self.commit(coordinator, *part).await {
                    return end;
                }
            }
            self.client.rest(1_200).await;
        }
        if self.client.chance.random_range(0..2) == 0 {
            self.leave(coordinator).await;
            self.client.rest(1_000).await;
            return End::Anew;
        }
        match self.look_up(coordinator, parts).await {
            Ok(()) => End::Rejoin,
            Err(end) => end,
        }
    }

    async fn coordinator(&mut self) -> Option<i32> {
        if let Some(known) = self.coordinator {
            return Some(known);
        }
        let request = FindCoordinatorRequest::default()
            .with_key(text(GROUP))
            .with_key_type(0);
        let broker = self.client.any();
        let answer = self.client.call(broker, 3, &request).await.ok()?;
        let BrokerId(found) = answer.node_id;
        self.coordinator = (answer.error_code == 0).then_some(found);
        self.coordinator
    }

    async fn join(&mut self, coordinator: i32) -> Result<JoinGroupResponse, End> {
        loop {
            let protocol = JoinGroupRequestProtocol::default()
                .with_name(text("range"))
                .with_metadata(Bytes::from_static(b"m"));
            let request = JoinGroupRequest::default()
                .with_group_id(group())
                .with_session_timeout_ms(SESSION_MS)
                .with_rebalance_timeout_ms(SESSION_MS)
                .with_member_id(self.id.clone())
                .with_protocol_type(text("consumer"))
                .with_protocols(vec![protocol]);
            let answer = self.client.call(coordinator, 5, &request).await;
            let answer = answer.map_err(|_| End::Lost)?;
            match answer.error_code {
                0 => {
                    self.id = answer.member_id.clone();
                    return Ok(answer);
                }
                MEMBER_ID_REQUIRED => self.id = answer.member_id,
                error => return Err(end(error)),
            }
        }
    }

    async fn sync(
        &mut self,
        coordinator: i32,
        joined: &JoinGroupResponse,
    ) -> Result<Vec<i32>, End> {
        let mut request = SyncGroupRequest::default()
            .with_group_id(group())
            .with_generation_id(self.generation)
            .with_member_id(self.id.clone());
        if joined.leader == self.id {
            let members = joined.members.len();
            let assignments = joined.members.iter().enumerate().map(|(at, member)| {
                let parts = (0..PARTITIONS)
                    .filter(|part| usize::try_from(*part).is_ok_and(|part| part % members == at));
                let bytes: Vec<u8> = parts.filter_map(|part| u8::try_from(part).ok()).collect();
                SyncGroupRequestAssignment::default()
                    .with_member_id(member.member_id.clone())
                    .with_assignment(bytes.into())
            });
            request = request.with_assignments(assignments.collect());
        }
        let answer = self.client.call(coordinator, 3, &request).await;
        let answer = answer.map_err(|_| End::Lost)?;
        match answer.error_code {
            0 => Ok(answer
                .assignment
                .iter()
                .map(|part| i32::from(*part))
                .collect()),
            error => Err(end(error)),
        }
    }

    async fn heartbeat(&mut self, coordinator: i32) -> Result<(), End> {
        let request = HeartbeatRequest::default()
            .with_group_id(group())
            .with_generation_id(self.generation)
            .with_member_id(self.id.clone());
        let answer = self.client.call(coordinator, 3, &request).await;
        match answer.map_err(|_| End::Lost)?.error_code {
            0 => Ok(()),
            error => Err(end(error)),
        }
    }

    async fn commit(&mut self, coordinator: i32, part: i32) -> Result<(), End> {
        let history = self.client.setting.history.clone();
        let number = history.commit_begins(part, self.generation);
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(part)
            .with_committed_offset(number);
        let topic = OffsetCommitRequestTopic::default()
            .with_name(name(TOPIC))
            .with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(group())
            .with_generation_id_or_member_epoch(self.generation)
            .with_member_id(self.id.clone())
            .with_topics(vec![topic]);
        let answer = self.client.call(coordinator, 7, &request).await;
        // Its fate is open: a new generation comes before the next commit.
        let answer = answer.map_err(|_| End::Lost)?;
        match answer.topics[0].partitions[0].error_code {
            0 => {
                history.committed(part, number);
                Ok(())
            }
            error => {
                if [ILLEGAL_GENERATION, UNKNOWN_MEMBER].contains(&error) {
                    history.commit_refused(part, number);
                }
                Err(end(error))
            }
        }
    }

    /// What the group has committed.
    async fn look_up(&mut self, coordinator: i32, parts: &[i32]) -> Result<(), End> {
        let history = self.client.setting.history.clone();
        let since = history.now();
        let topic = OffsetFetchRequestTopic::default()
            .with_name(name(TOPIC))
            .with_partition_indexes(parts.to_vec());
        let request = OffsetFetchRequest::default()
            .with_group_id(group())
            .with_topics(Some(vec![topic]));
        let answer = self.client.call(coordinator, 5, &request).await;
        let answer = answer.map_err(|_| End::Lost)?;
        if answer.error_code != 0 {
            return Err(end(answer.error_code));
        }
        for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
            if partition.error_code == 0 {
                let number = partition.committed_offset;
                let part = (partition.partition_index, self.generation);
                history.looked_up(part, number, since);
            }
        }
        Ok(())
    }

    async fn leave(&mut self, coordinator: i32) {
        let member = MemberIdentity::default().with_member_id(self.id.clone());
        let request = LeaveGroupRequest::default()
            .with_group_id(group())
            .with_members(vec![member]);
        // If it is not heard, the session's timeout says it.
        let _ = self.client.call(coordinator, 3, &request).await;
    }
}

fn end(error: i16) -> End {
    match error {
        REBALANCE_IN_PROGRESS => End::Rejoin,
        ILLEGAL_GENERATION | UNKNOWN_MEMBER => End::Anew,
        _ => End::Lost,
    }
}
