//! Listening for sign-ins on one account: the stream, opened again for as long as it takes.

use core::time::Duration;

use aws_lc_rs::rand::fill;
use countersign_device_protocol::{
    endpoint::Endpoint,
    events::{Event, EventReader},
    ids::ChallengeId,
    keys::{PublicKey, SigningKey},
    messages::{Challenge, ChallengeError, ClosingState, ContextDocument},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use super::{
    accounts::Account,
    line::{Line, Trouble},
};

/// The first wait after a failure; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// A stream that lived so long was no failure.
const WORKED: Duration = Duration::from_secs(10);

/// What comes of listening.
#[derive(Debug)]
pub(super) enum News {
    /// The stream is open; what the server's clock and key are.
    Online { ahead_ms: i64, signing_key: Box<PublicKey> },
    /// The stream is not; it is tried again.
    Offline(Trouble),
    /// A sign-in waits; everything about it has been verified.
    Asked(Box<Challenge>, Box<ContextDocument>),
    /// Something came that the pinned server did not make.
    Forged(ChallengeError),
    /// A sign-in ended.
    Closed(ChallengeId, ClosingState),
    /// The server has cut this device off.
    Gone(Trouble),
}

/// Listens until the device is cut off or nobody hears the news.
pub(super) async fn listen(number: usize, mut account: Account, key: SigningKey, news: mpsc::Sender<(usize, News)>) {
    let mut wait = FIRST_WAIT;
    let mut line = match Line::new(account.origin.clone(), account.clock_ahead_ms) {
        Ok(line) => line,
        Err(trouble) => {
            let _nobody = news.send((number, News::Gone(trouble))).await;
            return;
        }
    };
    loop {
        let began = Instant::now();
        let heard = stream(&mut line, &mut account, &key, &|told| {
            let news = news.clone();
            async move { news.send((number, told)).await.is_ok() }
        })
        .await;
        let told = match heard {
            Ok(()) => None,
            Err(trouble) if trouble.is_final() => {
                let _nobody = news.send((number, News::Gone(trouble))).await;
                return;
            }
            Err(trouble) => Some(News::Offline(trouble)),
        };
        if began.elapsed() >= WORKED {
            wait = FIRST_WAIT;
        }
        if let Some(told) = told
            && news.send((number, told)).await.is_err()
        {
            return;
        }
        if news.is_closed() {
            return;
        }
        sleep(wait.mul_f64(jitter())).await;
        wait = wait.saturating_mul(2).min(LONGEST_WAIT);
    }
}

/// One stream, from its opening to its end.
async fn stream<F: Future<Output = bool>>(
    line: &mut Line,
    account: &mut Account,
    key: &SigningKey,
    tell: &impl Fn(News) -> F,
) -> Result<(), Trouble> {
    let server = line.server(Some(&account.signing_key.thumbprint())).await?;
    account.signing_key = server.signing_key;
    let mut response = line.send(key, Endpoint::Events, Vec::new()).await?;
    let signing_key = Box::new(account.signing_key.clone());
    if !tell(News::Online { ahead_ms: line.ahead_ms(), signing_key }).await {
        return Ok(());
    }
    let mut reader = EventReader::new();
    while let Some(chunk) = response.chunk().await.map_err(|fault| line.unheard(&fault))? {
        for event in reader.read(&chunk).map_err(|_| Trouble::Stranger(line.origin.clone()))? {
            let told = match event {
                Event::ChallengeClosed(closed) => News::Closed(closed.id, closed.state),
                Event::Challenge(challenge) => open(line, account, challenge).await?,
                // Whoever opened it waits for it.
                Event::WindowClosed(_) => continue,
            };
            if !tell(told).await {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Verifies a challenge. One that names another key is looked at again after the server has shown how it came to that.
async fn open(line: &mut Line, account: &mut Account, challenge: Box<Challenge>) -> Result<News, Trouble> {
    let mut opened = challenge.open(account.party(), &account.signing_key);
    if opened == Err(ChallengeError::Key) {
        let server = line.server(Some(&account.signing_key.thumbprint())).await?;
        account.signing_key = server.signing_key;
        opened = challenge.open(account.party(), &account.signing_key);
    }
    Ok(match opened {
        Ok(context) => News::Asked(challenge, Box::new(context)),
        Err(fault) => News::Forged(fault),
    })
}

/// So that many phones do not come back at the same moment: between a half and the whole.
fn jitter() -> f64 {
    let mut octet = [0];
    let _even = fill(&mut octet);
    0.5 + f64::from(octet[0]) / 512.0
}
