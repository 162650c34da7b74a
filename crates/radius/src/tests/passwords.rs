use super::{REQUEST, secret};
use crate::{Authenticator, PasswordError, PasswordForm, SharedSecret, UserPassword};

fn round_trip(password: &[u8]) -> UserPassword {
    let hidden = UserPassword::hide(password, &secret(), &REQUEST).unwrap();
    assert_eq!(hidden.len(), password.len().max(1).next_multiple_of(16));
    UserPassword::unhide(&hidden, &secret(), &REQUEST).unwrap()
}

/// The formula of RFC 2865 section 5.2, written out over whole buffers.
fn hidden_by_the_book(password: &[u8], secret: &[u8], request: &Authenticator) -> Vec<u8> {
    use md5::{Digest, Md5};
    let mut padded = password.to_vec();
    padded.resize(password.len().max(1).next_multiple_of(16), 0);
    let mut cipher: Vec<u8> = Vec::new();
    for (number, block) in padded.chunks(16).enumerate() {
        let chained = if number == 0 { request.octets().to_vec() } else { cipher[number * 16 - 16..].to_vec() };
        let mask = Md5::digest([secret, &chained].concat());
        cipher.extend(block.iter().zip(mask).map(|(plain, mask)| plain ^ mask));
    }
    cipher
}

#[test]
fn c012_every_length_is_chained_on_the_cipher_text() {
    let password: Vec<u8> = (1..=128).collect();
    for length in 1..=128 {
        let password = &password[..length];
        let hidden = UserPassword::hide(password, &secret(), &REQUEST).unwrap();
        assert_eq!(hidden, hidden_by_the_book(password, secret().expose(), &REQUEST));
        let uncovered = round_trip(password);
        assert_eq!((uncovered.octets(), uncovered.form()), (password, PasswordForm::Plain));
    }
}

#[test]
fn c014_128_octets_are_carried_and_129_are_not() {
    assert_eq!(round_trip(&[b'p'; 128]).octets(), [b'p'; 128]);
    assert_eq!(UserPassword::hide(&[b'p'; 129], &secret(), &REQUEST), Err(PasswordError::TooLong(129)));
}

#[test]
fn s50_c014_a_hidden_password_has_16_to_128_octets_in_blocks() {
    for length in 0..=253 {
        let result = UserPassword::unhide(&vec![0x5a; length], &secret(), &REQUEST);
        if (16..=128).contains(&length) && length % 16 == 0 {
            assert!(result.is_ok());
        } else {
            assert_eq!(result.unwrap_err(), PasswordError::HiddenLength(length));
        }
    }
}

#[test]
fn c016_octets_that_are_not_utf8_come_out_as_they_are() {
    let latin = [0x41, 0x7a, 0xe9, 0x72, 0x74, 0xe8, 0x30, 0x31];
    assert_eq!(round_trip(&latin).octets(), latin);
}

#[test]
fn s56_nul_is_told_apart() {
    let form = |password: &[u8]| round_trip(password).form();
    assert_eq!(form(b""), PasswordForm::Empty);
    assert_eq!(form(b"\0"), PasswordForm::Empty);
    assert_eq!(form(b"\0abc"), PasswordForm::LeadingNul);
    assert_eq!(form(&[0; 17]), PasswordForm::LeadingNul);
    assert_eq!(form(b"abc\0def"), PasswordForm::EmbeddedNul);
    assert_eq!(form(b"abc\0"), PasswordForm::Plain);
    assert_eq!(round_trip(b"abc\0").octets(), b"abc");
    assert_eq!(round_trip(b"\0abc").octets(), b"\0abc");
    assert!(round_trip(&[0; 17]).octets().is_empty());
}

#[test]
fn another_secret_or_authenticator_gives_noise() {
    let hidden = UserPassword::hide(b"arctangent", &secret(), &REQUEST).unwrap();
    let other = SharedSecret::new(*b"another secret of 32 octets .....");
    assert_ne!(UserPassword::unhide(&hidden, &other, &REQUEST).unwrap().octets(), b"arctangent");
    let later = Authenticator([9; 16]);
    assert_ne!(UserPassword::unhide(&hidden, &secret(), &later).unwrap().octets(), b"arctangent");
}

#[test]
fn debug_shows_nothing() {
    assert_eq!(format!("{:?}", round_trip(b"arctangent")), "UserPassword(redacted)");
}
