//! Being a member of a consumer group: joining, syncing, heartbeats, commits, leaving.
//!
//! A task of its own sends heartbeats on a connection of its own, so that neither a held-back
//! fetch nor slow processing ends the session; what it learns ([`Standing`]) is acted upon by the
//! next poll.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::assignor::{self, Assignment, Candidate};
use crate::clock;
use crate::kafka::client::Client;
use crate::kafka::error::{KafkaError, check};

mod commit;

/// How a member behaves.
#[derive(Debug, Clone)]
pub struct GroupOptions {
    /// Group id.
    pub group: String,
    /// `group.instance.id`, for a static member.
    pub instance_id: Option<String>,
    /// How long it may be silent.
    pub session_timeout: Duration,
    /// Time between heartbeats.
    pub heartbeat_interval: Duration,
    /// How long a rebalance waits for it.
    pub rebalance_timeout: Duration,
}

impl GroupOptions {
    /// Kafka's defaults.
    pub fn new(group: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            instance_id: None,
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            rebalance_timeout: Duration::from_secs(300),
        }
    }
}

/// What the last heartbeat said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// A member of the current generation.
    Member,
    /// To join again, as the same member.
    Rejoin,
    /// To join again, as a new member.
    Lost,
    /// Another process took the instance id.
    Fenced,
}

/// A member, or one about to be.
pub(super) struct Membership {
    client: Client,
    options: GroupOptions,
    topics: Vec<String>,
    member_id: String,
    generation: i32,
    standing: Option<watch::Receiver<Standing>>,
    heartbeats: Option<JoinHandle<()>>,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.stop_heartbeats();
    }
}

impl Membership {
    pub(super) fn new(client: Client, options: GroupOptions, topics: Vec<String>) -> Self {
        Self {
            client,
            options,
            topics,
            member_id: String::new(),
            generation: -1,
            standing: None,
            heartbeats: None,
        }
    }

    fn stop_heartbeats(&mut self) {
        if let Some(task) = self.heartbeats.take() {
            task.abort();
        }
        self.standing = None;
    }

    /// Whether it must join before it may go on reading.
    pub(super) fn must_join(&self) -> bool {
        self.standing
            .as_ref()
            .is_none_or(|s| *s.borrow() != Standing::Member)
    }

    /// Returns when it must join.
    pub(super) async fn must_join_again(&self) {
        if let Some(standing) = &self.standing {
            let mut standing = standing.clone();
            let _ = standing.wait_for(|s| *s != Standing::Member).await;
        }
    }

    /// Joins, assigns if it leads, and returns what it is to read.
    pub(super) async fn join(&mut self) -> Result<Assignment, KafkaError> {
        let standing = self.standing.as_ref().map(|s| *s.borrow());
        self.stop_heartbeats();
        match standing {
            Some(Standing::Fenced) => {
                return Err(KafkaError::broker(
                    "heartbeat",
                    ResponseError::FencedInstanceId,
                ));
            }
            Some(Standing::Lost) => self.forget_itself(),
            _ => {}
        }
        let deadline =
            clock::now() + self.options.rebalance_timeout + self.client.options().operation_timeout;
        loop {
            match self.join_once().await {
                Ok(assignment) => {
                    self.start_heartbeats();
                    return Ok(assignment);
                }
                Err(error) => {
                    match error.code() {
                        Some(ResponseError::MemberIdRequired) => continue,
                        Some(ResponseError::UnknownMemberId | ResponseError::IllegalGeneration) => {
                            self.forget_itself();
                        }
                        Some(ResponseError::RebalanceInProgress) => {}
                        _ if error.retriable() => {
                            self.client.forget_coordinator(&self.options.group);
                        }
                        _ => return Err(error),
                    }
                    if clock::now() >= deadline {
                        return Err(error);
                    }
                    tokio::time::sleep(self.client.options().retry_backoff).await;
                }
            }
        }
    }

    fn forget_itself(&mut self) {
        self.member_id.clear();
        self.generation = -1;
    }

    async fn join_once(&mut self) -> Result<Assignment, KafkaError> {
        let connection = self.client.coordinator(&self.options.group).await?;
        let subscription = assignor::encode_subscription(&self.topics)?;
        let limit = self.options.rebalance_timeout + Duration::from_secs(5);
        let answer = connection
            .call_within(limit, |version| self.join_request(version, subscription))
            .await?;
        if answer.error_code == ResponseError::MemberIdRequired.code() {
            self.member_id = answer.member_id.to_string();
        }
        check(
            || format!("joining group {}", self.options.group),
            answer.error_code,
        )?;
        self.member_id = answer.member_id.to_string();
        self.generation = answer.generation_id;
        let leads = answer.leader == answer.member_id && !answer.skip_assignment;
        let assignments = if leads {
            self.assign(&answer).await?
        } else {
            BTreeMap::new()
        };
        self.sync(&connection, &answer, assignments).await
    }

    fn join_request(&self, version: i16, subscription: Bytes) -> JoinGroupRequest {
        let mut protocol = JoinGroupRequestProtocol::default();
        protocol.name = StrBytes::from_static_str(assignor::RANGE);
        protocol.metadata = subscription;
        let mut request = JoinGroupRequest::default();
        request.group_id = self.group_id();
        request.session_timeout_ms = millis(self.options.session_timeout);
        if version >= 1 {
            request.rebalance_timeout_ms = millis(self.options.rebalance_timeout);
        }
        if version >= 5 {
            request.group_instance_id = self.instance_id();
        }
        request.member_id = StrBytes::from_string(self.member_id.clone());
        request.protocol_type = StrBytes::from_static_str("consumer");
        request.protocols = vec![protocol];
        request
    }

