//! EAP inside of RADIUS.

use super::list;
use crate::{AttributeType, EapCode, EapError, EapMessage};

const EAP: AttributeType = AttributeType::EAP_MESSAGE;

fn of(parts: &[&[u8]]) -> Result<Option<EapMessage>, EapError> {
    let attributes: Vec<_> = parts.iter().map(|part| (EAP, *part)).collect();
    EapMessage::of(list(&attributes).iter())
}

#[test]
fn c050_a_packet_in_four_attributes_is_one_packet() {
    let mut packet = vec![13; 1004];
    packet[..4].copy_from_slice(&[2, 9, 0x03, 0xec]);
    let parts: Vec<&[u8]> = packet.chunks(253).collect();
    assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [253, 253, 253, 245]);
    let message = EapMessage { code: EapCode::Response, identifier: 9, octets: 1004 };
    assert_eq!(of(&parts), Ok(Some(message)));
    // One part less, and in another order.
    assert_eq!(of(&parts[..3]), Err(EapError::Length { said: 1004, octets: 759 }));
    assert!(of(&[parts[1], parts[0], parts[2], parts[3]]).is_err());
}

#[test]
fn c050_other_attributes_before_and_behind_are_none_of_it() {
    let (name, state) = ((AttributeType::USER_NAME, &b"a"[..]), (AttributeType::STATE, &b"s"[..]));
    let (head, rest) = ((EAP, &[2, 1, 0][..]), (EAP, &[6, 1, b'a'][..]));
    let message = Ok(Some(EapMessage { code: EapCode::Response, identifier: 1, octets: 6 }));
    assert_eq!(EapMessage::of(list(&[name, head, rest, state]).iter()), message);
    assert_eq!(EapMessage::of(list(&[head, rest]).iter()), message);
    assert_eq!(EapMessage::of(list(&[head, name, rest]).iter()), Err(EapError::Scattered));
    assert_eq!(EapMessage::of(list(&[name, state]).iter()), Ok(None));
}

#[test]
fn c075_what_is_no_eap_packet_is_an_error() {
    assert_eq!(of(&[&[]]), Err(EapError::Start));
    assert_eq!(of(&[&[], &[]]), Err(EapError::Start));
    for octets in 1..4 {
        assert_eq!(of(&[&[2, 1, 0][..octets]]), Err(EapError::Short { octets }));
    }
    assert_eq!(of(&[&[2, 1, 0, 7, 1, b'a']]), Err(EapError::Length { said: 7, octets: 6 }));
    assert_eq!(of(&[&[2, 1, 0, 5, 1, b'a']]), Err(EapError::Length { said: 5, octets: 6 }));
    assert_eq!(of(&[&[2, 1, 0, 0, 1, b'a']]), Err(EapError::Length { said: 0, octets: 6 }));
    // A request or a response has a type; the others have nothing.
    assert_eq!(of(&[&[1, 1, 0, 4]]), Err(EapError::Short { octets: 4 }));
    assert_eq!(of(&[&[2, 1, 0, 4]]), Err(EapError::Short { octets: 4 }));
    assert_eq!(of(&[&[3, 1, 0, 5, 0]]), Err(EapError::Short { octets: 5 }));
    assert_eq!(of(&[&[5, 1, 0, 5, 1]]), Err(EapError::Code(5)));
    assert_eq!(of(&[&[0, 1, 0, 4]]), Err(EapError::Code(0)));
}

#[test]
fn s51_a_failure_has_the_identifier_of_the_response() {
    assert_eq!(EapMessage::failure(7), [4, 7, 0, 4]);
    assert_eq!(
        of(&[&EapMessage::failure(7)]),
        Ok(Some(EapMessage { code: EapCode::Failure, identifier: 7, octets: 4 }))
    );
}
