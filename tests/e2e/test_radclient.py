"""RADIUS logins, by FreeRADIUS's radclient and by a client of our own."""

import pytest

from harness import finished
from radius_client import (
    ACCESS_ACCEPT, ACCESS_REJECT, NAS, NAS_PORT, PROXY_STATE, STATUS_SERVER, USER_NAME, USER_PASSWORD,
)  # fmt: skip


@pytest.fixture(scope="module")
def resource(server):
    return server.resource()


# radclient


def test_radclient_is_accepted_when_the_phone_verifies(resource, user):
    alice = user()
    login = resource.radclient(alice.name, alice.password)
    alice.phone.answer("verify")
    result = finished(login)
    assert result.code == 0 and "Received Access-Accept" in result.out, result.out
    [verdict] = resource.server.verdicts(user_typed=alice.name)
    assert (verdict["result"], verdict["reason"], verdict["resource"]) == ("accept", "approved", resource.id)


@pytest.mark.parametrize(("answer", "reason"), [("deny", "denied"), ("deny_report", "denied_reported")])
def test_radclient_is_rejected_when_the_phone_denies(resource, user, answer, reason):
    alice = user()
    login = resource.radclient(alice.name, alice.password)
    alice.phone.answer(answer)
    result = finished(login)
    assert result.code == 1 and "Received Access-Reject" in result.out, result.out
    [verdict] = resource.server.verdicts(user_typed=alice.name)
    assert (verdict["result"], verdict["reason"]) == ("reject", reason)


def test_radclient_is_rejected_with_a_wrong_password_and_no_phone_is_asked(resource, user):
    alice = user()
    watcher = alice.phone.watch("verify")
    result = finished(resource.radclient(alice.name, "wrong"))
    assert result.code == 1 and "Received Access-Reject" in result.out, result.out
    assert watcher.poll() is None, "the phone was asked"
    [verdict] = resource.server.verdicts(user_typed=alice.name)
    assert verdict["reason"] == "password_wrong"


def test_radclient_retransmits_while_pending_and_the_phone_is_asked_once(resource, user):
    alice = user()
    login = resource.radclient(alice.name, alice.password, options=("-t", "1", "-r", "20"))
    # It prints each packet that it sends: three have gone out before the phone is asked for its answer.
    sent = 0
    while sent < 3:
        sent += login.stdout.readline().startswith("Sent Access-Request")
    alice.phone.answer("verify")
    result = finished(login)
    assert result.code == 0 and "Received Access-Accept" in result.out, result.out
    assert len(resource.server.logins(alice.name)) == 1
    assert len(resource.server.verdicts(user_typed=alice.name)) == 1


def test_radclient_with_a_wrong_secret_hears_nothing(resource, user):
    alice = user()
    result = finished(resource.radclient(alice.name, alice.password, secret="not-the-secret", options=("-t", "2", "-r", "1")))
    assert result.code == 1 and "Received" not in result.out, result.out
    assert not resource.server.logins(alice.name)


# Our own client. It fails on any reply whose Message-Authenticator is not first or not right.


def test_a_retransmission_is_silent_while_pending_and_gets_the_same_octets_afterwards(resource, user):
    alice, nas = user(), resource.nas()
    request = nas.packet(user=alice.name, password=alice.password)
    for _ in range(3):
        nas.send(request)
    assert nas.receive(request, 0.5) is None, "an answer before the phone's"
    alice.phone.answer("verify")
    first = nas.receive(request, 10)
    assert first.code == ACCESS_ACCEPT
    assert nas.receive(request, 0.3) is None, "one login, two answers"
    again = nas.exchange(request)
    assert again.octets == first.octets
    assert len(resource.server.logins(alice.name)) == 1


def test_a_rejected_retransmission_gets_the_same_octets(resource, user):
    alice, nas = user(), resource.nas()
    request = nas.packet(user=alice.name, password="wrong")
    first = nas.exchange(request)
    assert first.code == ACCESS_REJECT
    assert nas.exchange(request).octets == first.octets
    assert len(resource.server.verdicts(user_typed=alice.name)) == 1


def test_a_wrong_secret_is_met_with_silence(resource, user):
    alice = user()
    stranger = resource.nas(secret="not-the-secret-but-long-enough")
    request = stranger.packet(user=alice.name, password=alice.password)
    stranger.send(request)
    # The server is there and has read its queue so far: it answers the next one, from the same address.
    nas = resource.nas()
    assert nas.exchange(nas.packet(code=STATUS_SERVER), 5).code == ACCESS_ACCEPT
    assert stranger.receive(request, 0.5) is None
    assert not resource.server.logins(alice.name)


def test_a_request_without_message_authenticator_is_met_with_silence(resource, user):
    alice, nas = user(), resource.nas()
    request = nas.packet(user=alice.name, password=alice.password, message_authenticator=False)
    nas.send(request)
    assert nas.receive(request, 1) is None
    assert not resource.server.logins(alice.name)


