//! The socket: who is at the other end.

use std::sync::Arc;

use axum::{extract::connect_info::Connected, serve::IncomingStream};
use tokio::net::UnixListener;

use super::{Actor, AdminApi, router};

/// The process at the other end, as the system vouches for it (`SO_PEERCRED`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its user, unless the system did not say.
    pub uid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self { uid: stream.io().peer_cred().ok().map(|credentials| credentials.uid()) }
    }
}

impl Peer {
    /// As the audit names it.
    pub fn actor(self) -> Actor {
        let Some(uid) = self.uid else { return Actor("uid:unknown".to_owned()) };
        let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        Actor(match account_name(&accounts, uid) {
            Some(name) => format!("uid:{uid} ({})", countersign_domain::HostileText::from(name)),
            None => format!("uid:{uid}"),
        })
    }
}

/// The name of an account in the form of passwd(5).
fn account_name(accounts: &str, uid: u32) -> Option<&str> {
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

/// Serves the API on `listener` until `stop` is ready; requests under way are finished.
///
/// # Errors
/// None today; the signature is that of the server below.
pub async fn serve(
    listener: UnixListener,
    api: Arc<AdminApi>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router(api).into_make_service_with_connect_info::<Peer>()).with_graceful_shutdown(stop).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_named_by_its_number() {
        let accounts = "root:x:0:0:root:/root:/bin/bash\nbroken\nops:x:1000:1000::/home/ops:/bin/sh\n";
        assert_eq!(account_name(accounts, 0), Some("root"));
        assert_eq!(account_name(accounts, 1000), Some("ops"));
        assert_eq!(account_name(accounts, 7), None);
    }
}
