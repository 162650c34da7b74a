"""What a login needs is broken, one thing after the other: it is refused in time, others are not, and somebody is told.

The rest of the matrix: the database gone in test_cli.py, the disk slow, broken or full in test_pressure.py, upstreams where
nobody listens in test_upstream.py.
"""

import datetime
import ipaddress
import re
import socket
import sqlite3
import ssl
import threading
import time

import pytest
from countersign_device import Device, b64
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from harness import Server, wait_until
from load import Burst, Login, coders, memory, status
from radius_client import ACCESS_ACCEPT, ACCESS_REJECT
from test_pressure import timed

ANSWER_BY = 6
AT_ONCE = 30
SECRET = "canary-secret-of-a-broken-upstream"
PASSWORD = "canary-password-of-the-directory"


class Hanging:
    """Takes everything that comes, and says nothing."""

    def __init__(self, kind=socket.SOCK_STREAM):
        self.socket = socket.socket(socket.AF_INET, kind)
        self.socket.bind(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.socket.getsockname()[1]
        self.taken: list[socket.socket] = []
        if kind == socket.SOCK_STREAM:
            self.socket.listen(1024)
            threading.Thread(target=self._take, daemon=True).start()

    def _take(self):
        while True:
            try:
                self.taken.append(self.socket.accept()[0])
            except OSError:
                return

    def end(self):
        for one in [self.socket, *self.taken]:
            one.close()


def certificate(folder, name):
    """A certificate that signs itself, for 127.0.0.1: the files of it and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    files = folder / f"{name}.pem", folder / f"{name}.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return files


class Impostor(Hanging):
    """Stands where a name now leads to, with a certificate of its own, and would let everybody in."""

    def __init__(self, folder):
        super().__init__()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*certificate(folder, "impostor"))
        self.heard = b""

    def _take(self):
        while True:
            try:
                plain, _ = self.socket.accept()
            except OSError:
                return
            try:
                plain.settimeout(5)
                with self.context.wrap_socket(plain, server_side=True) as talk:
                    while octets := talk.recv(4096):
                        self.heard += octets
            except OSError:
                pass


def directory(server, address, folder):
    ca, _ = certificate(folder, "the-real-one")
    name = f"dir-{address.rsplit(':', 1)[1]}"
    server.canaries.add(PASSWORD)
    server.ask(
        "directory", "add", name, "--server", f"ldaps://{address}", "--base", "dc=example,dc=com", "--kind", "ldap",
        "--bind-name", "cn=search,dc=example,dc=com", "--bind-password-stdin", "--ca-file", ca, stdin=PASSWORD + "\n",
    )  # fmt: skip
    return server.resource("--directory", name, primary="directory", answer_by=ANSWER_BY)


def upstream(server, address, _):
    name = f"up-{address.rsplit(':', 1)[1]}"
    server.canaries.add(SECRET)
    server.ask("upstream", "add", name, "--server", address, "--secret-stdin", stdin=SECRET + "\n")
    return server.resource("--upstream", name, primary="radius", answer_by=ANSWER_BY)


@pytest.fixture(scope="module")
def people(server):
    return iter(coders(server, 2 * AT_ONCE + 20))


MATRIX = {
    "upstream that hangs": (upstream, lambda _: Hanging(socket.SOCK_DGRAM), "upstream_silent"),
    "directory that hangs": (directory, lambda _: Hanging(), None),
    "directory whose name leads elsewhere": (directory, Impostor, None),
}


@pytest.mark.parametrize("name", MATRIX)
def test_s108_others_who_fail_deny_their_logins_in_time_and_no_others(server, people, tmp_path, name):
    add, make, detail = MATRIX[name]
    broken = make(tmp_path)
    resource, other = add(server, broken.address, tmp_path), server.resource(primary="none")
    calm = next(people)
    timed(other, calm.name, calm.code(calm.steps()[0]))
    begin, before = server.log.stat().st_size, memory(server)

    burst = Burst(resource.nas(), AT_ONCE, patience=ANSWER_BY + 10)
    known = [next(people) for _ in range(AT_ONCE)] if add is upstream else None
    names = [user.name for user in known] if known else [f"{resource.name}-{n}" for n in range(AT_ONCE)]
    # With a code behind it and without: a right code helps nobody whose password was not checked.
    for number, user in enumerate(names):
        code = f",{known[number].code(known[number].steps()[0])}" if known and number % 2 else ""
        burst.send(Login(user, f"{PASSWORD}{code}", f"place-{user}"))
    reply, took = timed(other, calm.name, calm.code(calm.steps()[1]))
    assert reply.code == ACCESS_ACCEPT and took < 2, f"another resource's login took {took:.1f} s"
    done = burst.run([])

    assert len(done) == AT_ONCE
    assert all(login.reply and login.reply.code == ACCESS_REJECT for login in done), "no reject in time"
    longest = max(login.took for login in done)
    print(f"{name}: {AT_ONCE} refused within {longest:.1f} s, meanwhile another in {took * 1000:.0f} ms, memory {before:.0f} "
          f"to {memory(server):.0f} MiB")  # fmt: skip
    assert longest < ANSWER_BY + 2
    verdicts = [record for user in names for record in server.verdicts(user_typed=user)]
    assert len(verdicts) == AT_ONCE
    assert {record["reason"] for record in verdicts} <= {"unavailable", "expired", "limited"}, verdicts[0]
    assert detail is None or {record["detail"] for record in verdicts} == {detail}
    told = server.log.read_bytes()[begin:].decode(errors="replace")
    assert re.search(r"(WARN|ERROR).*failed", told), told[-3000:]
    if isinstance(broken, Impostor):
        assert broken.heard == b"", "something was said to a machine that could not prove who it is"
    wait_until(lambda: status(server)["logins_open"] == 0, what="all logins end")
    broken.end()


@pytest.mark.parametrize("door", ["push", "code", "prompt"])
def test_s97_s108_a_database_that_somebody_else_holds_denies_in_time(new_server, door):
    server = new_server().start()
    options = {"push": (), "code": (), "prompt": ("--prompt", "totp")}[door]
    resource = server.resource(*options, primary="none" if door == "code" else "local", answer_by=ANSWER_BY)
    [coder] = coders(server, 1)
    alice = server.user()
    begin = server.log.stat().st_size
    held = sqlite3.connect(server.data / "countersign.db", isolation_level=None)
    held.execute("BEGIN EXCLUSIVE")
    name, password = (coder.name, coder.code(coder.steps()[0])) if door == "code" else (alice.name, alice.password)
    if door == "push":
        alice.phone.watch("verify")
    reply, took = timed(resource, name, password, every=30, limit=30)
    held.execute("ROLLBACK")
    held.close()
    print(f"{door}: refused after {took:.1f} s")
    assert reply.code == ACCESS_REJECT and took < ANSWER_BY + 2
    told = server.log.read_bytes()[begin:].decode(errors="replace")
    assert re.search(r"(WARN|ERROR).*(locked|busy|database)", told), told[-3000:]
    assert not server.verdicts(result="accept")
    # Afterwards it goes on, by itself.
    again = server.resource(primary="none")
    assert timed(again, coder.name, coder.code(coder.steps()[1]))[0].code == ACCESS_ACCEPT
    assert server.cli("audit", "verify").code == 0
    alice.phone.end()


def test_s93_s108_without_its_key_file_a_server_does_not_start_and_a_running_one_says_so(new_server):
    server = new_server().start()
    resource, [coder] = server.resource(primary="none"), coders(server, 1)
    key, aside = server.data / "countersign.key", server.data.parent / "aside.key"
    key.rename(aside)
    doctor = server.cli("doctor")
    assert doctor.code == 1 and "key file" in doctor.out and "is missing" in doctor.out, doctor.out
    server.stop()
    with pytest.raises(AssertionError, match="serve ended with 1"):
        server.start()
    server.process = None
    assert not key.exists(), "a new key was made, and what the old one sealed is lost"
    assert "countersign.key" in server.log.read_text().splitlines()[-1]
    aside.rename(key)
    server.start()
    assert timed(resource, coder.name, coder.code(coder.steps()[0]))[0].code == ACCESS_ACCEPT


class Pushing(Server):
    """A server that sends pushes to a service on this machine."""

    def __init__(self, data, service):
        self.service = service
        super().__init__(data)

    def write_config(self):
        super().write_config()
        with (self.data / "countersign.toml").open("a") as file:
            file.write(
                f'\n[push]\ncontact = "mailto:mfa@corp.de"\nhosts = ["{self.service}"]\nallow_private = true\n'
            )


def test_s90_s108_a_push_service_that_hangs_holds_no_login_up(tmp_path):
    service = Hanging()
    server = Pushing(tmp_path / "data", service.address).start()
    try:
        resource, alice = server.resource(answer_by=8), server.user(device=False)
        device = Device.activate(None, server.ask("activation", "issue", alice.name)["qr"])
        numbers = ec.generate_private_key(ec.SECP256R1()).public_key()
        point = numbers.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
        subscription = {"endpoint": f"http://{service.address}/x", "p256dh": b64(point), "auth": b64(bytes(16))}
        device.set_push(subscription)
        nas = resource.nas()
        request = nas.packet(user=alice.name, password=alice.password)
        nas.send(request)
        [challenge] = wait_until(device.challenges, what="a challenge")
        wait_until(lambda: service.taken, what="a push under way")
        begun = time.monotonic()
        device.answer(challenge, "verify")
        assert nas.receive(request, 10).code == ACCESS_ACCEPT
        assert time.monotonic() - begun < 3, "the login waited for the push"
        # One whose phone is never woken ends by its time.
        reply, took = timed(resource, alice.name, alice.password, every=30, limit=30)
        assert reply.code == ACCESS_REJECT and 7 < took < 11
    finally:
        service.end()
        server.stop()
    server.check_traces()
