"""MS-CHAP-V2 (S49) and the keys that come of it (C094): FreeRADIUS checks the exchange below, the phone is asked, and the user's
machine gets the success and the keys that are its own. Clients are one of our own, with cryptography of its own, and
wpa_supplicant's, which speaks MS-CHAP-V2 inside of PEAP and TTLS; both tunnels end at a FreeRADIUS before the server."""

import os
import re

import pytest

import middle
from freeradius import Account, FreeRADIUS, Home
from harness import finished
from middle import Middle, signed
from mschap import CHALLENGE, CHANGE_2, ERROR, RECEIVE_KEY, RESPONSE_2, SEND_KEY, SUCCESS_2, Exchange, microsoft, opened, values
from radius_client import ACCESS_ACCEPT, ACCESS_REJECT, ACCESS_REQUEST, MESSAGE_AUTHENTICATOR, PROXY_STATE
from tunnel import Tunnel, got_in

SECRET = "canary-secret-of-the-upstream-01"
PASSWORD = "canary-Passw0rd-for-ms-chap"
TUNNELS = "canary-secret-of-the-tunnels-01"
CLASS = 25


@pytest.fixture(scope="module")
def below(server, tmp_path_factory):
    server.canaries.update({SECRET, PASSWORD, TUNNELS})
    names = [f"{domain}m{number}" for domain in ("", "EXAMPLE\\") for number in range(60)]
    accounts = [Account(name, PASSWORD, ('Class := "from below"', 'Tunnel-Password:1 := "for the tunnel"')) for name in names]
    radius = FreeRADIUS(tmp_path_factory.mktemp("below") / "below", {"127.0.0.0/8": SECRET}, accounts=accounts).start()
    yield radius
    radius.stop()


@pytest.fixture(scope="module")
def numbers():
    return iter(range(60))


@pytest.fixture
def man(below):
    man = Middle(below.address)
    yield man
    man.stop()


@pytest.fixture
def upstream(server, man, numbers):
    name = f"below-{next(numbers)}"
    server.ask("upstream", "add", name, "--server", "%s:%d" % man.address, "--secret-stdin", stdin=SECRET + "\n")
    return name


@pytest.fixture
def vpn(server, upstream):
    return server.resource("--upstream", upstream, "--ms-chap", "on", primary="radius", answer_by=20)


@pytest.fixture
def alice(user, numbers):
    """One for each test: phones are asked within limits."""
    return user(f"m{next(numbers)}")


@pytest.fixture
def began(server):
    before = max(record["seq"] for record in server.audit())
    return lambda **fields: [record for record in server.audit(**fields) if record["seq"] > before]


def logins(man) -> list[bytes]:
    return [packet for packet in man.requests if packet[0] == ACCESS_REQUEST]


def test_the_exchange_and_its_keys_are_those_of_the_rfcs():
    """RFC 2759 section 9.2, RFC 3079 section 3.5.3."""
    challenge, peer = "5B5D7C7D7B3F2F3E3C2C602132262628", "21402324255E262A28295F2B3A337C7E"
    exchange = Exchange("User", "clientPass", bytes.fromhex(challenge), bytes.fromhex(peer))
    assert exchange.answer.hex().upper() == "82309ECD8D708B5EA08FAA3981CD83544233114A3D85D6DF"
    assert exchange.success() == "S=407A5589115FD0D6209F510FE9C04566932CDA56"
    assert exchange.keys()[0].hex().upper() == "8B7CDC149B993A1BA118CB153F56DCCB"


