//! The messages of LDAP that a client of our kind sends and gets (RFC 4511 section 4).

use std::fmt;

use countersign_domain::HostileText;
use zeroize::Zeroizing;

use crate::{
    ber::{ENUMERATED, INTEGER, Malformed, OCTET_STRING, Reader, SEQUENCE, SET, Writer},
    filter::Filter,
};

/// Names of the extended operation and the controls.
pub(crate) mod oid {
    pub(crate) const START_TLS: &str = "1.3.6.1.4.1.1466.20037";
    pub(crate) const DISCONNECTION: &str = "1.3.6.1.4.1.1466.20036";
    /// RFC 2696.
    pub(crate) const PAGED_RESULTS: &str = "1.2.840.113556.1.4.319";
    /// Active Directory: deleted objects too.
    pub(crate) const SHOW_DELETED: &str = "1.2.840.113556.1.4.417";
    /// What a password policy has to say about a bind (draft-behera-ldap-password-policy).
    pub(crate) const PASSWORD_POLICY: &str = "1.3.6.1.4.1.42.2.27.8.5.1";
}

/// Result codes that are told apart (RFC 4511 appendix A).
pub(crate) mod code {
    pub(crate) const SUCCESS: u32 = 0;
    pub(crate) const SIZE_LIMIT: u32 = 4;
    pub(crate) const REFERRAL: u32 = 10;
    pub(crate) const CONSTRAINT_VIOLATION: u32 = 19;
    pub(crate) const NO_SUCH_OBJECT: u32 = 32;
    pub(crate) const INVALID_DN: u32 = 34;
    pub(crate) const INAPPROPRIATE_AUTHENTICATION: u32 = 48;
    pub(crate) const INVALID_CREDENTIALS: u32 = 49;
    pub(crate) const INSUFFICIENT_ACCESS: u32 = 50;
    pub(crate) const BUSY: u32 = 51;
    pub(crate) const UNAVAILABLE: u32 = 52;
    pub(crate) const UNWILLING: u32 = 53;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Base,
    Subtree,
}

/// A search.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    pub(crate) base: String,
    pub(crate) scope: Scope,
    pub(crate) filter: Filter,
    pub(crate) attributes: Vec<String>,
    /// How many entries are of use.
    pub(crate) limit: u32,
    /// Page by page, from where the cookie says.
    pub(crate) page: Option<Page>,
    pub(crate) show_deleted: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) size: u32,
    pub(crate) cookie: Vec<u8>,
}

pub(crate) enum Request<'a> {
    Bind { name: &'a str, password: &'a [u8], ask_policy: bool },
    Search(&'a Search),
    StartTls,
    Unbind,
}

