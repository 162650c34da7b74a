//! The second factor: a typed code, or a push to the user's devices.

use std::sync::Arc;

use countersign_device_protocol::ids::ApplicationId;
use countersign_device_protocol::messages::{ContextApplication, ContextClient, ContextDocument, RecentApproval};
use countersign_domain::{
    AuditEvent, Challenge, ChallengeId, ChallengeState, Closing, ClosingState, Commit, DeviceId, LimitScope, Limits,
    LoginResult, NumberMode, OTP_POLICY, PushVerdict, Reason, Timestamp, UserSnapshot, UserVerification, Verdict,
    Write,
};

use super::{After, Step, View, push_scope, refuse, refuse_and};
use crate::{live::Live, record};

/// Characters of a text in the context of a challenge.
const CONTEXT_TEXT: usize = 64;

/// Checks a typed code. `forgiven` are the user's counters with the wrong passwords before this right one taken off.
pub(super) fn code(
    view: &View<'_>,
    live: &Live,
    snapshot: &UserSnapshot,
    code: &[u8],
    forgiven: Option<(u64, Limits)>,
) -> Step {
    let scope = LimitScope::User(snapshot.user.id);
    let mut changed = forgiven.is_some();
    let (expected, mut limits) = forgiven.unwrap_or_else(|| snapshot.limits(scope));
    let now = view.now.wall;
    if snapshot.active_devices().next().is_none() {
        return refuse(view, live, Reason::NoDevice, set(changed, scope, expected, limits));
    }
    if !limits.otp().allows(&OTP_POLICY, now) {
        return refuse(view, live, Reason::Limited, set(changed, scope, expected, limits));
    }
    let (mut used, mut repeated) = (false, false);
    let mut right = None;
    for device in snapshot.active_devices() {
        if let Some(found) = device.totp.find(code, now) {
            if found.step > device.totp_last_step {
                right = right.or(Some((device.id, found.step)));
            } else {
                used = true;
                repeated |= found.step == device.totp_last_step;
            }
        }
    }
    let Some((device, step)) = right else {
        if repeated {
            // The code that was accepted last, sent once more: a client repeats itself under a new identifier, and whoever
            // has it guesses nothing. An older one counts: its owner has typed a newer one since.
            return refuse(view, live, Reason::CodeUsed, set(changed, scope, expected, limits));
        }
        let reason = if used { Reason::CodeUsed } else { Reason::CodeWrong };
        let pauses = limits.otp_mut().failed(&OTP_POLICY, now);
        let alert = pauses.then(|| record::alert(live, now, "codes_paused"));
        return refuse_and(view, live, reason, set(true, scope, expected, limits), alert.into_iter().collect());
    };
    changed |= limits.otp_mut().succeeded();
    let mut writes = set(changed, scope, expected, limits);
    writes.push(Write::BurnTotpStep { device, step });
    let audit = vec![record::accepted_by_code(live, device, now)];
    let after = vec![After::End { login: live.id(), verdict: Verdict::accept() }];
    Step::Commit { commit: Commit { writes, audit }, after }
}

fn set(changed: bool, scope: LimitScope, expected: u64, limits: Limits) -> Vec<Write> {
    if changed { vec![Write::SetLimits { scope, expected, limits }] } else { Vec::new() }
}

/// Asks the user's devices. `forgiven` as for [`code`].
pub(super) fn push(view: &View<'_>, live: &Live, snapshot: &UserSnapshot, forgiven: Vec<(u64, Limits)>) -> Step {
    let user_scope = LimitScope::User(snapshot.user.id);
    let forgiven = forgiven.into_iter().next();
    let forgive = |forgiven: Option<(u64, Limits)>| match forgiven {
        Some((expected, limits)) => set(true, user_scope, expected, limits),
        None => Vec::new(),
    };
    if let Some(pending) = view.pending {
        if pending.is_retried_by(live) {
            return take_over(view, pending, live);
        }
        match between(pending, live) {
            Collision::Both => return collide(view, pending, live, forgive(forgiven)),
            Collision::NewerOnly => return refuse(view, live, Reason::Collision, forgive(forgiven)),
            Collision::OlderOnly => {}
        }
    }
    let devices: Vec<DeviceId> = snapshot.active_devices().map(|device| device.id).collect();
    if devices.is_empty() {
        return refuse(view, live, Reason::NoDevice, forgive(forgiven));
    }
    let scope = push_scope(snapshot.user.id, live);
    let (user_expected, user_limits) = forgiven.clone().unwrap_or_else(|| snapshot.limits(user_scope));
    let (expected, mut limits) =
        if scope == user_scope { (user_expected, user_limits.clone()) } else { snapshot.limits(scope) };
    let now = view.now.wall;
    let frozen = user_limits.push_verdict(now) == PushVerdict::Frozen;
    let brake = !live.request.resource.proves_user()
        && view.brakes.get(&live.request.resource.id).is_some_and(|brake| brake.is_on(view.now.monotonic));
    if frozen || brake || limits.push_verdict(now) != PushVerdict::Allowed {
        return refuse(view, live, Reason::Limited, forgive(forgiven));
    }
    let deadline = live.answer_by();
    let left = deadline.saturating_sub(view.now.monotonic);
    if left.is_zero() {
        return refuse(view, live, Reason::Expired, forgive(forgiven));
    }
    let Some(context) = context(live, &user_limits, now, now.plus(left)) else {
        return refuse(view, live, Reason::Unavailable, forgive(forgiven));
    };
    limits.push_sent(now);
    let challenge = Challenge {
        id: ChallengeId::new(view.entropy),
        login: live.id(),
        user: snapshot.user.id,
        resource: live.request.resource.id,
        nonce: view.entropy.octets(),
        context,
        number_mode: NumberMode::None,
        user_verification: UserVerification::None,
        devices,
        created_at: now,
        expires_at: now.plus(left),
        reported: false,
        state: ChallengeState::Pending,
    };
    let mut writes = if scope == user_scope { Vec::new() } else { forgive(forgiven) };
    writes.push(Write::SetLimits { scope, expected, limits });
    let mut audit = vec![record::challenged(live, &challenge, now)];
    let mut after = Vec::new();
    if let Some(pending) = view.pending {
        // Only a login that proves nothing is put aside like this; see `between`.
        let (write, records, then) = close_collided(view, pending);
        writes.extend(write);
        audit.extend(records);
        after.extend(then);
    }
    let challenge = Arc::new(challenge);
    writes.push(Write::OpenChallenge(Box::new((*challenge).clone())));
    after.push(After::Ask { login: live.id(), challenge, deadline });
    Step::Commit { commit: Commit { writes, audit }, after }
}

