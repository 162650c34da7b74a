//! How long from a decision on the phone to the Access-Accept on the wire.
//!
//! `decisions --countersign BIN --data DIR --radius ADDR --secret TEXT --users 200`, against a running server with a
//! resource of primary `none` for the address that this program sends from. Each user is added, activates a device,
//! logs on once and verifies; the time runs from just before the decision is sent to the moment the Accept is here.

use std::{net::SocketAddr, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context as _, bail};
use clap::Parser;
use countersign_device_protocol::{
    code::ActivationCode,
    messages::{ActivationAnswer, Challenges, Decision},
    origin::Origin,
};
use countersign_radius::Code;
use countersign_testkit::{Ask, Nas, SoftPhone};
use reqwest::{Client, Method, Response, StatusCode};

#[derive(Parser)]
struct Args {
    /// The program
    #[arg(long)]
    countersign: PathBuf,
    /// Its data directory
    #[arg(long)]
    data: PathBuf,
    /// Its RADIUS address
    #[arg(long)]
    radius: SocketAddr,
    /// The shared secret
    #[arg(long)]
    secret: String,
    /// Users, and so logins
    #[arg(long, default_value_t = 200)]
    users: usize,
}

impl Args {
    fn run(&self, words: &[&str]) -> anyhow::Result<serde_json::Value> {
        let out = Command::new(&self.countersign).arg("--data").arg(&self.data).arg("--json").args(words).output()?;
        if !out.status.success() {
            bail!("{words:?}: {}", String::from_utf8_lossy(&out.stderr));
        }
        Ok(serde_json::from_slice(&out.stdout)?)
    }
}

struct Phone {
    soft: SoftPhone,
    origin: Origin,
    http: Client,
    nonce: Option<String>,
}

impl Phone {
    async fn send(&mut self, method: Method, path: &str, body: Vec<u8>) -> anyhow::Result<Response> {
        for _ in 0..2 {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
            let path = format!("/device/v1/{path}");
            let proof = self.soft.proof(
                &self.origin,
                method.as_str(),
                &path,
                &body,
                i64::try_from(now)?,
                self.nonce.as_deref(),
            );
            let request = self.http.request(method.clone(), format!("{}{path}", self.origin.as_str()));
            let request = request.header("DPoP", proof).header("Content-Type", "application/json");
            let answer = request.body(body.clone()).send().await?;
            if let Some(nonce) = answer.headers().get("DPoP-Nonce") {
                self.nonce = Some(nonce.to_str()?.to_owned());
            }
            if answer.status() != StatusCode::UNAUTHORIZED {
                return Ok(answer);
            }
        }
        bail!("the server wants no nonce that it gives")
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    // Another seed each time: authenticators that were used before are taken for replays.
    let mut nas = Nas::new(args.radius, &args.secret, u64::from(std::process::id())).await;
    let mut times = Vec::new();
    for number in 0..args.users {
        let name = format!("decides{number}-{}", std::process::id());
        args.run(&["user", "add", &name, "--no-password"])?;
        let issued = args.run(&["activation", "issue", &name])?;
        let text = |member: &str| issued.get(member).and_then(|text| text.as_str()).context("an activation");
        let mut soft = SoftPhone::new();
        let body = soft.activation_by_code(&ActivationCode::parse(text("code")?)?);
        let origin = Origin::parse(text("url")?)?;
        let mut phone = Phone { soft: SoftPhone::new(), origin, http: Client::new(), nonce: None };
        std::mem::swap(&mut soft, &mut phone.soft);
        let answer = phone.send(Method::POST, "activations", body).await?.bytes().await?;
        phone.soft.account = Some(serde_json::from_slice::<ActivationAnswer>(&answer)?);
        let packet = nas.pack(&Ask::login(&name));
        nas.send(&packet).await;
        let challenge = loop {
            let answer = phone.send(Method::GET, "challenges", Vec::new()).await?.bytes().await?;
            let mut asked = serde_json::from_slice::<Challenges>(&answer)
                .with_context(|| String::from_utf8_lossy(&answer).into_owned())?;
            if let Some(challenge) = asked.challenges.pop() {
                break challenge;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let decision = phone.soft.decide(&challenge, Decision::Verify);
        let body = serde_json::to_vec(&decision)?;
        let path = format!("challenges/{}/decision", challenge.id.as_str());
        let decided = packet.made.elapsed();
        let (sent, reply) =
            tokio::join!(phone.send(Method::POST, &path, body), nas.reply(&packet, Duration::from_secs(10)));
        // `reply` ends when the Accept is here; the answer to the phone may come before or after.
        let arrived = reply.map(|reply| (reply.code(), reply.after.saturating_sub(decided)));
        match (sent?.status(), arrived) {
            (StatusCode::OK, Some((Code::AccessAccept, waited))) => times.push(waited),
            other => bail!("no Accept: {other:?}"),
        }
    }
    times.sort_unstable();
    let at = |part: usize| times.get((times.len() * part / 100).min(times.len() - 1)).copied().unwrap_or_default();
    println!(
        "decision to Access-Accept, {} logins: median {:?}, p99 {:?}, max {:?}",
        times.len(),
        at(50),
        at(99),
        at(100)
    );
    let ms = |part| at(part).as_secs_f64() * 1000.0;
    println!("{}", serde_json::json!({ "logins": times.len(), "p50_ms": ms(50), "p99_ms": ms(99), "max_ms": ms(100) }));
    Ok(())
}
