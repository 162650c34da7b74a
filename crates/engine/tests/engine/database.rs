use std::collections::{BTreeMap, HashMap, HashSet};

use countersign_domain::{
    AuditEvent, Bypass, Challenge, ChallengeId, ChallengeState, ClosingState, Commit, Device, DeviceId, DeviceState,
    LimitScope, ScopedLimits, Secret, SignInWindow, User, UserId, UserSnapshot, WindowId, WindowState, Write,
};
use countersign_engine::CommitFault;

/// What storage holds: exactly what the write model promises, and nothing clever.
#[derive(Default)]
pub(crate) struct Database {
    pub(crate) users: BTreeMap<UserId, User>,
    pub(crate) devices: BTreeMap<DeviceId, Device>,
    pub(crate) chap_secrets: HashMap<UserId, Secret>,
    pub(crate) bypasses: HashMap<UserId, Bypass>,
    pub(crate) bypasses_used: usize,
    pub(crate) limits: HashMap<LimitScope, ScopedLimits>,
    pub(crate) challenges: HashMap<ChallengeId, Challenge>,
    pub(crate) reported: HashSet<ChallengeId>,
    pub(crate) windows: HashMap<(DeviceId, WindowId), SignInWindow>,
    pub(crate) audit: Vec<AuditEvent>,
    /// What somebody else writes just before the next commit.
    pub(crate) meanwhile: Option<fn(&mut Self)>,
}

impl Database {
    pub(crate) fn snapshot(&self, user: UserId) -> Option<UserSnapshot> {
        Some(UserSnapshot {
            user: self.users.get(&user)?.clone(),
            devices: self
                .devices
                .values()
                .filter(|d| d.user == user && d.state != DeviceState::Removed)
                .cloned()
                .collect(),
            limits: self.limits.values().filter(|l| l.scope.user() == user).cloned().collect(),
            bypass: self.bypasses.get(&user).cloned(),
            chap_secret: self.chap_secrets.get(&user).cloned(),
        })
    }

    /// The device is active, and its user enabled.
    fn is_active(&self, device: DeviceId) -> bool {
        self.devices.get(&device).is_some_and(|device| {
            device.state == DeviceState::Active && self.users.get(&device.user).is_some_and(|user| user.enabled)
        })
    }

    pub(crate) fn commit(&mut self, commit: &Commit) -> Result<(), CommitFault> {
        if let Some(meanwhile) = self.meanwhile.take() {
            meanwhile(self);
        }
        for write in &commit.writes {
            let holds = match write {
                Write::OpenChallenge(challenge) => !self.challenges.contains_key(&challenge.id),
                Write::CloseChallenge { id, closing } => self.challenges.get(id).is_some_and(|challenge| {
                    let decided = closing.decision.as_ref().map(|decision| decision.device);
                    challenge.state == ChallengeState::Pending
                        && (closing.state != ClosingState::Approved
                            || closing.at < challenge.expires_at
                                && self.users.get(&challenge.user).is_some_and(|user| user.enabled)
                                && decided.is_none_or(|device| self.is_active(device)))
                }),
                Write::ReassignChallenge { id, from, .. } => self
                    .challenges
                    .get(id)
                    .is_some_and(|challenge| challenge.state == ChallengeState::Pending && challenge.login == *from),
                Write::ReportChallenge { id, .. } => {
                    self.challenges.get(id).is_some_and(|challenge| challenge.state != ChallengeState::Pending)
                        && !self.reported.contains(id)
                }
                Write::SetLimits { scope, expected, .. } => {
                    self.limits.get(scope).map_or(0, |limits| limits.version) == *expected
                }
                Write::BurnTotpStep { device, step } => {
                    self.is_active(*device) && self.devices[device].totp_last_step < *step
                }
                Write::UsePasskey { id, before, .. } => self.devices.get(id).is_some_and(|device| {
                    device.state == DeviceState::Active && device.passkey.as_ref() == Some(before)
                }),
                Write::RequireActive(device) => self.is_active(*device),
                Write::OpenWindow(window) => {
                    !self.windows.contains_key(&(window.device, window.id.clone()))
                        && self.may_log_on(window.user, window.device)
                }
                Write::CloseWindow { device, id, closing } => {
                    self.windows.get(&(*device, id.clone())).is_some_and(|window| {
                        window.state == WindowState::Open
                            && (closing.state != ClosingState::Approved || self.may_log_on(window.user, *device))
                    })
                }
                Write::UseBypass { user, at } => {
                    self.users.get(user).is_some_and(|user| user.enabled)
                        && self.bypasses.get(user).is_some_and(|bypass| bypass.is_open(*at))
                }
                other => panic!("the engine does not write {other:?}"),
            };
            if !holds {
                return Err(CommitFault::Conflict);
            }
        }
        for write in commit.writes.clone() {
            match write {
                Write::OpenChallenge(challenge) => {
                    self.challenges.insert(challenge.id, *challenge);
                }
                Write::CloseChallenge { id, closing } => {
                    self.challenges.get_mut(&id).unwrap().state = ChallengeState::Closed(closing);
                }
                Write::ReassignChallenge { id, to, .. } => self.challenges.get_mut(&id).unwrap().login = to,
                Write::ReportChallenge { id, .. } => {
                    self.reported.insert(id);
                    self.challenges.get_mut(&id).unwrap().reported = true;
                }
                Write::SetLimits { scope, expected, limits } => {
                    // As stored: through its text.
                    let limits = serde_json::from_str(&serde_json::to_string(&limits).unwrap()).unwrap();
                    self.limits.insert(scope, ScopedLimits { scope, version: expected + 1, limits });
                }
                Write::BurnTotpStep { device, step } => self.devices.get_mut(&device).unwrap().totp_last_step = step,
                Write::UsePasskey { id, after, .. } => self.devices.get_mut(&id).unwrap().passkey = Some(after),
                Write::RequireActive(_) => {}
                Write::OpenWindow(window) => {
                    self.windows.insert((window.device, window.id.clone()), *window);
                }
                Write::CloseWindow { device, id, closing } => {
                    self.windows.get_mut(&(device, id)).unwrap().state = WindowState::Closed(closing);
                }
                Write::UseBypass { user, .. } => {
                    self.bypasses.remove(&user);
                    self.bypasses_used += 1;
                }
                _ => unreachable!(),
            }
        }
        self.audit.extend(commit.audit.iter().cloned());
        Ok(())
    }

    fn may_log_on(&self, user: UserId, device: DeviceId) -> bool {
        let active = self.devices.get(&device).is_some_and(|d| d.user == user && d.state == DeviceState::Active);
        active && self.users.get(&user).is_some_and(|user| user.enabled)
    }
}