impl Request<'_> {
    /// The octets to send; wiped when dropped.
    pub(crate) fn encode(&self, id: u32) -> Zeroizing<Vec<u8>> {
        let mut writer = Writer::with_capacity(match self {
            Self::Bind { name, password, .. } => name.len() + password.len() + 128,
            Self::Search(_) => 1024,
            Self::StartTls | Self::Unbind => 64,
        });
        writer.constructed(SEQUENCE, |w| {
            self.controls(w);
            self.operation(w);
            w.number(INTEGER, id);
        });
        writer.finish()
    }

    fn operation(&self, writer: &mut Writer) {
        match self {
            Self::Bind { name, password, .. } => writer.constructed(0x60, |w| {
                w.octets(0x80, password);
                w.text(name);
                w.number(INTEGER, 3);
            }),
            Self::Search(search) => writer.constructed(0x63, |w| {
                w.constructed(SEQUENCE, |w| search.attributes.iter().rev().for_each(|attribute| w.text(attribute)));
                search.filter.write(w);
                w.boolean(false);
                w.number(INTEGER, 0);
                w.number(INTEGER, search.limit);
                w.number(ENUMERATED, 0);
                w.number(
                    ENUMERATED,
                    match search.scope {
                        Scope::Base => 0,
                        Scope::Subtree => 2,
                    },
                );
                w.text(&search.base);
            }),
            Self::StartTls => writer.constructed(0x77, |w| w.octets(0x80, oid::START_TLS.as_bytes())),
            Self::Unbind => writer.octets(0x42, &[]),
        }
    }

    fn controls(&self, writer: &mut Writer) {
        let control = |w: &mut Writer, name: &str, critical: bool, value: Option<&[u8]>| {
            w.constructed(SEQUENCE, |w| {
                if let Some(value) = value {
                    w.octets(OCTET_STRING, value);
                }
                if critical {
                    w.boolean(true);
                }
                w.text(name);
            });
        };
        match self {
            Self::Bind { ask_policy: true, .. } => {
                writer.constructed(0xa0, |w| control(w, oid::PASSWORD_POLICY, false, None));
            }
            Self::Search(Search { page, show_deleted, .. }) if page.is_some() || *show_deleted => {
                writer.constructed(0xa0, |w| {
                    if let Some(page) = page {
                        let mut value = Writer::default();
                        value.constructed(SEQUENCE, |w| {
                            w.octets(OCTET_STRING, &page.cookie);
                            w.number(INTEGER, page.size);
                        });
                        control(w, oid::PAGED_RESULTS, true, Some(&value.finish()));
                    }
                    if *show_deleted {
                        control(w, oid::SHOW_DELETED, true, None);
                    }
                });
            }
            _ => {}
        }
    }
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) code: u32,
    pub(crate) text: HostileText,
    pub(crate) controls: Controls,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Controls(Vec<(String, Vec<u8>)>);

impl Controls {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut controls = Vec::new();
        let Some(content) = reader.optional(0xa0)? else { return Ok(Self::default()) };
        let mut list = Reader::new(content);
        while !list.is_empty() {
            let mut control = list.within(SEQUENCE)?;
            let name = control.text(OCTET_STRING)?.to_owned();
            control.optional(0x01)?;
            controls.push((name, control.optional(OCTET_STRING)?.unwrap_or_default().to_vec()));
        }
        Ok(Self(controls))
    }

    fn find(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_slice())
    }

    /// Where the next page begins; empty or `None` after the last one.
    pub(crate) fn cookie(&self) -> Option<Vec<u8>> {
        let mut page = Reader::new(self.find(oid::PAGED_RESULTS)?).within(SEQUENCE).ok()?;
        page.any().ok()?;
        page.take(OCTET_STRING).ok().map(<[u8]>::to_vec).filter(|cookie| !cookie.is_empty())
    }

    /// What the password policy says about a bind: the number of its error.
    ///
    /// `Err` when it says something that cannot be read.
    pub(crate) fn policy_error(&self) -> Result<Option<u8>, Malformed> {
        let Some(value) = self.find(oid::PASSWORD_POLICY) else { return Ok(None) };
        let mut reader = Reader::new(value).within(SEQUENCE)?;
        reader.optional(0xa0)?;
        match reader.optional(0x81)? {
            None => Ok(None),
            Some([error]) => Ok(Some(*error)),
            Some(_) => Err(Malformed),
        }
    }
}

/// An entry as it came.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RawEntry {
    pub(crate) dn: String,
    attributes: Vec<(String, Vec<Vec<u8>>)>,
}

impl RawEntry {
    fn read(content: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(content);
        let dn = reader.text(OCTET_STRING)?.to_owned();
        let mut list = reader.within(SEQUENCE)?;
        let mut attributes = Vec::new();
        while !list.is_empty() {
            let mut attribute = list.within(SEQUENCE)?;
            let name = attribute.text(OCTET_STRING)?.to_owned();
            let mut values = Vec::new();
            let mut set = attribute.within(SET)?;
            while !set.is_empty() {
                values.push(set.take(OCTET_STRING)?.to_vec());
            }
            attributes.push((name, values));
        }
        Ok(Self { dn, attributes })
    }

    pub(crate) fn values(&self, name: &str) -> &[Vec<u8>] {
        self.attributes
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map_or(&[], |(_, values)| values.as_slice())
    }

