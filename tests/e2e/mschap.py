"""MS-CHAP-V2 from its user's side (RFC 2759), the keys that come of it (RFC 3079), and how RADIUS carries both (RFC 2548)."""

import hashlib
import os
import struct

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from radius_client import NAS, Reply, md5

VENDOR_SPECIFIC, MICROSOFT = 26, 311
ERROR, CHALLENGE, SEND_KEY, RECEIVE_KEY, RESPONSE_2, SUCCESS_2, CHANGE_2 = 2, 11, 16, 17, 25, 26, 27


def md4(data: bytes) -> bytes:
    """RFC 1320; OpenSSL has it no more."""

    def turn(value: int, by: int) -> int:
        value &= 0xFFFFFFFF
        return (value << by | value >> (32 - by)) & 0xFFFFFFFF

    rounds = [
        (lambda x, y, z: x & y | ~x & z, 0, range(16), (3, 7, 11, 19)),
        (lambda x, y, z: x & y | x & z | y & z, 0x5A827999, [i % 4 * 4 + i // 4 for i in range(16)], (3, 5, 9, 13)),
        (lambda x, y, z: x ^ y ^ z, 0x6ED9EBA1, [int(f"{i:04b}"[::-1], 2) for i in range(16)], (3, 9, 11, 15)),
    ]
    state = [0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476]
    data += b"\x80" + bytes((55 - len(data)) % 64) + struct.pack("<Q", len(data) * 8)
    for start in range(0, len(data), 64):
        words = struct.unpack("<16I", data[start : start + 64])
        a, b, c, d = state
        for mix, more, order, turns in rounds:
            for step, word in enumerate(order):
                a, b, c, d = d, turn(a + mix(b, c, d) + words[word] + more, turns[step % 4]), b, c
        state = [x + y & 0xFFFFFFFF for x, y in zip(state, (a, b, c, d))]
    return struct.pack("<4I", *state)


def des(key: bytes, block: bytes) -> bytes:
    """With a key of 56 bits."""
    bits = int.from_bytes(key, "big")
    wide = bytes((bits >> 49 - 7 * at & 0x7F) << 1 for at in range(8))
    encryptor = Cipher(TripleDES(wide * 3), modes.ECB()).encryptor()
    return encryptor.update(block) + encryptor.finalize()


class Exchange:
    """One answer to one challenge, by somebody who has this password."""

    def __init__(self, user: str, password: str, challenge: bytes | None = None, peer: bytes | None = None):
        self.challenge, self.peer = challenge or os.urandom(16), peer or os.urandom(16)
        self.hash = md4(password.encode("utf-16-le"))
        # A domain before the name is not part of what is answered (RFC 2759 section 4).
        name = user.rsplit("\\", 1)[-1].encode()
        self.short = hashlib.sha1(self.peer + self.challenge + name).digest()[:8]
        padded = self.hash + bytes(5)
        self.answer = b"".join(des(padded[at : at + 7], self.short) for at in (0, 7, 14))

    def response(self, identifier: int = 7) -> bytes:
        """MS-CHAP2-Response."""
        return bytes([identifier, 0]) + self.peer + bytes(8) + self.answer

    def attributes(self, identifier: int = 7) -> list[tuple[int, bytes]]:
        return [microsoft(CHALLENGE, self.challenge), microsoft(RESPONSE_2, self.response(identifier))]

    def success(self) -> str:
        """By which the server shows that it knows the password as well (RFC 2759 section 8.7)."""
        first = hashlib.sha1(md4(self.hash) + self.answer + b"Magic server to client signing constant").digest()
        more = b"Pad to make it do more than one iteration"
        return "S=" + hashlib.sha1(first + self.short + more).hexdigest().upper()

    def keys(self) -> tuple[bytes, bytes]:
        """With which the server sends and receives, of 128 bits (RFC 3079 section 3.4)."""
        master = hashlib.sha1(md4(self.hash) + self.answer + b"This is the MPPE Master Key").digest()[:16]
        side = b"On the client side, this is the %s key; on the server side, it is the %s key."
        sends, receives = side % (b"receive", b"send"), side % (b"send", b"receive")
        return tuple(hashlib.sha1(master + bytes(40) + magic + b"\xf2" * 40).digest()[:16] for magic in (sends, receives))


def microsoft(kind: int, value: bytes) -> tuple[int, bytes]:
    return VENDOR_SPECIFIC, struct.pack("!IBB", MICROSOFT, kind, len(value) + 2) + value


def values(reply: Reply, wanted: int) -> list[bytes]:
    """Of Microsoft's attributes of this kind, in their order."""
    found = []
    for value in reply.values(VENDOR_SPECIFIC):
        rest = value[4:] if value[:4] == struct.pack("!I", MICROSOFT) else b""
        while rest:
            if rest[0] == wanted:
                found.append(rest[2 : rest[1]])
            rest = rest[rest[1] :]
    return found


def opened(value: bytes, nas: NAS, request: bytes) -> bytes:
    """A key that was encrypted for a client and its request (RFC 2548 section 2.4.2)."""
    salt, cipher = value[:2], value[2:]
    assert salt[0] & 0x80, "the highest bit of a salt is set"
    assert len(cipher) % 16 == 0
    plain, before = b"", request[4:20] + salt
    for at in range(0, len(cipher), 16):
        plain += bytes(a ^ b for a, b in zip(cipher[at : at + 16], md5(nas.secret + before)))
        before = cipher[at : at + 16]
    assert plain[0] < len(plain) and not any(plain[1 + plain[0] :]), "a length, a key and zeros"
    return plain[1 : 1 + plain[0]]
