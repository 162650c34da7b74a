//! Laws of EAP inside of RADIUS.

use crate::{AttributeList, AttributeType, Attributes, EapCode, EapError, EapMessage};

/// Octets as attributes, and octets as an EAP packet.
///
/// Laws: nothing panics; what is taken is what a plain concatenation of the attributes says, whatever its parts; a packet
/// that is taken is not taken any more with an octet more or less, or with something between its parts; an EAP-Failure is one.
///
/// # Panics
/// Where a law is broken.
pub fn eap_message(octets: &[u8]) {
    let found = EapMessage::of(Attributes::over(octets));
    assert_eq!(found, plain(octets));

    let whole = AttributeList::from_octets(octets.get(..4096).unwrap_or(octets)).unwrap_or_default();
    if let Ok(Some(message)) = EapMessage::of(whole.iter()) {
        let parts: Vec<&[u8]> = values(&whole);
        let packet = parts.concat();
        assert_eq!(packet.len(), message.octets);
        assert_eq!(packet.get(1), Some(&message.identifier));
        split_again(&packet, message);
    }

    // The octets themselves as a packet, and with a length that is right.
    let mut packet = octets.get(..3000).unwrap_or(octets).to_vec();
    for code in [None, Some(1), Some(2), Some(3), Some(4)] {
        let [high, low] = u16::try_from(packet.len()).unwrap_or(0).to_be_bytes();
        if let (Some(code), Some([first, _, third, fourth])) = (code, packet.first_chunk_mut::<4>()) {
            (*first, *third, *fourth) = (code, high, low);
        }
        if let Ok(Some(message)) = of(&packet) {
            split_again(&packet, message);
        }
    }

    let identifier = octets.first().copied().unwrap_or(7);
    let failure = EapMessage { code: EapCode::Failure, identifier, octets: 4 };
    assert_eq!(of(&EapMessage::failure(identifier)), Ok(Some(failure)));
}

fn values(list: &AttributeList) -> Vec<&[u8]> {
    list.iter().filter(|one| one.kind == AttributeType::EAP_MESSAGE).map(|one| one.value).collect()
}

fn in_parts(packet: &[u8], size: usize) -> Option<AttributeList> {
    let mut list = AttributeList::new();
    for part in packet.chunks(size) {
        list.push(AttributeType::EAP_MESSAGE, part).ok()?;
    }
    Some(list)
}

fn of(packet: &[u8]) -> Result<Option<EapMessage>, EapError> {
    let mut list = AttributeList::new();
    let pushed = if packet.is_empty() {
        list.push(AttributeType::EAP_MESSAGE, packet)
    } else {
        list.push_split(AttributeType::EAP_MESSAGE, packet)
    };
    assert_eq!(pushed, Ok(()));
    EapMessage::of(list.iter())
}

fn split_again(packet: &[u8], message: EapMessage) {
    for size in [1, 2, 3, 5, 100, 253] {
        let Some(list) = in_parts(packet, size) else { continue };
        assert_eq!(EapMessage::of(list.iter()), Ok(Some(message)));
    }
    let octets = packet.len();
    let longer = [packet, &[0]].concat();
    assert!(matches!(of(&longer), Err(EapError::Length { octets: found, .. }) if found == octets + 1));
    let shorter = packet.get(..octets - 1).unwrap_or_default();
    assert!(matches!(of(shorter), Err(EapError::Length { .. } | EapError::Short { .. })));

    let Some((first, rest)) = packet.split_first_chunk::<4>() else { unreachable!("it has a header") };
    let mut scattered = AttributeList::new();
    let rest = if rest.is_empty() { &[0][..] } else { rest };
    for (kind, value) in [(79, &first[..]), (26, b"between"), (79, rest)] {
        if scattered.push(AttributeType(kind), value.get(..253).unwrap_or(value)).is_err() {
            return;
        }
    }
    assert_eq!(EapMessage::of(scattered.iter()), Err(EapError::Scattered));
}

/// The same said plainly: all parts in one piece, then looked at.
fn plain(octets: &[u8]) -> Result<Option<EapMessage>, EapError> {
    let all: Vec<_> = Attributes::over(octets).collect();
    let is_eap = |at: &usize| all.get(*at).is_some_and(|one| one.kind == AttributeType::EAP_MESSAGE);
    let places: Vec<usize> = (0..all.len()).filter(is_eap).collect();
    let (Some(first), Some(last)) = (places.first(), places.last()) else { return Ok(None) };
    if last - first + 1 != places.len() {
        return Err(EapError::Scattered);
    }
    let packet: Vec<u8> = places.iter().filter_map(|at| all.get(*at)).flat_map(|one| one.value.to_vec()).collect();
    match packet.as_slice() {
        [] => Err(EapError::Start),
        [_, _, high, low, ..] if usize::from(*high) * 256 + usize::from(*low) != packet.len() => {
            Err(EapError::Length { said: u16::from_be_bytes([*high, *low]), octets: packet.len() })
        }
        [1, identifier, _, _, _, ..] => Ok(Some(EapCode::Request.with(*identifier, packet.len()))),
        [2, identifier, _, _, _, ..] => Ok(Some(EapCode::Response.with(*identifier, packet.len()))),
        [3, identifier, _, _] => Ok(Some(EapCode::Success.with(*identifier, 4))),
        [4, identifier, _, _] => Ok(Some(EapCode::Failure.with(*identifier, 4))),
        [_] | [_, _] | [_, _, _] | [1..=4, ..] => Err(EapError::Short { octets: packet.len() }),
        [code, ..] => Err(EapError::Code(*code)),
    }
}

impl EapCode {
    const fn with(self, identifier: u8, octets: usize) -> EapMessage {
        EapMessage { code: self, identifier, octets }
    }
}
