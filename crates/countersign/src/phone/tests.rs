//! The phone against a real device API on a socket of this machine. The server's clock stands in another year, so that
//! nothing here works unless the phone goes by it.

use core::time::Duration;
use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use axum::{Router, routing};
use countersign_api::{
    activation::{IssuedActivation, issue_activation},
    device::{DeviceApi, router},
};
use countersign_desk::DoorVerdict;
use countersign_device_protocol::{
    events::Event,
    ids::Number,
    messages::{Challenge, ChallengeError, ClosingState},
    origin::Origin,
};
use countersign_domain::{
    Credential, Decision, DeviceState, Door, HostileText, LoginRequest, Methods, Question, Reason, RetryKey, Source,
    UserId, Verdict, Write,
};
use countersign_push::PushConfig;
use countersign_storage::Vault;
use countersign_testkit::{NewResource, Site};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};

use super::{
    accounts::PhoneState,
    activate, activate_qr,
    line::{Line, Trouble},
    listen::{News, listen},
    watch::{Standing, watch},
};

const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    site: Site,
    origin: Origin,
    api: DeviceApi,
    vault: Arc<Vault>,
    ada: UserId,
    verdicts: mpsc::UnboundedReceiver<DoorVerdict>,
    folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let site = Site::open(1).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = Origin::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let vault = Arc::new(Vault::from_key(&[7; 32]).unwrap());
        let organization = "Example Ltd".to_owned();
        let push = crate::push::Services::new(&PushConfig::default()).unwrap();
        let api = DeviceApi::new(site.desk.clone(), origin.clone(), organization, vault.clone(), Vec::new(), push);
        let api = api.await.unwrap();
        let app = router(api.clone()).into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, app).await });
        let ada = site.user("ada", None).await;
        site.resource(NewResource::default()).await;
        let verdicts = site.desk.register(Door::Radius);
        Self { site, origin, api, vault, ada, verdicts, folder: tempfile::tempdir().unwrap() }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("phone.json")
    }

    async fn issue(&self, origin: &Origin) -> IssuedActivation {
        let key = self.api.signing_thumbprint();
        let lifetime = Duration::from_secs(600);
        issue_activation(&self.site.desk, &self.vault, origin, key, self.ada, lifetime, "admin").await.unwrap()
    }

    async fn login(&self) {
        self.ask("vpn", None, Credential::None).await;
    }

    /// A request at a resource; with the answer to a question, if that is what it is.
    async fn ask(&self, name: &str, state: Option<Vec<u8>>, credential: Credential) {
        let resources = self.site.desk.store().resources().await.unwrap();
        let (resource, clients) = resources.into_iter().find(|(resource, _)| resource.name == name).unwrap();
        self.site.desk.login(LoginRequest {
            id: self.site.desk.new_login_id(),
            resource: Arc::new(resource),
            client: clients[0].id,
            client_name: "nas".to_owned(),
            peer: [192, 0, 2, 1].into(),
            door: Door::Radius,
            user_typed: HostileText::from("ada"),
            credential,
            source: Source::default(),
            retry: RetryKey::default(),
            state,
            forward: None,
        });
    }

    async fn verdict(&mut self) -> Verdict {
        timeout(PATIENCE, self.verdicts.recv()).await.unwrap().unwrap().verdict
    }

    fn listening(&self) -> mpsc::Receiver<(usize, News)> {
        let account = PhoneState::load_some(&self.state()).unwrap().accounts.remove(0);
        let key = account.key().unwrap();
        let (sender, receiver) = mpsc::channel(8);
        tokio::spawn(listen(0, account, key, sender));
        receiver
    }
}

const VERIFY: Standing = Standing { decision: Decision::Verify, number: None };

async fn next(news: &mut mpsc::Receiver<(usize, News)>) -> News {
    timeout(PATIENCE, news.recv()).await.unwrap().unwrap().1
}

/// A world whose origin is known to the test: that of its QR code.
async fn activated() -> World {
    let world = World::new().await;
    let issued = world.issue(&world.origin).await;
    activate_qr(&world.state(), &issued.qr).await.unwrap();
    world
}

