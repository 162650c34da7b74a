use core::time::Duration;
use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use countersign_domain::{
    AuditEvent, Challenge, ChallengeId, Clock, Commit, Credential, DeviceId, DeviceState, DirectoryId, Door, Entropy,
    LoginId, LoginName, LoginRequest, Secret, UserId, UserOrigin, UserSnapshot, Verdict, Write,
};
use countersign_engine::{
    Against, Bounds, DecisionAnswer, Effect, Engine, Event, Figures, Lane, Notice, Now, PrimaryOutcome, Subject,
    Submission, WindowAnswer,
};
use countersign_storage::{CommitError, Store, StoreError};
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::Instant,
};
use tracing::{error, warn};

use crate::{
    ResourceTable,
    cache::Cache,
    complaints::Complaints,
    directories::{self, Directories, DirectoryTable, NoDirectories},
    eap::Conversations,
    hub::{Hub, OpenedChallenges},
    passwords::Passwords,
    sync::Turns,
    together::{self, Lookup, Together},
    upstreams::{self, Exchange, NoUpstreams, SentOn, UpstreamTable, Upstreams},
};

/// What can be set.
#[derive(Debug, Clone, Copy)]
pub struct DeskConfig {
    /// How much may be open at once.
    pub bounds: Bounds,
    /// Passwords checked at the same time.
    pub password_cores: usize,
    /// Users kept in memory.
    pub cached_users: NonZeroUsize,
}

impl Default for DeskConfig {
    fn default() -> Self {
        Self {
            bounds: Bounds::default(),
            password_cores: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            cached_users: NonZeroUsize::new(100_000).unwrap_or(NonZeroUsize::MIN),
        }
    }
}

/// Others who know what the desk does not.
#[derive(Clone)]
pub struct Peers {
    /// Who somebody is, and whether the password is right.
    pub directories: Arc<dyn Directories>,
    /// Whether somebody may come in.
    pub upstreams: Arc<dyn Upstreams>,
}

impl Default for Peers {
    /// Nobody.
    fn default() -> Self {
        Self { directories: Arc::new(NoDirectories), upstreams: Arc::new(NoUpstreams) }
    }
}

/// A verdict for a door.
#[derive(Debug, Clone)]
pub struct DoorVerdict {
    /// The request that it answers.
    pub login: LoginId,
    /// What to tell the client.
    pub verdict: Verdict,
}

/// See the crate's documentation. Cheap to share behind an [`Arc`].
pub struct Desk {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    started: Instant,
    engine: Mutex<Running>,
    cache: Cache,
    hub: Hub,
    passwords: Passwords,
    resources: watch::Sender<Arc<ResourceTable>>,
    peers: Peers,
    directory_table: Mutex<Arc<DirectoryTable>>,
    upstreams: watch::Sender<Arc<UpstreamTable>>,
    conversations: Mutex<Conversations>,
    sync_turns: Turns,
    sync_sooner: Notify,
    sooner: Notify,
    together: Together,
    complaints: Complaints,
    /// Held while push subscriptions are written, so that one is only removed if it is still the same.
    push_turn: tokio::sync::Mutex<()>,
}

/// The engine and what belongs under the same lock; it is never held across an await.
struct Running {
    engine: Engine,
    doors: Vec<(Door, mpsc::UnboundedSender<DoorVerdict>)>,
    answers: HashMap<u64, oneshot::Sender<DecisionAnswer>>,
    window_answers: HashMap<u64, oneshot::Sender<WindowAnswer>>,
    next_ticket: u64,
    /// Logins that others are being asked about before they begin; whether the client has given them up since.
    asking_others: HashMap<LoginId, bool>,
    armed: Option<Duration>,
}

impl Running {
    fn tell(&self, door: Door, login: LoginId, verdict: Verdict) {
        if let Some((_, sender)) = self.doors.iter().find(|(registered, _)| *registered == door) {
            // A door that is closing hears nothing more.
            let _ = sender.send(DoorVerdict { login, verdict });
        }
    }

    fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }
}

