//! JoinGroup: becoming, or staying, a member.
//!
//! A join is answered when the rebalance it belongs to is complete (`rebalance.rs`), or at once
//! when nothing changes by it.

use bytes::Bytes;

use super::member::{Member, NEW_MEMBER_TIMEOUT_MS};
use super::record::MAX_NAME_BYTES;
use super::{Effect, Group, GroupConfig, GroupError, GroupState, Now, Then, Ticket};

/// What a client asks when joining.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRequest {
    /// Its member id; empty if it has none yet.
    pub member_id: String,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
    /// Name its client gave itself.
    pub client_id: String,
    /// Where it comes from.
    pub client_host: String,
    /// How long it may be silent.
    pub session_timeout_ms: i32,
    /// How long a rebalance waits for it.
    pub rebalance_timeout_ms: i32,
    /// `consumer` for consumers.
    pub protocol_type: String,
    /// Protocols in order of preference with their metadata.
    pub protocols: Vec<(String, Bytes)>,
    /// Its client comes back with the id it is given (JoinGroup version 4 and later).
    pub requires_known_id: bool,
    /// Its client understands `skip_assignment` (JoinGroup version 9).
    pub can_skip_assignment: bool,
    /// An unused id, made by the shell, in case it needs one.
    pub fresh_id: String,
}

/// A static member that came back under a new id, until that is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakeOver {
    /// The new member id.
    pub member: String,
    /// What stood in its place.
    pub before: Member,
    /// Whether its client can be told to skip the assignment.
    pub skip_assignment: bool,
    /// Leader before it, which older clients must be told.
    pub former_leader: String,
}

impl JoinRequest {
    /// Whether a record can hold what it names.
    pub(super) fn can_be_stored(&self) -> bool {
        let names = [
            &self.member_id,
            &self.client_id,
            &self.client_host,
            &self.protocol_type,
        ];
        let protocols = self.protocols.iter().map(|(name, _)| name);
        let mut all = names.into_iter().chain(&self.instance_id).chain(protocols);
        all.all(|name| name.len() <= MAX_NAME_BYTES)
    }
}

/// A member as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub id: String,
    /// Its `group.instance.id`.
    pub instance_id: Option<String>,
    /// Its metadata for the chosen protocol.
    pub metadata: Bytes,
}

/// The answer to a join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Why it was refused, if it was.
    pub error: Option<GroupError>,
    /// Id to use from now on.
    pub member_id: String,
    /// The generation joined; -1 if refused.
    pub generation: i32,
    /// Kind of the group.
    pub protocol_type: Option<String>,
    /// Protocol of this generation.
    pub protocol: Option<String>,
    /// Id of the leader, who assigns.
    pub leader: String,
    /// The leader need not assign: the group already has its assignment.
    pub skip_assignment: bool,
    /// All members, for the leader alone.
    pub members: Vec<JoinedMember>,
}

impl Joined {
    /// A join that was not accepted.
    pub fn refused(member_id: &str, error: GroupError) -> Self {
        Self {
            error: Some(error),
            member_id: member_id.to_owned(),
            generation: -1,
            protocol_type: None,
            protocol: None,
            leader: String::new(),
            skip_assignment: false,
            members: Vec::new(),
        }
    }
}

impl Group {
    /// A client wants to join.
    pub fn join(
        &mut self,
        request: JoinRequest,
        ticket: Ticket,
        now: Now,
        config: &GroupConfig,
        out: &mut Vec<Effect>,
    ) {
        let member_id = request.member_id.clone();
        if let Err(error) = self.try_join(request, ticket, now, config, out) {
            refuse(ticket, &member_id, error, out);
        }
        self.maybe_complete_join(now, out);
    }

