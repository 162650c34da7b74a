//! A push to the user's devices.

use std::sync::Arc;

use countersign_device_protocol::ids::ApplicationId;
use countersign_device_protocol::messages::{ContextApplication, ContextClient, ContextDocument, RecentApproval};
use countersign_domain::{
    Challenge, ChallengeId, ChallengeState, Commit, DeviceId, Limits, NumberMode, PushVerdict, Reason, Timestamp,
    UserSnapshot, Write,
};

use super::{
    After, Step, View,
    counters::Counters,
    meet::{self, Collision},
    push_scope, refuse, verification,
};
use crate::{live::Live, record};

/// Characters of a text in the context of a challenge.
const CONTEXT_TEXT: usize = 64;

/// Asks the user's devices.
pub(super) fn push(view: &View<'_>, live: &Live, snapshot: &UserSnapshot, mut counters: Counters<'_>) -> Step {
    if let Some(pending) = view.open.iter().find(|pending| pending.is_retried_by(live)) {
        return meet::take_over(view, pending, live);
    }
    let pending = view.open.first();
    if let Some(pending) = pending {
        match meet::between(pending, live) {
            Collision::Both => return meet::collide(view, pending, live, counters.writes()),
            Collision::NewerOnly => return refuse(view, live, Reason::Collision, counters.writes()),
            Collision::OlderOnly => {}
        }
    }
    let devices: Vec<DeviceId> = snapshot.active_devices().map(|device| device.id).collect();
    if devices.is_empty() {
        return refuse(view, live, Reason::NoDevice, counters.writes());
    }
    let asks = live.request.resource.policy.user_verification;
    if !verification::is_possible(asks, snapshot) {
        return verification::impossible(view, live, counters.writes());
    }
    if !may_push(view, live, &mut counters) {
        return refuse(view, live, Reason::Limited, counters.writes());
    }
    let now = view.now.wall;
    let deadline = live.answer_by();
    let left = deadline.saturating_sub(view.now.monotonic);
    if left.is_zero() {
        return refuse(view, live, Reason::Expired, counters.writes());
    }
    let everywhere = counters.everywhere();
    let Some(context) = context(live, counters.get(everywhere), now, now.plus(left)) else {
        return refuse(view, live, Reason::Unavailable, counters.writes());
    };
    counters.change(push_scope(snapshot.user.id, live), |limits| limits.push_sent(now));
    let challenge = Challenge {
        id: ChallengeId::new(view.entropy),
        login: live.id(),
        user: snapshot.user.id,
        resource: live.request.resource.id,
        nonce: view.entropy.octets(),
        context,
        number_mode: NumberMode::None,
        user_verification: asks,
        devices,
        created_at: now,
        expires_at: now.plus(left),
        reported: false,
        state: ChallengeState::Pending,
    };
    let mut writes = counters.writes();
    let mut audit = vec![record::challenged(live, &challenge, now)];
    let mut after = Vec::new();
    if let Some(pending) = pending {
        // Only a login that proves nothing is put aside like this; see `between`.
        let (write, records, then) = meet::close_collided(view, pending);
        writes.extend(write);
        audit.extend(records);
        after.extend(then);
    }
    let challenge = Arc::new(challenge);
    writes.push(Write::OpenChallenge(Box::new((*challenge).clone())));
    after.push(After::Ask { login: live.id(), challenge, deadline });
    Step::Commit { commit: Commit { writes, audit }, after }
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
