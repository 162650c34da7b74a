//! News for devices: who listens, and what is pending for whom.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
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
    by_device: HashMap<DeviceId, Vec<ChallengeId>>,
    listeners: HashMap<DeviceId, Vec<mpsc::Sender<Notice>>>,
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

    pub(crate) fn publish(&self, notice: &Notice) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let devices = match notice {
            Notice::Opened(challenge) => {
                for device in &challenge.devices {
                    inner.by_device.entry(*device).or_default().push(challenge.id);
                }
                inner.pending.insert(challenge.id, Arc::clone(challenge));
                challenge.devices.clone()
            }
            // Those who were asked are told, whatever has become of them since.
            Notice::Closed { id, devices, .. } => match inner.pending.remove(id) {
                Some(challenge) => {
                    for device in &challenge.devices {
                        inner.no_longer_pending(*device, *id);
                    }
                    challenge.devices.clone()
                }
                None => devices.clone(),
            },
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

    fn no_longer_pending(&mut self, device: DeviceId, challenge: ChallengeId) {
        if let Some(ids) = self.by_device.get_mut(&device) {
            ids.retain(|id| *id != challenge);
            if ids.is_empty() {
                self.by_device.remove(&device);
            }
        }
    }
}
