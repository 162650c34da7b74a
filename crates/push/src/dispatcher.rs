//! A push for each challenge that is opened, to each device that was asked and can be woken.
//!
//! Nothing here holds a login up. What is opened comes through a bounded queue; when it is full, or too many pushes are
//! under way, a challenge goes without a push and is counted, and the app finds it by itself.

use core::{num::NonZeroUsize, time::Duration};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use countersign_desk::{Desk, OpenedChallenges};
use countersign_domain::{AuditEvent, Challenge, Device, EventKind, PushSubscription, Timestamp};
use futures_util::future::join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};

use crate::sender::{Answer, Outcome, PushSender};

/// Challenges that may wait to be looked at.
const BACKLOG: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);
/// Challenges that are looked after at once, those included that wait for another try.
const UNDER_WAY: usize = 8192;
/// Requests to one push service at once. A service that hangs holds up its own pushes and no others.
const TO_ONE_SERVICE: usize = 256;
/// The first pause before another try; each further one is twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// A push that arrives with less of the challenge's life left than this is of no use to anybody.
const OF_USE: Duration = Duration::from_secs(2);
/// How often the same alert is raised, and the same trouble told.
const ALERT_EVERY: Duration = Duration::from_secs(3600);
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What was done since start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PushFigures {
    /// Pushes that a push service took.
    pub sent: u64,
    /// Subscriptions that had ended, and were removed.
    pub gone: u64,
    /// Pushes that were given up.
    pub failed: u64,
    /// Tries after the first.
    pub retried: u64,
    /// Challenges without a push because too much was waiting.
    pub dropped: u64,
    /// Challenges that are looked after now.
    pub under_way: usize,
}

#[derive(Default)]
struct Counters {
    sent: AtomicU64,
    gone: AtomicU64,
    failed: AtomicU64,
    retried: AtomicU64,
    dropped: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Sends a push for each challenge from its making on.
pub struct Dispatcher {
    opened: OpenedChallenges,
    work: Arc<Work>,
}

/// Reads what a [`Dispatcher`] did, while it runs.
#[derive(Clone)]
pub struct FiguresOf {
    work: Arc<Work>,
    missed: Arc<AtomicU64>,
}

impl FiguresOf {
    /// The figures now.
    pub fn read(&self) -> PushFigures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let done = &self.work.done;
        PushFigures {
            sent: read(&done.sent),
            gone: read(&done.gone),
            failed: read(&done.failed),
            retried: read(&done.retried),
            dropped: read(&done.dropped) + read(&self.missed),
            under_way: UNDER_WAY.saturating_sub(self.work.room.available_permits()),
        }
    }
}

impl Dispatcher {
    /// Challenges that are opened from now on get a push once [`Self::run`] runs.
    pub fn new(desk: Arc<Desk>, sender: Arc<PushSender>) -> Self {
        let opened = desk.watch_opened(BACKLOG);
        let services = (0..sender.services()).map(|_| Semaphore::new(TO_ONE_SERVICE)).collect();
        let work = Work {
            desk,
            sender,
            services,
            room: Arc::new(Semaphore::new(UNDER_WAY)),
            done: Counters::default(),
            told: Told::default(),
        };
        Self { opened, work: Arc::new(work) }
    }

    /// For looking at the figures later.
    pub fn figures(&self) -> FiguresOf {
        FiguresOf { work: Arc::clone(&self.work), missed: self.opened.missed() }
    }

    /// Runs until `shutdown`; what is under way then is given up.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let tasks = TaskTracker::new();
        loop {
            let challenge = tokio::select! {
                () = shutdown.cancelled() => break,
                opened = self.opened.recv() => match opened {
                    Some(challenge) => challenge,
                    None => break,
                },
            };
            let Ok(room) = Arc::clone(&self.work.room).try_acquire_owned() else {
                count(&self.work.done.dropped);
                if self.work.told.due(Trouble::Full, self.work.sender.now(), TELL_EVERY) {
                    warn!(under_way = UNDER_WAY, "push.dropped: too many pushes are under way");
                }
                continue;
            };
            let wake = Arc::clone(&self.work).wake(challenge, room);
            tasks.spawn(shutdown.clone().run_until_cancelled_owned(wake));
        }
        tasks.close();
        tasks.wait().await;
    }
}

struct Work {
    desk: Arc<Desk>,
    sender: Arc<PushSender>,
    services: Vec<Semaphore>,
    room: Arc<Semaphore>,
    done: Counters,
    told: Told,
}

impl Work {
    /// Wakes the devices that were asked. Their subscriptions are those of this moment.
    async fn wake(self: Arc<Self>, challenge: Arc<Challenge>, _room: OwnedSemaphorePermit) {
        let snapshot = match self.desk.snapshot(challenge.user).await {
            Ok(Some(snapshot)) => snapshot,
            Ok(None) => return,
            Err(fault) => {
                count(&self.done.failed);
                error!(error = %fault, user.id = %challenge.user, "push.lookup failed: nobody is woken");
                return;
            }
        };
        let asked = snapshot.active_devices().filter(|device| challenge.devices.contains(&device.id));
        let pushes =
            asked.filter_map(|device| device.push.as_ref().map(|push| self.wake_device(&challenge, device, push)));
        join_all(pushes).await;
    }