#[tokio::test]
async fn a_phone_activates_and_lets_a_login_in_by_the_servers_clock() {
    let mut world = World::new().await;
    let origin = world.origin.clone();
    let issued = world.issue(&origin).await;
    let typed = issued.code.expose_grouped().to_lowercase();
    activate(&world.state(), &format!("{origin}/"), &typed).await.unwrap();
    assert_eq!(PhoneState::load_some(&world.state()).unwrap().accounts[0].origin, origin);
    for (answer, wanted) in [
        (Decision::Verify, Verdict::accept()),
        (Decision::Deny, Verdict::Reject { reason: Reason::Denied, after_challenge: true }),
        (Decision::DenyReport, Verdict::Reject { reason: Reason::DeniedReported, after_challenge: true }),
    ] {
        world.login().await;
        timeout(PATIENCE, watch(&world.state(), Some(Standing { decision: answer, number: None }), true))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(world.verdict().await, wanted);
    }
}

#[tokio::test]
async fn a_wrong_code_and_a_qr_code_of_another_server_make_no_account() {
    let world = World::new().await;
    let origin = world.origin.clone();
    let wrong = activate(&world.state(), origin.as_str(), "0000-0000-0000").await.unwrap_err();
    assert!(wrong.to_string().contains("ask your administrator for a new one"), "{wrong}");
    let issued = world.issue(&origin).await;
    let (start, _) = issued.qr.split_once("&k=").unwrap();
    let foreign = format!("{start}&k=DOvxvJiAdIqVWIkFt5hDtCunXLF0BV4-JGv4f-ALSm0");
    let fault = activate_qr(&world.state(), &foreign).await.unwrap_err();
    assert!(fault.to_string().contains("not trusted"), "{fault}");
    assert!(PhoneState::load(&world.state()).unwrap().accounts.is_empty());
    // Nothing was used up.
    activate_qr(&world.state(), &issued.qr).await.unwrap();
}