@pytest.mark.parametrize("domain", ["", "EXAMPLE\\"])
def test_c094_s49_success_and_keys_reach_the_client_and_are_those_of_the_exchange(vpn, man, user, numbers, domain):
    alice = user(f"{domain}m{next(numbers)}")
    nas, exchange = vpn.nas(), Exchange(alice.name, PASSWORD)
    request = nas.packet([*exchange.attributes(), (PROXY_STATE, b"mine")], user=alice.name)
    nas.send(request)
    alice.phone.answer("verify")
    reply = nas.receive(request, 10)
    assert reply.code == ACCESS_ACCEPT
    assert values(reply, SUCCESS_2) == [b"\7" + exchange.success().encode()], "with the exchange's identifier"
    [sends], [receives] = values(reply, SEND_KEY), values(reply, RECEIVE_KEY)
    keys = opened(sends, nas, request), opened(receives, nas, request)
    assert keys == exchange.keys()
    assert sends[:2] != receives[:2], "a salt of its own"
    vpn.server.canaries.update(key.hex() for key in keys)

    # What FreeRADIUS wrote is there in its order, and nothing of it but keys has changed.
    written = [one for one in middle.attributes(man.replies[-1]) if one[0] not in (MESSAGE_AUTHENTICATOR, PROXY_STATE)]
    got = [one for one in reply.attributes[1:] if one[0] != PROXY_STATE]
    assert [(kind, len(value)) for kind, value in got] == [(kind, len(value)) for kind, value in written]
    changed = [kind for (kind, ours), (_, theirs) in zip(got, written) if ours != theirs]
    assert sorted(changed) == [26, 26, 69], "two keys, and the tunnel's password"
    [password] = reply.values(69)
    assert password[0] == 1 and opened(password[1:], nas, request) == b"for the tunnel"

    # And what the client asked went on as it was, with its own challenge.
    [sent] = logins(man)
    assert [one for one in exchange.attributes() if one in middle.attributes(sent)] == exchange.attributes()


def test_a_salt_is_drawn_for_each_reply_and_a_reply_that_is_lost_comes_again_as_it_was(vpn, alice):
    nas, salts = vpn.nas(), []
    for _ in range(2):
        request = nas.packet(Exchange(alice.name, PASSWORD).attributes(), user=alice.name)
        nas.send(request)
        alice.phone.answer("verify")
        reply = nas.receive(request, 10)
        assert reply.code == ACCESS_ACCEPT
        assert nas.exchange(request).octets == reply.octets
        salts.append(values(reply, SEND_KEY)[0][:2])
    assert salts[0] != salts[1]


@pytest.mark.parametrize("answer", ["deny", "deny_report"])
def test_s49_without_the_phone_there_are_no_keys(vpn, alice, answer):
    nas, exchange = vpn.nas(), Exchange(alice.name, PASSWORD)
    request = nas.packet(exchange.attributes(), user=alice.name)
    nas.send(request)
    alice.phone.answer(answer)
    assert refused(nas.receive(request, 10)) == ERROR_TEXT


ERROR_TEXT = "E=691 R=0 C= V=3"


def refused(reply, identifier: int = 7) -> str:
    """What a reject says, without its random digits; it says nothing else."""
    assert reply.code == ACCESS_REJECT
    assert not [kind for kind, _ in reply.attributes if kind not in (MESSAGE_AUTHENTICATOR, PROXY_STATE, 26)]
    [error] = values(reply, ERROR)
    assert error[0] == identifier
    return re.sub(r"C=[0-9A-F]{32} ", "C= ", error[1:].decode())


def test_s49_s52_no_reject_tells_why_and_none_of_them_has_asked_a_phone(vpn, man, alice, began):
    nas = vpn.nas()

    def sent(*attributes, user=alice.name, **more):
        return nas.exchange(nas.packet(attributes, user=user, **more))

    right = Exchange(alice.name, PASSWORD)
    answer = right.response()
    challenge, used = microsoft(CHALLENGE, right.challenge), Exchange(alice.name, "wrong")
    watcher = alice.phone.watch("verify")
    rejects = [
        sent(*used.attributes()),
        sent(*Exchange("nobody", PASSWORD).attributes(), user="nobody"),
        sent(microsoft(CHALLENGE, os.urandom(16)), microsoft(RESPONSE_2, answer[:49])),
        sent(microsoft(CHALLENGE, os.urandom(16)), microsoft(RESPONSE_2, answer + b"\0")),
        sent(microsoft(CHALLENGE, os.urandom(16)), microsoft(RESPONSE_2, answer[:26] + bytes(24))),
        sent(microsoft(RESPONSE_2, answer)),
        sent(challenge, microsoft(RESPONSE_2, answer), password=PASSWORD),
        sent(*Exchange(alice.name, PASSWORD, used.challenge).attributes()),
        sent(challenge, microsoft(CHANGE_2, b"\7" + answer[:1] + bytes(16) + answer[2:])),
    ]
    assert {refused(reply) for reply in rejects} == {ERROR_TEXT}
    assert sent(microsoft(CHALLENGE, os.urandom(16))).code == ACCESS_REJECT, "a challenge alone"
    assert len(logins(man)) == 1, "only what was whole, of somebody who is known, and new was sent on"
    assert not began(event="login.challenged") and watcher.poll() is None
    details = {record["reason"]: record["detail"] for record in began(event="login.ended")}
    assert details["replayed"] == "ms_chap_challenge_repeated"


