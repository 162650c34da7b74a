//! `phone watch`: waits for sign-ins and answers them.

use core::time::Duration;
use std::{
    collections::{HashSet, VecDeque},
    io::{self, BufRead as _, IsTerminal as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use aws_lc_rs::rand::SystemRandom;
use countersign_device_protocol::{
    endpoint::Endpoint,
    ids::{ChallengeId, DeviceTime, Number},
    keys::{Signature, SigningKey},
    messages::{
        Challenge, ChallengeState, ClosingState, ContextDocument, Decision, DecisionAnswer, DecisionRequest,
        NumberMode, UserVerificationReached,
    },
    problem::ErrorCode,
};
use countersign_domain::Clock as _;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::{
    accounts::{Account, PhoneState},
    line::{Line, Trouble},
    listen::{News, listen},
    show,
};
use crate::{
    output::{Output, harmless},
    runtime::SystemClock,
};

/// A decision whose answer was lost is sent again so often.
const TRIES: u32 = 6;
/// Challenges that are known again; they come twice when a stream is opened again.
const REMEMBERED: usize = 1000;

/// What is answered without asking anybody.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    /// To every sign-in.
    pub(crate) decision: Decision,
    /// To those that show a number: which it is. Without one they are left alone.
    pub(crate) number: Option<Number>,
}

/// Waits for sign-ins on all accounts and answers them: with `answer`, or as a person says on the terminal. With `once`
/// it ends after the first answer, and fails when that was not taken.
pub(crate) async fn watch(state_file: &Path, answer: Option<Standing>, once: bool) -> Result<()> {
    if answer.is_none() && !io::stdin().is_terminal() {
        bail!("there is no terminal to ask on: say what to answer, `--answer verify`, `deny` or `deny_report`");
    }
    let accounts = PhoneState::load_some(state_file)?.accounts;
    let (sender, mut news) = mpsc::channel(64);
    let mut listeners = JoinSet::new();
    let mut seats = Vec::new();
    for (number, account) in accounts.into_iter().enumerate() {
        let line = Line::new(account.origin.clone(), account.clock_ahead_ms)?;
        listeners.spawn(listen(number, account.clone(), account.key()?, sender.clone()));
        seats.push(Seat { key: account.key()?, line, account, online: None });
    }
    drop(sender);
    let mut typed = answer.is_none().then(lines_typed);
    let mut watch = Watch {
        state_file: state_file.to_owned(),
        output: Output::new(false),
        seats,
        waiting: VecDeque::new(),
        shown: None,
        last: None,
        seen: HashSet::new(),
        answer,
    };
    loop {
        watch.show_next();
        let expires = watch.shown.as_ref().map(|shown| shown.expires);
        let ended = tokio::select! {
            told = news.recv() => match told {
                Some((number, told)) => watch.hear(number, told).await?,
                // All devices have been cut off; each has said so.
                None => bail!("no account is left to watch"),
            },
            line = next_line(&mut typed) => match line {
                Some(line) => watch.typed(line.trim()).await?,
                None => bail!("the terminal is gone"),
            },
            () = at(expires) => {
                watch.expire();
                None
            }
        };
        match ended {
            Some(Ended::Taken) if once => return Ok(()),
            Some(Ended::TooLate(state)) if once => bail!("the answer came too late: {}", show::ending(state)),
            _ => {}
        }
    }
}

/// Reads lines in a thread of their own: reading from a terminal cannot be awaited.
fn lines_typed() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn next_line(typed: &mut Option<mpsc::Receiver<String>>) -> Option<String> {
    match typed {
        Some(typed) => typed.recv().await,
        None => std::future::pending().await,
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// An account that is watched.
struct Seat {
    account: Account,
    key: SigningKey,
    line: Line,
    /// Whether the stream is open; unknown at first.
    online: Option<bool>,
}

/// A sign-in that a person may answer.
struct Request {
    seat: usize,
    challenge: Challenge,
    context: ContextDocument,
    expires: Instant,
    /// Verify was said, and the number is to be typed.
    number_wanted: bool,
    /// Its code was shown, and nobody has typed that yet.
    code_shown: bool,
}

/// What came of an answer.
enum Ended {
    Taken,
    TooLate(ClosingState),
}

struct Watch {
    state_file: PathBuf,
    output: Output,
    seats: Vec<Seat>,
    waiting: VecDeque<Request>,
    shown: Option<Request>,
    /// The newest that has ended: "it wasn't me" can still be said of it.
    last: Option<Request>,
    seen: HashSet<ChallengeId>,
    answer: Option<Standing>,
}

impl Watch {
    fn say(&self, seat: usize, text: &str) {
        let name = self.seats.get(seat).map(|seat| seat.account.name()).unwrap_or_default();
        self.output.line(&format!("{name}: {text}"));
    }

    fn warn(&self, seat: usize, text: &str) {
        let name = self.seats.get(seat).map(|seat| seat.account.name()).unwrap_or_default();
        self.output.aside(&format!("{name}: {text}"));
    }

    async fn hear(&mut self, number: usize, news: News) -> Result<Option<Ended>> {
        match news {
            News::Online { ahead_ms, signing_key } => {
                if let Some(seat) = self.seats.get_mut(number) {
                    seat.account.signing_key = *signing_key;
                    seat.account.clock_ahead_ms = ahead_ms;
                    seat.line.ahead = jiff::SignedDuration::from_millis(ahead_ms);
                    let newly = seat.online.replace(true) != Some(true);
                    keep(&self.state_file, &seat.account)?;
                    if newly {
                        let how = if self.answer.is_some() {
                            "waiting for sign-ins."
                        } else {
                            "waiting for sign-ins. Ctrl-C ends."
                        };
                        self.say(number, how);
                    }
                }
            }
            News::Offline(trouble) => {
                if let Some(seat) = self.seats.get_mut(number)
                    && seat.online.replace(false) != Some(false)
                {
                    self.warn(number, &format!("{trouble}. Trying again until it works."));
                }
            }
            News::Forged(fault) => {
                self.warn(
                    number,
                    &format!("WARNING: a sign-in request came that your server did not make for this phone ({fault})."),
                );
                self.warn(number, "Nothing of it is shown, and nothing was signed. Tell your administrator.");
            }
            News::Gone(trouble) if self.seats.len() == 1 => bail!("{trouble}"),
            News::Gone(trouble) => self.warn(number, &format!("{trouble}. It is no longer watched.")),
            News::Asked(challenge, context) => return self.asked(number, *challenge, *context).await,
            News::Closed(id, state) => self.closed(&id, state),
        }
        Ok(None)
    }

    async fn asked(&mut self, number: usize, challenge: Challenge, context: ContextDocument) -> Result<Option<Ended>> {
        if self.seen.len() >= REMEMBERED {
            self.seen.clear();
        }
        let Some(seat) = self.seats.get(number) else { return Ok(None) };
        if !self.seen.insert(challenge.id.clone()) {
            return Ok(None);
        }
        let left = context.expires_at.duration_since(seat.line.now());
        let Ok(left) = Duration::try_from(left) else { return Ok(None) };
        let request = Request {
            seat: number,
            challenge,
            context,
            expires: Instant::now() + left,
            number_wanted: false,
            code_shown: false,
        };
        let Some(Standing { decision, number: given }) = self.answer.clone() else {
            self.waiting.push_back(request);
            return Ok(None);
        };
        self.print(&request);
        let typed = request.challenge.number_mode == NumberMode::Typed && decision == Decision::Verify;
        let beyond = show::beyond_us(request.challenge.user_verification)
            .or((typed && given.is_none()).then_some("it asks for a number that somebody must type: --number"));
        if let (Decision::Verify, Some(why)) = (decision, beyond) {
            self.warn(number, why);
            return Ok(None);
        }
        self.decide(request, decision, given.filter(|_| typed)).await
    }

    fn closed(&mut self, id: &ChallengeId, state: ClosingState) {
        self.waiting.retain(|request| request.challenge.id != *id);
        if let Some(request) = self.shown.take_if(|shown| shown.challenge.id == *id) {
            self.output.line("");
            self.say(request.seat, show::ending(state));
            if state != ClosingState::Superseded {
                self.offer_report(request);
            }
        }
        if let Some(last) = self.last.as_mut().filter(|last| last.challenge.id == *id && last.code_shown) {
            last.code_shown = false;
            let seat = last.seat;
            self.say(seat, show::ending(state));
        }
    }

    fn expire(&mut self) {
        if let Some(request) = self.shown.take() {
            self.output.line("");
            self.say(request.seat, show::ending(ClosingState::Expired));
            self.offer_report(request);
        }
    }

    fn offer_report(&mut self, request: Request) {
        if self.answer.is_none() {
            self.output.line("If that was not you: r and Enter reports it, for ten minutes.");
            self.last = Some(request);
        }
    }

    fn show_next(&mut self) {
        if self.shown.is_some() {
            return;
        }
        let Some(request) = self.waiting.pop_front() else { return };
        self.print(&request);
        if let Some(why) = show::beyond_us(request.challenge.user_verification) {
            self.warn(request.seat, why);
        }
        self.ask(&request);
        self.shown = Some(request);
    }

    fn print(&self, request: &Request) {
        let Some(seat) = self.seats.get(request.seat) else { return };
        for line in show::request(&seat.account, &request.context, seat.line.now()) {
            self.output.line(&line);
        }
    }

    fn ask(&self, request: &Request) {
        let question = show::question(&request.context, request.challenge.number_mode);
        self.output.drawing(&harmless(question));
    }

    async fn typed(&mut self, text: &str) -> Result<Option<Ended>> {
        let Some(mut request) = self.shown.take() else {
            let decision = if is(text, "r", "report") { Decision::DenyReport } else { Decision::Deny };
            if decision == Decision::Deny && !is(text, "d", "deny") {
                return Ok(None);
            }
            let Some(request) = self.last.take_if(|last| decision == Decision::DenyReport || last.code_shown) else {
                self.output.line("There is nothing to deny or report.");
                return Ok(None);
            };
            return self.decide(request, decision, None).await;
        };
        if request.number_wanted {
            if let Ok(number) = Number::new(text) {
                return self.decide(request, Decision::Verify, Some(number)).await;
            }
            request.number_wanted = false;
        } else if is(text, "v", "verify") {
            if show::beyond_us(request.challenge.user_verification).is_none() {
                if request.challenge.number_mode != NumberMode::Typed {
                    return self.decide(request, Decision::Verify, None).await;
                }
                request.number_wanted = true;
                self.output.drawing("  the number that the sign-in shows: ");
                self.shown = Some(request);
                return Ok(None);
            }
        } else if is(text, "d", "deny") {
            return self.decide(request, Decision::Deny, None).await;
        } else if is(text, "r", "report") {
            return self.decide(request, Decision::DenyReport, None).await;
        }
        self.ask(&request);
        self.shown = Some(request);
        Ok(None)
    }

    /// Signs and sends a decision, and shows what came of it.
    async fn decide(&mut self, request: Request, decision: Decision, number: Option<Number>) -> Result<Option<Ended>> {
        let Some(seat) = self.seats.get_mut(request.seat) else { return Ok(None) };
        let body = seat.sign(&request, decision, number)?;
        let answer = seat.hand_in(&request.challenge.id, body).await;
        match answer {
            Ok(DecisionAnswer::Closed(state)) => {
                self.taken(&request, decision, state);
                if state == ClosingState::Approved && decision == Decision::Verify {
                    self.last = Some(request);
                }
                Ok(Some(Ended::Taken))
            }
            Ok(DecisionAnswer::CodeShown(code)) => {
                self.output.line(&format!("Type this code where you sign in: {}", code.expose()));
                if self.answer.is_none() {
                    self.output
                        .line("Tell it nobody. Was it not you? d and Enter denies, r and Enter denies and reports.");
                }
                self.last = Some(Request { code_shown: true, ..request });
                Ok(Some(Ended::Taken))
            }
            Err(trouble) => {
                let closing = match &trouble {
                    Trouble::Refused(problem, _) if trouble.code() == Some(ErrorCode::ChallengeClosed) => {
                        problem.state.and_then(ChallengeState::closing)
                    }
                    _ => None,
                };
                let Some(state) = closing else {
                    if self.answer.is_some() || trouble.is_final() {
                        return Err(trouble).context("the answer was not taken");
                    }
                    self.warn(request.seat, &format!("{trouble}"));
                    return Ok(None);
                };
                self.say(request.seat, &format!("Too late. {}", show::ending(state)));
                self.offer_report(request);
                Ok(Some(Ended::TooLate(state)))
            }
        }
    }

    fn taken(&self, request: &Request, decision: Decision, state: ClosingState) {
        let what = format!("{} to {}", request.context.user, request.context.application.name);
        let text = match (decision, state) {
            (Decision::Verify, ClosingState::Approved) => format!("Verified: the sign-in of {what} goes on."),
            (Decision::Deny, ClosingState::Denied) => format!("Denied: the sign-in of {what} was turned away."),
            (Decision::DenyReport, ClosingState::Denied) => format!(
                "Denied and reported: the sign-in of {what} was turned away; your administrator is told, and no further \
                 requests come until somebody has looked at it."
            ),
            (Decision::DenyReport, state) => format!(
                "Reported: your administrator is told, and no further requests come until somebody has looked at it. The \
                 sign-in had ended before ({state})."
            ),
            (_, state) => show::ending(state).to_owned(),
        };
        self.say(request.seat, &text);
    }
}

impl Seat {
    fn sign(&self, request: &Request, decision: Decision, number: Option<Number>) -> Result<Vec<u8>> {
        let unsigned = DecisionRequest {
            decision,
            number,
            user_verification: UserVerificationReached::None,
            device_time: DeviceTime::from(SystemClock.now().to_jiff()),
            assertion: None,
            signature: Signature::new([0; 64]),
        };
        let subject = request.challenge.subject(self.account.party(), &request.context.application.id);
        let octets = unsigned.signed(subject, request.challenge.number_mode).octets();
        let signature = self.key.sign(&octets, &SystemRandom::new()).context("the decision cannot be signed")?;
        Ok(serde_json::to_vec(&DecisionRequest { signature, ..unsigned })?)
    }

    /// Sends a decision; after a lost answer the same again, which changes nothing.
    async fn hand_in(&mut self, id: &ChallengeId, body: Vec<u8>) -> Result<DecisionAnswer, Trouble> {
        let mut wait = Duration::from_millis(250);
        for _ in 1..TRIES {
            match self.hand_in_once(id, body.clone()).await {
                Err(Trouble::Unreachable(..)) => {}
                Err(trouble) if trouble.code() == Some(ErrorCode::Unavailable) => {}
                answer => return answer,
            }
            sleep(wait).await;
            wait = wait.saturating_mul(2);
        }
        self.hand_in_once(id, body).await
    }

    async fn hand_in_once(&mut self, id: &ChallengeId, body: Vec<u8>) -> Result<DecisionAnswer, Trouble> {
        let response = self.line.send(&self.key, Endpoint::Decide(id), body).await?;
        self.line.json(response).await
    }
}

/// Writes down what was learnt of a server, if it is worth it.
fn keep(state_file: &Path, account: &Account) -> Result<()> {
    let same = |kept: &Account| kept.device_id == account.device_id && kept.deployment_id == account.deployment_id;
    let known = PhoneState::load(state_file)?.accounts.into_iter().find(same);
    let news = known.is_some_and(|known| {
        known.signing_key != account.signing_key || known.clock_ahead_ms.abs_diff(account.clock_ahead_ms) > 500
    });
    if !news {
        return Ok(());
    }
    PhoneState::update(state_file, |state| {
        for kept in state.accounts.iter_mut().filter(|kept| same(kept)) {
            kept.signing_key = account.signing_key.clone();
            kept.clock_ahead_ms = account.clock_ahead_ms;
        }
    })
}

fn is(text: &str, short: &str, long: &str) -> bool {
    text.eq_ignore_ascii_case(short) || text.eq_ignore_ascii_case(long)
}