impl Desk {
    /// Opens the desk over a database and reads the resources. Whoever is known elsewhere only is turned away.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn open(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        config: DeskConfig,
    ) -> Result<Arc<Self>, StoreError> {
        Self::open_with(store, clock, entropy, config, Peers::default()).await
    }

    /// The same with others to ask.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn open_with(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        config: DeskConfig,
        peers: Peers,
    ) -> Result<Arc<Self>, StoreError> {
        let table = ResourceTable::new(store.resources().await?);
        let directory_table = directories::table(store.directories().await?);
        let upstreams = upstreams::table(store.upstreams().await?);
        peers.upstreams.set(&upstreams);
        let (together, queues) = together::queues();
        let desk = Arc::new(Self {
            together,
            engine: Mutex::new(Running {
                engine: Engine::new(config.bounds, Duration::ZERO, &*entropy),
                doors: Vec::new(),
                answers: HashMap::new(),
                window_answers: HashMap::new(),
                next_ticket: 0,
                asking_others: HashMap::new(),
                armed: None,
            }),
            cache: Cache::new(config.cached_users),
            hub: Hub::default(),
            passwords: Passwords::new(config.password_cores, Arc::clone(&entropy)),
            resources: watch::Sender::new(Arc::new(table)),
            peers,
            directory_table: Mutex::new(directory_table),
            upstreams: watch::Sender::new(upstreams),
            conversations: Mutex::default(),
            sync_turns: Turns::default(),
            sync_sooner: Notify::new(),
            sooner: Notify::new(),
            complaints: Complaints::new(),
            push_turn: tokio::sync::Mutex::new(()),
            started: Instant::now(),
            store,
            clock,
            entropy,
        });
        together::spawn(Arc::downgrade(&desk), queues);
        tokio::spawn(Arc::downgrade(&desk).keep_time());
        Ok(desk)
    }

    /// Records the start of the server, and then ends as cancelled what a server before it left pending, for it cannot answer
    /// the clients that waited. To be called before the first door opens.
    ///
    /// # Errors
    /// [`CommitError`] when the database does not answer.
    pub async fn begin(&self, started: AuditEvent) -> Result<(), CommitError> {
        self.store.commit(Commit::record(started)).await?;
        crate::leftovers::close(self).await
    }

    /// The time, from the clock that this desk goes by.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The source of random octets.
    pub fn entropy(&self) -> &Arc<dyn Entropy> {
        &self.entropy
    }

    /// The database, for reading; writing goes through [`Self::write`].
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// What is open.
    pub fn figures(&self) -> Figures {
        self.lock().engine.figures()
    }

    /// Resources and clients; changes are seen by those who watch.
    pub fn resources(&self) -> watch::Receiver<Arc<ResourceTable>> {
        self.resources.subscribe()
    }

    /// The servers behind resources with primary `radius`; changes are seen by those who watch.
    pub fn upstreams(&self) -> watch::Receiver<Arc<UpstreamTable>> {
        self.upstreams.subscribe()
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    pub(crate) fn complaints(&self) -> &Complaints {
        &self.complaints
    }

    pub(crate) const fn peers(&self) -> &Peers {
        &self.peers
    }

    pub(crate) fn directories(&self) -> &dyn Directories {
        &*self.peers.directories
    }

    pub(crate) fn directory_table(&self) -> Arc<DirectoryTable> {
        Arc::clone(&self.directory_table.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) const fn sync_turns(&self) -> &Turns {
        &self.sync_turns
    }

    /// Told when it may have changed when the next synchronisation is due.
    pub(crate) const fn sync_sooner(&self) -> &Notify {
        &self.sync_sooner
    }

    // For doors.

    /// Registers a door; its verdicts come through the receiver. One per kind; a second one takes the place of the first.
    pub fn register(&self, door: Door) -> mpsc::UnboundedReceiver<DoorVerdict> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut running = self.lock();
        running.doors.retain(|(registered, _)| *registered != door);
        running.doors.push((door, sender));
        receiver
    }

    /// An identifier for a new login.
    pub fn new_login_id(&self) -> LoginId {
        LoginId::new(self.clock.now(), &*self.entropy)
    }

    /// Hands in a login, an answer to a question, or a round of an EAP conversation. Exactly one verdict on it follows.
    pub fn login(self: &Arc<Self>, request: LoginRequest) {
        if request.credential == Credential::Eap {
            return self.converse(request);
        }
        if request.state.is_some() {
            // Whose it is, is known since the question.
            return self.drive(Event::Answered { request: Box::new(request) });
        }
        let arrived = self.now().monotonic;
        if let Some(directory) = request.resource.directory {
            return self.login_in(directory, request, arrived);
        }
        let name = request.user_typed.as_utf8().and_then(|typed| LoginName::new(typed).ok());
        let Some(name) = name else { return self.start(request, Subject::Unknown, arrived) };
        if let Some(user) = self.cache.user_of(name.folded()) {
            return self.start(request, Subject::Known(user), arrived);
        }
        self.look_up(Lookup::Login(Box::new(request), name, arrived));
    }

    fn look_up(&self, lookup: Lookup) {
        // Whoever reads lives as long as this.
        let _ = self.together.lookups.send(lookup);
    }

    /// The database does not say who it is.
    pub(crate) fn lost(&self, fault: &StoreError) -> Subject {
        if let Some(times) = self.complaints.due(&self.complaints.lookup) {
            error!(error = %fault, times, "login.lookup failed: the login is refused");
        }
        Subject::Unavailable
    }

    /// Hands in a login of somebody whom only the directory knows by name.
    fn login_in(self: &Arc<Self>, directory: DirectoryId, request: LoginRequest, arrived: Duration) {
        self.others_are_asked(request.id);
        let desk = Arc::clone(self);
        tokio::spawn(async move {
            let login = request.id;
            let subject = desk.subject_in(directory, &request).await;
            desk.start(request, subject, arrived);
            desk.others_have_answered(login);
        });
    }

    /// A login begins when others have answered, and what its client does until then counts when it has begun.
    pub(crate) fn others_are_asked(&self, login: LoginId) {
        self.lock().asking_others.insert(login, false);
    }

    pub(crate) fn others_have_answered(self: &Arc<Self>, login: LoginId) {
        let given_up = self.lock().asking_others.remove(&login);
        if given_up == Some(true) {
            self.drive(Event::Superseded(login));
        }
    }

    /// Tells a door what is no verdict of the engine.
    pub(crate) fn tell(&self, door: Door, login: LoginId, verdict: Verdict) {
        self.lock().tell(door, login, verdict);
    }

    fn start(self: &Arc<Self>, request: LoginRequest, subject: Subject, arrived: Duration) {
        self.drive(Event::Start { request: Box::new(request), subject, arrived });
    }

    /// A retransmission of a request without an answer was heard.
    pub fn heard(self: &Arc<Self>, request: LoginId) {
        self.drive(Event::Heard(request));
    }

    /// A newer request took the place of this one on the wire (RFC 5080 section 2.2.2).
    pub fn superseded(self: &Arc<Self>, login: LoginId) {
        if let Some(given_up) = self.lock().asking_others.get_mut(&login) {
            *given_up = true;
            return;
        }
        self.drive(Event::Superseded(login));
    }

    /// Records something that is no login of its own, without making anybody wait.
    pub fn record(self: &Arc<Self>, event: AuditEvent) {
        let desk = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(fault) = desk.store.commit(Commit::record(event)).await
                && let Some(times) = desk.complaints.due(&desk.complaints.record)
            {
                error!(error = %fault, times, "audit.record lost");
            }
        });
    }

    // For devices.

    /// What is pending for a device.
    pub fn pending_for(&self, device: DeviceId) -> Vec<Arc<Challenge>> {
        self.hub.pending_for(device)
    }

    /// News for a device, beginning with what is pending. The stream ends when the device may not listen any more.
    pub fn subscribe(&self, device: DeviceId) -> mpsc::Receiver<Notice> {
        self.hub.subscribe(device)
    }

    /// Whether a challenge is pending.
    pub fn is_pending(&self, challenge: ChallengeId) -> bool {
        self.hub.is_pending(challenge)
    }

    /// Whether a device has got the code of a challenge that waits for it to be typed.
    pub fn has_shown_code(&self, challenge: ChallengeId) -> bool {
        self.hub.has_shown_code(challenge)
    }

    /// The challenges of all users as they are opened, for whoever wakes their devices. At most `backlog` wait to be
    /// read; what finds no room is counted and left out.
    pub fn watch_opened(&self, backlog: NonZeroUsize) -> OpenedChallenges {
        self.hub.watch_opened(backlog)
    }

    /// What there is to know of a user, from memory where it was read already.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn snapshot(&self, user: UserId) -> Result<Option<Arc<UserSnapshot>>, StoreError> {
        self.read(user, None).await.map(|(snapshot, _)| snapshot)
    }

    /// Removes the push subscription of a device if it still has this endpoint; whether it had.
    ///
    /// # Errors
    /// [`CommitError`]; then nothing was written.
    pub async fn drop_push(&self, device: DeviceId, endpoint: &str) -> Result<bool, CommitError> {
        let turn = self.push_turn.lock().await;
        let Some(device) = self.store.device(device).await? else { return Ok(false) };
        if device.push.is_none_or(|push| push.endpoint != endpoint) {
            return Ok(false);
        }
        let write = Write::SetPush { id: device.id, push: None };
        self.store.commit(Commit { writes: vec![write], audit: Vec::new() }).await?;
        drop(turn);
        self.cache.forget(device.user);
        Ok(true)
    }

    /// A device of `user` decides.
    pub async fn decide(
        self: &Arc<Self>,
        user: UserId,
        challenge: ChallengeId,
        submission: Submission,
    ) -> DecisionAnswer {
        let (sender, receiver) = oneshot::channel();
        let ticket = {
            let mut running = self.lock();
            let ticket = running.ticket();
            running.answers.insert(ticket, sender);
            ticket
        };
        self.drive(Event::Decided { ticket, user, challenge, submission: Box::new(submission) });
        receiver.await.unwrap_or(DecisionAnswer::Unavailable)
    }

    /// Names an answer about a window, and where it comes.
    pub(crate) fn window_ticket(&self) -> (u64, oneshot::Receiver<WindowAnswer>) {
        let (sender, receiver) = oneshot::channel();
        let mut running = self.lock();
        let ticket = running.ticket();
        running.window_answers.insert(ticket, sender);
        (ticket, receiver)
    }

    // For administrators.

    /// Writes, and forgets whatever was read before of what was written. Goes on to its end when the caller goes away, as
    /// one does whose connection breaks: otherwise what was read before would be believed for good.
    ///
    /// # Errors
    /// [`CommitError`]; then nothing was written.
    pub async fn write(self: &Arc<Self>, commit: Commit) -> Result<(), CommitError> {
        let desk = Arc::clone(self);
        let written = tokio::spawn(async move { desk.write_to_the_end(commit).await });
        written.await.unwrap_or_else(|fault| Err(StoreError::Unavailable(fault.to_string()).into()))
    }

    async fn write_to_the_end(&self, commit: Commit) -> Result<(), CommitError> {
        let mut touched = Touched::by(&commit);
        for user in &touched.shut_out {
            // Afterwards it may be too late to know them.
            let devices = self.store.snapshot(*user).await?.map(|snapshot| snapshot.devices);
            touched.gone.extend(devices.unwrap_or_default().into_iter().map(|device| device.id));
        }
        let turn = if touched.push { Some(self.push_turn.lock().await) } else { None };
        let outcome = self.store.commit(commit).await;
        drop(turn);
        if let Err(CommitError::Conflict(_)) = outcome {
            return outcome;
        }
        // Of a commit that failed it may be unknown whether it is on disk.
        for user in touched.users {
            self.cache.forget(user);
        }
        for device in touched.devices {
            match self.store.device(device).await {
                Ok(Some(device)) => self.cache.forget(device.user),
                Ok(None) => {}
                Err(_) => self.cache.forget_all(),
            }
        }
        if touched.names {
            self.cache.forget_names();
        }
        outcome?;
        for device in touched.gone {
            self.hub.hang_up(device);
        }
        if touched.directories {
            let table = directories::table(self.store.directories().await?);
            *self.directory_table.lock().unwrap_or_else(PoisonError::into_inner) = table;
            self.sync_sooner.notify_one();
        }
        if touched.upstreams {
            let table = upstreams::table(self.store.upstreams().await?);
            self.peers.upstreams.set(&table);
            self.upstreams.send_replace(table);
        }
        if touched.resources {
            let table = ResourceTable::new(self.store.resources().await?);
            self.resources.send_replace(Arc::new(table));
        }
        Ok(())
    }

    /// Checks a password outside of a login: whether it is this user's.
    pub async fn check_password(&self, hash: Option<countersign_domain::PasswordHash>, password: Secret) -> bool {
        self.passwords.check(hash, password).await == PrimaryOutcome::Right
    }

    // Inside.

    fn lock(&self) -> std::sync::MutexGuard<'_, Running> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn conversations(&self) -> std::sync::MutexGuard<'_, Conversations> {
        self.conversations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Now {
        Now { wall: self.clock.now(), monotonic: self.started.elapsed() }
    }

    /// Feeds the engine one event and carries out what comes of it. What memory can answer is answered on the spot.
    pub(crate) fn drive(self: &Arc<Self>, event: Event) {
        self.drive_all(vec![event]);
    }

    /// The same for events of many logins, one after the other.
    pub(crate) fn drive_all(self: &Arc<Self>, events: Vec<Event>) {
        let (mut follow, mut effects) = (Vec::new(), Vec::new());
        let mut running = self.lock();
        for event in events {
            follow.push(event);
            while let Some(event) = follow.pop() {
                running.engine.handle(self.now(), event, &*self.entropy, &mut effects);
                for effect in effects.drain(..) {
                    follow.extend(self.carry_out(&mut running, effect));
                }
            }
        }
        let next = running.engine.next_deadline();
        if next.is_some_and(|next| running.armed.is_none_or(|armed| next < armed)) {
            running.armed = next;
            self.sooner.notify_one();
        }
    }

    fn carry_out(self: &Arc<Self>, running: &mut Running, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Load { lane, user, challenge: None } => {
                if let Some(snapshot) = self.cache.snapshot(user) {
                    return Some(Event::Loaded { lane, snapshot: Ok(Some(snapshot)), challenge: None });
                }
                self.look_up(Lookup::Load(lane, user));
            }
            Effect::Load { lane, user, challenge } => {
                tokio::spawn(Arc::clone(self).load(lane, user, challenge));
            }
            Effect::CheckPrimary { login, against, password } => {
                let desk = Arc::clone(self);
                tokio::spawn(async move {
                    let (outcome, attributes) = match against {
                        Against::Local { hash } => (desk.passwords.check(hash, password).await, None),
                        Against::Directory { directory, name, entry } => {
                            (desk.check_in(directory, &name, entry, &password).await, None)
                        }
                        Against::Upstream { upstream, attributes, budget, name, user, origin } => {
                            let password = Some(password).filter(|password| !password.is_empty());
                            let exchange = Exchange::Single;
                            let login = SentOn { upstream, attributes, password, budget, exchange };
                            desk.send_on(login, &name, user, &origin).await
                        }
                    };
                    desk.drive(Event::PrimaryChecked { login, outcome, attributes });
                });
            }
            Effect::Commit { lane, commit } => {
                // As above.
                let _ = self.together.commits.send((lane, *commit));
            }
            Effect::Record(event) => {
                warn!(reason = event.reason.unwrap_or_default(), "alert");
                self.record(*event);
            }
            Effect::Verdict { login, door, verdict } => {
                running.tell(door, login, verdict);
            }
            Effect::Publish(notice) => self.hub.publish(&notice),
            Effect::Answer { ticket, answer } => {
                if let Some(sender) = running.answers.remove(&ticket) {
                    let _ = sender.send(answer);
                }
            }
            Effect::WindowAnswer { ticket, answer } => {
                if let Some(sender) = running.window_answers.remove(&ticket) {
                    let _ = sender.send(answer);
                }
            }
        }
        None
    }

    async fn load(self: Arc<Self>, lane: Lane, user: UserId, challenge: Option<ChallengeId>) {
        let event = match self.read(user, challenge).await {
            Ok((snapshot, challenge)) => Event::Loaded { lane, snapshot: Ok(snapshot), challenge },
            Err(fault) => {
                if let Some(times) = self.complaints.due(&self.complaints.load) {
                    error!(error = %fault, times, user.id = %user, "login.load failed: nobody is let in");
                }
                Event::Loaded { lane, snapshot: Err(()), challenge: None }
            }
        };
        self.drive(event);
    }

    async fn read(
        &self,
        user: UserId,
        challenge: Option<ChallengeId>,
    ) -> Result<(Option<Arc<UserSnapshot>>, Option<Box<Challenge>>), StoreError> {
        let challenge = match challenge {
            Some(id) => self.store.challenge(id).await?.map(Box::new),
            None => None,
        };
        if let Some(snapshot) = self.cache.snapshot(user) {
            return Ok((Some(snapshot), challenge));
        }
        let before = self.cache.epoch(user);
        let snapshot = self.store.snapshot(user).await?.map(Arc::new);
        if let Some(snapshot) = &snapshot {
            self.cache.keep(before, snapshot);
        }
        Ok((snapshot, challenge))
    }
}

