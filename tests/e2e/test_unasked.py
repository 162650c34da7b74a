"""Logins that nobody is asked about, with the real program: bypasses and remembered approvals."""

import json

import pytest
from countersign_device import Device

from harness import wait_until
from radius_client import ACCESS_ACCEPT, ACCESS_REJECT, CALLING_STATION_ID


@pytest.fixture
def alice(server, user):
    """A user, and a phone that answers when it is told to."""
    person = user(device=False)
    activation = server.ask("activation", "issue", person.name)
    return person, Device.activate(activation["url"], activation["code"])


def send(resource, person, password=True, station=None):
    nas = resource.nas()
    attributes = [(CALLING_STATION_ID, station)] if station else []
    request = nas.packet(attributes, user=person.name, password=person.password if password else None)
    nas.send(request)
    return nas, request


def approve(device, nas, request):
    [challenge] = wait_until(device.challenges, what="a challenge")
    assert device.answer(challenge, "verify")["state"] == "approved"
    assert nas.receive(request, 10).code == ACCESS_ACCEPT


def history(device):
    return [(login["factor"], login["verdict"], login["application"]) for login in device.request("GET", "history")["logins"]]


def ends(server, person):
    """How the logins of a user ended, oldest first."""
    return [(record["result"], record["reason"], record["factor"]) for record in server.verdicts(user_typed=person.name)]


def test_s28_a_bypass_lets_one_login_in_and_everybody_is_told(server, alice):
    person, device = alice
    resource = server.resource()
    refused = server.cli("user", "bypass", person.name)
    assert refused.code == 64 and "--reason" in refused.err
    refused = server.cli("user", "bypass", person.name, "--reason", " ")
    assert refused.code == 1 and "needs a reason" in refused.err
    refused = server.cli("user", "bypass", person.name, "--reason", "x", "--seconds", "86401")
    assert refused.code == 1 and "24 hours" in refused.err
    server.ask("user", "bypass", person.name, "--reason", "phone at home")

    # Not to whom does not know the password.
    nas = resource.nas()
    request = nas.packet(user=person.name, password="wrong")
    nas.send(request)
    assert nas.receive(request, 10).code == ACCESS_REJECT
    nas, request = send(resource, person)
    assert nas.receive(request, 10).code == ACCESS_ACCEPT
    assert device.challenges() == []
    # A retransmission gets the same answer and uses nothing; the next login is asked about.
    nas.send(request)
    assert nas.receive(request, 10).code == ACCESS_ACCEPT
    nas, request = send(resource, person)
    approve(device, nas, request)
    assert ends(server, person) == [
        ("reject", "password_wrong", None), ("accept", "bypass", "bypass"), ("accept", "approved", "push"),
    ]  # fmt: skip
    (issued,) = server.audit(event="bypass.issued", user_typed=person.name)
    assert json.loads(issued["detail"])["reason"] == "phone at home"
    alerts = [record["reason"] for record in server.audit(event="alert") if record["user_id"] == issued["user_id"]]
    assert alerts == ["bypass_issued", "bypass_used"]
    assert history(device) == [("push", "approved", resource.name), ("bypass", "approved", resource.name)]
    assert server.ask("user", "show", person.name)["bypass"] is None


def test_a_bypass_is_taken_back_and_outlives_a_restart(new_server):
    server = new_server().start()
    person, resource = server.user(device=False), server.resource()
    server.ask("user", "bypass", person.name, "--reason", "lost")
    assert server.ask("user", "show", person.name)["bypass"]["open"]
    server.kill()
    server.start()
    server.ask("user", "bypass", person.name, "--cancel")
    nas, request = send(resource, person)
    assert nas.receive(request, 10).code == ACCESS_REJECT
    server.ask("user", "bypass", person.name, "--reason", "lost")
    server.kill()
    server.start()
    nas, request = send(resource, person)
    assert nas.receive(request, 10).code == ACCESS_ACCEPT
    server.kill()
    server.start()
    nas, request = send(resource, person)
    assert nas.receive(request, 10).code == ACCESS_REJECT
    server.ask("user", "disable", person.name)
    refused = server.cli("user", "bypass", person.name, "--reason", "lost")
    assert refused.code == 1 and "disabled" in refused.err


def test_a_bypass_at_a_gateway_that_checks_passwords_itself_warns(server, alice):
    person, _ = alice
    resource = server.resource(primary="none")
    issued = server.cli("user", "bypass", person.name, "--reason", "phone lost")
    assert issued.code == 0 and "WARNING" in issued.out and resource.name in issued.out
    nas, request = send(resource, person, password=False)
    assert nas.receive(request, 10).code == ACCESS_ACCEPT


def test_an_approval_lets_in_one_further_login_from_the_same_place(server, alice):
    person, device = alice
    resource = server.resource("--remember", "60")
    nas, request = send(resource, person, station="198.51.100.7")
    approve(device, nas, request)
    nas, request = send(resource, person, station="198.51.100.7")
    assert nas.receive(request, 10).code == ACCESS_ACCEPT
    assert device.challenges() == []
    nas, request = send(resource, person, station="198.51.100.7")
    approve(device, nas, request)
    # From elsewhere it is somebody else.
    nas, request = send(resource, person, station="203.0.113.9")
    approve(device, nas, request)
    assert [reason for _, reason, _ in ends(server, person)] == ["approved", "remembered", "approved", "approved"]
    first, second = server.verdicts(user_typed=person.name)[:2]
    assert second["detail"] == first["login"]
    assert history(device)[-2:] == [("remembered", "approved", resource.name), ("push", "approved", resource.name)]


def test_a_gateway_without_places_asks_twice_for_one_sign_in(server, alice):
    person, device = alice
    resource = server.resource("--remember", "30", primary="none")
    nas, request = send(resource, person, password=False)
    approve(device, nas, request)
    nas, request = send(resource, person, password=False)
    assert nas.receive(request, 10).code == ACCESS_ACCEPT
    refused = server.cli("resource", "set", resource.name, "--remember", "301")
    assert refused.code == 1 and "300 seconds" in refused.err
    server.ask("resource", "set", resource.name, "--remember", "0")
    assert server.ask("resource", "show", resource.name)["remember"] == 0


def test_s20_codes_from_one_place_are_paused_whosever_they_are(server, user):
    resource, station = server.resource(primary="none"), "198.51.100.77"
    people = [user() for _ in range(31)]
    reasons = []
    for person in people:
        nas = resource.nas()
        request = nas.packet([(CALLING_STATION_ID, station)], user=person.name, password="000000")
        nas.send(request)
    for person in people:
        [record] = wait_until(lambda name=person.name: server.verdicts(user_typed=name), what="a verdict")
        reasons.append(record["reason"])
    assert sorted(reasons) == ["code_wrong"] * 30 + ["limited"]
    assert len(server.audit(event="alert", reason="codes_paused_at_source", source=station)) == 1
