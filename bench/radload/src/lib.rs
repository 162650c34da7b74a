//! RADIUS encoding and checking shared by `radload` (the load generator) and
//! `udpecho` (the floor server). Only what a benchmark needs: no dictionary, no
//! attribute decoding beyond Message-Authenticator and State.
//!
//! Randomness here is NOT cryptographic (it only has to be unique), so never
//! reuse this code in a server or a real client.

use des::cipher::{BlockEncrypt, KeyInit};
use hmac::{Hmac, Mac};
use md5::{Digest, Md5};
use sha1::Sha1;

pub type HmacMd5 = Hmac<Md5>;
pub const ACCESS_REQUEST: u8 = 1;
pub const ACCESS_ACCEPT: u8 = 2;
pub const ACCESS_REJECT: u8 = 3;
pub const ACCESS_CHALLENGE: u8 = 11;
pub const STATUS_SERVER: u8 = 12;
const MA: u8 = 80;
const STATE: u8 = 24;

/// splitmix64: unique, cheap, not secure.
pub struct Rng(pub u64);
impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn block16(&mut self) -> [u8; 16] {
        let mut b = [0; 16];
        b[..8].copy_from_slice(&self.next().to_le_bytes());
        b[8..].copy_from_slice(&self.next().to_le_bytes());
        b
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Proto {
    Pap,
    Chap,
    Mschapv2,
}

/// Shared secret with its HMAC key schedule prepared once.
#[derive(Clone)]
pub struct Secret {
    raw: Vec<u8>,
    mac: HmacMd5,
}
impl Secret {
    pub fn new(s: &[u8]) -> Self {
        Secret { raw: s.to_vec(), mac: <HmacMd5 as Mac>::new_from_slice(s).unwrap() }
    }
}

pub fn attr(p: &mut Vec<u8>, t: u8, v: &[u8]) {
    p.push(t);
    p.push((v.len() + 2) as u8);
    p.extend_from_slice(v);
}

fn vsa_ms(p: &mut Vec<u8>, t: u8, v: &[u8]) {
    let mut b = vec![0, 0, 0x01, 0x37]; // vendor 311, Microsoft
    attr(&mut b, t, v);
    attr(p, 26, &b);
}

/// Build one Access-Request into `p` and return its Request Authenticator.
/// Message-Authenticator goes first, as RFC 9765 / BLASTRADIUS practice asks.
#[allow(clippy::too_many_arguments)]
pub fn build(
    p: &mut Vec<u8>,
    id: u8,
    rng: &mut Rng,
    secret: &Secret,
    proto: Proto,
    user: &str,
    password: &[u8],
    nt_hash: Option<&[u8; 16]>,
    state: Option<&[u8]>,
) -> [u8; 16] {
    let ra = begin(p, ACCESS_REQUEST, id, rng);
    attr(p, 1, user.as_bytes());
    match proto {
        Proto::Pap => attr(p, 2, &pap_encrypt(&secret.raw, &ra, password)),
        Proto::Chap => {
            let chal = rng.block16();
            let ident = rng.next() as u8;
            let h = Md5::new().chain_update([ident]).chain_update(password).chain_update(chal).finalize();
            let mut v = [ident; 17];
            v[1..].copy_from_slice(&h);
            attr(p, 3, &v);
            attr(p, 60, &chal);
        }
        Proto::Mschapv2 => {
            let (auth, peer) = (rng.block16(), rng.block16());
            let nt = nt_hash.copied().unwrap_or_else(|| nt_password_hash(password));
            let r = nt_response(&auth, &peer, user.as_bytes(), &nt);
            let mut v = [0u8; 50];
            v[0] = id;
            v[2..18].copy_from_slice(&peer);
            v[26..50].copy_from_slice(&r);
            vsa_ms(p, 11, &auth); // MS-CHAP-Challenge
            vsa_ms(p, 25, &v); // MS-CHAP2-Response
        }
    }
    attr(p, 32, b"radload"); // NAS-Identifier
    if let Some(s) = state {
        attr(p, STATE, s);
    }
    end(p, secret);
    ra
}

/// Asks whether a server is there (RFC 5997); returns the Request Authenticator.
pub fn build_status(p: &mut Vec<u8>, id: u8, rng: &mut Rng, secret: &Secret) -> [u8; 16] {
    let ra = begin(p, STATUS_SERVER, id, rng);
    end(p, secret);
    ra
}

fn begin(p: &mut Vec<u8>, code: u8, id: u8, rng: &mut Rng) -> [u8; 16] {
    let ra = rng.block16();
    p.clear();
    p.extend_from_slice(&[code, id, 0, 0]);
    p.extend_from_slice(&ra);
    attr(p, MA, &[0; 16]);
    ra
}

fn end(p: &mut [u8], secret: &Secret) {
    let len = p.len() as u16;
    p[2..4].copy_from_slice(&len.to_be_bytes());
    let mut m = secret.mac.clone();
    m.update(p);
    p[22..38].copy_from_slice(&m.finalize().into_bytes());
}

pub fn pap_encrypt(secret: &[u8], ra: &[u8; 16], password: &[u8]) -> Vec<u8> {
    let n = password.len().div_ceil(16).max(1) * 16;
    let mut out = vec![0u8; n];
    out[..password.len()].copy_from_slice(password);
    let mut prev: [u8; 16] = *ra;
    for c in out.chunks_mut(16) {
        let k = Md5::new().chain_update(secret).chain_update(prev).finalize();
        c.iter_mut().zip(k).for_each(|(a, b)| *a ^= b);
        prev.copy_from_slice(c);
    }
    out
}

pub fn nt_password_hash(password: &[u8]) -> [u8; 16] {
    let mut h = md4::Md4::new();
    for u in String::from_utf8_lossy(password).encode_utf16() {
        h.update(u.to_le_bytes());
    }
    h.finalize().into()
}

/// RFC 2759 NT-Response.
pub fn nt_response(auth: &[u8; 16], peer: &[u8; 16], user: &[u8], nt: &[u8; 16]) -> [u8; 24] {
    let ch = Sha1::new().chain_update(peer).chain_update(auth).chain_update(user).finalize();
    let mut z = [0u8; 21];
    z[..16].copy_from_slice(nt);
    let mut out = [0u8; 24];
    for i in 0..3 {
        let k = &z[i * 7..i * 7 + 7];
        // 56 key bits spread over 8 bytes, parity bit unused by the cipher
        let w = k.iter().fold(0u64, |a, b| a << 8 | *b as u64);
        let mut key = [0u8; 8];
        for (j, b) in key.iter_mut().enumerate() {
            *b = ((w >> (49 - 7 * j)) as u8 & 0x7f) << 1;
        }
        let mut blk = [0u8; 8];
        blk.copy_from_slice(&ch[..8]);
        des::Des::new(&key.into()).encrypt_block((&mut blk).into());
        out[i * 8..i * 8 + 8].copy_from_slice(&blk);
    }
    out
}

/// HOTP (RFC 4226), SHA-1.
pub fn hotp(key: &[u8], counter: u64, digits: u32) -> String {
    let mut m = <Hmac<Sha1> as Mac>::new_from_slice(key).unwrap();
    m.update(&counter.to_be_bytes());
    let h = m.finalize().into_bytes();
    let o = (h[19] & 15) as usize;
    let v = u32::from_be_bytes(h[o..o + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:0w$}", v % 10u32.pow(digits), w = digits as usize)
}

/// Per-user OTP key: HMAC-SHA1(master, user name). Provision servers with the same rule.
pub fn user_key(master: &[u8], user: &str) -> Vec<u8> {
    let mut m = <Hmac<Sha1> as Mac>::new_from_slice(master).unwrap();
    m.update(user.as_bytes());
    m.finalize().into_bytes().to_vec()
}

#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    Code(u8),
    /// Response Authenticator or Message-Authenticator wrong: a late answer to a
    /// reused id, or a broken server.
    Bad,
}

/// Check a reply against its request's authenticator. `need_ma`: Message-Authenticator
/// must be present (a BLASTRADIUS-safe server always sends it, first).
pub fn check_reply(b: &mut [u8], ra: &[u8; 16], secret: &Secret, need_ma: bool) -> Reply {
    if b.len() < 20 || u16::from_be_bytes([b[2], b[3]]) as usize != b.len() {
        return Reply::Bad;
    }
    let mut got = [0u8; 16];
    got.copy_from_slice(&b[4..20]);
    b[4..20].copy_from_slice(ra);
    let d = Md5::new().chain_update(&*b).chain_update(&secret.raw).finalize();
    if d[..] != got {
        return Reply::Bad;
    }
    match find_attr(b, MA) {
        Some(r) if r.len() == 16 => {
            let mut want = [0u8; 16];
            want.copy_from_slice(&b[r.clone()]);
            b[r].fill(0);
            let mut m = secret.mac.clone();
            m.update(b);
            if m.finalize().into_bytes()[..] != want {
                return Reply::Bad;
            }
        }
        Some(_) => return Reply::Bad,
        None if need_ma => return Reply::Bad,
        None => {}
    }
    Reply::Code(b[0])
}

pub fn find_attr(b: &[u8], t: u8) -> Option<std::ops::Range<usize>> {
    let mut i = 20;
    while i + 2 <= b.len() {
        let l = b[i + 1] as usize;
        if l < 2 || i + l > b.len() {
            return None;
        }
        if b[i] == t {
            return Some(i + 2..i + l);
        }
        i += l;
    }
    None
}

pub fn state_of(b: &[u8]) -> Option<Vec<u8>> {
    find_attr(b, STATE).map(|r| b[r].to_vec())
}

/// Server side, for `udpecho --mode radius`: check Message-Authenticator, decrypt the
/// PAP password, and write an Access-Accept with Message-Authenticator into `out`.
pub fn answer(req: &mut [u8], secret: &Secret, out: &mut Vec<u8>) -> bool {
    if req.len() < 20 {
        return false;
    }
    let Some(r) = find_attr(req, MA).filter(|r| r.len() == 16) else { return false };
    let mut want = [0u8; 16];
    want.copy_from_slice(&req[r.clone()]);
    req[r].fill(0);
    let mut m = secret.mac.clone();
    m.update(req);
    if m.finalize().into_bytes()[..] != want {
        return false;
    }
    let ra: [u8; 16] = req[4..20].try_into().unwrap();
    if let Some(r) = find_attr(req, 2).filter(|r| r.len() == 16) {
        let k = Md5::new().chain_update(&secret.raw).chain_update(ra).finalize();
        std::hint::black_box(req[r].iter().zip(k).map(|(a, b)| a ^ b).collect::<Vec<u8>>());
    }
    out.clear();
    out.extend_from_slice(&[ACCESS_ACCEPT, req[1], 0, 38]);
    out.extend_from_slice(&ra);
    attr(out, MA, &[0; 16]);
    let mut m = secret.mac.clone();
    m.update(out);
    out[22..38].copy_from_slice(&m.finalize().into_bytes());
    let d = Md5::new().chain_update(&*out).chain_update(&secret.raw).finalize();
    out[4..20].copy_from_slice(&d);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(s: &str) -> Vec<u8> {
        (0..s.len()).step_by(2).map(|i| u8::from_str_radix(&s[i..i + 2], 16).unwrap()).collect()
    }

    #[test] // RFC 2759 section 9.2
    fn mschapv2_vector() {
        let auth = hex("5B5D7C7D7B3F2F3E3C2C602132262628").try_into().unwrap();
        let peer = hex("21402324255E262A28295F2B3A337C7E").try_into().unwrap();
        let nt = nt_password_hash(b"clientPass");
        assert_eq!(nt.to_vec(), hex("44EBBA8D5312B8D611474411F56989AE"));
        assert_eq!(
            nt_response(&auth, &peer, b"User", &nt).to_vec(),
            hex("82309ECD8D708B5EA08FAA3981CD83544233114A3D85D6DF")
        );
    }

    #[test] // RFC 4226 appendix D
    fn hotp_vectors() {
        let k = b"12345678901234567890";
        let want = ["755224", "287082", "359152", "969429", "338314"];
        (0..5).for_each(|c| assert_eq!(hotp(k, c, 6), want[c as usize]));
    }

    #[test] // RFC 2865 section 7.1: User-Password of "arctangent", secret "xyzzy5461"
    fn pap_vector() {
        let ra = hex("0f403f9473978057bd83d5cb98f4227a").try_into().unwrap();
        assert_eq!(pap_encrypt(b"xyzzy5461", &ra, b"arctangent"), hex("0dbe708d93d413ce3196e43f782a0aee"));
    }

    #[test]
    fn request_and_answer_check() {
        let s = Secret::new(b"testing123");
        let (mut p, mut out) = (vec![], vec![]);
        let ra = build(&mut p, 7, &mut Rng(1), &s, Proto::Pap, "u", b"pw", None, None);
        assert!(answer(&mut p, &s, &mut out));
        let mut other = out.clone();
        assert_eq!(check_reply(&mut out, &ra, &s, true), Reply::Code(ACCESS_ACCEPT));
        assert_eq!(check_reply(&mut other, &[0; 16], &s, true), Reply::Bad);
    }
}
