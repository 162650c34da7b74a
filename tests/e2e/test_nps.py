"""A Remote Desktop Gateway whose NPS asks countersign, which decides by itself: nothing of its password comes along."""

import struct

import pytest

import middle
from domain import PASSWORD, add_domain
from freeradius import FreeRADIUS, Home
from gateway import CALLED_STATION_ID, CLASS, SESSION_TIMEOUT, Gateway, microsoft
from harness import Phone, wait_until
from middle import Middle
from radius_client import (
    ACCESS_ACCEPT, ACCESS_REJECT, MESSAGE_AUTHENTICATOR, NAS_IDENTIFIER, PROXY_STATE, STATUS_SERVER, USER_NAME,
)  # fmt: skip

ALICE = "EXAMPLE\\alice"


@pytest.fixture(scope="module")
def corp(server, dc):
    return add_domain(server, dc)


@pytest.fixture
def resource(server, corp):
    """One for each test: how often a phone is asked counts for each."""
    return server.resource("--directory", "corp", "--allow-group", "GG-RDP", primary="none")


@pytest.fixture
def nps(resource):
    return Gateway(resource.server.radius, resource.secret.encode(), resource.source)


@pytest.fixture(scope="module")
def phones(server, corp, tmp_path_factory):
    """Alice's. She comes in by her first login, which is refused: nobody is let in without a phone."""
    door = server.resource("--directory", "corp", primary="none")
    first = Gateway(server.radius, door.secret.encode(), door.source)
    assert first.exchange(first.request(ALICE)).code == ACCESS_REJECT
    phone = Phone(tmp_path_factory.mktemp("phone") / "phone.json")
    phone.activate(server, "alice")
    return phone


@pytest.fixture
def alice(phones):
    yield phones
    phones.end()


@pytest.fixture
def began(resource):
    """What was recorded since the test began."""
    before = max(record["seq"] for record in resource.server.audit())
    return lambda **fields: [record for record in resource.server.audit(**fields) if record["seq"] > before]


def test_the_request_is_what_a_gateway_sends(nps):
    request = nps.request(ALICE)
    assert middle.attributes(request)[:5] == [
        (1, b"EXAMPLE\\alice"), (30, b"UserAuthType:PW"), (61, b"\0\0\0\5"),
        (26, b"\0\0\1\x37\x2f\6\0\0\0\1"), (26, b"\0\0\1\x37\x32\6PC17"),
    ]  # fmt: skip
    assert [kind for kind, _ in middle.attributes(request)[5:]] == [PROXY_STATE, MESSAGE_AUTHENTICATOR]


def test_s40_s55_the_phone_decides_and_the_answer_brings_proxy_state_and_nothing_else(nps, alice, began):
    request = nps.request(ALICE, more=[(CLASS, b"mine"), microsoft(63, struct.pack("!I", 1 << 30))])
    nps.send(request)
    alice.answer("verify")
    reply = nps.receive(request, 10)
    assert reply.code == ACCESS_ACCEPT
    asked = [value for kind, value in middle.attributes(request) if kind == PROXY_STATE]
    assert reply.attributes[1:] == [(PROXY_STATE, asked[0])]
    [verdict] = began(event="login.ended")
    assert (verdict["reason"], verdict["binding"], verdict["user_typed"]) == ("approved", "none", "EXAMPLE\\\\alice")


def test_s55_what_the_policies_of_a_gateway_say_countersign_can_say(resource, nps, alice):
    """What it may redirect, and how long it may last; by group."""
    rules = [
        "Session-Timeout = 28800", "GG-RDP -> MS-RDG-Device-Redirection = 9", "GG-Other -> MS-RDG-Device-Redirection = Enable-All"
    ]  # fmt: skip
    resource.server.ask("resource", "set", resource.name, *[part for rule in rules for part in ("--reply", rule)])
    request = nps.request(ALICE)
    nps.send(request)
    alice.answer("verify")
    reply = nps.receive(request, 10)
    assert reply.code == ACCESS_ACCEPT
    given = [one for one in reply.attributes[1:] if one[0] != PROXY_STATE]
    assert given == [(SESSION_TIMEOUT, struct.pack("!I", 28800)), microsoft(63, struct.pack("!I", 9))]


