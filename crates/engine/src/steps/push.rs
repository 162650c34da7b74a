//! A push to the user's devices.

use core::time::Duration;
use std::sync::Arc;

use countersign_device_protocol::ids::ApplicationId;
use countersign_device_protocol::messages::{ContextApplication, ContextClient, ContextDocument, RecentApproval};
use countersign_domain::{
    AuditEvent, Challenge, ChallengeId, ChallengeState, Commit, DeviceId, Limits, NumberMode, PushVerdict, Reason,
    Timestamp, UserSnapshot, Write,
};

use super::{
    After, Refusal, Step, View,
    counters::Counters,
    meet::{self, Meeting},
    push_scope, refuse_for, verification,
};
use crate::{
    live::{Binding, Live, Pending},
    record,
};

/// Characters of a text in the context of a challenge.
const CONTEXT_TEXT: usize = 64;

/// Asks the user's devices for a plain Verify.
pub(super) fn push(view: &View<'_>, live: &Live, snapshot: &UserSnapshot, mut counters: Counters<'_>) -> Step {
    if let Some(pending) = view.open.iter().find(|pending| pending.is_retried_by(live)) {
        return meet::take_over(view, pending, live, Binding::None);
    }
    if let Meeting::TurnedAway { with } = meet::meet(&view.open, live, NumberMode::None) {
        return meet::turn_away(view, &with, live, counters.writes());
    }
    match open(view, live, snapshot, &mut counters, Binding::None, live.answer_by()) {
        Ok(opened) => opened.step(counters, Vec::new()),
        Err(refusal) => refuse_for(view, live, refusal, counters.writes()),
    }
}

/// A challenge that is about to be opened.
pub(super) struct Opening {
    writes: Vec<Write>,
    audit: Vec<AuditEvent>,
    after: Vec<After>,
}

impl Opening {
    pub(super) fn step(self, counters: Counters<'_>, then: Vec<After>) -> Step {
        let Self { mut writes, audit, mut after } = self;
        writes.extend(counters.writes());
        after.extend(then);
        Step::Commit { commit: Commit { writes, audit }, after }
    }
}

/// Opens a challenge for all active devices, unless something stands against it.
pub(super) fn open(
    view: &View<'_>,
    live: &Live,
    snapshot: &UserSnapshot,
    counters: &mut Counters<'_>,
    binding: Binding,
    deadline: Duration,
) -> Result<Opening, Refusal> {
    let devices: Vec<DeviceId> = snapshot.active_devices().map(|device| device.id).collect();
    if devices.is_empty() {
        return Err(Reason::NoDevice.into());
    }
    let asks = live.request.resource.policy.user_verification;
    if !verification::is_possible(asks, snapshot) {
        return Err(Refusal { detail: Some("no_user_verification"), ..Reason::NoDevice.into() });
    }
    let Meeting::GoesOn { without } = meet::meet(&view.open, live, binding.mode()) else {
        return Err(Reason::Collision.into());
    };
    if !may_push(view, live, counters) {
        return Err(Reason::Limited.into());
    }
    let now = view.now.wall;
    let left = deadline.saturating_sub(view.now.monotonic);
    if left.is_zero() {
        return Err(Reason::Expired.into());
    }
    let everywhere = counters.everywhere();
    let Some(context) = context(live, counters.get(everywhere), now, now.plus(left)) else {
        return Err(Reason::Unavailable.into());
    };
    counters.change(push_scope(snapshot.user.id, live), |limits| limits.push_sent(now));
    let challenge = Arc::new(Challenge {
        id: ChallengeId::new(view.entropy),
        login: live.id(),
        user: snapshot.user.id,
        resource: live.request.resource.id,
        nonce: view.entropy.octets(),
        context,
        number_mode: binding.mode(),
        user_verification: asks,
        devices,
        created_at: now,
        expires_at: now.plus(left),
        reported: false,
        state: ChallengeState::Pending,
    });
    let mut opening = Opening {
        writes: Vec::new(),
        audit: vec![record::challenged(live, challenge.number_mode, now)],
        after: Vec::new(),
    };
    for ends in without {
        let (write, records, then) = meet::close_collided(view, ends);
        opening.writes.extend(write);
        opening.audit.extend(records);
        opening.after.extend(then);
        if meet::is_evidence(ends, live) {
            opening.audit.push(record::alert(live, now, "collision"));
        }
    }
    opening.writes.push(Write::OpenChallenge(Box::new((*challenge).clone())));
    let pending =
        Pending { challenge: challenge.id, binding, takeovers: 0, deadline, expires_at: challenge.expires_at };
    opening.after.push(After::Opened { login: live.id(), challenge, pending });
    Ok(opening)
}

/// What an approval does to the counters.
pub(super) fn approved(live: &Live, counters: &mut Counters<'_>, now: Timestamp) {
    let name = &live.request.resource.name;
    let everywhere = counters.everywhere();
    let scope = push_scope(everywhere.user(), live);
    counters.change(scope, |limits| limits.push_approved(name, now));
    if scope != everywhere {
        counters.change(everywhere, |limits| limits.note_approval(name, now));
    }
}

/// Whether budgets and pauses leave room for a push.
fn may_push(view: &View<'_>, live: &Live, counters: &mut Counters<'_>) -> bool {
    let now = view.now.wall;
    let resource = &live.request.resource;
    let everywhere = counters.everywhere();
    let frozen = counters.get(everywhere).push_verdict(now) == PushVerdict::Frozen;
    let brake =
        !resource.proves_user() && view.brakes.get(&resource.id).is_some_and(|brake| brake.is_on(view.now.monotonic));
    let scope = push_scope(everywhere.user(), live);
    !frozen && !brake && counters.get(scope).push_verdict(now) == PushVerdict::Allowed
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
