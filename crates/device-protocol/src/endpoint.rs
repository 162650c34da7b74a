//! The requests of version 1: method and path.

use crate::ids::{ChallengeId, WindowId};
use crate::origin::Origin;

/// The path that all endpoints lie under.
pub const BASE_PATH: &str = "/device/v1";

/// One kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint<'a> {
    /// `GET server`, the only one without a proof.
    Server,
    /// `POST activations`.
    Activate,
    /// `GET challenges`.
    Challenges,
    /// `GET challenges/{id}`.
    Challenge(&'a ChallengeId),
    /// `POST challenges/{id}/decision`.
    Decide(&'a ChallengeId),
    /// `GET events`.
    Events,
    /// `PUT push`.
    SetPush,
    /// `PATCH device`.
    RenameDevice,
    /// `DELETE device`.
    RemoveDevice,
    /// `POST webauthn/registrations`.
    BeginRegistration,
    /// `PUT webauthn/credential`.
    SetCredential,
    /// `DELETE webauthn/credential`.
    RemoveCredential,
    /// `GET history`.
    History,
    /// `GET applications`.
    Applications,
    /// `POST windows`.
    OpenWindow,
    /// `GET windows/{id}`.
    Window(&'a WindowId),
}

impl Endpoint<'_> {
    /// The HTTP method, the `htm` of the proof.
    pub const fn method(&self) -> &'static str {
        match self {
            Self::Server
            | Self::Challenges
            | Self::Challenge(_)
            | Self::Events
            | Self::History
            | Self::Applications
            | Self::Window(_) => "GET",
            Self::Activate | Self::Decide(_) | Self::BeginRegistration | Self::OpenWindow => "POST",
            Self::SetPush | Self::SetCredential => "PUT",
            Self::RenameDevice => "PATCH",
            Self::RemoveDevice | Self::RemoveCredential => "DELETE",
        }
    }

    /// The path, beginning with a slash.
    pub fn path(&self) -> String {
        match self {
            Self::Server => format!("{BASE_PATH}/server"),
            Self::Activate => format!("{BASE_PATH}/activations"),
            Self::Challenges => format!("{BASE_PATH}/challenges"),
            Self::Challenge(id) => format!("{BASE_PATH}/challenges/{id}"),
            Self::Decide(id) => format!("{BASE_PATH}/challenges/{id}/decision"),
            Self::Events => format!("{BASE_PATH}/events"),
            Self::SetPush => format!("{BASE_PATH}/push"),
            Self::RenameDevice | Self::RemoveDevice => format!("{BASE_PATH}/device"),
            Self::BeginRegistration => format!("{BASE_PATH}/webauthn/registrations"),
            Self::SetCredential | Self::RemoveCredential => format!("{BASE_PATH}/webauthn/credential"),
            Self::History => format!("{BASE_PATH}/history"),
            Self::Applications => format!("{BASE_PATH}/applications"),
            Self::OpenWindow => format!("{BASE_PATH}/windows"),
            Self::Window(id) => format!("{BASE_PATH}/windows/{id}"),
        }
    }

    /// The URL, which is also the `htu` of the proof.
    pub fn url(&self, origin: &Origin) -> String {
        origin.htu(&self.path())
    }

    /// Whether the request carries a proof.
    pub const fn needs_proof(&self) -> bool {
        !matches!(self, Self::Server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_those_of_the_page() {
        let origin = Origin::parse("https://mfa.example.com").unwrap();
        let id = ChallengeId::new("abc").unwrap();
        for (endpoint, method, url) in [
            (Endpoint::Server, "GET", "https://mfa.example.com/device/v1/server"),
            (Endpoint::Activate, "POST", "https://mfa.example.com/device/v1/activations"),
            (Endpoint::Challenges, "GET", "https://mfa.example.com/device/v1/challenges"),
            (Endpoint::Challenge(&id), "GET", "https://mfa.example.com/device/v1/challenges/abc"),
            (Endpoint::Decide(&id), "POST", "https://mfa.example.com/device/v1/challenges/abc/decision"),
            (Endpoint::Events, "GET", "https://mfa.example.com/device/v1/events"),
            (Endpoint::SetPush, "PUT", "https://mfa.example.com/device/v1/push"),
            (Endpoint::RenameDevice, "PATCH", "https://mfa.example.com/device/v1/device"),
            (Endpoint::RemoveDevice, "DELETE", "https://mfa.example.com/device/v1/device"),
            (Endpoint::BeginRegistration, "POST", "https://mfa.example.com/device/v1/webauthn/registrations"),
            (Endpoint::SetCredential, "PUT", "https://mfa.example.com/device/v1/webauthn/credential"),
            (Endpoint::RemoveCredential, "DELETE", "https://mfa.example.com/device/v1/webauthn/credential"),
            (Endpoint::History, "GET", "https://mfa.example.com/device/v1/history"),
            (Endpoint::Applications, "GET", "https://mfa.example.com/device/v1/applications"),
            (Endpoint::OpenWindow, "POST", "https://mfa.example.com/device/v1/windows"),
        ] {
            assert_eq!((endpoint.method(), endpoint.url(&origin).as_str()), (method, url));
            assert_eq!(endpoint.needs_proof(), endpoint != Endpoint::Server);
        }
    }
}
