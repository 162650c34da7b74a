"""A man in the middle of two who speak RADIUS. He sees all packets, and can alter what he likes; he has no secret."""

import select
import socket
import struct
import threading
from collections.abc import Callable

from radius_client import MESSAGE_AUTHENTICATOR, md5, sign

Change = Callable[[bytes], list[bytes]]


def attributes(packet: bytes) -> list[tuple[int, bytes]]:
    listed, at = [], 20
    while at < len(packet):
        listed.append((packet[at], packet[at + 2 : at + packet[at + 1]]))
        at += packet[at + 1]
    return listed


def made(packet: bytes, listed: list[tuple[int, bytes]], code: int | None = None) -> bytes:
    """The packet with these attributes, and nothing signed anew."""
    body = b"".join(struct.pack("!BB", kind, len(value) + 2) + value for kind, value in listed)
    return struct.pack("!BBH", code or packet[0], packet[1], 20 + len(body)) + packet[4:20] + body


def without(packet: bytes, kind: int) -> bytes:
    return made(packet, [(k, value) for k, value in attributes(packet) if k != kind])


def with_attribute(packet: bytes, kind: int, value: bytes, at: int | None = None) -> bytes:
    listed = attributes(packet)
    listed.insert(len(listed) if at is None else at, (kind, value))
    return made(packet, listed)


def collided(reply: bytes, request: bytes, secret: bytes, code: int, listed: list[tuple[int, bytes]]) -> bytes:
    """What an attacker has after the MD5 collision of CVE-2024-3596: a reply of his choice under a right Response
    Authenticator. The collision itself takes minutes of many cores; here the secret is used in its place, and only for that."""
    forged = made(reply, listed, code)
    return forged[:4] + md5(forged[:4] + request[4:20] + forged[20:] + secret) + forged[20:]


def signed(reply: bytes, request: bytes, secret: bytes, code: int, listed) -> bytes:
    """A reply that is right in all, of somebody who has the secret."""
    listed = [(MESSAGE_AUTHENTICATOR, bytes(16)), *[one for one in listed if one[0] != MESSAGE_AUTHENTICATOR]]
    forged = made(reply, listed, code)
    forged = sign(forged[:4] + request[4:20] + forged[20:], 22, secret)
    return forged[:4] + md5(forged + secret) + forged[20:]


class Middle:
    """Stands at `address` in the place of `server`, which hears everything from `source`."""

    def __init__(self, server: tuple[str, int], source: str = "127.0.0.1", front: socket.socket | None = None):
        self.server, self.source = server, source
        self.front = front or socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        if front is None:
            self.front.bind(("127.0.0.1", 0))
        self.address = self.front.getsockname()
        self.requests: list[bytes] = []
        self.replies: list[bytes] = []
        self.on_request: Change = lambda packet: [packet]
        self.on_reply: Change = lambda packet: [packet]
        self.failure: BaseException | None = None
        self._backs: dict[tuple[str, int], socket.socket] = {}
        self._wake, self._stop = socket.socketpair()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def send_request(self, packet: bytes) -> None:
        """To the server, once more or anew, from where the last client's packets come."""
        list(self._backs.values())[-1].sendto(packet, self.server)

    def send_reply(self, packet: bytes) -> None:
        """To the last client."""
        self.front.sendto(packet, list(self._backs)[-1])

    def stop(self) -> None:
        self._stop.send(b"x")
        self._thread.join(5)
        for one in (self.front, self._wake, self._stop, *self._backs.values()):
            one.close()
        if self.failure:
            raise self.failure

    def _run(self) -> None:
        try:
            while True:
                readable, _, _ = select.select([self._wake, self.front, *self._backs.values()], [], [])
                if self._wake in readable:
                    return
                if self.front in readable:
                    self._request()
                for client, back in list(self._backs.items()):
                    if back in readable:
                        self._reply(client, back)
        except BaseException as failure:  # told by stop(): a thread's own would be lost
            self.failure = failure

    def _request(self) -> None:
        try:
            packet, client = self.front.recvfrom(4096)
        except ConnectionError:
            return  # a port that was closed meanwhile, by ICMP
        self.requests.append(packet)
        if client not in self._backs:
            self._backs[client] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._backs[client].bind((self.source, 0))
        for changed in self.on_request(packet):
            self._backs[client].sendto(changed, self.server)

    def _reply(self, client: tuple[str, int], back: socket.socket) -> None:
        try:
            packet, _ = back.recvfrom(4096)
        except ConnectionError:
            return
        self.replies.append(packet)
        for changed in self.on_reply(packet):
            self.front.sendto(changed, client)