    fn try_join(
        &mut self,
        request: JoinRequest,
        ticket: Ticket,
        now: Now,
        config: &GroupConfig,
        out: &mut Vec<Effect>,
    ) -> Result<(), GroupError> {
        let allowed = config.min_session_timeout_ms..=config.max_session_timeout_ms;
        if !allowed.contains(&request.session_timeout_ms) {
            return Err(GroupError::InvalidSessionTimeout);
        }
        if !self.has_room_for(&request.member_id, config) {
            self.pending.remove(&request.member_id);
            return Err(GroupError::MaxSizeReached);
        }
        if self.state() == GroupState::Dead {
            return Err(GroupError::NotAvailable);
        }
        if !self.supports(&request.protocol_type, &request.protocols) {
            return Err(GroupError::InconsistentProtocol);
        }
        if request.member_id.is_empty() {
            self.join_new(request, ticket, now, config, out);
            return Ok(());
        }
        self.join_known(request, ticket, now, config, out)
    }

    fn has_room_for(&self, member: &str, config: &GroupConfig) -> bool {
        match self.state() {
            GroupState::Empty | GroupState::Dead => true,
            GroupState::PreparingRebalance => {
                self.members
                    .get(member)
                    .is_some_and(|m| m.awaiting_join.is_some())
                    || self.awaiting_join() < config.max_size
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.members.contains_key(member) || self.members.len() < config.max_size
            }
        }
    }

    fn join_new(
        &mut self,
        request: JoinRequest,
        ticket: Ticket,
        now: Now,
        config: &GroupConfig,
        out: &mut Vec<Effect>,
    ) {
        let id = request.fresh_id.clone();
        let former = request
            .instance_id
            .as_ref()
            .and_then(|i| self.static_members.get(i))
            .cloned();
        match (&request.instance_id, former) {
            (Some(_), Some(former)) => self.take_over(&former, &request, ticket, now, config, out),
            (None, _) if request.requires_known_id => {
                let lapses = now.mono_ms + i64::from(request.session_timeout_ms);
                self.pending.insert(id.clone(), lapses);
                refuse(ticket, &id, GroupError::MemberIdRequired, out);
            }
            _ => self.add_and_rebalance(id, request, ticket, now, config, out),
        }
    }

    fn join_known(
        &mut self,
        request: JoinRequest,
        ticket: Ticket,
        now: Now,
        config: &GroupConfig,
        out: &mut Vec<Effect>,
    ) -> Result<(), GroupError> {
        let id = request.member_id.clone();
        if self.pending.contains_key(&id) {
            self.add_and_rebalance(id, request, ticket, now, config, out);
            return Ok(());
        }
        self.validate(&id, request.instance_id.as_deref())?;
        let unchanged = self
            .members
            .get(&id)
            .is_some_and(|m| m.protocols == request.protocols);
        let rejoin = match self.state() {
            GroupState::PreparingRebalance => true,
            // It did not hear the answer to its join: tell it again.
            GroupState::CompletingRebalance => !unchanged,
            // The leader asks for a rebalance this way, a follower by other metadata.
            GroupState::Stable => self.is_leader(&id) || !unchanged,
            GroupState::Empty | GroupState::Dead => return Err(GroupError::UnknownMember),
        };
        if rejoin {
            self.update(&id, &request, ticket, out);
            let why = "a member asks for one, or for other topics";
            self.maybe_prepare_rebalance(why, now, config, out);
        } else {
            self.touch(&id, now);
            out.push(Effect::Joined(ticket, self.joined(&id)));
        }
        Ok(())
    }

    fn add_and_rebalance(
        &mut self,
        id: String,
        request: JoinRequest,
        ticket: Ticket,
        now: Now,
        config: &GroupConfig,
        out: &mut Vec<Effect>,
    ) {
        let member = Member {
            id,
            instance_id: request.instance_id,
            client_id: request.client_id,
            client_host: request.client_host,
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            session_timeout_ms: request.session_timeout_ms,
            protocols: request.protocols,
            assignment: Bytes::new(),
            is_new: true,
            awaiting_join: Some(ticket),
            awaiting_sync: None,
            owes_sync: false,
            deadline_ms: now.mono_ms + NEW_MEMBER_TIMEOUT_MS,
        };
        self.add(member, &request.protocol_type);
        if let Some(rebalance) = &mut self.rebalance {
            rebalance.member_added = true;
        }
        self.maybe_prepare_rebalance("a member joined", now, config, out);
    }

