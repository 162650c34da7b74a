"""The password is checked by another RADIUS server, or a gateway's NPS asks it whether a user may come in: FreeRADIUS in the
place of NPS, below the server, and below and above it at once. A man in the middle stands on the way down."""

import os
import socket
import struct
import time

import pytest

import middle
from freeradius import AUTHORISE, Account, FreeRADIUS, Home
from gateway import CLASS, Gateway, microsoft
from harness import finished, free_port
from middle import Middle, signed
from radius_client import ACCESS_ACCEPT, ACCESS_REJECT, ACCESS_REQUEST, MESSAGE_AUTHENTICATOR, PROXY_STATE, REPLY_MESSAGE, STATE, md5

SECRET = "canary-secret-below-0123456789"
PASSWORD = "canary-password-below-01"
CHAP_PASSWORD, CHAP_CHALLENGE, CISCO = 3, 60, 9
# Octets that no server would write by itself, in an order of their own, some twice.
REPLY = (
    "Class := 0x00ff616263", "Session-Timeout := 28800", "MS-TSG-Device-Redirection := 536870912",
    'Filter-Id := "first"', 'Reply-Message := "welcome"', 'Filter-Id += "second"', 'Cisco-AVPair := "shell:priv-lvl=1"',
)  # fmt: skip


@pytest.fixture(scope="module")
def below(server, tmp_path_factory):
    server.canaries.update({SECRET, PASSWORD})
    names = [f"{domain}u{number}" for domain in ("", "EXAMPLE\\") for number in range(40)]
    accounts = [Account(name, PASSWORD, REPLY) for name in names]
    radius = FreeRADIUS(tmp_path_factory.mktemp("below") / "below", {"127.0.0.0/8": SECRET}, accounts=accounts).start()
    yield radius
    radius.stop()


@pytest.fixture
def man(below):
    """Between the server and the one below, who hears him as if he were the server."""
    man = Middle(below.address)
    yield man
    man.stop()


def add_upstream(server, name: str, *addresses, secret: str = SECRET) -> str:
    listed = [part for address in addresses for part in ("--server", "%s:%d" % address)]
    server.ask("upstream", "add", name, *listed, "--secret-stdin", stdin=secret + "\n")
    return name


@pytest.fixture
def vpn(server, man, request):
    """A VPN whose passwords the one below checks."""
    upstream = add_upstream(server, f"below-{request.node.name}"[:60], man.address)
    return server.resource("--upstream", upstream, primary="radius", answer_by=20)


@pytest.fixture
def rds(server, man, request):
    """A gateway, whose policies the one below has."""
    upstream = add_upstream(server, f"nps-{request.node.name}"[:60], man.address)
    return server.resource("--upstream", upstream, "--expects", "nothing", primary="radius", answer_by=20)


@pytest.fixture
def began(server):
    """What was recorded since the test began."""
    before = max(record["seq"] for record in server.audit())
    return lambda **fields: [record for record in server.audit(**fields) if record["seq"] > before]


@pytest.fixture(scope="module")
def numbers():
    return iter(range(40))


@pytest.fixture
def alice(user, numbers):
    """Somebody whom the one below knows, and whose password is there. One for each test: phones are asked within limits."""
    return user(f"u{next(numbers)}")


def echoed(reply) -> list[tuple[int, bytes]]:
    """All but Message-Authenticator, which is the first."""
    return reply.attributes[1:]


def logins(man) -> list[bytes]:
    """What was sent on; not Status-Server."""
    return [packet for packet in man.requests if packet[0] == ACCESS_REQUEST]


def written_below(man) -> list[tuple[int, bytes]]:
    """What the one below wrote into his last Accept, as it came."""
    return [one for one in middle.attributes(man.replies[-1]) if one[0] not in (MESSAGE_AUTHENTICATOR, PROXY_STATE)]


# Passwords.


def test_s55_c027_the_one_below_checks_the_password_then_the_phone_is_asked_and_his_attributes_come_as_he_wrote_them(
    vpn, man, alice
):
    nas = vpn.nas()
    more = [(PROXY_STATE, b"one"), (CLASS, b"mine"), cisco("shell:priv-lvl=15"), (PROXY_STATE, b"\0two")]
    request = nas.packet(more, user=alice.name, password=PASSWORD)
    nas.send(request)
    alice.phone.answer("verify")
    reply = nas.receive(request, 10)
    assert reply.code == ACCESS_ACCEPT
    written = written_below(man)
    assert [value for kind, value in written if kind == 11] == [b"first", b"second"] and len(written) == len(REPLY)
    rest = [(PROXY_STATE, b"one"), (PROXY_STATE, b"\0two")]
    assert [one for one in echoed(reply) if one not in rest] == written, "in their order, and nothing besides"
    assert [one for one in echoed(reply) if one in rest] == rest
    [sent] = logins(man)
    assert middle.attributes(sent)[0][0] == MESSAGE_AUTHENTICATOR
    assert PASSWORD.encode() not in sent