def test_one_nps_speaks_for_a_gateway_and_a_vpn(server, resource, nps, alice, began):
    """Its VPN checks a password, its gateway sends none."""
    vpn = f"vpn-of-{resource.name}"
    made = server.ask("resource", "add", vpn, "--no-client", "--primary", "directory", "--directory", "corp", "--allow-group", "GG-RDP")
    server.ask("client", "set", resource.name, "--match", f"NAS-Identifier = vpn1 -> {vpn}")
    marks = [(NAS_IDENTIFIER, b"vpn1")]
    assert nps.login(ALICE, None, marks).code == ACCESS_REJECT, "there a password is asked for"
    request = nps.packet(marks, user=ALICE, password=PASSWORD)
    nps.send(request)
    alice.answer("verify")
    assert nps.receive(request, 10).code == ACCESS_ACCEPT
    ended = [(record["resource"], record["reason"]) for record in began(event="login.ended")]
    assert ended == [(made["id"], "password_wrong"), (made["id"], "approved")]


def test_deny_keeps_out(nps, alice):
    request = nps.request(ALICE)
    nps.send(request)
    alice.answer("deny")
    assert nps.receive(request, 10).code == ACCESS_REJECT


def test_who_is_in_no_allowed_group_is_refused_and_unknown(nps, alice, began):
    for name in ["EXAMPLE\\jane", "EXAMPLE\\nobody", "OTHER\\alice"]:
        assert nps.exchange(nps.request(name)).code == ACCESS_REJECT
    assert [record["reason"] for record in began(event="login.ended")] == ["not_allowed", "user_unknown", "user_unknown"]
    assert not began(event="login.challenged")


def test_s41_without_message_authenticator_nothing_is_answered_and_doctor_says_where_nps_has_the_switch(resource, nps, began):
    request = nps.request(ALICE, message_authenticator=False)
    nps.send(request)
    status = nps.packet(code=STATUS_SERVER)
    assert nps.exchange(status).code == ACCESS_ACCEPT
    assert not began(), "nothing was begun"
    said = resource.server.cli("doctor").out
    assert "Request must contain the message authenticator attribute" in said, said


def test_s45_nps_as_it_comes_asks_each_three_seconds_and_the_phone_once(resource, nps, alice, began):
    request = nps.request(ALICE)
    for _ in range(4):
        nps.send(request)
        assert nps.receive(request, 3) is None
    nps.send(request)
    alice.answer("verify")
    first = nps.receive(request, 10)
    assert first.code == ACCESS_ACCEPT
    assert nps.exchange(request).octets == first.octets
    assert len(began(event="login.challenged")) == 1
    said = resource.server.cli("doctor").out
    assert "repeats a request every 3 seconds" in said and "TS GATEWAY SERVER GROUP" in said, said


def test_c110_a_nps_that_asks_anew_gets_nobody_in(nps, alice, began):
    """Nothing in a gateway's request tells two connections apart."""
    first, second = nps.request(ALICE), nps.request(ALICE)
    nps.send(first)
    wait_until(lambda: began(event="login.challenged"), what="a challenge")
    nps.send(second)
    assert {nps.socket.recv(4096)[0] for _ in range(2)} == {ACCESS_REJECT}
    assert {record["reason"] for record in began(event="login.ended")} == {"collision"}


# A real proxy between the gateway and the server.


@pytest.fixture
def front(resource, tmp_path):
    """FreeRADIUS in the place of NPS, which passes everything on, and waits so long for the server."""
    fronts = []

    def make(window: int, server=None) -> Gateway:
        home = Home(server or resource.server.radius, resource.secret, resource.source, window)
        fronts.append(
            FreeRADIUS(
                tmp_path / "front", {"127.0.0.1": "between-gateway-and-nps"}, home=home,
                authorise='update control { Proxy-To-Realm := "home" }',
            ).start()
        )  # fmt: skip
        return Gateway(fronts[-1].address, b"between-gateway-and-nps", strict=False)

    yield make
    for one in fronts:
        one.stop()


def test_s45_a_gateway_behind_a_proxy_repeats_itself_and_the_phone_is_asked_once(front, alice, began):
    rds = front(window=60)
    request = rds.request(ALICE)
    for _ in range(3):
        rds.send(request)
        assert rds.receive(request, 1) is None
    alice.answer("verify")
    reply = rds.receive(request, 10)
    assert reply.code == ACCESS_ACCEPT
    assert reply.values(PROXY_STATE) == [value for kind, value in middle.attributes(request) if kind == PROXY_STATE]
    assert len(began(event="login.challenged")) == 1


def test_nps_as_it_comes_lets_nobody_in_who_takes_more_than_three_seconds(front, alice, began):
    rds = front(window=3)
    request = rds.request(ALICE)
    rds.send(request)
    assert rds.receive(request, 8).code == ACCESS_REJECT, "the proxy's own, after three seconds"
    alice.answer("verify")
    assert rds.receive(request, 1) is None


