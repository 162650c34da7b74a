"""Logins by EAP: wpa_supplicant's eapol_test in the role of access point and peer, FreeRADIUS behind countersign."""

import time

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from eap import Authority, EAPServer, peer
from freeradius import Account
from harness import wait_until
from middle import Middle, attributes

SECRET = "canary-secret-between-countersign-and-eap"
PASSWORD = "canary-Passw0rd-inside-the-tunnel"
EAP_MESSAGE = 79


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority") / "ca")


class Wireless:
    """A resource behind EAP servers, and what a test needs to log on there."""

    def __init__(self, server, folder, authority, name):
        self.server, self.folder, self.authority, self.name = server, folder, authority, name
        self.made = []

    def below(self, *accounts, **more) -> EAPServer:
        listed = [Account(account, PASSWORD) for account in accounts]
        folder = self.folder / f"radius{len(self.made)}"
        self.made.append(EAPServer(folder, SECRET, self.authority, listed, **more).start())
        return self.made[-1]

    def behind(self, *servers, answer_by=30):
        addresses = ["%s:%d" % getattr(one, "address", one) for one in servers]
        listed = [word for address in addresses for word in ("--server", address)]
        self.server.ask("upstream", "add", self.name, *listed, "--secret-stdin", stdin=SECRET + "\n")
        self.resource = self.server.resource("--upstream", self.name, "--eap", "on", primary="radius", answer_by=answer_by)
        return self.resource

    def peer(self, method, identity, **settings):
        return peer(self.folder / "peers", self.resource, method, identity, ca_cert=str(self.authority.ca), **settings)

    def peap(self, identity, password=PASSWORD, **settings):
        return self.peer("PEAP", identity, password=password, phase2="auth=MSCHAPV2", **settings)

    def last(self) -> dict:
        return self.server.verdicts(resource=self.resource.id)[-1]


@pytest.fixture
def wireless(server, tmp_path, authority, request):
    server.canaries |= {SECRET, PASSWORD}
    wireless = Wireless(server, tmp_path, authority, f"eap-{abs(hash(request.node.name)) % 10**8}")
    yield wireless
    for one in wireless.made:
        one.stop()


@pytest.mark.parametrize("method, phase2", [("PEAP", "auth=MSCHAPV2"), ("TTLS", "auth=PAP"), ("TTLS", "auth=MSCHAPV2")])
def test_c094_a_password_in_a_tunnel_and_a_verify_let_in_with_the_keys(wireless, user, method, phase2):
    alice = user()
    radius = wireless.below(alice.name)
    wireless.behind(radius)
    login = wireless.peer(method, alice.name, password=PASSWORD, phase2=phase2)
    alice.phone.answer("verify")
    assert login.succeeded()
    assert radius.received() > 4, "rounds went on"
    verdict = wireless.last()
    assert (verdict["result"], verdict["reason"], verdict["user_typed"]) == ("accept", "approved", alice.name)
    assert len(wireless.server.verdicts(resource=wireless.resource.id)) == 1, "rounds are no logins"


def test_c050_c051_a_certificate_and_a_verify_let_in_and_fragments_pass(wireless, user):
    alice = user()
    radius = wireless.below()
    between = Middle(radius.address)
    wireless.behind(between)
    certificate, key = wireless.authority.issue(alice.name, ExtendedKeyUsageOID.CLIENT_AUTH)
    login = wireless.peer("TLS", alice.name, client_cert=str(certificate), private_key=str(key))
    alice.phone.answer("verify")
    assert login.succeeded()
    assert wireless.last()["user_typed"] == alice.name

    def parts(packet):
        return [value for kind, value in attributes(packet) if kind == EAP_MESSAGE]

    assert max(len(parts(packet)) for packet in between.replies) > 3, "the server's chain in one packet after the other"
    assert max(len(parts(packet)) for packet in between.requests) > 3, "and the peer's"
    packets = [b"".join(parts(packet)) for packet in between.requests + between.replies if parts(packet)]
    assert any(packet[4:5] == b"\x0d" and packet[5] & 0x40 for packet in packets), "more fragments follow"
    acknowledged = [packet for packet in packets if packet[4:6] == b"\x0d\0" and len(packet) == 6]
    assert acknowledged, "an acknowledgement has its octet of flags"
    between.stop()


def test_the_outer_identity_may_be_nobody(wireless, user):
    alice = user()
    wireless.behind(wireless.below(alice.name))
    for outer in ("anonymous", "@example.com"):
        login = wireless.peap(alice.name, anonymous_identity=outer)
        alice.phone.answer("verify")
        assert login.succeeded()
        assert wireless.last()["user_typed"] == alice.name


def test_a_deny_is_a_failure_that_the_peer_is_told(wireless, user):
    alice = user()
    wireless.behind(wireless.below(alice.name))
    login = wireless.peap(alice.name)
    alice.phone.answer("deny")
    assert login.told()
    assert wireless.last()["reason"] == "denied"


