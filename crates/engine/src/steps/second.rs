//! The second factor of a login that brings no code along.

use countersign_domain::UserSnapshot;

use super::{Step, View, counters::Counters, push};
use crate::live::Live;

/// Decides how the user is asked.
pub(super) fn ask(view: &View<'_>, live: &Live, snapshot: &UserSnapshot, counters: Counters<'_>) -> Step {
    push::push(view, live, snapshot, counters)
}
