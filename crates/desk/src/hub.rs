//! News for devices: who listens, and what is pending for whom.

use core::num::NonZeroUsize;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use countersign_domain::{Challenge, ChallengeId, DeviceId};
use countersign_engine::Notice;
use tokio::sync::mpsc;

/// Notices that may wait for a slow listener; one that falls further behind is cut off and comes again.
const BACKLOG: usize = 64;
/// Streams of one device at once; another one ends the oldest.
const STREAMS: usize = 8;

#[derive(Default)]
pub(crate) struct Hub {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    pending: HashMap<ChallengeId, Arc<Challenge>>,
    /// Those whose code a device has got: nobody need be asked about them any more, and they have not ended.
    shown: HashMap<ChallengeId, Arc<Challenge>>,
    by_device: HashMap<DeviceId, Vec<ChallengeId>>,
    listeners: HashMap<DeviceId, Vec<mpsc::Sender<Notice>>>,
    taps: Vec<Tap>,
}

/// Somebody who is told of each challenge that is opened.
struct Tap {
    sender: mpsc::Sender<Arc<Challenge>>,
    missed: Arc<AtomicU64>,
}

impl Tap {
    /// Tells, or counts what there was no room for; whether anybody is still there.
    fn tell(&self, challenge: &Arc<Challenge>) -> bool {
        match self.sender.try_send(Arc::clone(challenge)) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.missed.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }
}

/// The challenges of all users as they are opened. Nobody waits for whoever reads this: what finds no room is left out.
#[derive(Debug)]
pub struct OpenedChallenges {
    receiver: mpsc::Receiver<Arc<Challenge>>,
    missed: Arc<AtomicU64>,
}

impl OpenedChallenges {
    /// The next one; `None` when the desk is gone.
    pub async fn recv(&mut self) -> Option<Arc<Challenge>> {
        self.receiver.recv().await
    }

    /// How many were left out.
    pub fn missed(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.missed)
    }
}

impl Hub {
    /// Listens for a device. What is pending already comes first.
    pub(crate) fn subscribe(&self, device: DeviceId) -> mpsc::Receiver<Notice> {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        for challenge in inner.pending_for(device) {
            let _ = sender.try_send(Notice::Opened(challenge));
        }
        let listeners = inner.listeners.entry(device).or_default();
        listeners.retain(|listener| !listener.is_closed());
        if listeners.len() >= STREAMS {
            listeners.remove(0);
        }
        listeners.push(sender);
        receiver
    }

    pub(crate) fn pending_for(&self, device: DeviceId) -> Vec<Arc<Challenge>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).pending_for(device)
    }

    /// Listens for all that is opened from now on.
    pub(crate) fn watch_opened(&self, backlog: NonZeroUsize) -> OpenedChallenges {
        let (sender, receiver) = mpsc::channel(backlog.get());
        let missed = Arc::new(AtomicU64::new(0));
        let tap = Tap { sender, missed: Arc::clone(&missed) };
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).taps.push(tap);
        OpenedChallenges { receiver, missed }
    }

    pub(crate) fn is_pending(&self, challenge: ChallengeId) -> bool {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).pending.contains_key(&challenge)
    }

    pub(crate) fn has_shown_code(&self, challenge: ChallengeId) -> bool {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).shown.contains_key(&challenge)
    }

    pub(crate) fn publish(&self, notice: &Notice) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let devices = match notice {
            Notice::Opened(challenge) => {
                for device in &challenge.devices {
                    inner.by_device.entry(*device).or_default().push(challenge.id);
                }
                inner.pending.insert(challenge.id, Arc::clone(challenge));
                inner.taps.retain(|tap| tap.tell(challenge));
                challenge.devices.clone()
            }
            Notice::CodeShown(id) => {
                if let Some(challenge) = inner.no_longer_pending(*id) {
                    inner.shown.insert(*id, challenge);
                }
                return;
            }
            // Those who were asked are told, whatever has become of them since.
            Notice::Closed { id, devices, .. } => {
                let shown = inner.shown.remove(id);
                match inner.no_longer_pending(*id).or(shown) {
                    Some(challenge) => challenge.devices.clone(),
                    None => devices.clone(),
                }
            }
            Notice::WindowClosed { device, .. } => vec![*device],
        };
        for device in devices {
            let Some(listeners) = inner.listeners.get_mut(&device) else { continue };
            listeners.retain(|listener| listener.try_send(notice.clone()).is_ok());
            if listeners.is_empty() {
                inner.listeners.remove(&device);
            }
        }
    }

    /// Ends the streams of a device that may not listen any more.
    pub(crate) fn hang_up(&self, device: DeviceId) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).listeners.remove(&device);
    }
}

impl Inner {
    fn pending_for(&self, device: DeviceId) -> Vec<Arc<Challenge>> {
        let ids = self.by_device.get(&device).map_or(&[][..], Vec::as_slice);
        ids.iter().filter_map(|id| self.pending.get(id)).cloned().collect()
    }

    fn no_longer_pending(&mut self, id: ChallengeId) -> Option<Arc<Challenge>> {
        let challenge = self.pending.remove(&id)?;
        for device in &challenge.devices {
            if let Some(ids) = self.by_device.get_mut(device) {
                ids.retain(|pending| *pending != id);
                if ids.is_empty() {
                    self.by_device.remove(device);
                }
            }
        }
        Some(challenge)
    }
}