    /// A member joins again with what it now asks for. A join it already had here is answered.
    fn update(&mut self, id: &str, request: &JoinRequest, ticket: Ticket, out: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        member.protocols.clone_from(&request.protocols);
        member.rebalance_timeout_ms = request.rebalance_timeout_ms;
        member.session_timeout_ms = request.session_timeout_ms;
        if let Some(older) = member.awaiting_join.replace(ticket) {
            refuse(older, id, GroupError::RebalanceInProgress, out);
        }
    }

    /// A static member is back under a new id: its place and assignment are still there.
    fn take_over(
        &mut self,
        former: &str,
        request: &JoinRequest,
        ticket: Ticket,
        now: Now,
        config: &GroupConfig,
        out: &mut Vec<Effect>,
    ) {
        let id = request.fresh_id.clone();
        let former_leader = self.leader.clone().unwrap_or_default();
        let Some(before) = self.members.get(former).cloned() else {
            return;
        };
        self.replace_static(former, &id, out);
        self.update(&id, request, ticket, out);
        self.touch(&id, now);
        match self.state() {
            GroupState::Stable if self.select_protocol() == self.protocol => {
                out.push(Effect::Append {
                    records: vec![self.to_record()],
                    then: Then::Replaced {
                        group: self.id.clone(),
                        by: Box::new(TakeOver {
                            member: id,
                            before,
                            skip_assignment: request.can_skip_assignment,
                            former_leader,
                        }),
                    },
                });
            }
            GroupState::Stable | GroupState::CompletingRebalance => {
                let why = "a static member is back and asks for something else";
                self.maybe_prepare_rebalance(why, now, config, out);
            }
            GroupState::PreparingRebalance | GroupState::Empty | GroupState::Dead => {}
        }
    }

    /// A take-over is committed, or failed: then the log still names the former member, and so does memory.
    pub(super) fn replaced(
        &mut self,
        by: TakeOver,
        error: Option<GroupError>,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        // A rebalance that began meanwhile answers the join instead.
        if self.state() != GroupState::Stable {
            return;
        }
        let member = by.member.as_str();
        let Some(found) = self.members.get_mut(member) else {
            return;
        };
        let ticket = found.awaiting_join.take();
        self.touch(member, now);
        if let Some(error) = error {
            self.give_back(member, by.before, now, out);
            if let Some(ticket) = ticket {
                // Without the id it was to have: its client begins anew.
                refuse(ticket, "", error, out);
            }
            return;
        }
        let Some(ticket) = ticket else {
            return;
        };
        let mut answer = self.joined(member);
        if by.skip_assignment {
            answer.skip_assignment = self.is_leader(member);
        } else {
            // An older client would assign anew if it were told that it leads.
            answer.leader = by.former_leader;
            answer.members = Vec::new();
        }
        out.push(Effect::Joined(ticket, answer));
    }

    /// Undoes a take-over by `member`.
    fn give_back(&mut self, member: &str, before: Member, now: Now, out: &mut Vec<Effect>) {
        self.replace_static(member, &before.id, out);
        if let Some(found) = self.members.get_mut(&before.id) {
            *found = Member {
                awaiting_join: None,
                awaiting_sync: None,
                assignment: found.assignment.clone(),
                ..before
            };
            found.touch(now);
        }
    }

    fn touch(&mut self, member: &str, now: Now) {
        if let Some(member) = self.members.get_mut(member) {
            member.touch(now);
        }
    }

    /// The answer to a join of `id`, as the group stands.
    pub(super) fn joined(&self, id: &str) -> Joined {
        let protocol = self.protocol.clone().unwrap_or_default();
        let members = if self.is_leader(id) {
            self.members
                .values()
                .map(|m| JoinedMember {
                    id: m.id.clone(),
                    instance_id: m.instance_id.clone(),
                    metadata: m.metadata(&protocol),
                })
                .collect()
        } else {
            Vec::new()
        };
        Joined {
            error: None,
            member_id: id.to_owned(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            members,
        }
    }
}

fn refuse(ticket: Ticket, member: &str, error: GroupError, out: &mut Vec<Effect>) {
    out.push(Effect::Joined(ticket, Joined::refused(member, error)));
}
