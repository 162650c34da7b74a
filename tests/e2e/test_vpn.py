"""A VPN, all of it real: OpenVPN with its RADIUS plugin, countersign, countersign phone."""

import pytest

from harness import wait_until
from vpn import Tunnel
from vpn_prompt import Asker


@pytest.fixture
def tunnel(server, tmp_path):
    """radiusplugin 2.1 sends no Message-Authenticator."""
    tunnel = Tunnel(tmp_path, server.resource("--no-require-message-authenticator"))
    yield tunnel
    tunnel.stop()


def waiting(tunnel, user) -> None:
    """Until the phone could be asked."""
    wait_until(lambda: tunnel.resource.server.logins(user.name), what="a login")


def test_verify_opens_the_tunnel_and_nothing_else_does(tunnel, user):
    alice = user()
    tunnel.start(tunnel.plugin())
    client = tunnel.dial(alice.name, alice.password)
    waiting(tunnel, alice)
    assert not tunnel.reachable()
    alice.phone.answer("verify")
    assert client.outcome() == "connected", client.text()
    assert tunnel.reachable()
    [verdict] = tunnel.resource.server.verdicts(user_typed=alice.name)
    assert (verdict["result"], verdict["reason"]) == ("accept", "approved")
    # The plugin lets nobody in before accounting has answered; its session ends there as well.
    assert [packet[0] for packet in tunnel.accounting.replies[:1]] == [5], tunnel.accounting.replies


def test_deny_keeps_it_shut(tunnel, user):
    alice = user()
    tunnel.start(tunnel.plugin())
    client = tunnel.dial(alice.name, alice.password)
    alice.phone.answer("deny")
    assert client.outcome() == "refused", client.text()
    assert not tunnel.reachable()
    [verdict] = tunnel.resource.server.verdicts(user_typed=alice.name)
    assert verdict["reason"] == "denied"


def test_a_wrong_password_keeps_it_shut_and_asks_no_phone(tunnel, user):
    alice = user()
    watcher = alice.phone.watch("verify")
    tunnel.start(tunnel.plugin())
    client = tunnel.dial(alice.name, "wrong")
    assert client.outcome() == "refused", client.text()
    assert watcher.poll() is None, "the phone was asked"


def test_s45_a_plugin_that_asks_again_each_second_asks_the_phone_once(tunnel, user):
    """It does so under the same identifier with another authenticator, so that none is a retransmission."""
    alice = user()
    tunnel.start(tunnel.plugin(wait=1, tries=20))
    client = tunnel.dial(alice.name, alice.password)
    wait_until(lambda: len(tunnel.radius.requests) >= 3, what="three requests")
    alice.phone.answer("verify")
    assert client.outcome() == "connected", client.text()
    first, *others = tunnel.radius.requests
    assert all(one[1] == first[1] and one[4:20] != first[4:20] for one in others)
    logins = tunnel.resource.server.logins(alice.name)
    assert len(logins) == len(tunnel.radius.requests)
    asked = [one for one in tunnel.resource.server.audit(event="login.challenged") if one["login"] in logins]
    assert len(asked) == 1, asked
    reasons = [one["reason"] for one in tunnel.resource.server.verdicts(user_typed=alice.name)]
    assert reasons == ["superseded"] * (len(logins) - 1) + ["approved"]


def test_by_pam_a_verify_opens_the_tunnel(tunnel, user):
    """OpenVPN's own plugin, which asks PAM, and that asks RADIUS: nothing counts accounts here."""
    alice = user()
    tunnel.start(tunnel.pam())
    client = tunnel.dial(alice.name, alice.password)
    waiting(tunnel, alice)
    assert not tunnel.reachable()
    alice.phone.answer("verify")
    assert client.outcome() == "connected", client.text()
    assert tunnel.reachable()


@pytest.fixture
def asker(tunnel):
    """A program beside the server asks, by OpenVPN's management interface: it can hand on a prompt."""
    asker = Asker(tunnel.folder, tunnel.resource.nas())
    yield asker
    asker.stop()


def test_by_a_program_beside_the_server_a_verify_opens_the_tunnel(tunnel, asker, user):
    alice = user()
    tunnel.start(options=asker.options)
    client = tunnel.dial(alice.name, alice.password, window=True)
    alice.phone.answer("verify")
    assert client.outcome() == "connected", client.text()
    assert tunnel.reachable()
    assert client.window.prompts == []


@pytest.fixture
def prompted(server, tmp_path):
    """A VPN that can show a prompt."""
    tunnels = []

    def make(methods: str) -> Tunnel:
        tunnels.append(Tunnel(tmp_path, server.resource("--no-require-message-authenticator", "--prompt", methods)))
        return tunnels[-1]

    yield make
    for one in tunnels:
        one.stop()


def test_by_pam_the_code_of_the_account_list_opens_the_tunnel(prompted, user):
    """The client asks for it beforehand (static-challenge), and the plugin types it at the prompt."""
    alice = user()
    tunnel = prompted("totp")
    tunnel.start(tunnel.pam("Open", "OTP"))
    client = tunnel.dial(alice.name, alice.password, "--static-challenge", "Code", "1", window=True)
    client.window.answers.put(alice.phone.code())
    assert client.outcome() == "connected", client.text()
    assert client.window.prompts == ["Code"]
    assert tunnel.reachable()
    [verdict] = tunnel.resource.server.verdicts(user_typed=alice.name)
    assert (verdict["result"], verdict["factor"]) == ("accept", "totp")


def test_by_pam_a_wrong_code_does_not(prompted, user):
    alice = user()
    tunnel = prompted("totp")
    tunnel.start(tunnel.pam("Open", "OTP"))
    client = tunnel.dial(alice.name, alice.password, "--static-challenge", "Code", "1", window=True)
    client.window.answers.put(f"{(int(alice.phone.code()) + 1) % 1_000_000:06}")
    assert client.outcome() == "refused", client.text()
    assert not tunnel.reachable()


def test_the_client_shows_what_the_server_asks_and_the_digits_of_the_phone_open_the_tunnel(prompted, user):
    """A dynamic challenge: the first connection is refused with it, the second brings the answer."""
    alice = user()
    tunnel = prompted("code-to-phone")
    asker = Asker(tunnel.folder, tunnel.resource.nas())
    tunnel.start(options=asker.options)
    client = tunnel.dial(alice.name, alice.password, window=True)
    shown = alice.phone.shown()
    assert not tunnel.reachable()
    client.window.answers.put(shown)
    assert client.outcome() == "connected", client.text()
    [prompt] = client.window.prompts
    assert prompt.startswith("Open countersign on your phone")
    assert tunnel.reachable()
    [verdict] = tunnel.resource.server.verdicts(user_typed=alice.name)
    assert verdict["binding"] == "number"
    asker.stop()