def test_a_wrong_password_asks_no_phone(wireless, user):
    alice = user()
    wireless.behind(wireless.below(alice.name))
    watcher = alice.phone.watch("verify")
    assert wireless.peap(alice.name, "wrong").told()
    assert watcher.poll() is None, "the phone was asked"
    verdict = wireless.last()
    assert (verdict["reason"], verdict["detail"]) == ("password_wrong", "primary_rejected")


def test_eap_identity_unproven_the_password_of_one_and_the_phone_of_another(wireless, user):
    alice, mallory = user(), user()
    wireless.behind(wireless.below(alice.name, mallory.name))
    watchers = [alice.phone.watch("verify"), mallory.phone.watch("verify")]
    assert wireless.peap(alice.name, anonymous_identity=mallory.name).told()
    verdict = wireless.last()
    assert (verdict["result"], verdict["reason"]) == ("reject", "eap_identity_unproven")
    assert (verdict["user_typed"], verdict["detail"]) == (mallory.name, f"other_name: {alice.name}")
    assert [watcher.poll() for watcher in watchers] == [None, None], "a phone was asked"


def test_eap_identity_unproven_a_server_that_names_nobody_lets_nobody_in(wireless, user):
    """FreeRADIUS as it comes: its Accept repeats the outer identity."""
    alice = user()
    wireless.behind(wireless.below(alice.name, careless=True))
    watcher = alice.phone.watch("verify")
    assert wireless.peap(alice.name, anonymous_identity="anonymous").told()
    verdict = wireless.last()
    assert (verdict["reason"], verdict["detail"]) == ("eap_identity_unproven", "anonymous_name")
    assert watcher.poll() is None, "the phone was asked"


def test_s51_a_conversation_stays_with_its_server(wireless, user):
    alice = user()
    first, second = wireless.below(alice.name), wireless.below(alice.name)
    between = Middle(first.address)
    wireless.behind(between, second, answer_by=9)

    # It falls silent in the middle of a conversation, which then goes nowhere else.
    between.on_request = lambda packet: [packet] if len(between.requests) <= 3 or packet[0] != 1 else []
    begin = time.monotonic()
    assert wireless.peap(alice.name).told()
    assert time.monotonic() - begin < 15
    verdict = wireless.last()
    assert (verdict["reason"], verdict["detail"]) == ("unavailable", "upstream_silent")
    assert second.received() == 0

    # A new one begins where somebody answers, and ends there though the first is back.
    came = second.received

    def back_in_the_middle(packet):
        return [packet] if came() >= 2 else []

    between.on_request = back_in_the_middle
    before = first.received()
    login = wireless.peap(alice.name)
    alice.phone.answer("verify")
    assert login.succeeded()
    assert first.received() == before and second.received() > 4
    between.stop()


def test_s46_after_a_restart_a_conversation_begins_anew(new_server, tmp_path, authority):
    server = new_server()
    server.start()
    server.canaries |= {SECRET, PASSWORD}
    alice = server.user()
    wireless = Wireless(server, tmp_path / "w", authority, "eap")
    wireless.folder.mkdir()
    radius = wireless.below(alice.name)
    between = Middle(radius.address)
    wireless.behind(between)
    # The server that has the conversation answers when countersign is another.
    held = []

    def hold(packet):
        if len(between.replies) <= 3 or held or packet[0] != 11:
            return [packet]
        held.append(packet)
        return []

    between.on_reply = hold
    login = wireless.peap(alice.name)
    wait_until(lambda: held, what="a round is under way")
    server.stop()
    server.start()
    assert login.told()
    verdict = wireless.last()
    assert (verdict["reason"], verdict["detail"]) == ("expired", "unknown_state")
    between.stop()
    alice.phone.end()
    radius.stop()


def test_a_peer_that_begins_anew_keeps_the_phone_ringing_once(wireless, user):
    """As a supplicant does that has waited long enough: same place, another conversation, other keys."""
    alice = user()
    wireless.behind(wireless.below(alice.name))
    port = ("-N", "5:d:7")
    first = wireless.peap(alice.name, options=port)
    asked = lambda: wireless.server.audit(event="login.challenged", resource=wireless.resource.id)  # noqa: E731
    wait_until(asked, what="the phone is asked")
    first.process.kill()
    second = wireless.peap(alice.name, options=port)
    wait_until(lambda: wireless.server.verdicts(reason="superseded", resource=wireless.resource.id), what="it is taken over")
    alice.phone.answer("verify")
    assert second.succeeded()
    assert len(asked()) == 1


def test_eap_is_off_unless_somebody_says_so(wireless, user):
    alice = user()
    radius = wireless.below(alice.name)
    resource = wireless.behind(radius)
    wireless.server.ask("resource", "set", resource.name, "--eap", "off")
    assert wireless.peap(alice.name).told()
    assert radius.received() == 0
    assert "EAP is not on" in wireless.last()["detail"]
