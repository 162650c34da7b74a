//! Sign-in windows.

use countersign_domain::{SignInWindow, UserVerificationReached, WindowClosing, WindowId, WindowState};

use super::{
    Backend, ClosingState, Device, DeviceState, Maker, NOW, ResourceId, Store, Timestamp, User, Write, at, holds, race,
    refused,
};

impl Maker {
    /// A window that a device opens.
    pub fn window(&self, device: &Device, opened_at: Timestamp) -> SignInWindow {
        SignInWindow {
            device: device.id,
            id: WindowId::from_bytes(self.entropy().octets()),
            user: device.user,
            resource: ResourceId::new(NOW, self.entropy()),
            application: "Remote Desktop".to_owned(),
            user_verification: UserVerificationReached::WebAuthn,
            device_time: "2027-01-15T08:00:00.5Z".to_owned(),
            opened_at,
            expires_at: opened_at.plus(SignInWindow::LIFE),
            state: WindowState::Open,
        }
    }
}

fn open(window: &SignInWindow) -> Write {
    Write::OpenWindow(Box::new(window.clone()))
}

fn close(window: &SignInWindow, state: ClosingState, at: Timestamp) -> Write {
    Write::CloseWindow { device: window.device, id: window.id.clone(), closing: WindowClosing { state, at } }
}

fn closed(window: &SignInWindow, state: ClosingState, at: Timestamp) -> SignInWindow {
    SignInWindow { state: WindowState::Closed(WindowClosing { state, at }), ..window.clone() }
}

async fn somebody(maker: &Maker, store: &dyn Store) -> (User, Device) {
    let user = maker.user("ada");
    let device = maker.device(user.id);
    holds(store, vec![Write::AddUser(user.clone()), Write::AddDevice(Box::new(device.clone()))]).await;
    (user, device)
}

/// A window comes back whole, ends once, and its identifier is used up for its device.
pub async fn s18_a_window_is_opened_once_and_ends_once(backend: &dyn Backend) {
    let (maker, store) = (Maker::default(), backend.open().await);
    let (user, device) = somebody(&maker, &*store).await;
    let (first, second) = (maker.window(&device, at(0)), maker.window(&device, at(10)));
    holds(&*store, vec![open(&first), open(&second)]).await;
    assert_eq!(store.open_windows().await.unwrap(), [first.clone(), second.clone()]);
    refused(&*store, vec![open(&first)], 0).await;
    assert_eq!(store.past_windows(user.id, 10).await.unwrap(), []);

    let ends = vec![close(&first, ClosingState::Approved, at(5)), close(&first, ClosingState::Collision, at(5))];
    let wins = race(&store, ends.into_iter().cycle().take(20).collect()).await;
    assert_eq!(wins, 1);
    refused(&*store, vec![open(&first)], 0).await;
    refused(&*store, vec![close(&first, ClosingState::Expired, at(60))], 0).await;
    holds(&*store, vec![close(&second, ClosingState::Expired, at(70))]).await;
    assert_eq!(
        store.window(device.id, &second.id).await.unwrap(),
        Some(closed(&second, ClosingState::Expired, at(70)))
    );
    assert_eq!(store.open_windows().await.unwrap(), []);
    let past = store.past_windows(user.id, 10).await.unwrap();
    assert_eq!(past.iter().map(|window| &window.id).collect::<Vec<_>>(), [&second.id, &first.id]);
    assert_eq!(store.past_windows(user.id, 1).await.unwrap().len(), 1);

    // Another device of the user may come to the same identifier.
    let other = maker.device(user.id);
    holds(&*store, vec![Write::AddDevice(Box::new(other.clone())), open(&SignInWindow { device: other.id, ..first })])
        .await;
    holds(&*store, vec![Write::RemoveUser(user.id)]).await;
    assert_eq!(store.window(device.id, &second.id).await.unwrap(), None);
    store.close().await;
}

/// Nobody who may not log on opens a window, or is let in by one; it can be ended all the same.
pub async fn s18_a_window_lets_nobody_in_once_disabled_or_removed(backend: &dyn Backend) {
    let (maker, store) = (Maker::default(), backend.open().await);
    let (user, device) = somebody(&maker, &*store).await;
    let (a, b, c) = (maker.window(&device, at(0)), maker.window(&device, at(0)), maker.window(&device, at(0)));
    holds(&*store, vec![open(&a), open(&b)]).await;
    let strangers = maker.user("eve");
    holds(&*store, vec![Write::AddUser(strangers.clone())]).await;
    refused(&*store, vec![open(&SignInWindow { user: strangers.id, ..c.clone() })], 0).await;
    refused(&*store, vec![open(&closed(&c, ClosingState::Approved, at(0)))], 0).await;

    let enable = |enabled| Write::SetUserEnabled { id: user.id, enabled };
    holds(&*store, vec![enable(false)]).await;
    refused(&*store, vec![open(&c)], 0).await;
    refused(&*store, vec![close(&a, ClosingState::Approved, at(3))], 0).await;
    holds(&*store, vec![close(&a, ClosingState::Cancelled, at(3)), enable(true)]).await;
    let suspend = Write::SetDeviceState { id: device.id, from: DeviceState::Active, to: DeviceState::Suspended };
    holds(&*store, vec![suspend]).await;
    refused(&*store, vec![open(&c)], 0).await;
    refused(&*store, vec![close(&b, ClosingState::Approved, at(3))], 0).await;
    holds(&*store, vec![close(&b, ClosingState::Collision, at(3))]).await;
    store.close().await;
}