/// Ticks the engine when something is due, for as long as the desk is there.
trait KeepTime {
    async fn keep_time(self);
}

impl KeepTime for std::sync::Weak<Desk> {
    async fn keep_time(self) {
        loop {
            let Some(desk) = self.upgrade() else { return };
            let due = {
                let mut running = desk.lock();
                running.armed = running.engine.next_deadline();
                running.armed
            };
            let started = desk.started;
            // Not waited for longer than this, so that a desk that is gone is noticed.
            let latest = Instant::now() + Duration::from_secs(1);
            let until = due.map_or(latest, |due| (started + due).min(latest));
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                () = desk.sooner.notified() => continue,
            }
            if due.is_some_and(|due| started + due <= Instant::now()) {
                desk.drive(Event::Tick);
            }
        }
    }
}

/// What a commit makes stale.
#[derive(Default)]
struct Touched {
    users: Vec<UserId>,
    devices: Vec<DeviceId>,
    gone: Vec<DeviceId>,
    /// Users whose devices may not listen any more.
    shut_out: Vec<UserId>,
    names: bool,
    push: bool,
    resources: bool,
    directories: bool,
    upstreams: bool,
}

impl Touched {
    fn by(commit: &Commit) -> Self {
        let mut touched = Self::default();
        for write in &commit.writes {
            match write {
                Write::AddUser(user) => {
                    touched.users.push(user.id);
                    // Names of users of a directory are not kept.
                    touched.names |= user.origin == UserOrigin::Local;
                }
                Write::SetUserName { id, .. } | Write::ReleaseUser(id) => touched.users.push(*id),
                Write::SetUserEnabled { id, enabled } => {
                    touched.users.push(*id);
                    if !enabled {
                        touched.shut_out.push(*id);
                    }
                }
                Write::HoldUser { id, .. } => {
                    touched.users.push(*id);
                    touched.shut_out.push(*id);
                }
                Write::RemoveUser(id) => {
                    touched.users.push(*id);
                    touched.shut_out.push(*id);
                    touched.names = true;
                }
                Write::AddDevice(device) => touched.users.push(device.user),
                Write::SetDeviceState { id, to, .. } => {
                    touched.devices.push(*id);
                    if *to != DeviceState::Active {
                        touched.gone.push(*id);
                    }
                }
                Write::MarkDeviceSeen(id) | Write::RenameDevice { id, .. } | Write::BurnTotpStep { device: id, .. } => {
                    touched.devices.push(*id);
                }
                Write::SetPush { id, .. } => {
                    touched.devices.push(*id);
                    touched.push = true;
                }
                Write::SetLimits { scope, .. } => touched.users.push(scope.user()),
                Write::SetBypass { user, .. } | Write::UseBypass { user, .. } | Write::SetChapSecret { user, .. } => {
                    touched.users.push(*user);
                }
                Write::SetPasskey { id, .. } | Write::UsePasskey { id, .. } => touched.devices.push(*id),
                Write::AddResource { .. }
                | Write::SetResource { .. }
                | Write::AddBareResource(_)
                | Write::SetBareResource(_)
                | Write::RemoveResource(_)
                | Write::AddClient(_)
                | Write::SetClient(_)
                | Write::RemoveClient(_) => {
                    touched.resources = true;
                }
                Write::AddUpstream(_) | Write::SetUpstream(_) | Write::RemoveUpstream(_) => {
                    touched.upstreams = true;
                }
                Write::AddDirectory(_) | Write::SetDirectory(_) | Write::RemoveDirectory(_) => {
                    touched.directories = true;
                }
                Write::OpenWindow(_)
                | Write::CloseWindow { .. }
                | Write::OpenChallenge(_)
                | Write::CloseChallenge { .. }
                | Write::ReassignChallenge { .. }
                | Write::ReportChallenge { .. }
                | Write::RequireActive(_)
                | Write::AddActivation(_)
                | Write::CountWrongSecret(_)
                | Write::RedeemActivation { .. }
                | Write::SetSyncState(_)
                // Written before anything is served.
                | Write::BeginEpoch { .. } => {}
            }
        }
        touched
    }
}
