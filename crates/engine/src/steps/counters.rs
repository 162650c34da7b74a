use countersign_domain::{LimitScope, Limits, UserSnapshot, Write};

/// The counters of a user as one step changes them. Each scope is written once, and only where something has changed.
pub(super) struct Counters<'a> {
    snapshot: &'a UserSnapshot,
    everywhere: Option<Read>,
    /// Those of the one resource that the step is about.
    there: Option<Read>,
}

struct Read {
    scope: LimitScope,
    version: u64,
    limits: Limits,
    changed: bool,
}

impl<'a> Counters<'a> {
    pub(super) const fn of(snapshot: &'a UserSnapshot) -> Self {
        Self { snapshot, everywhere: None, there: None }
    }

    /// The scope that is everywhere.
    pub(super) const fn everywhere(&self) -> LimitScope {
        LimitScope::User(self.snapshot.user.id)
    }

    fn read(&mut self, scope: LimitScope) -> &mut Read {
        let read = match scope {
            LimitScope::User(_) => &mut self.everywhere,
            LimitScope::UserAt(..) => &mut self.there,
        };
        read.get_or_insert_with(|| {
            let (version, limits) = self.snapshot.limits(scope);
            Read { scope, version, limits, changed: false }
        })
    }

    pub(super) fn get(&mut self, scope: LimitScope) -> &Limits {
        &self.read(scope).limits
    }

    pub(super) fn change<T>(&mut self, scope: LimitScope, change: impl FnOnce(&mut Limits) -> T) -> T {
        let read = self.read(scope);
        read.changed = true;
        change(&mut read.limits)
    }

    /// For a change that says whether it has changed anything.
    pub(super) fn change_if(&mut self, scope: LimitScope, change: impl FnOnce(&mut Limits) -> bool) {
        let read = self.read(scope);
        read.changed |= change(&mut read.limits);
    }

    pub(super) fn writes(self) -> Vec<Write> {
        let changed = [self.everywhere, self.there].into_iter().flatten().filter(|read| read.changed);
        changed
            .map(|read| Write::SetLimits { scope: read.scope, expected: read.version, limits: read.limits })
            .collect()
    }
}