    /// Tries until the push is taken, the challenge is over, or there is nothing to be had.
    async fn wake_device(&self, challenge: &Challenge, device: &Device, push: &PushSubscription) {
        let endpoint = match self.sender.check(&push.endpoint) {
            Ok(endpoint) => endpoint,
            Err(fault) => return self.give_up(None, device, &fault.to_string()),
        };
        let service = endpoint.service();
        let mut tries = 0;
        loop {
            let outcome = {
                let slot = match self.services.get(service) {
                    Some(slots) => slots.acquire().await.ok(),
                    None => None,
                };
                if !self.desk.is_pending(challenge.id) {
                    return;
                }
                let outcome =
                    self.sender.send_to(&endpoint, push, challenge.user, challenge.id, challenge.expires_at).await;
                drop(slot);
                outcome
            };
            match outcome {
                Outcome::Delivered(_) => {
                    count(&self.done.sent);
                    return self.told.forget(service);
                }
                Outcome::Gone(answer) => return self.gone(device, push, &answer).await,
                Outcome::Retry { trouble, after } => {
                    let pause = pause(tries, after, self.sender.entropy().octets());
                    let next = self.sender.now().plus(pause);
                    if next.plus(OF_USE) > challenge.expires_at {
                        let why = format!("{}: {trouble}", endpoint.host());
                        return self.give_up(Some(service), device, &why);
                    }
                    tokio::time::sleep(pause).await;
                    if !self.desk.is_pending(challenge.id) {
                        return;
                    }
                    tries += 1;
                    count(&self.done.retried);
                }
                Outcome::Misconfigured(answer) => {
                    count(&self.done.failed);
                    return self.alert(service, endpoint.host(), &answer);
                }
                Outcome::Refused(answer) => {
                    return self.give_up(Some(service), device, &format!("{}: {answer}", endpoint.host()));
                }
                Outcome::NotAllowed(fault) => return self.give_up(Some(service), device, &fault.to_string()),
                Outcome::Unusable(fault) => return self.give_up(None, device, &fault.to_string()),
                Outcome::Late => {
                    count(&self.done.failed);
                    return;
                }
            }
        }
    }

    /// The subscription has ended. One that was renewed meanwhile has another endpoint and stays.
    async fn gone(&self, device: &Device, push: &PushSubscription, answer: &Answer) {
        count(&self.done.gone);
        match self.desk.drop_push(device.id, &push.endpoint).await {
            Ok(true) => info!(
                device.id = %device.id, answer = %answer,
                "push.gone: the subscription has ended and was removed; the app makes a new one when it is opened"
            ),
            Ok(false) => {}
            Err(fault) => error!(error = %fault, device.id = %device.id, "push.gone: the subscription was not removed"),
        }
    }

    fn give_up(&self, service: Option<usize>, device: &Device, why: &str) {
        count(&self.done.failed);
        if self.told.due(Trouble::Failed(service), self.sender.now(), TELL_EVERY) {
            warn!(device.id = %device.id, why, "push.failed: told once a minute, the figures count each");
        }
    }

    /// No push gets through to this service until somebody looks after our key, contact or clock.
    fn alert(&self, service: usize, host: &str, answer: &Answer) {
        let now = self.sender.now();
        if !self.told.due(Trouble::Misconfigured(service), now, ALERT_EVERY) {
            return;
        }
        let detail = serde_json::json!({ "service": host, "status": answer.status, "said": answer.text }).to_string();
        warn!(
            reason = "push_misconfigured", service = host, answer = %answer,
            "alert: the push service does not accept this server: look at [push] contact and the clock"
        );
        self.desk.record(AuditEvent {
            factor: Some("push"),
            reason: Some("push_misconfigured"),
            detail: Some(detail),
            ..AuditEvent::new(now, EventKind::Alert, "server")
        });
    }
}

/// How long to wait before the next try: twice as long each time, a little more or less than others wait, and not
/// shorter than the push service asks for.
fn pause(tries: u32, asked: Option<Duration>, chance: [u8; 1]) -> Duration {
    let steady = FIRST_PAUSE.saturating_mul(1 << tries.min(8)).min(LONGEST_PAUSE);
    let spread = steady.saturating_mul(u32::from(u8::from_be_bytes(chance))) / 1024;
    (steady + spread).max(asked.unwrap_or_default())
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Trouble {
    Full,
    Failed(Option<usize>),
    Misconfigured(usize),
}

/// What was told when, so that a service that fails for everybody is told of once. As many as there are services.
#[derive(Default)]
struct Told(Mutex<HashMap<Trouble, Timestamp>>);

impl Told {
    fn due(&self, trouble: Trouble, now: Timestamp, every: Duration) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.get(&trouble).is_some_and(|last| *last <= now && now.since(*last) < every) {
            return false;
        }
        told.insert(trouble, now);
        true
    }

    /// The service takes pushes: when it stops again, that is news.
    fn forget(&self, service: usize) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.remove(&Trouble::Misconfigured(service));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c041_pauses_grow_and_honour_what_is_asked_for() {
        let millis =
            |tries, asked: Option<u64>, chance| pause(tries, asked.map(Duration::from_millis), [chance]).as_millis();
        assert_eq!([millis(0, None, 0), millis(1, None, 0), millis(2, None, 0)], [500, 1000, 2000]);
        assert_eq!([millis(4, None, 0), millis(30, None, 0), millis(u32::MAX, None, 0)], [8000; 3]);
        assert_eq!(millis(0, None, 255), 624);
        assert_eq!([millis(0, Some(7000), 0), millis(0, Some(100), 0)], [7000, 500]);
    }

    #[test]
    fn an_alert_is_raised_again_after_an_hour_or_a_success() {
        let told = Told::default();
        let at = |second: i64| Timestamp::from_seconds(1_800_000_000 + second);
        let due = |second| told.due(Trouble::Misconfigured(0), at(second), ALERT_EVERY);
        assert_eq!([due(0), due(1), due(3599), due(3600), due(3601)], [true, false, false, true, false]);
        told.forget(0);
        assert!(due(3602));
    }
}