def cisco(text: str) -> tuple[int, bytes]:
    return 26, struct.pack("!IBB", CISCO, 1, len(text) + 2) + text.encode()


def test_c027_a_password_that_is_wrong_below_asks_no_phone(vpn, man, alice, began):
    watcher = alice.phone.watch("verify")
    reply = vpn.nas().login(alice.name, "wrong")
    assert reply.code == ACCESS_REJECT
    assert not [kind for kind, _ in echoed(reply) if kind not in (PROXY_STATE, REPLY_MESSAGE)], "a reject grants nothing"
    assert watcher.poll() is None, "the phone was asked"
    assert not began(event="login.challenged")
    [verdict] = began(event="login.ended")
    assert verdict["reason"] == "password_wrong" or "upstream" in verdict["reason"], verdict


def test_chap_goes_on(vpn, alice):
    """With the challenge in an attribute, and with the authenticator in its place (RFC 2865 section 5.3)."""
    nas = vpn.nas()
    challenge = os.urandom(16)
    listed = [(CHAP_PASSWORD, b"\7" + md5(b"\7" + PASSWORD.encode() + challenge)), (CHAP_CHALLENGE, challenge)]
    request = nas.packet(listed, user=alice.name)
    nas.send(request)
    alice.phone.answer("verify")
    assert nas.receive(request, 10).code == ACCESS_ACCEPT
    assert nas.login(alice.name, attributes=[(CHAP_PASSWORD, b"\7" + os.urandom(16)), (CHAP_CHALLENGE, challenge)]).code == ACCESS_REJECT
    login = vpn.radclient(alice.name, attributes=[f'CHAP-Password = "{PASSWORD}"'])
    alice.phone.answer("verify")
    assert "Received Access-Accept" in finished(login).out


def test_s49_mschap_is_refused_and_asks_nobody(vpn, man, alice, began):
    """Nobody has allowed it here; and of its first version, which radclient speaks, nothing is handed on."""
    result = finished(vpn.radclient(alice.name, attributes=[f'MS-CHAP-Password = "{PASSWORD}"']))
    assert "Received Access-Reject" in result.out, result.out
    assert not began(event="login.challenged") and not logins(man)


def test_s50_more_than_one_proof_of_a_password_is_refused(vpn, man, alice):
    nas = vpn.nas()
    challenge = os.urandom(16)
    chap = [(CHAP_PASSWORD, b"\7" + md5(b"\7" + PASSWORD.encode() + challenge)), (CHAP_CHALLENGE, challenge)]
    assert nas.login(alice.name, PASSWORD, chap).code == ACCESS_REJECT
    assert nas.login(alice.name).code == ACCESS_REJECT, "none"
    assert nas.login(alice.name, b"").code == ACCESS_REJECT, "an empty one"
    assert not logins(man), "nothing was sent on"


# The man in the middle, on the way down.


FORGERIES = {
    "a reject that became an accept": lambda reply, request: middle.made(reply, middle.attributes(reply), ACCESS_ACCEPT),
    "an accept under a collision": lambda reply, request: middle.collided(
        reply, request, SECRET.encode(), ACCESS_ACCEPT, middle.attributes(reply)
    ),
    "an accept under a collision without Message-Authenticator": lambda reply, request: middle.collided(
        reply, request, SECRET.encode(), ACCESS_ACCEPT, middle.attributes(reply)[1:]
    ),
    "an accept without Message-Authenticator behind Proxy-State": lambda reply, request: middle.collided(
        reply, request, SECRET.encode(), ACCESS_ACCEPT,
        [(PROXY_STATE, bytes(200)), *[one for one in middle.attributes(reply) if one[0] == PROXY_STATE]],
    ),
    "an accept with another secret": lambda reply, request: signed(
        reply, request, b"another-secret-0123456789", ACCESS_ACCEPT, middle.attributes(reply)
    ),
    "an accept for another identifier": lambda reply, request: signed(
        reply[:1] + bytes([reply[1] ^ 1]) + reply[2:], request, SECRET.encode(), ACCESS_ACCEPT, middle.attributes(reply)
    ),
    "an accept for another request": lambda reply, request: signed(
        reply, request[:4] + os.urandom(16) + request[20:], SECRET.encode(), ACCESS_ACCEPT, middle.attributes(reply)
    ),
    "nothing but noise": lambda reply, request: os.urandom(len(reply)),
    "half of it": lambda reply, request: reply[:30],
}  # fmt: skip


