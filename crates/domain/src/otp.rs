use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use subtle::ConstantTimeEq as _;

use crate::{Entropy, Secret, Timestamp};

/// Digits of a code. Six everywhere.
pub const CODE_DIGITS: usize = 6;
/// Seconds that a code counts for (RFC 6238 section 5.2).
pub const STEP_SECONDS: i64 = 30;
/// Steps before and after the present one that are accepted, for clocks that are off.
const WINDOW: u64 = 1;
const SEED_OCTETS: usize = 20;

/// The seed of a device's six-digit codes: 160 random bits (RFC 4226 section 4), SHA-1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TotpSeed(Secret);

impl TotpSeed {
    /// A new seed.
    pub fn new(entropy: &dyn Entropy) -> Self {
        Self(Secret::new(entropy.octets::<SEED_OCTETS>().to_vec()))
    }

    /// From the stored octets.
    pub const fn from_secret(octets: Secret) -> Self {
        Self(octets)
    }

    /// The octets, to store or to hand out once.
    pub const fn secret(&self) -> &Secret {
        &self.0
    }

    /// Finds the step near `now` whose code is `code`, however old; that it is newer than the last one used is for the
    /// caller to require. All steps of the window are always computed.
    pub fn find(&self, code: &[u8], now: Timestamp) -> Option<CodeMatch> {
        let present = step_at(now);
        let key = key_of(&self.0)?;
        let mut found = None;
        for step in present.saturating_sub(WINDOW)..=present.saturating_add(WINDOW) {
            if bool::from(digits(&key, step).as_slice().ct_eq(code)) {
                found = Some(CodeMatch { step });
            }
        }
        found
    }
}

/// A code that belongs to a step near the present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeMatch {
    /// Steps of 30 seconds since the epoch.
    pub step: u64,
}

fn step_at(now: Timestamp) -> u64 {
    u64::try_from(now.as_seconds().div_euclid(STEP_SECONDS)).unwrap_or(0)
}

/// The newest step whose code is taken at `now`: once a device's last step is this one, no code that anybody has seen counts.
pub fn newest_step(now: Timestamp) -> u64 {
    step_at(now).saturating_add(WINDOW)
}

/// The six-digit code of a step (RFC 4226 section 5.3 with the step of RFC 6238 section 4.2).
pub fn totp(seed: &Secret, step: u64) -> String {
    // No code is better than a wrong one.
    key_of(seed).map(|key| digits(&key, step).map(char::from).iter().collect()).unwrap_or_default()
}

/// HMAC with the key taken in, once for all steps. There is one for keys of any length.
fn key_of(seed: &Secret) -> Option<Hmac<Sha1>> {
    Hmac::<Sha1>::new_from_slice(seed.expose()).ok()
}

fn digits(key: &Hmac<Sha1>, step: u64) -> [u8; CODE_DIGITS] {
    let digest: [u8; 20] = key.clone().chain_update(step.to_be_bytes()).finalize().into_bytes().into();
    let offset = usize::from(digest[19] & 0x0F);
    let mut truncated = [0; 4];
    for (to, from) in truncated.iter_mut().zip(digest.iter().skip(offset)) {
        *to = *from;
    }
    let mut number = u32::from_be_bytes(truncated) & 0x7FFF_FFFF;
    let mut digits = [b'0'; CODE_DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
    digits
}

/// Whether `text` is exactly six ASCII digits (S23).
pub fn is_code(text: &[u8]) -> bool {
    text.len() == CODE_DIGITS && text.iter().all(u8::is_ascii_digit)
}

/// Splits `password,123456` at the last comma, if exactly six digits follow it; `None` when they do not, and then the
/// whole is a password. The password part may come out empty: that is a failed first factor, never a bind (C060).
pub fn split_appended_code(password: &[u8]) -> Option<(&[u8], &[u8])> {
    let comma = password.len().checked_sub(CODE_DIGITS + 1)?;
    let (head, tail) = password.split_at_checked(comma)?;
    match tail.split_first() {
        Some((b',', code)) if is_code(code) => Some((head, code)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RFC: &[u8] = b"12345678901234567890";

    #[test]
    fn rfc6238_appendix_b_vectors() {
        // The RFC prints eight digits; ours are their last six.
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            let step = step_at(Timestamp::from_seconds(seconds));
            assert_eq!(totp(&Secret::new(RFC.to_vec()), step), code);
        }
    }

    #[test]
    fn c084_one_step_either_way_is_found_and_no_more() {
        let seed = TotpSeed::from_secret(Secret::new(RFC.to_vec()));
        let now = Timestamp::from_seconds(1_800_000_000);
        for off in [-2_i64, -1, 0, 1, 2] {
            let step = step_at(Timestamp::from_seconds(1_800_000_000 + off * STEP_SECONDS));
            let found = seed.find(totp(seed.secret(), step).as_bytes(), now);
            assert_eq!(found.is_some(), off.abs() <= 1, "{off}");
        }
    }

    #[test]
    fn s95_after_the_newest_step_no_code_of_now_is_newer() {
        let seed = TotpSeed::from_secret(Secret::new(RFC.to_vec()));
        let now = Timestamp::from_seconds(1_800_000_015);
        let newest = newest_step(now);
        assert_eq!(seed.find(totp(seed.secret(), newest).as_bytes(), now).map(|found| found.step), Some(newest));
        assert_eq!(seed.find(totp(seed.secret(), newest + 1).as_bytes(), now), None);
    }

    #[test]
    fn s23_a_code_is_exactly_six_ascii_digits() {
        for bad in ["5", " 12345", "٠١٢٣٤٥", "123456\0", "+12345", "", "1234567", "12345a"] {
            assert!(!is_code(bad.as_bytes()), "{bad:?}");
        }
        assert!(!is_code(&vec![b'1'; 1 << 20]));
        assert!(is_code(b"012345"));
    }

    #[test]
    fn s67_appended_code_is_split_by_one_rule() {
        let split = |text: &'static str| split_appended_code(text.as_bytes());
        assert_eq!(split("pw,123456"), Some((&b"pw"[..], &b"123456"[..])));
        assert_eq!(split(",123456"), Some((&b""[..], &b"123456"[..])));
        assert_eq!(split("pw,"), None);
        assert_eq!(split("pw,12345"), None);
        assert_eq!(split("pw,1234567"), None);
        assert_eq!(split("pw,123456,123456"), Some((&b"pw,123456"[..], &b"123456"[..])));
        assert_eq!(split("123456"), None);
    }

    #[test]
    fn c058_other_separators_stay_in_the_password() {
        for whole in ["pass;123456", "pass%123456", "pa,ss", "p,a,s,s"] {
            assert_eq!(split_appended_code(whole.as_bytes()), None);
        }
    }
}
