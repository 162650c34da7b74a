use std::collections::HashMap;

use countersign_domain::{LoginId, ThrottlePolicy, UserId};

/// Passwords that directories are being asked about. Until their answers are counted as many wrong ones may come as are
/// under way, and a directory that locks accounts counts every one.
#[derive(Default)]
pub(crate) struct Checks {
    logins: HashMap<LoginId, (UserId, ThrottlePolicy)>,
    of_user: HashMap<UserId, usize>,
}

impl Checks {
    pub(crate) fn under_way(&self, user: UserId) -> usize {
        self.of_user.get(&user).copied().unwrap_or(0)
    }

    pub(crate) fn of(&self, login: LoginId) -> Option<(UserId, ThrottlePolicy)> {
        self.logins.get(&login).copied()
    }

    pub(crate) fn begin(&mut self, login: LoginId, user: UserId, policy: ThrottlePolicy) {
        if self.logins.insert(login, (user, policy)).is_none() {
            *self.of_user.entry(user).or_default() += 1;
        }
    }

    pub(crate) fn end(&mut self, login: LoginId) {
        let Some((user, _)) = self.logins.remove(&login) else { return };
        if let Some(count) = self.of_user.get_mut(&user) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.of_user.remove(&user);
            }
        }
    }
}