def test_s42_no_forged_accept_lets_anybody_in(vpn, man, alice, began):
    """All of them at once, and no other answer: then nobody has answered."""
    asked = []
    man.on_request = lambda packet: [asked.append(packet) or packet]
    man.on_reply = lambda reply: [change(reply, asked[-1]) for change in FORGERIES.values()]
    watcher = alice.phone.watch("verify")
    assert vpn.nas().login(alice.name, "wrong", timeout=30).code == ACCESS_REJECT
    assert watcher.poll() is None and not began(event="login.challenged"), "the phone was asked"
    [verdict] = began(event="login.ended")
    assert verdict["reason"] == "unavailable", verdict
    assert len(man.replies) >= 1


def test_s42_forged_rejects_and_accepts_do_not_stand_in_the_way_of_the_true_answer(vpn, man, alice):
    asked = []
    man.on_request = lambda packet: [asked.append(packet) or packet]
    man.on_reply = lambda reply: [*[change(reply, asked[-1]) for change in FORGERIES.values()], reply]
    nas = vpn.nas()
    request = nas.packet(user=alice.name, password=PASSWORD)
    nas.send(request)
    alice.phone.answer("verify")
    reply = nas.receive(request, 10)
    assert reply.code == ACCESS_ACCEPT and echoed(reply) == written_below(man)


def test_s42_an_accept_that_is_played_again_lets_nobody_in(vpn, man, alice, began):
    nas = vpn.nas()
    request = nas.packet(user=alice.name, password=PASSWORD)
    nas.send(request)
    alice.phone.answer("verify")
    assert nas.receive(request, 10).code == ACCESS_ACCEPT
    accept = man.replies[-1]
    man.on_reply = lambda reply: [accept, reply]
    watcher = alice.phone.watch("verify")
    assert nas.login(alice.name, "wrong", timeout=20).code == ACCESS_REJECT
    assert watcher.poll() is None and len(began(event="login.challenged")) == 1


def test_s42_an_accept_from_another_port_lets_nobody_in(vpn, man, alice, began):
    elsewhere = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    elsewhere.bind(("127.0.0.1", 0))

    def change(reply, request):
        accept = signed(reply, request, SECRET.encode(), ACCESS_ACCEPT, middle.attributes(reply))
        elsewhere.sendto(accept, list(man._backs)[-1])
        return reply

    asked = []
    man.on_request = lambda packet: [asked.append(packet) or packet]
    man.on_reply = lambda reply: [change(reply, asked[-1])]
    assert vpn.nas().login(alice.name, "wrong", timeout=20).code == ACCESS_REJECT
    assert not began(event="login.challenged")
    elsewhere.close()


@pytest.mark.parametrize("code", [1, 4, 5, 11, 12, 40, 52, 255])
def test_s43_no_other_code_is_an_accept(vpn, man, alice, began, code):
    """Right in all but that. A challenge is one, where the client can show it, and nothing else."""
    vpn.server.ask("resource", "set", vpn.name, "--answer-by", "5")
    asked = []
    man.on_request = lambda packet: [asked.append(packet) or packet]
    man.on_reply = lambda reply: [signed(reply, asked[-1], SECRET.encode(), code, middle.attributes(reply))]
    assert vpn.nas().login(alice.name, PASSWORD, timeout=20).code != ACCESS_ACCEPT
    assert not began(event="login.challenged")
    assert not began(event="login.ended", result="accept")


def test_s41_a_request_that_was_altered_on_the_way_down_is_noticed_there(vpn, man, alice, began):
    """FreeRADIUS drops it, as NPS does where its clients must sign; then nobody has answered."""
    vpn.server.ask("resource", "set", vpn.name, "--answer-by", "5")
    man.on_request = lambda packet: [middle.with_attribute(packet, CLASS, b"x")]
    assert vpn.nas().login(alice.name, PASSWORD, timeout=20).code == ACCESS_REJECT
    assert [record["reason"] for record in began(event="login.ended")] == ["unavailable"]


def test_c082_one_that_is_silent_is_no_wrong_password_and_the_next_one_is_asked(server, below, man, alice, began):
    man.on_request = lambda packet: []
    upstream = add_upstream(server, "two", man.address, below.address)
    resource = server.resource("--upstream", upstream, primary="radius", answer_by=30)
    nas = resource.nas()
    request = nas.packet(user=alice.name, password=PASSWORD)
    nas.send(request)
    alice.phone.answer("verify", timeout=40)
    assert nas.receive(request, 20).code == ACCESS_ACCEPT
    said = server.cli("doctor").out
    assert "%s:%d" % man.address in said, said