#[tokio::test]
async fn a_second_activation_takes_the_place_of_the_first() {
    let world = activated().await;
    let first = PhoneState::load_some(&world.state()).unwrap().accounts.remove(0);
    let issued = world.issue(&world.origin).await;
    activate_qr(&world.state(), &issued.qr).await.unwrap();
    let accounts = PhoneState::load_some(&world.state()).unwrap().accounts;
    assert_eq!(accounts.len(), 1);
    let row = world.site.desk.store().device(first.device_id.as_str().parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(row.state, DeviceState::Removed);
}

#[tokio::test]
async fn a_removed_device_is_told_so() {
    let world = activated().await;
    let account = PhoneState::load_some(&world.state()).unwrap().accounts.remove(0);
    let id = account.device_id.as_str().parse().unwrap();
    let mut news = world.listening();
    assert!(matches!(next(&mut news).await, News::Online { .. }));
    world.site.write(Write::SetDeviceState { id, from: DeviceState::Active, to: DeviceState::Removed }).await;
    assert!(matches!(next(&mut news).await, News::Gone(trouble) if trouble.is_final()));
    let fault = timeout(PATIENCE, watch(&world.state(), Some(VERIFY), true)).await.unwrap().unwrap_err();
    assert!(fault.to_string().contains("removed"), "{fault}");
}

#[tokio::test]
async fn the_stream_tells_what_becomes_of_a_login() {
    let world = activated().await;
    let mut news = world.listening();
    assert!(matches!(next(&mut news).await, News::Online { .. }));
    world.login().await;
    let News::Asked(challenge, context) = next(&mut news).await else { panic!("not asked") };
    assert_eq!(context.user, "ada");
    world.login().await;
    let News::Closed(id, state) = next(&mut news).await else { panic!("not closed") };
    assert_eq!((id, state), (challenge.id, ClosingState::Collision));
}

#[tokio::test]
async fn what_the_pinned_server_did_not_make_is_neither_shown_nor_signed() {
    let world = activated().await;
    let mut news = world.listening();
    next(&mut news).await;
    world.login().await;
    let News::Asked(challenge, _) = next(&mut news).await else { panic!("not asked") };
    drop(news);

    // Somebody in the middle who can change what is said, at another address that this phone is made to believe in.
    let changed =
        Challenge { user_verification: countersign_domain::UserVerification::Preferred, ..*challenge.clone() };
    let foreign = Challenge { key: countersign_device_protocol::keys::Thumbprint::new([0; 32]), ..*challenge };
    let stream: String =
        [changed, foreign].into_iter().map(|c| Event::Challenge(Box::new(c)).encode().unwrap()).collect();
    let info = Line::new(world.origin.clone(), 0).unwrap().server(None).await.unwrap();
    let info = serde_json::to_string(&info).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let info = info.replace(world.origin.as_str(), &origin);
    let app = Router::new()
        .route("/device/v1/server", routing::get(async move || info.clone()))
        .route("/device/v1/events", routing::get(async move || stream.clone()));
    tokio::spawn(async move { axum::serve(listener, app).await });
    PhoneState::update(&world.state(), |state| state.accounts[0].origin = Origin::parse(&origin).unwrap()).unwrap();

    let mut news = world.listening();
    assert!(matches!(next(&mut news).await, News::Online { .. }));
    assert!(matches!(next(&mut news).await, News::Forged(ChallengeError::Signature)));
    assert!(matches!(next(&mut news).await, News::Forged(ChallengeError::Key)));
}

#[tokio::test]
async fn a_server_with_another_key_is_not_trusted() {
    let world = activated().await;
    let other = World::new().await;
    PhoneState::update(&world.state(), |state| state.accounts[0].origin = other.origin.clone()).unwrap();
    let mut news = world.listening();
    assert!(matches!(next(&mut news).await, News::Offline(Trouble::Untrusted(..))));
}

#[tokio::test]
async fn nobody_there_is_said_and_tried_again() {
    let world = activated().await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = Origin::parse(&format!("http://{}", gone.local_addr().unwrap())).unwrap();
    drop(gone);
    PhoneState::update(&world.state(), |state| state.accounts[0].origin = origin).unwrap();
    let mut news = world.listening();
    for _ in 0..2 {
        assert!(matches!(next(&mut news).await, News::Offline(Trouble::Unreachable(..))));
    }
}

/// A resource that asks, and what it asks first.
async fn asked(world: &mut World, methods: Methods) -> Question {
    let new = NewResource {
        name: "portal",
        secret: "a secret of the portal and the server",
        networks: &["127.0.0.2/32"],
        prompt: Some(methods),
        ..NewResource::default()
    };
    world.site.resource(new).await;
    world.ask("portal", None, Credential::None).await;
    match world.verdict().await {
        Verdict::Ask(question) => question,
        other => panic!("not asked: {other:?}"),
    }
}

#[tokio::test]
async fn a_number_is_typed_into_the_phone_and_lets_in_at_the_prompt() {
    let mut world = activated().await;
    let question = asked(&mut world, Methods { code_to_phone: false, typed: true, totp: false }).await;
    let digits: String = question.message.chars().filter(char::is_ascii_digit).collect();
    let number = Some(Number::new(digits).unwrap());
    let standing = Standing { decision: Decision::Verify, number };
    timeout(PATIENCE, watch(&world.state(), Some(standing), true)).await.unwrap().unwrap();
    world.ask("portal", Some(question.state.to_vec()), Credential::None).await;
    assert_eq!(world.verdict().await, Verdict::accept());
}

#[tokio::test]
async fn without_the_number_a_phone_leaves_the_sign_in_alone() {
    let mut world = activated().await;
    asked(&mut world, Methods { code_to_phone: false, typed: true, totp: false }).await;
    let watched = timeout(Duration::from_secs(1), watch(&world.state(), Some(VERIFY), true)).await;
    assert!(watched.is_err(), "it waits for another one");
    assert_eq!(world.site.ends().await, [""; 0]);
}

#[tokio::test]
async fn a_code_is_shown_on_the_phone_and_nobody_is_let_in_by_that() {
    let mut world = activated().await;
    asked(&mut world, Methods { code_to_phone: true, typed: false, totp: false }).await;
    let mut news = world.listening();
    assert!(matches!(next(&mut news).await, News::Online { .. }));
    let News::Asked(challenge, _) = next(&mut news).await else { panic!("not asked") };
    timeout(PATIENCE, watch(&world.state(), Some(VERIFY), true)).await.unwrap().unwrap();
    let id = challenge.id.as_str().parse().unwrap();
    assert!(world.site.desk.has_shown_code(id));
    assert_eq!(world.site.ends().await, [""; 0]);
}
