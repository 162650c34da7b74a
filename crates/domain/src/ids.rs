use std::{fmt, str::FromStr};

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use uuid::Uuid;

use crate::{Entropy, Timestamp};

/// A text that is no identifier of the wanted kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a {kind} identifier")]
pub struct IdError {
    kind: &'static str,
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// A new identifier: UUID version 7 (RFC 9562 section 5.7) of `now`, so that rows sort by age.
            pub fn new(now: Timestamp, entropy: &dyn Entropy) -> Self {
                Self(uuid_v7(now, entropy))
            }

            /// From the stored UUID.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID to store.
            pub const fn as_uuid(&self) -> &Uuid {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($kind, ":{}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Uuid::try_parse(text).map(Self).map_err(|_| IdError { kind: $kind })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    };
}

fn uuid_v7(now: Timestamp, entropy: &dyn Entropy) -> Uuid {
    let millis = u64::try_from(now.as_micros().div_euclid(1000)).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &entropy.octets::<10>()).into_uuid()
}

uuid_id!(
    /// A user: immutable, whatever the person is called today. Everything about a person is keyed by it.
    UserId, "user"
);
uuid_id!(
    /// A device: a phone with the app, holding a key pair for one account.
    DeviceId, "device"
);
uuid_id!(
    /// What a login is for: a VPN, an RD Gateway, an xrdp host.
    ResourceId, "resource"
);
uuid_id!(
    /// A directory that users come from.
    DirectoryId, "directory"
);
uuid_id!(
    /// RADIUS servers that check the first factor.
    UpstreamId, "upstream"
);
uuid_id!(
    /// A RADIUS client: addresses that share a secret.
    ClientId, "client"
);
uuid_id!(
    /// An activation: the code and token by which one device is added.
    ActivationId, "activation"
);
uuid_id!(
    /// One attempt to log on, from the request to its verdict.
    LoginId, "login"
);

/// A challenge: 128 random bits, 22 base64url characters on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChallengeId([u8; 16]);

impl ChallengeId {
    /// A new identifier that nobody can guess.
    pub fn new(entropy: &dyn Entropy) -> Self {
        Self(entropy.octets())
    }

    /// From the stored octets.
    pub const fn from_octets(octets: [u8; 16]) -> Self {
        Self(octets)
    }

    /// The octets to store.
    pub const fn as_octets(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for ChallengeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

impl fmt::Debug for ChallengeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "challenge:{self}")
    }
}

impl FromStr for ChallengeId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let octets = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| IdError { kind: "challenge" })?;
        octets.try_into().map(Self).map_err(|_| IdError { kind: "challenge" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;
    impl Entropy for Fixed {
        fn fill(&self, out: &mut [u8]) {
            out.fill(0xA5);
        }
    }

    #[test]
    fn ids_are_read_back_and_kinds_are_named_in_errors() {
        let id = UserId::new(Timestamp::from_seconds(1_800_000_000), &Fixed);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.as_uuid().get_version_num(), 7);
        assert_eq!("x".parse::<DeviceId>().unwrap_err().to_string(), "not a device identifier");
        let challenge = ChallengeId::new(&Fixed);
        assert_eq!(challenge.to_string().len(), 22);
        assert_eq!(challenge.to_string().parse(), Ok(challenge));
        assert!("short".parse::<ChallengeId>().is_err());
    }
}
