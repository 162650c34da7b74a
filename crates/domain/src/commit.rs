use crate::{
    Activation, ActivationId, AuditEvent, Bypass, Challenge, ChallengeId, ClientId, Closing, Device, DeviceId,
    DeviceState, Directory, DirectoryId, Hold, HoldReason, LimitScope, Limits, LoginId, LoginName, Passkey,
    PushSubscription, RadiusClient, Resource, ResourceId, Secret, SignInWindow, SyncState, Timestamp, Upstream,
    UpstreamId, User, UserId, WindowClosing, WindowId,
};

/// What is written in one piece: all of it with its records, or nothing.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// Each with the condition under which it holds; one condition that fails undoes the whole.
    pub writes: Vec<Write>,
    /// Records of it, in order.
    pub audit: Vec<AuditEvent>,
}

impl Commit {
    /// Nothing but a record.
    pub fn record(event: AuditEvent) -> Self {
        Self { writes: Vec::new(), audit: vec![event] }
    }
}

/// One change and its condition.
#[derive(Debug, Clone)]
pub enum Write {
    /// Adds a pending challenge. Condition: its id is new.
    OpenChallenge(Box<Challenge>),
    /// Ends a challenge. Condition: it is pending; to approve it, also that it has not expired at
    /// `closing.at`, that its user is enabled, and that the device that decided is active.
    CloseChallenge {
        /// Which.
        id: ChallengeId,
        /// How.
        closing: Closing,
    },
    /// Hands a pending challenge to a retry of the same login. Condition: it is pending and belongs to `from`.
    ReassignChallenge {
        /// Which.
        id: ChallengeId,
        /// The older request.
        from: LoginId,
        /// The newer request.
        to: LoginId,
    },
    /// Notes that a closed challenge was reported afterwards. Condition: it is closed and not yet reported.
    ReportChallenge {
        /// Which.
        id: ChallengeId,
        /// By which device.
        device: DeviceId,
        /// When.
        at: Timestamp,
    },
    /// Adds an open sign-in window. Condition: the device has had none of this id; it is active, and its user, whose window
    /// it is, enabled.
    OpenWindow(Box<SignInWindow>),
    /// Ends a sign-in window. Condition: it is open; to approve, also that its user is enabled and its device active.
    CloseWindow {
        /// Of which device.
        device: DeviceId,
        /// Which.
        id: WindowId,
        /// How.
        closing: WindowClosing,
    },
    /// Replaces counters. Condition: they are at version `expected` (0: there are none); they go to `expected + 1`.
    SetLimits {
        /// Whose.
        scope: LimitScope,
        /// The version that the change was made from.
        expected: u64,
        /// What they are now.
        limits: Limits,
    },
    /// Uses up a time step. Condition: the device is active, its user enabled, and its last step older.
    BurnTotpStep {
        /// Which device.
        device: DeviceId,
        /// The step.
        step: u64,
    },
    /// Changes nothing. Condition: the device is active, and its user enabled.
    RequireActive(DeviceId),
    /// Adds a user. Condition: of those who were added here nobody has the name in any spelling; of those from the same
    /// directory nobody is the same entry, and that directory exists.
    AddUser(User),
    /// Notes what a directory calls a user now. Condition: the user exists and comes from a directory.
    SetUserName {
        /// Who.
        id: UserId,
        /// What the person types to log on.
        name: LoginName,
        /// Shown on screens.
        display_name: String,
    },
    /// Enables or disables a user, for an administrator: the user is not held any more. Condition: the user exists.
    SetUserEnabled {
        /// Who.
        id: UserId,
        /// Whether logins are taken.
        enabled: bool,
    },
    /// Gives leave to log on once without a second factor, in the place of what was given before, or takes it away.
    /// Condition: the user exists.
    SetBypass {
        /// Who.
        user: UserId,
        /// The leave.
        bypass: Option<Bypass>,
    },
    /// Uses the leave up. Condition: it is there, open at `at`, and the user enabled.
    UseBypass {
        /// Who.
        user: UserId,
        /// When.
        at: Timestamp,
    },
    /// Keeps a user's password itself, for CHAP, or does so no more. Condition: the user exists and was added here.
    SetChapSecret {
        /// Who.
        user: UserId,
        /// The password.
        secret: Option<Secret>,
    },
    /// Disables a user because of the directory. Condition: the user comes from one, and is held for `from`, or enabled
    /// where that is `None`.
    HoldUser {
        /// Who.
        id: UserId,
        /// What the user was held for.
        from: Option<HoldReason>,
        /// What for now.
        hold: Hold,
    },
    /// Enables a user who was disabled because of the directory. Condition: the user is held.
    ReleaseUser(UserId),
    /// Removes a user with devices, activations, challenges and counters. Condition: the user exists.
    RemoveUser(UserId),
    /// Adds an active device. Condition: its key is bound to no device, removed ones included.
    AddDevice(Box<Device>),
    /// Changes the state of a device. Condition: it is in state `from`.
    SetDeviceState {
        /// Which.
        id: DeviceId,
        /// State before.
        from: DeviceState,
        /// State after; `Removed` also drops its push subscription and its seed.
        to: DeviceState,
    },
    /// Notes the first request of a device after its activation. Condition: it exists.
    MarkDeviceSeen(DeviceId),
    /// Renames a device. Condition: it is not removed.
    RenameDevice {
        /// Which.
        id: DeviceId,
        /// To what.
        name: crate::HostileText,
    },
    /// Replaces the push subscription. Condition: the device is not removed.
    SetPush {
        /// Which.
        id: DeviceId,
        /// The new one.
        push: Option<PushSubscription>,
    },
    /// Sets what a device verifies its user with. Condition: the device is active.
    SetPasskey {
        /// Which.
        id: DeviceId,
        /// The authenticator; `None`: none any more.
        passkey: Option<Passkey>,
    },
    /// Notes that a passkey was used. Condition: the device is active and has it as it was `before`.
    UsePasskey {
        /// Which device.
        id: DeviceId,
        /// The passkey that was checked.
        before: Passkey,
        /// The same with what the check found: its counter.
        after: Passkey,
    },
    /// Adds an activation; older open ones of the user are burnt. Condition: no open one has its handle.
    AddActivation(Box<Activation>),
    /// Counts a wrong secret. Condition: the activation is open with fewer than [`Activation::WRONG_SECRETS`].
    CountWrongSecret(ActivationId),
    /// Uses an activation up. Condition: it is open at `at`.
    RedeemActivation {
        /// Which.
        id: ActivationId,
        /// The device that it makes.
        device: DeviceId,
        /// When.
        at: Timestamp,
    },
    /// Adds a resource and its client. Condition: nothing has their names; no client has the secret; directory, upstream
    /// and the resources that rules lead to exist.
    AddResource {
        /// The resource.
        resource: Box<Resource>,
        /// Its default client.
        client: Box<RadiusClient>,
    },
    /// Replaces a resource and its first client. Conditions as for adding; both exist.
    SetResource {
        /// The resource.
        resource: Box<Resource>,
        /// Its default client.
        client: Box<RadiusClient>,
    },
    /// Adds a resource without a client, for requests that rules of other resources' clients lead to. Conditions as for
    /// adding one with a client.
    AddBareResource(Box<Resource>),
    /// Replaces a resource and leaves its clients as they are. Conditions as for adding; it exists.
    SetBareResource(Box<Resource>),
    /// Removes a resource with its clients. Condition: it exists, and no rule of another resource's client leads to it.
    RemoveResource(ResourceId),
    /// Adds a further client. Condition: nothing has its name or its secret, and its resources exist.
    AddClient(Box<RadiusClient>),
    /// Replaces a client. Conditions as for adding; it exists.
    SetClient(Box<RadiusClient>),
    /// Removes a client. Condition: it exists.
    RemoveClient(ClientId),
    /// Adds an upstream. Condition: none has the name in any spelling.
    AddUpstream(Box<Upstream>),
    /// Replaces an upstream. Condition: it exists; no other has the name.
    SetUpstream(Box<Upstream>),
    /// Removes an upstream. Condition: it exists and no resource uses it.
    RemoveUpstream(UpstreamId),
    /// Adds a directory. Condition: none has the name in any spelling.
    AddDirectory(Box<Directory>),
    /// Replaces a directory. Condition: it exists; no other has the name.
    SetDirectory(Box<Directory>),
    /// Notes what came of a synchronisation. Condition: the directory exists.
    SetSyncState(Box<SyncState>),
    /// Removes a directory. Condition: it exists; no resource uses it and no user comes from it.
    RemoveDirectory(DirectoryId),
    /// Ends what was open in a database that was put back from a copy (S95): pending challenges and open windows are
    /// cancelled, open activations burnt, bypasses gone, and no device's code of a step up to `step` counts any more. Condition: none.
    BeginEpoch {
        /// When.
        at: Timestamp,
        /// The newest step that somebody may have used a code of since the copy was made.
        step: u64,
    },
}