def test_s49_who_does_not_allow_it_refuses_it(server, upstream, man, alice, began):
    resource = server.resource("--upstream", upstream, primary="radius", answer_by=20)
    nas = resource.nas()
    exchange = Exchange(alice.name, PASSWORD)
    assert refused(nas.exchange(nas.packet(exchange.attributes(), user=alice.name))) == ERROR_TEXT
    assert not logins(man) and not began(event="login.challenged")
    said = server.cli("resource", "set", resource.name, "--ms-chap", "on")
    assert said.code == 0 and "inside of a tunnel" in said.out + said.err, said
    request = nas.packet(Exchange(alice.name, PASSWORD).attributes(), user=alice.name)
    nas.send(request)
    alice.phone.answer("verify")
    assert nas.receive(request, 10).code == ACCESS_ACCEPT
    assert server.cli("resource", "set", resource.name, "--expects", "nothing").code != 0
    server.ask("resource", "set", resource.name, "--ms-chap", "off")
    assert refused(nas.exchange(nas.packet(Exchange(alice.name, PASSWORD).attributes(), user=alice.name))) == ERROR_TEXT


def test_c025_it_and_a_prompt_do_not_go_together(server, vpn):
    """Its clients see no prompt, so that whoever has the password could choose to avoid it."""
    said = server.cli("resource", "set", vpn.name, "--prompt", "code-to-phone")
    assert said.code != 0 and "a resource of their own" in said.err, said


@pytest.mark.parametrize("success", ["none", "of another exchange"])
def test_s49_an_accept_without_the_success_of_its_exchange_lets_nobody_in(vpn, man, alice, began, success):
    """Right in all, of a server that lets everybody in and has not looked at the exchange."""
    asked = []
    attributes = [(CLASS, b"a")] + ([] if success == "none" else [microsoft(SUCCESS_2, b"\x08S=" + b"A" * 40)])
    man.on_request = lambda packet: [asked.append(packet) or packet]
    man.on_reply = lambda reply: [signed(reply, asked[-1], SECRET.encode(), ACCESS_ACCEPT, attributes)]
    nas = vpn.nas()
    refused(nas.exchange(nas.packet(Exchange(alice.name, PASSWORD).attributes(), user=alice.name)))
    assert began(event="login.ended")[-1]["detail"] == "upstream_ms_chap_unproven" and not began(event="login.challenged")


def test_c094_a_key_that_is_malformed_is_left_out_and_what_is_beside_it_comes(server, vpn, man, alice):
    """Right in all, of a server that writes keys that have no room for what they say they have."""
    exchange = Exchange(alice.name, PASSWORD)
    success = microsoft(SUCCESS_2, b"\7" + exchange.success().encode())
    asked, odd = [], [(CLASS, b"a"), microsoft(SEND_KEY, b"\x80"), (69, b"\1\x80"), success, (CLASS, b"b")]
    man.on_request = lambda packet: [asked.append(packet) or packet]
    man.on_reply = lambda reply: [signed(reply, asked[-1], SECRET.encode(), ACCESS_ACCEPT, odd)]
    nas = vpn.nas()
    request = nas.packet(exchange.attributes(), user=alice.name)
    nas.send(request)
    alice.phone.answer("verify")
    reply = nas.receive(request, 10)
    assert reply.code == ACCESS_ACCEPT
    assert reply.values(CLASS) == [b"a", b"b"] and not values(reply, SEND_KEY)
    assert "were left out" in server.log.read_text(errors="replace")


