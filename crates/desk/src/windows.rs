//! Sign-in windows for devices.

use std::sync::Arc;

use countersign_domain::{Resource, ResourceId, UserId};
use countersign_engine::{Event, WindowAnswer, WindowRefusal, WindowRequest};
use countersign_storage::StoreError;
use tracing::error;

use crate::Desk;

impl Desk {
    /// The resources that a user can open sign-in windows for, by name.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn windows_for(&self, user: UserId) -> Result<Vec<Arc<Resource>>, StoreError> {
        let Some(snapshot) = self.snapshot(user).await? else { return Ok(Vec::new()) };
        let home = snapshot.user.origin.directory();
        let mut found: Vec<Arc<Resource>> = Vec::new();
        for seat in self.resources().borrow().seats() {
            let resource = &seat.resource;
            let known = found.iter().any(|found| found.id == resource.id);
            if resource.has_windows() && resource.directory == home && !known {
                found.push(Arc::clone(resource));
            }
        }
        found.sort_by_cached_key(|resource| resource.name.to_lowercase());
        Ok(found)
    }

    /// The resource of this identifier, if the user can open sign-in windows for it.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn window_for(&self, user: UserId, resource: ResourceId) -> Result<Option<Arc<Resource>>, StoreError> {
        Ok(self.windows_for(user).await?.into_iter().find(|found| found.id == resource))
    }

    /// A device opens a sign-in window. The same fields again get the same answer, whatever became of the window.
    pub async fn open_window(self: &Arc<Self>, user: UserId, request: WindowRequest) -> WindowAnswer {
        match self.store().window(request.device, &request.id).await {
            Ok(None) => {}
            Ok(Some(window)) if window.says_the_same(&request.window(user, self.clock().now())) => {
                return WindowAnswer::Open { expires_at: window.expires_at };
            }
            Ok(Some(_)) => return WindowAnswer::Refused(WindowRefusal::IdUsed),
            Err(fault) => {
                error!(error = %fault, "window.lookup failed: none is opened");
                return WindowAnswer::Refused(WindowRefusal::Unavailable);
            }
        }
        let (ticket, receiver) = self.window_ticket();
        self.drive(Event::OpenWindow { ticket, user, request: Box::new(request) });
        receiver.await.unwrap_or(WindowAnswer::Refused(WindowRefusal::Unavailable))
    }
}