# A gateway, whose NPS asks whether a user may come in.


@pytest.fixture
def anne(user, numbers):
    """The same, as a gateway calls them."""
    return user(f"EXAMPLE\\u{next(numbers)}")


def gateway(resource) -> Gateway:
    return Gateway(resource.server.radius, resource.secret.encode(), resource.source)


def test_the_one_below_lets_in_who_may_then_the_phone_is_asked_and_the_policies_come_back(rds, man, anne):
    nps = gateway(rds)
    request = nps.request(anne.name)
    nps.send(request)
    anne.phone.answer("verify")
    reply = nps.receive(request, 10)
    assert reply.code == ACCESS_ACCEPT
    written = written_below(man)
    assert microsoft(63, struct.pack("!I", 536870912)) in written
    assert [one for one in echoed(reply) if one[0] != PROXY_STATE] == written
    # What NPS looks at went on as it was: the name with its domain, the gateway's marks, no password.
    sent = [one for one in middle.attributes(logins(man)[0]) if one[0] != MESSAGE_AUTHENTICATOR]
    asked = [one for one in middle.attributes(request) if one[0] != MESSAGE_AUTHENTICATOR]
    assert sent[: len(asked)] == asked and [kind for kind, _ in sent[len(asked) :]] == [PROXY_STATE]


def test_who_may_not_come_in_below_asks_no_phone(rds, anne, began):
    nps = gateway(rds)
    assert nps.exchange(nps.request("EXAMPLE\\stranger")).code == ACCESS_REJECT
    assert not began(event="login.challenged")


def test_a_gateway_gets_no_challenge(rds, man, anne, began):
    """C025: what the one below asks for cannot be shown there."""
    asked = []
    man.on_request = lambda packet: [asked.append(packet) or packet]
    man.on_reply = lambda reply: [signed(reply, asked[-1], SECRET.encode(), 11, [(STATE, b"x"), *middle.attributes(reply)])]
    nps = gateway(rds)
    assert nps.exchange(nps.request(anne.name), 30).code == ACCESS_REJECT


# One NPS above and below: what the gateway asks goes up, what the server asks is decided there.

LOCAL = 'if (&Packet-Src-IP-Address != 127.0.0.77) {\n%s\n}\nelse {\nupdate control { Proxy-To-Realm := "home" }\n}' % AUTHORISE
ROUND = 'update control { Proxy-To-Realm := "home" }'
BETWEEN = "between-gateway-and-nps"


@pytest.fixture
def both(server, tmp_path):
    """`policy` says which requests are passed on. The gateway is at 127.0.0.77."""
    made = []

    def make(policy: str) -> tuple[FreeRADIUS, Gateway, object]:
        port = free_port(socket.SOCK_DGRAM)
        name = f"both{port}"
        add_upstream(server, name, ("127.0.0.1", port))
        resource = server.resource("--upstream", name, "--expects", "nothing", primary="radius", answer_by=20)
        nps = FreeRADIUS(
            tmp_path / "nps", {"127.0.0.77": BETWEEN, "127.0.0.0/8": SECRET}, port=port, authorise=policy,
            accounts=[Account(f"EXAMPLE\\u{number}", PASSWORD, REPLY) for number in range(40)], home=Home(server.radius, resource.secret, resource.source, 30),
        )  # fmt: skip
        made.append(nps.start())
        return nps, Gateway(nps.address, BETWEEN.encode(), "127.0.0.77", strict=False), resource

    yield make
    for one in made:
        one.stop()


def test_the_loop_of_azure_mfa_server_lets_in(both, anne, began):
    """Gateway, NPS, countersign, NPS, countersign, NPS, gateway."""
    nps, rds, _ = both(LOCAL)
    request = rds.request(anne.name)
    rds.send(request)
    anne.phone.answer("verify")
    reply = rds.receive(request, 10)
    assert reply.code == ACCESS_ACCEPT
    assert microsoft(63, struct.pack("!I", 536870912)) in reply.attributes
    assert nps.received() == 2
    assert len(began(event="login.challenged")) == 1


def test_a_policy_in_the_wrong_order_makes_a_loop_that_ends_at_once_and_is_told(both, server, anne, began):
    nps, rds, resource = both(ROUND)
    begun = time.monotonic()
    request = rds.request(anne.name)
    assert rds.exchange(request, 30).code == ACCESS_REJECT
    assert time.monotonic() - begun < 10
    assert nps.received() <= 3, "it does not go round and round"
    assert not began(event="login.challenged")
    assert "loop" in str(began(event="login.ended")), began(event="login.ended")
    said = server.cli("doctor").out
    assert "sent back to us" in said, said