    /// The leader's duty: deals out the partitions of all topics anyone wants.
    async fn assign(
        &self,
        answer: &JoinGroupResponse,
    ) -> Result<BTreeMap<String, Assignment>, KafkaError> {
        let candidates: Vec<Candidate> = answer
            .members
            .iter()
            .map(|m| Candidate {
                id: m.member_id.to_string(),
                instance_id: m.group_instance_id.as_ref().map(|i| i.to_string()),
                topics: assignor::decode_subscription(m.metadata.clone()),
            })
            .collect();
        let mut topics: Vec<String> = candidates
            .iter()
            .flat_map(|c| c.topics.iter().cloned())
            .collect();
        topics.sort();
        topics.dedup();
        let metadata = self.client.metadata(Some(&topics), true).await?;
        let counts = metadata
            .topics
            .into_iter()
            .filter_map(|(name, topic)| Some((name, topic.ok()?.partitions.len() as i32)))
            .collect();
        Ok(assignor::assign_range(&candidates, &counts))
    }

    async fn sync(
        &self,
        connection: &crate::kafka::connection::Connection,
        joined: &JoinGroupResponse,
        assignments: BTreeMap<String, Assignment>,
    ) -> Result<Assignment, KafkaError> {
        let mut encoded = Vec::new();
        for (member, assignment) in &assignments {
            let mut given = SyncGroupRequestAssignment::default();
            given.member_id = StrBytes::from_string(member.clone());
            given.assignment = assignor::encode_assignment(assignment)?;
            encoded.push(given);
        }
        let limit = self.options.rebalance_timeout + Duration::from_secs(5);
        let answer = connection
            .call_within(limit, |version| {
                let mut request = SyncGroupRequest::default();
                request.group_id = self.group_id();
                request.generation_id = self.generation;
                request.member_id = StrBytes::from_string(self.member_id.clone());
                if version >= 3 {
                    request.group_instance_id = self.instance_id();
                }
                if version >= 5 {
                    request.protocol_type = Some(StrBytes::from_static_str("consumer"));
                    request.protocol_name.clone_from(&joined.protocol_name);
                }
                request.assignments = encoded;
                request
            })
            .await?;
        check(
            || format!("syncing group {}", self.options.group),
            answer.error_code,
        )?;
        assignor::read_assignment(answer.assignment)
    }

    fn start_heartbeats(&mut self) {
        let (said, standing) = watch::channel(Standing::Member);
        self.standing = Some(standing);
        let client = self.client.clone();
        let interval = self.options.heartbeat_interval;
        let session = self.options.session_timeout;
        let group = self.options.group.clone();
        let (id, instance) = (self.group_id(), self.instance_id());
        let member = StrBytes::from_string(self.member_id.clone());
        let generation = self.generation;
        self.heartbeats = Some(tokio::spawn(async move {
            let mut heard = clock::now();
            while *said.borrow() == Standing::Member {
                tokio::time::sleep(interval).await;
                let request = |version| {
                    let mut request = HeartbeatRequest::default();
                    request.group_id = id.clone();
                    request.generation_id = generation;
                    request.member_id = member.clone();
                    if version >= 3 {
                        request.group_instance_id.clone_from(&instance);
                    }
                    request
                };
                let answer = async {
                    let connection = client.coordinator(&group).await?;
                    let answer = connection.call_within(session, request).await?;
                    check(|| format!("heartbeat in group {group}"), answer.error_code)
                };
                let next = match answer.await {
                    Ok(()) => {
                        heard = clock::now();
                        Standing::Member
                    }
                    Err(error) => {
                        tracing::debug!(%group, %error, "heartbeat");
                        judge(&client, &group, &error, clock::now() - heard >= session)
                    }
                };
                if next != Standing::Member && said.send(next).is_err() {
                    return;
                }
            }
        }));
    }

    /// Leaves, so that the others need not wait for the session to end. Static members stay.
    pub(super) async fn leave(mut self) -> Result<(), KafkaError> {
        self.stop_heartbeats();
        if self.member_id.is_empty() || self.options.instance_id.is_some() {
            return Ok(());
        }
        let connection = self.client.coordinator(&self.options.group).await?;
        let answer = connection
            .call(|version| {
                let mut request = LeaveGroupRequest::default();
                request.group_id = self.group_id();
                let member = StrBytes::from_string(self.member_id.clone());
                if version >= 3 {
                    let mut identity = MemberIdentity::default();
                    identity.member_id = member;
                    request.members = vec![identity];
                } else {
                    request.member_id = member;
                }
                request
            })
            .await?;
        check(
            || format!("leaving group {}", self.options.group),
            answer.error_code,
        )
    }

    fn group_id(&self) -> GroupId {
        GroupId(StrBytes::from_string(self.options.group.clone()))
    }

    fn instance_id(&self) -> Option<StrBytes> {
        self.options.instance_id.clone().map(StrBytes::from_string)
    }
}

/// What a failed heartbeat means.
fn judge(client: &Client, group: &str, error: &KafkaError, session_over: bool) -> Standing {
    match error.code() {
        Some(ResponseError::RebalanceInProgress) => Standing::Rejoin,
        Some(ResponseError::UnknownMemberId | ResponseError::IllegalGeneration) => Standing::Lost,
        Some(ResponseError::FencedInstanceId) => Standing::Fenced,
        _ => {
            client.forget_coordinator(group);
            if session_over || !error.retriable() {
                Standing::Rejoin
            } else {
                Standing::Member
            }
        }
    }
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
