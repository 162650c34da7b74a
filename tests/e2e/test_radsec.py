"""RADIUS over TLS (RFC 6614) with the real program as server and as client, beside FreeRADIUS in both roles."""

import hashlib
import json
import socket
import ssl
import struct
import subprocess
import warnings
from dataclasses import dataclass

import pytest

from freeradius import Account, FreeRADIUS, Home
from harness import Phone, free_port, need, wait_until
from pki import CA
from radius_client import ACCESS_ACCEPT, ACCESS_REJECT, NAS

ACCESS_REQUEST, ACCOUNTING_REQUEST, ACCOUNTING_RESPONSE, STATUS_SERVER = 1, 4, 5, 12
ERROR_CAUSE = b"\x65\6\0\0\1\x96"
PASSWORD = "canary-Passw0rd-behind-radsec"
OURS, VPN = "mfa.example.org", "vpn.example.org"


class Caller:
    """A client on a connection over TLS, by Python's own TLS."""

    def __init__(self, address, ca, pair=None, alpn=(), version=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(ca.file)
        context.check_hostname = True
        if pair:
            context.load_cert_chain(pair.cert, pair.key)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if version:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                context.set_ciphers("ALL:@SECLEVEL=0")
                context.minimum_version = context.maximum_version = version
        plain = socket.create_connection(address, timeout=20)
        self.tls = context.wrap_socket(plain, server_hostname=OURS)
        # It makes and checks packets; its own socket stays unused.
        self.nas = NAS(("127.0.0.1", 9), b"radsec")

    def _exactly(self, count: int) -> bytes:
        octets = b""
        while len(octets) < count:
            more = self.tls.recv(count - len(octets))
            if not more:
                raise ConnectionError("closed")
            octets += more
        return octets

    def _packet(self) -> bytes:
        head = self._exactly(4)
        (length,) = struct.unpack("!H", head[2:4])
        return head + self._exactly(length - 4)

    def receive(self, request: bytes):
        return self.nas.check(request, self._packet())

    def account(self, identifier: int, *attributes: bytes) -> bytes:
        """The answer to a record of these attributes (RFC 2866 section 3), checked."""
        body = b"".join(attributes)
        head = struct.pack("!BBH", ACCOUNTING_REQUEST, identifier, 20 + len(body))
        authenticator = hashlib.md5(head + bytes(16) + body + b"radsec").digest()
        self.tls.sendall(head + authenticator + body)
        reply = self._packet()
        assert reply[1] == identifier
        assert hashlib.md5(reply[:4] + authenticator + reply[20:] + b"radsec").digest() == reply[4:20]
        return reply

    def send(self, **what) -> bytes:
        packet = self.nas.packet(**what)
        self.tls.sendall(packet)
        return packet

    def is_served(self) -> bool:
        try:
            return self.receive(self.send(code=STATUS_SERVER)).code == ACCESS_ACCEPT
        except (ConnectionError, ssl.SSLError, OSError):
            return False


@dataclass
class Secure:
    """A server that speaks RADIUS over TLS."""

    server: object
    ca: CA
    tls: tuple[str, int]

    def configure(self, cert, listen=True) -> "Secure":
        pair = self.ca.issue(cert, file=f"server-{self.server.data.name}") if isinstance(cert, str) else cert
        self.server.write_config()
        config = self.server.data / "countersign.toml"
        listening = f'tls_listen = "{self.tls[0]}:{self.tls[1]}"\n' if listen else ""
        text = config.read_text().replace("\n\n[app]", f"\n{listening}\n[app]", 1)
        files = f'cert = "{pair.cert}"\nkey = "{pair.key}"\nca = "{self.ca.file}"\n'
        config.write_text(f"{text}\n[radius.tls]\n{files}")
        return self

    def start(self) -> "Secure":
        self.server.start()
        return self

    def client(self, name: str, *options, resource: str) -> dict:
        return self.server.ask("client", "add", name, "--resource", resource, *options)

    def call(self, *names, use="both", until=2070, **more) -> Caller:
        return Caller(self.tls, self.ca, self.ca.issue(*names, use=use, until=until), **more)


@pytest.fixture
def ca(tmp_path):
    return CA(tmp_path / "pki")


@pytest.fixture
def secure(new_server, ca):
    """Makes servers with RADIUS over TLS, not started."""

    def make(cert=OURS, listen=True) -> Secure:
        return Secure(new_server(), ca, ("127.0.0.1", free_port())).configure(cert, listen)

    return make


@pytest.fixture
def phones():
    made: list[Phone] = []
    yield made
    for phone in made:
        phone.end()


def person(server, phones, password=None):
    user = server.user(password=password)
    phones.append(user.phone)
    return user


def status(server, of: str = "radius_counters") -> dict:
    """What the door has counted."""
    with socket.socket(socket.AF_UNIX) as admin:
        admin.connect(str(server.data / "admin.sock"))
        admin.sendall(b"GET /admin/v1/status HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: admin.recv(65536), b""))
    return json.loads(answer.split(b"\r\n\r\n", 1)[1])[of]


def resource(server, *options, **more) -> str:
    return server.ask("resource", "add", "vpn", "--no-client", *options, **more)["name"]


def test_s48_a_login_over_tls_and_whoever_is_not_the_client_is_refused(secure, ca, phones):
    one = secure().start()
    server = one.server
    alice = person(server, phones)
    vpn = resource(server, "--primary", "local")
    made = one.client("vpn", "--tls-name", VPN, resource=vpn)
    assert (made["tls"], made["addresses"]) == (VPN, [])

    caller = one.call(VPN, use="client")
    request = caller.send(user=alice.name, password=alice.password)
    alice.phone.answer("verify")
    assert caller.receive(request).code == ACCESS_ACCEPT
    assert server.verdicts(user_typed=alice.name)[-1]["client"] == made["id"]
    request = caller.send(user=alice.name, password="wrong")
    assert caller.receive(request).code == ACCESS_REJECT

    # Another identity of the same CA, expired, for servers only, of another CA, none.
    assert not one.call("other.example.org").is_served()
    assert not one.call(VPN, until=2021).is_served()
    assert not one.call(VPN, use="server").is_served()
    stranger = CA(ca.folder, "stranger").issue(VPN)
    assert not Caller(one.tls, ca, stranger).is_served()
    assert not Caller(one.tls, ca).is_served()
    # TLS 1.1; TLS 1.2 is taken.
    with pytest.raises(ssl.SSLError):
        one.call(VPN, version=ssl.TLSVersion.TLSv1_1)
    assert one.call(VPN, version=ssl.TLSVersion.TLSv1_2).is_served()
    # RADIUS/1.1 alone is refused (RFC 9765), RADIUS/1.0 agreed on.
    with pytest.raises(ssl.SSLError):
        one.call(VPN, alpn=["radius/1.1"])
    assert one.call(VPN, alpn=["radius/1.1", "radius/1.0"]).tls.selected_alpn_protocol() == "radius/1.0"
    # Without TLS on that port, and over UDP with the secret that everybody knows.
    with socket.create_connection(one.tls, timeout=20) as plain:
        plain.sendall(caller.nas.packet(user=alice.name, password=alice.password))
        assert plain.recv(1) in (b"", b"\x15"), "closed, or an alert of TLS"
    nas = NAS(server.radius, b"radsec")
    packet = nas.packet(user=alice.name, password=alice.password)
    nas.send(packet)
    assert nas.receive(packet, 1) is None
    assert status(server)["unknown_source"] == 1
    assert caller.is_served()

    log = server.log.read_text(errors="replace")
    assert "was not taken" in log and "client add" in log
    server.ask("client", "set", "vpn", "--tls-fingerprint", ca.issue("x.example.org").fingerprint)
    assert not caller.is_served(), "a client that is changed loses its connections"
    pinned = ca.issue("x.example.org")
    server.ask("client", "set", "vpn", "--tls-fingerprint", pinned.fingerprint)
    caller = Caller(one.tls, ca, pinned)
    assert caller.is_served()
    server.ask("client", "remove", "vpn")
    assert not caller.is_served()


def test_certificates_are_taken_anew_and_doctor_tells(secure, ca):
    silent = secure(listen=False).start()
    server = silent.server
    silent.client("vpn", "--tls-name", VPN, resource=resource(server, "--primary", "local"))
    findings = [one for one in json.loads(server.cli("doctor", "--json").out) if one["about"] == "radius over tls"]
    assert any(one["level"] == "wrong" and "tls_listen" in one["text"] for one in findings), findings
    server.stop()
    silent.configure(OURS).start()
    before = silent.call(VPN)
    assert before.is_served()
    # Another CA and a certificate of it: those of the old one go.
    fresh = CA(ca.folder, "fresh")
    pair = fresh.issue(OURS)
    old = ca.file.read_bytes()
    shown = ca.folder / f"server-{server.data.name}.crt"
    pair.key.rename(shown.with_suffix(".key"))
    shown.write_bytes(pair.cert.read_bytes())
    ca.file.write_bytes(fresh.file.read_bytes())
    wait_until(lambda: "radius.tls: the new certificate is shown" in server.log.read_text(), what="the new files")
    assert not before.is_served()
    assert Caller(silent.tls, fresh, fresh.issue(VPN)).is_served()
    (ca.folder / "old.pem").write_bytes(old)


class TlsHome(Home):
    """A server over TLS that FreeRADIUS sends to, logins and accounting."""

    def text(self) -> str:
        pair, ca = self.secret
        return f"""
home_server home {{
  type = auth+acct
  ipaddr = {self.server[0]}
  port = {self.server[1]}
  proto = tcp
  secret = radsec
  response_window = {self.window}
  zombie_period = 120
  revive_interval = 60
  status_check = status-server
  check_interval = 6
  tls {{
    private_key_file = {pair.key}
    certificate_file = {pair.cert}
    ca_file = {ca.file}
    tls_min_version = "1.2"
    tls_max_version = "1.2"
  }}
}}
home_server_pool home {{
  type = fail-over
  home_server = home
}}
realm home {{
  auth_pool = home
  acct_pool = home
  nostrip
}}
"""


def test_freeradius_as_our_client_over_tls(secure, ca, phones, tmp_path):
    one = secure().start()
    server = one.server
    alice = person(server, phones)
    one.client("proxy", "--tls-name", "proxy.example.org", resource=resource(server, "--primary", "local"))
    home = TlsHome(one.tls, (ca.issue("proxy.example.org"), ca), "127.0.0.1", 60)
    secret = "canary-secret-of-the-vpn-and-freeradius"
    books = free_port(socket.SOCK_DGRAM)
    proxy = FreeRADIUS(
        tmp_path / "proxy", {"127.0.0.1": secret}, home=home, servers=to_home(books),
        authorise="update control {\n      Proxy-To-Realm := home\n    }",
    ).start()  # fmt: skip
    try:
        nas = NAS(proxy.address, secret.encode(), strict=False)
        packet = nas.packet(user=alice.name, password=alice.password)
        nas.send(packet)
        alice.phone.answer("verify")
        reply = nas.receive(packet, 20)
        assert reply is not None and reply.code == ACCESS_ACCEPT, proxy.text()[-3000:]
        assert nas.login(alice.name, "wrong").code == ACCESS_REJECT
        need("radclient")
        record = f'User-Name = "{alice.name}"\nAcct-Status-Type = Start\nAcct-Session-Id = "42-a"\nProxy-State = 0x7031\n'
        sent = subprocess.run(
            ["radclient", "-x", "-t", "10", "-r", "1", f"127.0.0.1:{books}", "acct", secret],
            input=record, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert sent.returncode == 0 and "Received Accounting-Response" in sent.stdout, sent.stdout + proxy.text()[-3000:]
    finally:
        proxy.stop()
    assert status(server)["tls_connections"] >= 1
    counts = status(server, "accounting_counters")
    assert (counts["packets"], counts["responses"]) == (1, 1), counts


def test_accounting_over_tls_is_kept_where_it_is_wanted_and_refused_elsewhere(secure, ca, tmp_path):
    one = secure().start()
    server = one.server
    between = "canary-secret-between-us-and-the-books"
    books = FreeRADIUS(tmp_path / "books", {"127.0.0.1": between}, kind="acct").start()
    try:
        keeps = ("--server", "127.0.0.1:9", "--accounting", "%s:%d" % books.address, "--secret-stdin")
        server.ask("upstream", "add", "books", *keeps, stdin=between + "\n")
        vpn = resource(server, "--primary", "radius", "--upstream", "books", "--expects", "nothing")
        one.client("vpn", "--tls-name", VPN, resource=vpn)
        start = (b"\1\7alice", b"\x28\6\0\0\0\1", b"\x2c\x0642-a", b"\x21\4p1")
        caller = one.call(VPN, use="client")
        reply = caller.account(7, *start)
        assert (reply[0], reply[20:]) == (ACCOUNTING_RESPONSE, b"\x21\4p1")
        [record] = books.records()
        assert 'Acct-Session-Id = "42-a"' in record and 'User-Name = "alice"' in record, record
        assert caller.account(7, *start) == reply and len(books.records()) == 1, "the same record again"
        assert caller.is_served()
    finally:
        books.stop()
    assert server.verdicts() == []
    # Where nobody has said that accounting is wanted, a client is told so.
    server.stop()
    config = server.data / "countersign.toml"
    config.write_text("".join(line for line in config.open() if not line.startswith("accounting")))
    server.start()
    caller = one.call(VPN, use="client")
    assert ERROR_CAUSE in caller.account(8, *start)[20:]
    assert caller.is_served()


def to_home(port: int) -> str:
    """A port of FreeRADIUS that passes accounting on."""
    return f"""
server books {{
  listen {{
    type = acct
    ipaddr = 127.0.0.1
    port = {port}
  }}
  preacct {{
    update control {{
      Proxy-To-Realm := home
    }}
  }}
  accounting {{
    ok
  }}
}}
"""


def over_tls(pair, ca) -> str:
    return f"""
    proto = tcp
    tls {{
      private_key_file = {pair.key}
      certificate_file = {pair.cert}
      ca_file = {ca.file}
      require_client_cert = yes
      tls_min_version = "1.2"
      tls_max_version = "1.2"
    }}
"""


def upstream(server, *servers, stdin="") -> None:
    options = [word for one in servers for word in ("--server", one)]
    secret = ["--secret-stdin"] if stdin else []
    server.ask("upstream", "add", "below", *options, *secret, stdin=stdin)


def test_freeradius_as_our_upstream_over_tls_and_a_mixed_one(secure, ca, phones, tmp_path):
    one = secure(listen=False).start()
    server = one.server
    alice = person(server, phones)
    accounts = [Account(alice.name, PASSWORD, ("Class := 0x6f6e65",))]
    server.canaries.add(PASSWORD)
    udp_secret = "canary-secret-between-us-and-the-udp-one"
    above = FreeRADIUS(
        tmp_path / "tls", {"127.0.0.1": "radsec"}, accounts=accounts, status_server=True,
        over_tls=over_tls(ca.issue("radius.example.org"), ca),
    ).start()  # fmt: skip
    clients = {"127.0.0.0/8": udp_secret}
    udp = FreeRADIUS(tmp_path / "udp", clients, accounts=accounts, status_server=True).start()
    try:
        address = "tls://%s:%d/radius.example.org" % above.address
        upstream(server, address, "%s:%d" % udp.address, stdin=udp_secret + "\n")
        tested = server.cli("upstream", "test", "below")
        assert tested.code == 0 and "answers Status-Server" in tested.out, tested.out
        nas = server.resource("--upstream", "below", "--expects", "password", primary="radius").nas()

        def login():
            packet = nas.packet(user=alice.name, password=PASSWORD)
            nas.send(packet)
            alice.phone.answer("verify")
            return nas.receive(packet, 20)

        reply = login()
        assert reply.code == ACCESS_ACCEPT and reply.values(25) == [b"one"], above.text()[-3000:]
        assert (above.received(), udp.received()) == (1, 0)
        assert nas.login(alice.name, "wrong").code == ACCESS_REJECT
        # It is gone: the next server is asked, over UDP because it is set so.
        above.stop()
        assert login().code == ACCESS_ACCEPT
        assert udp.received() == 1
        shown = server.ask("upstream", "show", "below")["servers"]
        assert shown[0]["address"] == address and shown[0]["down_seconds"] is not None
    finally:
        above.stop()
        udp.stop()


def test_s48_two_of_ours_one_behind_the_other(secure, ca, phones):
    """The front one has no users' passwords: it sends logins on over TLS to the one behind, and asks the phone."""
    back, front = secure("back.example.org").start(), secure(OURS, listen=False).start()
    alice = person(front.server, phones)
    back.server.ask("user", "add", alice.name, "--password-stdin", stdin=PASSWORD + "\n")
    back.server.canaries.add(PASSWORD)
    asked = Phone(back.server.data.parent / "phone-back.json")
    phones.append(asked)
    asked.activate(back.server, alice.name)
    back.client("front", "--tls-name", OURS, resource=resource(back.server, "--primary", "local"))
    address = "tls://%s:%d/back.example.org" % back.tls
    upstream(front.server, address)
    nas = front.server.resource("--upstream", "below", "--expects", "password", primary="radius", answer_by=60).nas()

    def login(timeout=30):
        packet = nas.packet(user=alice.name, password=PASSWORD)
        nas.send(packet)
        return packet

    packet = login()
    asked.answer("verify")
    alice.phone.answer("verify")
    assert nas.receive(packet, 20).code == ACCESS_ACCEPT

    # The one behind shows a certificate of somebody else: rejected, said in plain words, and never asked over UDP.
    requests = status(back.server)["packets"]
    front.server.ask("upstream", "set", "below", "--server", "tls://%s:%d/other.example.org" % back.tls)
    tested = front.server.cli("upstream", "test", "below")
    assert tested.code == 1 and "not the one that is expected" in tested.out, tested.out
    reply = nas.receive(login(), 60)
    assert reply.code == ACCESS_REJECT
    assert front.server.verdicts(user_typed=alice.name)[-1]["reason"] == "unavailable"
    assert status(back.server)["packets"] == requests
    # It does not know us any more.
    front.server.ask("upstream", "set", "below", "--server", address)
    back.server.ask("client", "remove", "front")
    tested = front.server.cli("upstream", "test", "below")
    assert tested.code == 1 and "refused us" in tested.out, tested.out
    # Nobody is there.
    back.server.stop()
    tested = front.server.cli("upstream", "test", "below")
    assert tested.code == 1 and "cannot be reached" in tested.out, tested.out
