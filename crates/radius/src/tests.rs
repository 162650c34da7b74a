//! Tests, by part. Names begin with the statement of the threat model or the field case that they prove.

mod accounting;
mod credentials;
mod eap;
mod hop;
mod laws;
mod matching;
mod named;
mod packets;
mod passwords;
mod replies;
mod secrets;
mod streams;
mod transactions;
mod upstream;
mod vectors;

use crate::{AttributeList, AttributeType, Authenticator, Code, Identifier, SharedSecret, encode_request};

/// Octets from hexadecimal digits with any white space between.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| u8::try_from(d).unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn secret() -> SharedSecret {
    SharedSecret::new(*b"a shared secret of 32 octets ...")
}

const REQUEST: Authenticator = Authenticator(*b"0123456789abcdef");

fn list(attributes: &[(AttributeType, &[u8])]) -> AttributeList {
    let mut list = AttributeList::new();
    for (kind, value) in attributes {
        list.push(*kind, value).unwrap();
    }
    list
}

/// An Access-Request with Message-Authenticator.
fn signed(attributes: &[(AttributeType, &[u8])]) -> Vec<u8> {
    encode_request(Code::AccessRequest, Identifier(7), &REQUEST, &secret(), &list(attributes)).unwrap()
}

/// A packet with exactly these octets behind the header, right or wrong.
fn raw(code: u8, attributes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + attributes.len()).unwrap();
    [&[code, 7][..], &length.to_be_bytes(), REQUEST.octets(), attributes].concat()
}
