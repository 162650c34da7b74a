//! `resource add --template`: settings that go together for one kind of client. Nothing of it is kept but the settings.

use clap::ValueEnum;
use serde_json::{Map, Value, json};

/// A kind of client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Template {
    /// An RD Gateway, or its NPS, asks this server and nobody else
    RdGateway,
    /// The NPS of an RD Gateway asks this server, which asks that NPS (--upstream) for the policies
    RdGatewayNps,
    /// A VPN that can show a prompt
    Vpn,
    /// A VPN that cannot show a prompt
    VpnNoPrompt,
    /// An xrdp host, by PAM and RADIUS
    Xrdp,
}

impl Template {
    /// Its settings, by the names of the admin API.
    fn settings(self) -> Map<String, Value> {
        let settings = match self {
            Self::RdGateway => {
                json!({"primary": "none", "answer_by": 45, "user_verification": "preferred", "windows": true})
            }
            Self::RdGatewayNps => json!({
                "primary": "radius", "expects": "nothing", "answer_by": 45, "user_verification": "preferred", "windows": true
            }),
            Self::Vpn => json!({"prompt": ["code-to-phone", "totp"]}),
            Self::VpnNoPrompt => json!({"answer_by": 30}),
            Self::Xrdp => json!({"answer_by": 50}),
        };
        if let Value::Object(settings) = settings { settings } else { Map::new() }
    }

    /// Fills in what was not said.
    pub(crate) fn fill(self, body: &mut Value) {
        let Some(body) = body.as_object_mut() else { return };
        for (name, value) in self.settings() {
            if body.get(&name).is_none_or(Value::is_null) {
                body.insert(name, value);
            }
        }
    }

    /// What is to be done now, in plain words.
    pub(crate) const fn next_steps(self) -> &'static [&'static str] {
        match self {
            Self::RdGateway => &[
                "RD Gateway Manager, Properties, RD CAP Store: Central server running NPS, this server and the secret.",
                "NPS, Remote RADIUS Server Groups, TS GATEWAY SERVER GROUP, this server: in Authentication/Accounting tick \
                 \"Request must contain the message authenticator attribute\"; in Load Balancing set both numbers of seconds to 60.",
                "Who may come in is said here: --directory with --allow-group takes the place of the connection policy.",
                "Guide: docs/guide/rd-gateway.md. `countersign doctor` says whether the gateway waits for long enough.",
            ],
            Self::RdGatewayNps => &[
                "NPS, Remote RADIUS Server Groups, TS GATEWAY SERVER GROUP, this server: in Authentication/Accounting tick \
                 \"Request must contain the message authenticator attribute\"; in Load Balancing set both numbers of seconds to 60.",
                "NPS, RADIUS Clients: this server, with the secret of the upstream.",
                "NPS, Connection Request Policies: a copy of TS GATEWAY AUTHORIZATION POLICY for this client that authenticates \
                 on this server, above the original. Without it requests go round in a circle.",
                "Guide: docs/guide/rd-gateway.md. `countersign doctor` says what is missing.",
            ],
            Self::Vpn => &[
                "Set the VPN to RADIUS with PAP, and let it show the prompt (Access-Challenge).",
                "Guide: docs/guide/vpn.md. `countersign radius-login USER` shows what a user is asked.",
            ],
            Self::VpnNoPrompt => &[
                "Set the time-out of the VPN to more than 30 seconds, with one retry.",
                "Guide: docs/guide/vpn.md. `countersign doctor` says whether the VPN waits for long enough.",
            ],
            Self::Xrdp => &[
                "Set the timeout of pam_radius_auth to 60 seconds, for this server once.",
                "Guide: docs/guide/xrdp.md. `countersign doctor` says whether the host waits for long enough.",
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_stays_and_the_rest_is_filled_in() {
        let mut body =
            json!({"name": "gw", "primary": null, "answer_by": 30, "windows": null, "user_verification": "off"});
        Template::RdGateway.fill(&mut body);
        let filled =
            json!({"name": "gw", "primary": "none", "answer_by": 30, "windows": true, "user_verification": "off"});
        assert_eq!(body, filled);
        for template in Template::value_variants() {
            assert!(
                !template.settings().is_empty() && template.next_steps().iter().any(|step| step.starts_with("Guide: "))
            );
        }
    }
}
