//! RADIUS clients on the command line.

use core::time::Duration;

use clap::{ArgGroup, Args, Subcommand, builder::NonEmptyStringValueParser};

#[derive(Subcommand)]
pub(crate) enum ClientCommand {
    /// Add a further client of a resource
    Add(AddClient),
    /// List all clients
    List,
    /// Show one client; its secret is never shown
    Show(ClientName),
    /// Change a client; what is not named stays as it is
    Set(SetClient),
    /// Remove a client; its resource stays
    Remove(ClientName),
}

#[derive(Args)]
pub(crate) struct ClientName {
    /// Name of the client
    #[arg(value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) name: String,
}

#[derive(Args)]
#[command(group = ArgGroup::new("secret").required(true).args([
    "secret_stdin", "generate_secret", "tls_fingerprint", "tls_name",
]))]
pub(crate) struct AddClient {
    #[command(flatten)]
    pub(crate) client: ClientName,
    /// Address or network that its RADIUS packets come from; may be given several times. Of a client that speaks TLS, none
    /// means anywhere
    #[arg(long = "address", value_name = "ADDR[/PREFIX]", required_unless_present_any = ["tls_fingerprint", "tls_name"])]
    pub(crate) addresses: Vec<String>,
    /// Speak RADIUS over TLS with it, never UDP, and know it by its certificate's SHA-256, in hexadecimal
    #[arg(long, value_name = "HEX")]
    pub(crate) tls_fingerprint: Option<String>,
    /// The same, and know it by a DNS name in its certificate, which is from the CA of [radius.tls]
    #[arg(long, value_name = "DNS")]
    pub(crate) tls_name: Option<String>,
    /// What its logins are for, where no rule says otherwise
    #[arg(long, value_name = "NAME")]
    pub(crate) resource: String,
    /// Requests that are for another resource, as 'NAS-Identifier = vpn1 -> vpn'; may be given several times, the first
    /// that fits counts
    #[arg(long = "match", value_name = "RULE")]
    pub(crate) rules: Vec<String>,
    /// Read the shared secret from standard input; one newline at its end is not part of it
    #[arg(long)]
    pub(crate) secret_stdin: bool,
    /// Make a shared secret of 32 characters and show it, once
    #[arg(long)]
    pub(crate) generate_secret: bool,
    /// Take packets without Message-Authenticator: only for clients that cannot send it, on a trusted network
    #[arg(long, conflicts_with_all = ["tls_fingerprint", "tls_name"])]
    pub(crate) no_require_message_authenticator: bool,
}

#[derive(Args)]
#[command(group = ArgGroup::new("secret").args([
    "secret_stdin", "generate_secret", "new_secret", "end_overlap", "tls_fingerprint", "tls_name",
]))]
#[command(group = ArgGroup::new("change").multiple(true).required(true).args([
    "rename", "addresses", "tls_fingerprint", "tls_name", "resource", "rules", "no_match", "secret_stdin", "generate_secret",
    "new_secret", "end_overlap", "require_message_authenticator", "no_require_message_authenticator",
]))]
pub(crate) struct SetClient {
    #[command(flatten)]
    pub(crate) client: ClientName,
    /// Another name
    #[arg(long, value_name = "NEW")]
    pub(crate) rename: Option<String>,
    /// Address or network that its RADIUS packets come from, instead of all before; may be given several times
    #[arg(long = "address", value_name = "ADDR[/PREFIX]")]
    pub(crate) addresses: Vec<String>,
    /// Another certificate's SHA-256, of a client that speaks TLS
    #[arg(long, value_name = "HEX")]
    pub(crate) tls_fingerprint: Option<String>,
    /// Another DNS name in its certificate, of a client that speaks TLS
    #[arg(long, value_name = "DNS")]
    pub(crate) tls_name: Option<String>,
    /// What its logins are for, where no rule says otherwise
    #[arg(long, value_name = "NAME")]
    pub(crate) resource: Option<String>,
    /// Requests that are for another resource, instead of all before, as 'NAS-Identifier = vpn1 -> vpn'; may be given
    /// several times, the first that fits counts
    #[arg(long = "match", value_name = "RULE")]
    pub(crate) rules: Vec<String>,
    /// All requests are for its own resource
    #[arg(long, conflicts_with = "rules")]
    pub(crate) no_match: bool,
    /// Read a new shared secret from standard input; one newline at its end is not part of it
    #[arg(long)]
    pub(crate) secret_stdin: bool,
    /// Make a new shared secret and show it, once; the one before is worth nothing at once
    #[arg(long)]
    pub(crate) generate_secret: bool,
    /// The same, and the one before is valid as well for the time of --overlap, 7 days unless it says another
    #[arg(long)]
    pub(crate) new_secret: bool,
    /// How long the secret before is valid beside the new one: 7d at most, 12h, 30m
    #[arg(long, value_name = "TIME", value_parser = overlap, conflicts_with_all = ["generate_secret", "end_overlap"])]
    pub(crate) overlap: Option<Duration>,
    /// The client uses its new secret: the one before is worth nothing from now on
    #[arg(long)]
    pub(crate) end_overlap: bool,
    /// Drop packets without Message-Authenticator
    #[arg(long, conflicts_with = "no_require_message_authenticator")]
    pub(crate) require_message_authenticator: bool,
    /// Take packets without Message-Authenticator
    #[arg(long)]
    pub(crate) no_require_message_authenticator: bool,
}

/// Reads a time such as `7d`, `12h` or `30m`.
fn overlap(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time: write 7d, 12h or 30m");
    let number = text.strip_suffix(['d', 'h', 'm']).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = match text.as_bytes().last() {
        Some(b'd') => 86_400,
        Some(b'h') => 3600,
        _ => 60,
    };
    Ok(Duration::from_secs(number.checked_mul(seconds).ok_or_else(wrong)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_days_hours_or_minutes() {
        for (text, seconds) in [("7d", 604_800), ("12h", 43_200), ("30m", 1800), ("0m", 0)] {
            assert_eq!(overlap(text), Ok(Duration::from_secs(seconds)));
        }
        for text in ["", "d", "7", "7w", "-1d", "1.5h", "99999999999999999999d", "18446744073709551615d"] {
            assert!(overlap(text).is_err(), "{text}");
        }
    }
}