    pub(crate) fn first(&self, name: &str) -> Option<&[u8]> {
        self.values(name).first().map(Vec::as_slice)
    }

    /// All values that are text.
    pub(crate) fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.values(name).iter().filter_map(|value| std::str::from_utf8(value).ok())
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.texts(name).next()
    }

    pub(crate) fn number<N: std::str::FromStr>(&self, name: &str) -> Option<N> {
        self.text(name)?.parse().ok()
    }

    /// As LDAP writes a truth value (RFC 4517 section 3.3.3).
    pub(crate) fn is_true(&self, name: &str) -> bool {
        self.text(name).is_some_and(|value| value.eq_ignore_ascii_case("TRUE"))
    }

    #[cfg(test)]
    pub(crate) fn of(dn: &str, attributes: &[(&str, &[&[u8]])]) -> Self {
        let values = |values: &[&[u8]]| values.iter().map(|value| value.to_vec()).collect();
        Self {
            dn: dn.to_owned(),
            attributes: attributes.iter().map(|(name, list)| ((*name).to_owned(), values(list))).collect(),
        }
    }
}

impl fmt::Debug for RawEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawEntry({:?})", self.dn)
    }
}

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Response {
    Bind(Outcome),
    Entry(RawEntry),
    /// Somewhere else may be more; it is never followed (RFC 4511 section 4.5.3).
    Reference,
    Done(Outcome),
    Extended(Outcome),
    /// The server is about to close (RFC 4511 section 4.4.1).
    Disconnection,
    Intermediate,
}

/// One message, whole; its id and what it says.
pub(crate) fn decode(octets: &[u8]) -> Result<(u32, Response), Malformed> {
    let mut outer = Reader::new(octets);
    let mut message = outer.within(SEQUENCE)?;
    let id = message.number(INTEGER)?;
    let (tag, content) = message.any()?;
    // Active Directory puts the name of a notice of disconnection behind the operation instead of into it.
    let misplaced = message.optional(0x8a)?;
    let controls = Controls::read(&mut message)?;
    let response = match tag {
        0x61 => Response::Bind(outcome(&mut Reader::new(content), controls)?),
        0x64 => Response::Entry(RawEntry::read(content)?),
        0x73 => Response::Reference,
        0x65 => Response::Done(outcome(&mut Reader::new(content), controls)?),
        0x79 => Response::Intermediate,
        0x78 => {
            let mut reader = Reader::new(content);
            let outcome = outcome(&mut reader, controls)?;
            let name = reader.optional(0x8a)?.or(misplaced);
            if id == 0 || name == Some(oid::DISCONNECTION.as_bytes()) {
                Response::Disconnection
            } else {
                Response::Extended(outcome)
            }
        }
        _ => return Err(Malformed),
    };
    Ok((id, response))
}

