"""Many users and many logins at once: what a busy RADIUS client does, and what a server is like under it."""

import base64
import hmac
import http.client
import json
import re
import select
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from countersign_device import Device
from radius_client import CALLING_STATION_ID, NAS, Reply


class AdminSocket(http.client.HTTPConnection):
    """The admin API, without a program for each call."""

    def __init__(self, server):
        super().__init__("localhost", timeout=60)
        self.path = server.data / "admin.sock"

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))

    def ask(self, method: str, path: str, body=None):
        octets = None if body is None else json.dumps(body)
        self.request(method, f"/admin/v1/{path}", octets, {"Content-Type": "application/json"} if octets else {})
        answer = self.getresponse()
        text = answer.read()
        assert answer.status < 300, (answer.status, text)
        return json.loads(text) if text else None


@dataclass
class Coder:
    """A user who logs on with the codes of the app."""

    name: str
    seed: bytes

    def code(self, step: int) -> str:
        """RFC 6238, six digits of SHA-1."""
        digest = hmac.digest(self.seed, struct.pack("!Q", step), "sha1")
        at = digest[-1] & 15
        return f"{(struct.unpack('!I', digest[at : at + 4])[0] & 0x7FFFFFFF) % 1_000_000:06d}"

    def steps(self) -> range:
        """Two whose codes are taken now and for half a minute more: this one and the next."""
        now = int(time.time()) // 30
        return range(now, now + 2)


def coders(server, count: int, prefix: str = "coder") -> list[Coder]:
    """So many users, each with a device that has codes."""

    def one(number: int) -> Coder:
        admin = AdminSocket(server)
        name = f"{prefix}{number}"
        admin.ask("POST", "users", {"name": name})
        issued = admin.ask("POST", f"users/{name}/activations", {})
        admin.close()
        secret = Device.activate(None, issued["qr"]).state["totp"]["secret"]
        return Coder(name, base64.b32decode(secret + "=" * (-len(secret) % 8)))

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(one, range(count)))


@dataclass
class Login:
    """One that was sent, and what became of it."""

    user: str
    password: str
    station: str
    request: bytes = b""
    sent: float = 0.0
    reply: Reply | None = None
    took: float | None = None


class Burst:
    """Sends logins as fast as they are answered, `at_once` at a time; one source of requests."""

    def __init__(self, nas: NAS, at_once: int = 64, patience: float = 10):
        self.nas, self.at_once, self.patience = nas, at_once, patience
        nas.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.open: dict[int, Login] = {}
        self.done: list[Login] = []

    def send(self, login: Login) -> None:
        while (self.nas.identifier + 1) % 256 in self.open:
            self.nas.identifier += 1
        attributes = [(CALLING_STATION_ID, login.station)] if login.station else []
        login.request = self.nas.packet(attributes, user=login.user, password=login.password)
        login.sent = time.monotonic()
        self.open[login.request[1]] = login
        self.nas.send(login.request)

    def receive(self, wait: float) -> None:
        """Takes what is there, and waits for something at most so long."""
        while select.select([self.nas.socket], [], [], wait)[0]:
            try:
                reply, _ = self.nas.socket.recvfrom(4096)
            except ConnectionError:
                return  # nobody there any more, by ICMP
            login = self.open.pop(reply[1], None)
            if login is not None:
                login.reply = self.nas.check(login.request, reply)
                login.took = time.monotonic() - login.sent
                self.done.append(login)
            wait = 0
        late = time.monotonic() - self.patience
        for identifier in [key for key, login in self.open.items() if login.sent < late]:
            self.done.append(self.open.pop(identifier))

    def run(self, logins, until=lambda: False) -> list[Login]:
        """All of `logins`, one of a user after the other, or as many as there is time for; each is tried once."""
        waiting, users = list(reversed(list(logins))), set()
        while (waiting or self.open) and not until():
            busy = {login.user for login in self.open.values()}
            held = []
            while waiting and len(self.open) < self.at_once:
                login = waiting.pop()
                if login.user in busy:
                    held.append(login)
                    if len(held) > self.at_once:
                        break
                    continue
                busy.add(login.user)
                users.add(login.user)
                self.send(login)
            waiting.extend(reversed(held))
            self.receive(0.02)
        return self.done


def memory(server) -> float:
    """MiB that a server holds."""
    status = open(f"/proc/{server.process.pid}/status").read()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024


def status(server) -> dict:
    admin = AdminSocket(server)
    try:
        return admin.ask("GET", "status")
    finally:
        admin.close()
