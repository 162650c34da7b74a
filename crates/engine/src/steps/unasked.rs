//! Logins that are let in without anybody being asked: by a bypass that an administrator gave, or because an approval of a
//! moment before counts once more.

use core::time::Duration;

use countersign_domain::{
    AuditEvent, Commit, EventKind, LoginId, LoginResult, NumberMode, Reason, ResourceId, UserId, UserSnapshot, Write,
};

use super::{
    After, Step, View, accept,
    code::{self, Found},
    counters::Counters,
    meet::{self, Meeting},
};
use crate::{live::Live, record, remembered::Approval};

/// Why somebody is let in without being asked.
pub(super) enum Way {
    /// The approval of this login counts once more.
    Remembered(LoginId),
    Bypass,
}

/// Whether a login that has come to its second factor is let in without anybody being asked, and why.
pub(super) fn way(view: &View<'_>, live: &Live, snapshot: &UserSnapshot, counters: &mut Counters<'_>) -> Option<Way> {
    if !may(view, live, counters) {
        return None;
    }
    let remembered = remembered(view, live, snapshot).map(|approval| Way::Remembered(approval.login));
    remembered.or_else(|| has_bypass(view, snapshot).then_some(Way::Bypass))
}

pub(super) fn let_in(view: &View<'_>, live: &Live, snapshot: &UserSnapshot, counters: Counters<'_>, way: &Way) -> Step {
    let Way::Remembered(from) = way else { return by_bypass(view, live, snapshot, counters) };
    let audit = vec![record::accepted_unasked(live, Reason::Remembered, view.now.wall, Some(*from))];
    let spent = After::Spend { user: snapshot.user.id, resource: live.request.resource.id };
    Step::Commit { commit: Commit { writes: counters.writes(), audit }, after: vec![spent, accept(live)] }
}

/// Where nobody checks a password here and the client always sends something typed, somebody without a phone types what
/// they like. A right code is taken for what it is.
pub(super) fn instead_of_code(view: &View<'_>, live: &Live, snapshot: &UserSnapshot, typed: &[u8]) -> Option<Step> {
    let mut counters = Counters::of(snapshot);
    let right = matches!(code::find(snapshot, typed, view.now.wall), Found::Right { .. });
    let takes = has_bypass(view, snapshot) && !right && may(view, live, &mut counters);
    takes.then(|| by_bypass(view, live, snapshot, counters))
}

/// What holds for both: nobody else is at work in the name of the user, and nobody has said so.
fn may(view: &View<'_>, live: &Live, counters: &mut Counters<'_>) -> bool {
    let everywhere = counters.everywhere();
    let mode = match live.prompt() {
        // Logins with a prompt do not disturb each other.
        Some(_) => NumberMode::CodeToPhone,
        None => NumberMode::None,
    };
    let alone = !view.open.iter().any(|older| older.is_retried_by(live))
        && matches!(meet::meet(&view.open, live, mode), Meeting::GoesOn { without } if without.is_empty());
    alone && !counters.get(everywhere).is_frozen() && view.now.monotonic < live.answer_by()
}

fn has_bypass(view: &View<'_>, snapshot: &UserSnapshot) -> bool {
    snapshot.bypass.as_ref().is_some_and(|bypass| bypass.is_open(view.now.wall))
}

fn by_bypass(view: &View<'_>, live: &Live, snapshot: &UserSnapshot, counters: Counters<'_>) -> Step {
    let now = view.now.wall;
    let mut writes = counters.writes();
    writes.push(Write::UseBypass { user: snapshot.user.id, at: now });
    let audit =
        vec![record::accepted_unasked(live, Reason::Bypass, now, None), record::alert(live, now, "bypass_used")];
    Step::Commit { commit: Commit { writes, audit }, after: vec![accept(live)] }
}

/// The approval that lets this login in: of the same user at the same resource, from the same place where places are known,
/// and from the same client where neither is.
fn remembered<'a>(view: &View<'a>, live: &Live, snapshot: &UserSnapshot) -> Option<&'a Approval> {
    let resource = &live.request.resource;
    let approval = view.remembered.get(snapshot.user.id, resource.id)?;
    let life = Duration::from_secs(u64::from(resource.policy.remember));
    let same_place = approval.source == live.request.source
        && (approval.source.address.is_some() || approval.client == live.request.client);
    let fresh = view.now.monotonic < approval.at.saturating_add(life);
    let active = snapshot.active_devices().any(|device| device.id == approval.device);
    (fresh && same_place && active).then_some(approval)
}

/// What the end of logins means to what is remembered, whatever ended them: an approval by push or code is kept, and after a
/// collision or a denial nothing of the user is.
pub(super) fn settle(view: &View<'_>, step: Step) -> Step {
    let Step::Commit { commit, mut after } = step else { return step };
    for event in commit.audit.iter().filter(|event| event.kind == EventKind::LoginEnded) {
        after.extend(kept(view, event));
        after.extend(forgotten(event));
    }
    Step::Commit { commit, after }
}

fn kept(view: &View<'_>, event: &AuditEvent) -> Option<After> {
    let live = view.live.get(&event.login?)?;
    let resource = &live.request.resource;
    let asked = matches!(event.factor, Some("push" | "totp")) && event.result == Some(LoginResult::Accept.as_str());
    if !asked || resource.policy.remember == 0 {
        return None;
    }
    let approval = Approval {
        login: live.id(),
        device: event.device?,
        client: live.client(),
        source: live.request.source.clone(),
        at: view.now.monotonic,
    };
    let (user, resource): (UserId, ResourceId) = (live.user?, resource.id);
    Some(After::Remember { user, resource, approval })
}

fn forgotten(event: &AuditEvent) -> Option<After> {
    let ended = [Reason::Collision, Reason::Denied, Reason::DeniedReported].map(Reason::as_str);
    let user = event.user_id?;
    event.reason.is_some_and(|reason| ended.contains(&reason)).then_some(After::Forget { user })
}