/// What two logins of one user at once do to each other.
enum Collision {
    /// Neither is let in.
    Both,
    /// The newer one is turned away and the older stays.
    NewerOnly,
    /// The older one ends and the newer goes on.
    OlderOnly,
}

/// A login that proves nothing about the user (`Resource::proves_user`) must not be able to end a login elsewhere:
/// otherwise one careless or broken client could lock everybody out of every other resource.
fn between(older: &Live, newer: &Live) -> Collision {
    let proves = |live: &Live| live.request.resource.proves_user();
    if older.request.resource.id == newer.request.resource.id || (proves(older) && proves(newer)) {
        Collision::Both
    } else if proves(newer) {
        Collision::OlderOnly
    } else {
        Collision::NewerOnly
    }
}

fn collide(view: &View<'_>, older: &Live, newer: &Live, writes: Vec<Write>) -> Step {
    let (write, mut audit, mut after) = close_collided(view, older);
    let now = view.now.wall;
    audit.push(record::ended(newer, now, LoginResult::Reject, Reason::Collision));
    if !older.same_known_source(newer) {
        audit.push(record::alert(newer, now, "collision"));
    }
    let verdict = Verdict::Reject { reason: Reason::Collision, after_challenge: false };
    after.push(After::End { login: newer.id(), verdict });
    Step::Commit { commit: Commit { writes: writes.into_iter().chain(write).collect(), audit }, after }
}

/// Ends a pending login as collided.
pub(super) fn close_collided(view: &View<'_>, live: &Live) -> (Option<Write>, Vec<AuditEvent>, Vec<After>) {
    let Some(pending) = live.pending() else { return (None, Vec::new(), Vec::new()) };
    let now = view.now.wall;
    let closing = Closing { state: ClosingState::Collision, at: now, decision: None };
    let devices = view.snapshot.map(|s| s.active_devices().map(|device| device.id).collect()).unwrap_or_default();
    let verdict = Verdict::Reject { reason: Reason::Collision, after_challenge: true };
    (
        Some(Write::CloseChallenge { id: pending.challenge, closing }),
        vec![record::ended_push(live, None, now, LoginResult::Reject, Reason::Collision)],
        vec![
            After::End { login: live.id(), verdict },
            After::Closed { id: pending.challenge, devices, state: ClosingState::Collision },
        ],
    )
}

/// A retry of the pending login: the newer request speaks for it from now on, within the life that it has left.
fn take_over(view: &View<'_>, older: &Live, newer: &Live) -> Step {
    let Some(pending) = older.pending() else { return super::NOTHING };
    let (from, to) = (older.id(), newer.id());
    let write = Write::ReassignChallenge { id: pending.challenge, from, to };
    let audit = vec![record::ended_push(older, None, view.now.wall, LoginResult::Unanswered, Reason::Superseded)];
    Step::Commit { commit: Commit { writes: vec![write], audit }, after: vec![After::TakeOver { from, to }] }
}

/// The octets that devices show and sign.
fn context(live: &Live, limits: &Limits, now: Timestamp, expires_at: Timestamp) -> Option<Vec<u8>> {
    let request = &live.request;
    let document = ContextDocument {
        application: ContextApplication {
            id: ApplicationId::new(request.resource.id.to_string()).ok()?,
            name: shortened(&request.resource.name),
            kind: request.resource.kind.as_str().to_owned(),
        },
        user: request.user_typed.shown(CONTEXT_TEXT),
        protocol: request.door.as_str().to_owned(),
        client: request
            .source
            .address
            .as_ref()
            .map(|address| ContextClient { address: address.shown(CONTEXT_TEXT), trust: request.source.trust() }),
        place: None,
        requested_at: now.to_jiff(),
        expires_at: expires_at.to_jiff(),
        recent_approval: limits.recent_approval(now).map(|last| RecentApproval {
            application: shortened(&last.application),
            at: Timestamp::from_micros(last.at).to_jiff(),
        }),
    };
    serde_json::to_vec(&document).ok()
}

fn shortened(text: &str) -> String {
    countersign_domain::HostileText::from(text).shown(CONTEXT_TEXT)
}
