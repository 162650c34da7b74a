//! Laws of reading what a directory sends, asserted over arbitrary octets.
//!
//! The function takes what a fuzzer makes up and panics where a law is broken. The fuzz target calls it, and the test
//! `fuzz_regression` calls it for every file under `testdata/fuzz_regression/ldap_reply/`.

use core::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};
use std::sync::LazyLock;

use countersign_domain::{Secret, Timestamp};
use tokio::io::{join, sink};

use crate::{
    ber::{self, SEQUENCE},
    config::{DirectoryConfig, Kind, Settings},
    connection::{MAX_REPLY, Messages},
    dn::Dn,
    entry::{self, Entry, EntryId, GroupId},
    filter::Filter,
    reason,
    wire::{self, Outcome, RawEntry, Response, code},
};

/// What comes over a connection from a server, in answer to question 1: messages one after the other.
///
/// Laws: nothing panics and nothing waits that has its octets; no more is taken than one answer may have; a message that
/// is cut is none; only result 0, and no word of a password policy beside it, is a yes; ids of entries and groups come back
/// from the text that is kept of them; a DN is within itself; a filter that is shown is the filter.
///
/// # Panics
/// Where a law is broken.
pub fn ldap_reply(octets: &[u8]) {
    let mut messages = Messages::new(join(octets, sink()));
    let mut budget = MAX_REPLY;
    // Every message has two octets at least.
    for _ in 0..=octets.len() / 2 {
        let before = budget;
        let Some(received) = at_once(messages.receive(1, &mut budget)) else { unreachable!("all octets are there") };
        match received {
            Err(_) => break,
            Ok(response) => {
                assert!(budget <= before && before.saturating_sub(budget) >= 2, "each message takes of the budget");
                heard(&response);
            }
        }
    }
    one_message(octets);
    if let Ok(text) = std::str::from_utf8(octets) {
        names(text);
    }
}

fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// The first message, whole and cut.
fn one_message(octets: &[u8]) {
    let Ok(Some(header)) = ber::header(octets) else { return };
    let Some(whole) = header.size.checked_add(header.length).and_then(|end| octets.get(..end)) else { return };
    for end in 0..header.size {
        assert_eq!(ber::header(whole.get(..end).unwrap_or_default()), Ok(None), "a header needs all of its octets");
    }
    let decoded = wire::decode(whole);
    assert!(decoded.is_err() || header.tag == SEQUENCE);
    for end in [whole.len().saturating_sub(1), whole.len() / 2, header.size] {
        if end < whole.len() {
            assert!(wire::decode(whole.get(..end).unwrap_or_default()).is_err(), "a message that is cut");
        }
    }
    let mut more = whole.to_vec();
    more.push(0xff);
    assert_eq!(wire::decode(&more), decoded, "what comes behind a message is no part of it");
}

fn heard(response: &Response) {
    match response {
        Response::Bind(outcome) | Response::Done(outcome) | Response::Extended(outcome) => ended(outcome),
        Response::Entry(raw) => SETTINGS.iter().for_each(|settings| found(raw, settings)),
        Response::Reference | Response::Disconnection | Response::Intermediate => {}
    }
}

fn ended(outcome: &Outcome) {
    let policy = outcome.controls.policy_error();
    assert!(outcome.controls.cookie().is_none_or(|cookie| !cookie.is_empty()));
    for kind in [Kind::Ad, Kind::Ldap] {
        let refusal = reason::of_bind(kind, outcome);
        if kind == Kind::Ldap && policy != Ok(None) {
            assert!(refusal.is_some(), "a policy that says something says no (S65)");
        }
        if outcome.code == code::INVALID_CREDENTIALS {
            assert!(refusal.is_some());
        }
        if refusal.is_some_and(crate::Refusal::is_wrong_password) {
            assert_eq!(outcome.code, code::INVALID_CREDENTIALS, "nothing else is a guess at a password");
        }
    }
}

fn found(raw: &RawEntry, settings: &Settings) {
    if let Ok(id) = entry::id(raw, settings) {
        assert!(!id.as_str().is_empty());
        let value = id.value(settings.kind);
        assert_eq!(EntryId::read(&value, settings.kind).as_ref(), Some(&id));
        assert_eq!(EntryId::from_text(id.as_str()).value(settings.kind), value);
    }
    for sid in raw.values("objectSid") {
        if let Some(group) = GroupId::of_sid(sid) {
            assert_eq!(group.sid().as_ref(), Some(sid));
        }
    }
    if let Ok(entry) = Entry::read(raw, settings, Timestamp::from_seconds(1_800_000_000)) {
        assert_eq!(entry.dn, raw.dn, "a DN goes back as it came (C031)");
        assert!(!entry.dn.is_empty(), "S57");
        let dn = Dn::parse(&entry.dn);
        assert!(dn.is_some_and(|dn| !dn.is_empty() && dn.is_within(&settings.base_parts)), "S58");
    }
}

fn names(text: &str) {
    if let Some(dn) = Dn::parse(text) {
        assert!(dn.is_within(&dn) && dn.is_within(&Dn::default()));
        assert_eq!(Dn::parse(text).map(|again| again.key()), Some(dn.key()));
        // Something in front of it is below it.
        if let Some(below) = Dn::parse(&format!("cn=x,{text}")).filter(|_| !dn.is_empty()) {
            assert!(below.is_within(&dn) && !dn.is_within(&below) && below.key() != dn.key());
        }
    }
    if let Ok(filter) = Filter::parse(text) {
        assert_eq!(Filter::parse(&filter.to_string()), Ok(filter));
    }
}

/// One of each kind.
static SETTINGS: LazyLock<Vec<Settings>> = LazyLock::new(|| {
    let settings = |kind| DirectoryConfig {
        servers: vec!["ldaps://localhost".to_owned()],
        ca_file: None,
        kind,
        base_dn: "dc=example,dc=test".to_owned(),
        group_base_dn: None,
        bind_name: "cn=svc,dc=example,dc=test".to_owned(),
        bind_password: Secret::new(b"password".to_vec()),
        netbios_domains: Vec::new(),
        dns_domains: Vec::new(),
        login_attribute: None,
        principal_attribute: None,
        mail_login: false,
        mail_attribute: None,
        display_attribute: None,
        id_attribute: None,
        user_filter: None,
        group_filter: None,
        connect_timeout_ms: 1000,
        call_timeout_ms: 1000,
        max_connections: 1,
    };
    [Kind::Ad, Kind::Ldap].into_iter().filter_map(|kind| settings(kind).settings().ok()).collect()
});
