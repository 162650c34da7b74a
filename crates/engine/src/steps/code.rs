//! A typed code of the account list.

use countersign_domain::{Commit, DeviceId, OTP_POLICY, Reason, Timestamp, UserSnapshot, Write};

use super::{After, Step, View, accept, counters::Counters, refuse, refuse_and};
use crate::{live::Live, record};

/// What a typed code is.
pub(super) enum Found {
    /// One that was not used yet.
    Right { device: DeviceId, step: u64 },
    /// The one that was accepted last, once more: a client repeats itself under a new identifier, and whoever has it
    /// guesses nothing.
    Repeated,
    /// An older one; its owner has typed a newer one since.
    Used,
    /// None.
    Wrong,
}

pub(super) fn find(snapshot: &UserSnapshot, code: &[u8], now: Timestamp) -> Found {
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
    match right {
        Some((device, step)) => Found::Right { device, step },
        None if repeated => Found::Repeated,
        None if used => Found::Used,
        None => Found::Wrong,
    }
}

/// Lets in or refuses by a code that came with the request.
pub(super) fn code(
    view: &View<'_>,
    live: &Live,
    snapshot: &UserSnapshot,
    code: &[u8],
    mut counters: Counters<'_>,
) -> Step {
    let now = view.now.wall;
    let scope = counters.everywhere();
    if snapshot.active_devices().next().is_none() {
        return refuse(view, live, Reason::NoDevice, counters.writes());
    }
    let paused = view.sources.are_paused(&live.request, view.now.monotonic);
    if paused || !counters.get(scope).otp().allows(&OTP_POLICY, now) {
        return refuse(view, live, Reason::Limited, counters.writes());
    }
    let reason = match find(snapshot, code, now) {
        Found::Right { device, step } => {
            counters.change_if(scope, |limits| limits.otp_mut().succeeded());
            let mut writes = counters.writes();
            writes.push(Write::BurnTotpStep { device, step });
            let audit = vec![record::accepted_by_code(live, device, now)];
            return Step::Commit { commit: Commit { writes, audit }, after: vec![accept(live)] };
        }
        Found::Repeated => return refuse(view, live, Reason::CodeUsed, counters.writes()),
        Found::Used => Reason::CodeUsed,
        Found::Wrong => Reason::CodeWrong,
    };
    let pauses = counters.change(scope, |limits| limits.otp_mut().failed(&OTP_POLICY, now));
    let alert = pauses.then(|| record::alert(live, now, "codes_paused"));
    let step = refuse_and(view, live, reason, counters.writes(), alert.into_iter().collect());
    step.and(After::WrongCode { login: live.id() })
}