fn outcome(reader: &mut Reader<'_>, controls: Controls) -> Result<Outcome, Malformed> {
    let code = reader.number(ENUMERATED)?;
    reader.take(OCTET_STRING)?;
    let text = HostileText::new(reader.take(OCTET_STRING)?);
    reader.optional(0xa3)?;
    Ok(Outcome { code, text, controls })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bind_as_rfc_4511_has_it() {
        let octets = Request::Bind { name: "cn=a", password: b"pw", ask_policy: false }.encode(1);
        assert_eq!(*octets, [0x30, 18, 2, 1, 1, 0x60, 13, 2, 1, 3, 4, 4, b'c', b'n', b'=', b'a', 0x80, 2, b'p', b'w']);
    }

    #[test]
    fn start_tls_as_rfc_4511_has_it() {
        let octets = Request::StartTls.encode(1);
        assert_eq!(octets.get(..7), Some(&[0x30, 29, 2, 1, 1, 0x77, 24][..]));
        assert!(octets.ends_with(b"1.3.6.1.4.1.1466.20037"));
    }

    fn message(id: u8, write: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.constructed(SEQUENCE, |w| {
            write(w);
            w.octets(INTEGER, &[id]);
        });
        writer.finish().to_vec()
    }

    fn result(w: &mut Writer, tag: u8, code: u32, text: &str) {
        w.constructed(tag, |w| {
            w.text(text);
            w.text("");
            w.number(ENUMERATED, code);
        });
    }

    #[test]
    fn entries_and_results_are_read() {
        let entry = message(7, |w| {
            w.constructed(0x64, |w| {
                w.constructed(SEQUENCE, |w| {
                    w.constructed(SEQUENCE, |w| {
                        w.constructed(SET, |w| w.octets(OCTET_STRING, b"alice"));
                        w.text("UID");
                    });
                });
                w.text("uid=alice,dc=example,dc=test");
            });
        });
        let Ok((7, Response::Entry(entry))) = decode(&entry) else { panic!("no entry") };
        assert_eq!((entry.dn.as_str(), entry.text("uid")), ("uid=alice,dc=example,dc=test", Some("alice")));

        let done = decode(&message(7, |w| result(w, 0x65, 32, "gone")));
        assert!(matches!(done, Ok((7, Response::Done(Outcome { code: 32, .. })))), "{done:?}");
        assert_eq!(decode(&message(7, |w| w.constructed(0x73, |w| w.text("ldap://x/")))), Ok((7, Response::Reference)));
    }

    #[test]
    fn a_notice_of_disconnection_is_known_in_both_forms() {
        let right = message(0, |w| result(w, 0x78, 52, ""));
        let of_active_directory = message(0, |w| {
            w.octets(0x8a, oid::DISCONNECTION.as_bytes());
            result(w, 0x78, 52, "");
        });
        for octets in [right, of_active_directory] {
            assert_eq!(decode(&octets), Ok((0, Response::Disconnection)));
        }
    }

    #[test]
    fn a_cookie_and_a_policy_error_are_read() {
        let mut page = Writer::default();
        page.constructed(SEQUENCE, |w| {
            w.text("next");
            w.number(INTEGER, 0);
        });
        let controls = |name: &str, value: &[u8]| Controls(vec![(name.to_owned(), value.to_vec())]);
        assert_eq!(controls(oid::PAGED_RESULTS, &page.finish()).cookie(), Some(b"next".to_vec()));
        assert_eq!(controls(oid::PASSWORD_POLICY, &[0x30, 3, 0x81, 1, 2]).policy_error(), Ok(Some(2)));
        assert_eq!(controls(oid::PASSWORD_POLICY, &[0x30, 0]).policy_error(), Ok(None));
        assert_eq!(controls(oid::PASSWORD_POLICY, &[0x30]).policy_error(), Err(Malformed));
        assert_eq!(Controls::default().policy_error(), Ok(None));
    }

    #[test]
    fn s65_a_reply_nested_ever_deeper_ends_nothing() {
        let mut nested: Vec<u8> = Vec::new();
        for _ in 0..100_000 {
            let [_, a, b, c] = u32::try_from(nested.len()).unwrap().to_be_bytes();
            nested.extend([c, b, a, 0x83, 0x30]);
        }
        nested.reverse();
        assert_eq!(decode(&nested), Err(Malformed));
    }

    proptest! {
        #[test]
        fn anything_is_decoded_without_panic(octets in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = decode(&octets);
        }

        #[test]
        fn a_message_that_was_altered_is_decoded_without_panic(at in 0_usize..60, octet: u8) {
            let mut octets = message(7, |w| {
                w.constructed(0xa0, |w| w.constructed(SEQUENCE, |w| { w.octets(OCTET_STRING, &[0x30, 0]); w.text(oid::PASSWORD_POLICY); }));
                result(w, 0x61, 49, "data 52e, v1db1");
            });
            if let Some(place) = octets.get_mut(at) {
                *place = octet;
            }
            if let Ok((_, Response::Bind(outcome))) = decode(&octets) {
                let _ = (outcome.controls.policy_error(), outcome.controls.cookie());
            }
        }
    }
}
