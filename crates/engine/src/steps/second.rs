//! The second factor of a login that brings no code along.

use countersign_domain::UserSnapshot;

use super::{Step, View, counters::Counters, prompt, push, unasked, window};
use crate::{live::Live, windows::Part};

/// Decides whether and how the user is asked: at the prompt where there is one, and nowhere else (C025).
pub(super) fn ask(view: &View<'_>, live: &Live, snapshot: &UserSnapshot, mut counters: Counters<'_>) -> Step {
    if live.part == Part::Claims
        && let Some(place) = window::place_of(live)
    {
        return window::hold(view, live, place, counters);
    }
    if let Some(way) = unasked::way(view, live, snapshot, &mut counters) {
        return unasked::let_in(view, live, snapshot, counters, &way);
    }
    match live.prompt() {
        Some(methods) => prompt::begin(view, live, snapshot, counters, methods),
        None => push::push(view, live, snapshot, counters),
    }
}
