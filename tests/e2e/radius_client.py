"""A small RADIUS client of its own (RFC 2865, 2869, 5997), so that the server is not tested with its own codec."""

import hashlib
import hmac
import os
import socket
import struct
from dataclasses import dataclass

ACCESS_REQUEST, ACCESS_ACCEPT, ACCESS_REJECT, ACCESS_CHALLENGE, STATUS_SERVER = 1, 2, 3, 11, 12
USER_NAME, USER_PASSWORD, NAS_IP_ADDRESS, NAS_PORT, REPLY_MESSAGE, STATE = 1, 2, 4, 5, 18, 24
CALLING_STATION_ID, NAS_IDENTIFIER, PROXY_STATE, PROMPT, MESSAGE_AUTHENTICATOR = 31, 32, 33, 76, 80


def md5(data: bytes) -> bytes:
    return hashlib.md5(data).digest()


def hide(password: bytes, authenticator: bytes, secret: bytes) -> bytes:
    """RFC 2865 section 5.2."""
    padded = password + bytes(-len(password) % 16 or (0 if password else 16))
    hidden, previous = b"", authenticator
    for start in range(0, len(padded), 16):
        previous = bytes(a ^ b for a, b in zip(padded[start : start + 16], md5(secret + previous)))
        hidden += previous
    return hidden


def sign(packet: bytes, at: int, secret: bytes) -> bytes:
    """The packet with its Message-Authenticator, whose value starts at `at`, filled in (RFC 2869 section 5.14)."""
    blank = packet[:at] + bytes(16) + packet[at + 16 :]
    return packet[:at] + hmac.new(secret, blank, "md5").digest() + packet[at + 16 :]


@dataclass
class Reply:
    octets: bytes
    attributes: list[tuple[int, bytes]]

    @property
    def code(self) -> int:
        return self.octets[0]

    def values(self, kind: int) -> list[bytes]:
        return [value for k, value in self.attributes if k == kind]


class NAS:
    """One UDP source of requests. A packet is octets; sending the same octets again is a retransmission."""

    def __init__(self, server: tuple[str, int], secret: bytes, source: str = "127.0.0.1", strict: bool = True):
        """`strict`: Message-Authenticator must be the first attribute of a reply, as ours has it."""
        self.server, self.secret, self.strict = server, secret, strict
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((source, 0))
        self.identifier = 0

    def packet(self, attributes=(), *, user=None, password=None, code=ACCESS_REQUEST, message_authenticator=True):
        """A new request. `user` and `password` are text or octets; Message-Authenticator comes first when wanted."""
        self.identifier = (self.identifier + 1) % 256
        authenticator = os.urandom(16)
        listed = [(MESSAGE_AUTHENTICATOR, bytes(16))] if message_authenticator else []
        if user is not None:
            listed.append((USER_NAME, octets(user)))
        if password is not None:
            listed.append((USER_PASSWORD, hide(octets(password), authenticator, self.secret)))
        listed += [(kind, octets(value)) for kind, value in attributes]
        body = b"".join(struct.pack("!BB", kind, len(value) + 2) + value for kind, value in listed)
        packet = struct.pack("!BBH", code, self.identifier, 20 + len(body)) + authenticator + body
        return sign(packet, 22, self.secret) if message_authenticator else packet

    def send(self, packet: bytes) -> None:
        self.socket.sendto(packet, self.server)

    def receive(self, request: bytes, timeout: float) -> Reply | None:
        """The reply to `request`, checked; None when none comes in time."""
        self.socket.settimeout(timeout)
        try:
            reply, sender = self.socket.recvfrom(4096)
        except TimeoutError:
            return None
        assert sender == self.server, f"the reply came from {sender}, not from the address that was asked"
        return self.check(request, reply)

    def check(self, request: bytes, reply: bytes) -> Reply:
        code, identifier, length = struct.unpack("!BBH", reply[:4])
        assert length == len(reply), "length field"
        assert identifier == request[1], "identifier"
        asked = reply[:4] + request[4:20] + reply[20:]
        assert md5(asked + self.secret) == reply[4:20], "response authenticator"
        attributes, at = [], 20
        while at < len(reply):
            kind, size = reply[at], reply[at + 1]
            assert size >= 2 and at + size <= len(reply), "attribute length"
            attributes.append((kind, reply[at + 2 : at + size]))
            at += size
        at, kinds = 20, [kind for kind, _ in attributes]
        assert kinds.count(MESSAGE_AUTHENTICATOR) == 1, "not one Message-Authenticator"
        for kind, value in attributes[: kinds.index(MESSAGE_AUTHENTICATOR)]:
            at += 2 + len(value)
        assert at == 20 or not self.strict, "Message-Authenticator is not first"
        assert sign(asked, at + 2, self.secret) == asked, "Message-Authenticator is wrong"
        return Reply(reply, attributes)

    def exchange(self, packet: bytes, timeout: float = 30) -> Reply:
        self.send(packet)
        reply = self.receive(packet, timeout)
        assert reply is not None, f"no reply within {timeout} s"
        return reply

    def login(self, user, password=None, attributes=(), timeout: float = 30) -> Reply:
        return self.exchange(self.packet(attributes, user=user, password=password), timeout)


def octets(value) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