# What FreeRADIUS encrypts, of each kind that is known here, and radclient prints when it has decrypted it.
ENCRYPTED = (
    ("MS-CHAP-MPPE-Keys", "0x0102030405060708" + "a5" * 16), ("MS-MPPE-Send-Key", "0x" + "b6" * 32), ("MS-MPPE-Recv-Key", "0x" + "c7" * 16),
    ("Tunnel-Password:1", '"for the tunnel"'), ("Tunnel-Password:2", '"for another, with more than sixteen letters"'),
    ("Aruba-MPSK-Passphrase", "0x" + "d8" * 20), ("LCS-IKEv2-Local-Password:3", '"local"'), ("LCS-IKEv2-Remote-Password:3", '"remote"'),
    ("Alc-APN-Password", '"of an access point"'), ("Alc-LI-Action", "enable"), ("ERX-Med-Ip-Address", "192.0.2.9"), ("ALU-AAA-Key-0", "0x" + "e9" * 24),
    ("3GPP2-MN-HA-Shared-Key", '"shared"'), ("Extreme-Libsip-Patron-Info", "0x0a0b"), ("Motorola-WiMAX-MIP-KEY", '"mobile"'),
)  # fmt: skip


def test_c094_radclient_reads_what_freeradius_encrypted_of_each_vendor(server, user, tmp_path):
    alice = user("vendors")
    reply = tuple(f"{name} := {value}" for name, value in ENCRYPTED)
    below = FreeRADIUS(tmp_path / "vendors", {"127.0.0.0/8": SECRET}, accounts=[Account("vendors", PASSWORD, reply)]).start()
    try:
        server.ask("upstream", "add", "vendors", "--server", "%s:%d" % below.address, "--secret-stdin", stdin=SECRET + "\n")
        resource = server.resource("--upstream", "vendors", primary="radius", answer_by=20)
        login = resource.radclient(alice.name, PASSWORD)
        alice.phone.answer("verify")
        result = finished(login)
    finally:
        below.stop()
    printed = re.findall(r"^\t(\S+) = (.*)$", result.out.split("Received Access-Accept", 1)[1], re.MULTILINE)
    got = [one for one in printed if one[0] not in ("Message-Authenticator", "Proxy-State")]
    assert got == list(ENCRYPTED), result.out


# wpa_supplicant's machine: it believes the server only if MS-CHAP2-Success is that of its own exchange.


@pytest.fixture
def tunnel(server, vpn, tmp_path):
    tunnel = Tunnel(tmp_path / "tunnel", TUNNELS, Home(server.radius, vpn.secret, vpn.source, 30)).start()
    yield tunnel
    tunnel.stop()


@pytest.mark.parametrize("method", ["PEAP", "TTLS"])
def test_c094_a_machine_that_speaks_it_inside_of_a_tunnel_gets_in_by_the_phone(tunnel, man, alice, began, method):
    peer = tunnel.peer(method, alice.name, PASSWORD)
    alice.phone.answer("verify")
    result = finished(peer)
    assert got_in(result), result.out[-3000:]
    assert "EAP-MSCHAPV2: Authentication succeeded" in result.out or method == "TTLS"
    [sent] = logins(man)
    assert RESPONSE_2 in [value[4] for kind, value in middle.attributes(sent) if kind == 26]
    assert len(began(event="login.challenged")) == 1
    [ended] = began(event="login.ended")
    assert (ended["result"], ended["reason"]) == ("accept", "approved")


@pytest.mark.parametrize("method", ["PEAP", "TTLS"])
def test_s49_a_machine_with_a_wrong_password_or_whose_user_denies_it_stays_out(tunnel, alice, began, method):
    assert not got_in(finished(tunnel.peer(method, alice.name, "wrong")))
    assert not began(event="login.challenged")
    peer = tunnel.peer(method, alice.name, PASSWORD)
    alice.phone.answer("deny")
    assert not got_in(finished(peer))
    assert [record["reason"] for record in began(event="login.ended")] == ["password_wrong", "denied"]