def test_an_unknown_source_is_met_with_silence(server, resource):
    stranger = NAS(server.radius, resource.secret.encode(), "127.9.9.9")
    request = stranger.packet(code=STATUS_SERVER)
    stranger.send(request)
    assert stranger.receive(request, 1) is None


def test_status_server_is_answered(resource):
    nas = resource.nas()
    assert nas.exchange(nas.packet(code=STATUS_SERVER), 5).code == ACCESS_ACCEPT


def test_proxy_state_comes_back_in_order(resource, user):
    alice, nas = user(), resource.nas()
    request = nas.packet([(PROXY_STATE, b"one"), (PROXY_STATE, b"\x00two")], user=alice.name, password="wrong")
    assert nas.exchange(request).values(PROXY_STATE) == [b"one", b"\x00two"]


@pytest.mark.parametrize("length", [1, 15, 16, 17, 32, 127, 128])
def test_passwords_of_every_length_that_radius_carries(resource, user, length):
    alice = user(password=("canary" + "0123456789" * 13)[-length:])
    nas = resource.nas()
    request = nas.packet(user=alice.name, password=alice.password)
    nas.send(request)
    alice.phone.answer("verify")
    assert nas.receive(request, 10).code == ACCESS_ACCEPT
    # All of it counts.
    almost = alice.password[:-1] + ("x" if alice.password[-1] != "x" else "y")
    assert nas.login(alice.name, almost).code == ACCESS_REJECT


@pytest.mark.parametrize("name", ["zoë", "Ωmega", "山田太郎", "o'brien", "a.b+c", "x" * 64])
def test_names_are_utf8(resource, user, name):
    alice, nas = user(name=name), resource.nas()
    request = nas.packet(user=name, password=alice.password)
    nas.send(request)
    alice.phone.answer("verify")
    assert nas.receive(request, 10).code == ACCESS_ACCEPT
    [verdict] = resource.server.verdicts(user_typed=name)
    assert verdict["result"] == "accept"


@pytest.mark.parametrize(
    "name", [b"\xff\xfe", b"bob\n2026-01-01 ACCEPT alice", b"\x1b[2J", b"\0", "\u202e".encode() * 84, b"x" * 253]
)
def test_hostile_names_are_rejected_and_stay_harmless(resource, name):
    nas = resource.nas()
    before = len(resource.server.audit())
    assert nas.login(name, "wrong").code == ACCESS_REJECT
    result = resource.server.cli("audit", "list")
    assert result.code == 0
    assert not any(ord(character) < 32 and character not in "\n\t" for character in result.out)
    assert "\u202e" not in result.out and "\n2026-01-01 ACCEPT" not in result.out
    assert len(resource.server.audit()) > before


@pytest.mark.parametrize("password", [None, b"", b"\0\0\0"])
def test_an_empty_password_is_refused_where_a_password_is_asked(resource, user, password):
    alice, nas = user(), resource.nas()
    watcher = alice.phone.watch("verify")
    assert nas.login(alice.name, password).code == ACCESS_REJECT
    assert watcher.poll() is None, "the phone was asked"


def test_malformed_packets_are_met_with_silence_and_do_no_harm(resource):
    nas = resource.nas()
    good = nas.packet([(NAS_PORT, b"\0\0\0\1")], user="nobody", password="pw")
    broken = [
        b"", good[:19], good[:-1], good + b"x", b"\xff" * 4096, bytes(4096), good[:2] + b"\xff\xff" + good[4:],
        good[:20] + bytes([USER_NAME, 0]) + good[22:], good[:20] + bytes([USER_PASSWORD, 1]) + good[22:],
    ]  # fmt: skip
    broken += [good[:at] + bytes([good[at] ^ 0x80]) + good[at + 1 :] for at in range(20, len(good))]
    for packet in broken:
        nas.send(packet)
    status = nas.packet(code=STATUS_SERVER)
    # Its answer is the first that comes: none of the broken ones had one.
    assert nas.exchange(status, 10).code == ACCESS_ACCEPT


def test_two_logins_at_once_are_both_rejected(resource, user):
    alice, nas, other = user(), resource.nas(), resource.nas()
    first = nas.packet([(NAS_PORT, b"\0\0\0\1")], user=alice.name, password=alice.password)
    second = other.packet([(NAS_PORT, b"\0\0\0\2")], user=alice.name, password=alice.password)
    nas.send(first)
    other.send(second)
    assert other.receive(second, 10).code == ACCESS_REJECT
    assert nas.receive(first, 10).code == ACCESS_REJECT
    assert {verdict["reason"] for verdict in resource.server.verdicts(user_typed=alice.name)} == {"collision"}


def test_without_a_password_the_phone_alone_decides(server, user):
    alice, resource = user(), server.resource(primary="none")
    nas = resource.nas()
    request = nas.packet(user=alice.name)
    nas.send(request)
    alice.phone.answer("verify")
    assert nas.receive(request, 10).code == ACCESS_ACCEPT
