use super::{list, raw};
use crate::{
    AttributeList, AttributeType, Credential, CredentialError, PacketView, ms_chap_v2_error, ms_chap_v2_identifier,
    vendor,
};

fn verdict(attributes: &AttributeList, look: impl FnOnce(Result<Credential<'_>, CredentialError>)) {
    let packet = raw(1, attributes.octets());
    look(Credential::of(&PacketView::parse(&packet).unwrap()));
}

fn error(attributes: &AttributeList) -> Option<CredentialError> {
    let packet = raw(1, attributes.octets());
    Credential::of(&PacketView::parse(&packet).unwrap()).err()
}

const PAP: (AttributeType, &[u8]) = (AttributeType::USER_PASSWORD, &[1; 16]);
const CHAP: (AttributeType, &[u8]) = (AttributeType::CHAP_PASSWORD, &[2; 17]);
const EAP: (AttributeType, &[u8]) = (AttributeType::EAP_MESSAGE, &[3; 5]);

fn ms_chap(challenge: usize, response_type: u8, response: usize) -> AttributeList {
    let mut attributes = AttributeList::new();
    attributes.push_vendor(vendor::MICROSOFT, vendor::MS_CHAP_CHALLENGE, &vec![4; challenge]).unwrap();
    attributes.push_vendor(vendor::MICROSOFT, response_type, &vec![5; response]).unwrap();
    attributes
}

#[test]
fn s50_no_credential_is_said_to_be_none() {
    verdict(&list(&[(AttributeType::USER_NAME, b"nemo")]), |found| assert_eq!(found, Ok(Credential::None)));
    verdict(&list(&[(AttributeType::CHAP_CHALLENGE, b"alone")]), |found| assert_eq!(found, Ok(Credential::None)));
}

#[test]
fn s50_each_kind_is_found_alone() {
    verdict(&list(&[PAP]), |found| assert_eq!(found, Ok(Credential::UserPassword(&[1; 16]))));
    verdict(&list(&[CHAP]), |found| {
        let challenge = super::REQUEST.octets();
        assert_eq!(found, Ok(Credential::Chap { identifier: 2, response: &[2; 16], challenge }));
    });
    verdict(&list(&[CHAP, (AttributeType::CHAP_CHALLENGE, b"challenge")]), |found| {
        assert_eq!(found, Ok(Credential::Chap { identifier: 2, response: &[2; 16], challenge: b"challenge" }));
    });
    verdict(&list(&[EAP, EAP]), |found| assert_eq!(found, Ok(Credential::Eap)));
    verdict(&ms_chap(8, vendor::MS_CHAP_RESPONSE, 50), |found| {
        assert_eq!(found, Ok(Credential::MsChap { challenge: &[4; 8], response: &[5; 50] }));
    });
    verdict(&ms_chap(16, vendor::MS_CHAP2_RESPONSE, 50), |found| {
        assert_eq!(found, Ok(Credential::MsChapV2 { challenge: &[4; 16], response: &[5; 50] }));
    });
}

#[test]
fn s50_two_are_refused() {
    for pair in [[PAP, CHAP], [PAP, PAP], [CHAP, CHAP], [PAP, EAP], [EAP, CHAP]] {
        assert_eq!(error(&list(&pair)), Some(CredentialError::Several));
    }
    for other in [PAP, CHAP, EAP] {
        let mut attributes = ms_chap(16, vendor::MS_CHAP2_RESPONSE, 50);
        attributes.push(other.0, other.1).unwrap();
        assert_eq!(error(&attributes), Some(CredentialError::Several));
    }
    let mut attributes = ms_chap(16, vendor::MS_CHAP2_RESPONSE, 50);
    attributes.push_vendor(vendor::MICROSOFT, vendor::MS_CHAP_RESPONSE, &[5; 50]).unwrap();
    assert_eq!(error(&attributes), Some(CredentialError::Several));
}

#[test]
fn s50_c014_lengths_that_a_password_cannot_have_are_refused() {
    for length in 0..=253 {
        let found = error(&list(&[(AttributeType::USER_PASSWORD, &vec![1; length])]));
        let right = (16..=128).contains(&length) && length % 16 == 0;
        assert_eq!(found, (!right).then_some(CredentialError::Malformed), "{length}");
    }
    for length in (0..=30).filter(|length| *length != 17) {
        let found = error(&list(&[(AttributeType::CHAP_PASSWORD, &vec![1; length])]));
        assert_eq!(found, Some(CredentialError::Malformed));
    }
    assert_eq!(error(&list(&[CHAP, (AttributeType::CHAP_CHALLENGE, b"")])), Some(CredentialError::Malformed));
}

#[test]
fn s49_ms_chap_that_is_half_or_of_another_length_is_refused() {
    for length in [0, 49, 51] {
        let found = error(&ms_chap(16, vendor::MS_CHAP2_RESPONSE, length));
        assert_eq!(found, Some(CredentialError::Malformed));
    }
    for length in [0, 8, 15, 17] {
        let found = error(&ms_chap(length, vendor::MS_CHAP2_RESPONSE, 50));
        assert_eq!(found, Some(CredentialError::Malformed));
    }
    let mut alone = AttributeList::new();
    alone.push_vendor(vendor::MICROSOFT, vendor::MS_CHAP_CHALLENGE, &[4; 16]).unwrap();
    assert_eq!(error(&alone), Some(CredentialError::Malformed));
    let mut alone = AttributeList::new();
    alone.push_vendor(vendor::MICROSOFT, vendor::MS_CHAP2_RESPONSE, &[4; 50]).unwrap();
    assert_eq!(error(&alone), Some(CredentialError::Malformed));
    // With a peer challenge, and nothing that it was answered with.
    let mut empty = AttributeList::new();
    empty.push_vendor(vendor::MICROSOFT, vendor::MS_CHAP_CHALLENGE, &[4; 16]).unwrap();
    let response = [[5; 26].as_slice(), &[0; 24]].concat();
    empty.push_vendor(vendor::MICROSOFT, vendor::MS_CHAP2_RESPONSE, &response).unwrap();
    assert_eq!(error(&empty), Some(CredentialError::Malformed));
}

#[test]
fn s49_a_change_of_the_password_is_refused_with_or_without_a_response() {
    for kind in [vendor::MS_CHAP_CPW_1, vendor::MS_CHAP_CPW_2, vendor::MS_CHAP2_CPW] {
        let mut attributes = ms_chap(16, vendor::MS_CHAP2_RESPONSE, 50);
        attributes.push_vendor(vendor::MICROSOFT, kind, &[7; 68]).unwrap();
        assert_eq!(error(&attributes), Some(CredentialError::PasswordChange));
        let mut attributes = AttributeList::new();
        attributes.push_vendor(vendor::MICROSOFT, kind, &[7; 68]).unwrap();
        assert_eq!(error(&attributes), Some(CredentialError::PasswordChange));
    }
}

#[test]
fn s49_what_a_reject_says_names_the_exchange_and_no_reason() {
    let identifier = |attributes: &AttributeList| {
        let packet = raw(1, attributes.octets());
        ms_chap_v2_identifier(&PacketView::parse(&packet).unwrap())
    };
    assert_eq!(identifier(&ms_chap(16, vendor::MS_CHAP2_RESPONSE, 50)), Some(5));
    assert_eq!(identifier(&ms_chap(16, vendor::MS_CHAP2_RESPONSE, 1)), Some(5), "also of one that is not whole");
    assert_eq!(identifier(&ms_chap(16, vendor::MS_CHAP2_RESPONSE, 0)), None);
    assert_eq!(identifier(&ms_chap(8, vendor::MS_CHAP_RESPONSE, 50)), None);
    assert_eq!(identifier(&list(&[PAP])), None);
    let mut change = AttributeList::new();
    change.push_vendor(vendor::MICROSOFT, vendor::MS_CHAP2_CPW, &[7, 9, 1]).unwrap();
    assert_eq!(identifier(&change), Some(9));
    // RFC 2759 section 6: 32 digits, in upper case.
    let said = ms_chap_v2_error(9, &[0xab; 16]);
    assert_eq!(said, [b"\x09E=691 R=0 C=".as_slice(), "AB".repeat(16).as_bytes(), b" V=3"].concat());
}

#[test]
fn s50_kinds_that_nobody_verifies_are_refused() {
    let found = error(&list(&[(AttributeType::ARAP_PASSWORD, &[1; 16])]));
    assert_eq!(found, Some(CredentialError::Unsupported(AttributeType::ARAP_PASSWORD)));
}

#[test]
fn debug_shows_nothing() {
    verdict(&list(&[PAP]), |found| assert_eq!(format!("{found:?}"), "Ok(UserPassword(redacted))"));
}