# A man in the middle between NPS and the server.


@pytest.fixture
def attacked(resource):
    """The way from NPS to the server leads through somebody else's hands."""
    man = Middle(resource.server.radius, resource.source)
    man.nps = Gateway(man.address, resource.secret.encode())
    yield man
    man.stop()


def test_s41_a_request_that_was_altered_is_met_with_silence(attacked, alice, began):
    changes = [
        lambda packet: middle.without(packet, MESSAGE_AUTHENTICATOR),
        lambda packet: middle.without(packet, CALLED_STATION_ID),
        lambda packet: middle.without(packet, PROXY_STATE),
        lambda packet: middle.with_attribute(packet, PROXY_STATE, b"chosen by an attacker" * 9),
        lambda packet: middle.with_attribute(packet, CLASS, b"x", at=0),
        lambda packet: middle.with_attribute(packet, MESSAGE_AUTHENTICATOR, bytes(16), at=0),
        lambda packet: middle.made(packet, [(k, b"EXAMPLE\\carol" if k == USER_NAME else v) for k, v in middle.attributes(packet)]),
        lambda packet: middle.made(packet, middle.attributes(packet)[::-1]),
        lambda packet: packet[:4] + bytes(16) + packet[20:],
        lambda packet: packet[:1] + bytes([packet[1] ^ 1]) + packet[2:],
    ]  # fmt: skip
    # In the order of the packets, whenever the man gets to them; what comes behind them passes.
    left = list(changes)
    attacked.on_request = lambda packet: [left.pop(0)(packet) if left else packet]
    for _ in changes:
        attacked.nps.send(attacked.nps.request(ALICE))
    status = attacked.nps.packet(code=STATUS_SERVER)
    assert attacked.nps.exchange(status, 5).code == ACCESS_ACCEPT, "and no other answer came before"
    assert not left and not began(), "nothing was begun"


def test_s40_a_reply_that_was_altered_shows(attacked, resource, alice):
    """A reject becomes an accept, by the collision of CVE-2024-3596 as well: then only Message-Authenticator shows it."""
    requests = []
    attacked.on_request = lambda packet: [requests.append(packet) or packet]
    secret = resource.secret.encode()
    forgeries = [
        lambda reply: middle.made(reply, middle.attributes(reply), ACCESS_ACCEPT),
        lambda reply: middle.collided(reply, requests[-1], secret, ACCESS_ACCEPT, middle.attributes(reply)),
        lambda reply: middle.collided(reply, requests[-1], secret, ACCESS_ACCEPT, middle.attributes(reply)[1:]),
    ]
    for forgery in forgeries:
        attacked.on_reply = lambda reply, forgery=forgery: [forgery(reply)]
        request = attacked.nps.request("EXAMPLE\\nobody")
        attacked.nps.send(request)
        with pytest.raises(AssertionError, match="authenticator|Message-Authenticator"):
            attacked.nps.receive(request, 10)


def test_s45_a_request_that_is_played_again_lets_nobody_in(attacked, resource, alice, began):
    request = attacked.nps.request(ALICE)
    attacked.nps.send(request)
    alice.answer("verify")
    first = attacked.nps.receive(request, 10)
    assert first.code == ACCESS_ACCEPT
    # From where it came: the same answer, for the same request, and no other login.
    attacked.send_request(request)
    assert attacked.nps.receive(request, 10).octets == first.octets
    # From elsewhere, and under another identifier: nothing.
    elsewhere = Gateway(resource.server.radius, resource.secret.encode(), resource.source)
    elsewhere.send(request)
    status = elsewhere.packet(code=STATUS_SERVER)
    assert elsewhere.exchange(status, 5).octets[1] == status[1]
    assert len(began(event="login.challenged")) == 1
    assert [record["reason"] for record in began(event="login.ended")] == ["approved", "replayed"]


def test_s45_packets_that_come_late_twice_and_in_another_order_start_one_login(attacked, alice, began):
    held = []

    def late(packet):
        held.append(packet)
        return [] if len(held) < 3 else [held[2], held[0], held[1], held[0]]

    attacked.on_request = late
    attacked.on_reply = lambda reply: [reply, reply]
    request = attacked.nps.request(ALICE)
    for _ in range(3):
        attacked.nps.send(request)
    alice.answer("verify")
    first = attacked.nps.receive(request, 10)
    assert first.code == ACCESS_ACCEPT
    assert attacked.nps.receive(request, 10).octets == first.octets, "the man sent it twice"
    assert len(began(event="login.challenged")) == 1
