"""An SSH logon, all of it real: ssh, sshd, pam_radius_auth, countersign, countersign phone."""

import pytest

from ssh import Host


@pytest.fixture
def host(server, user, tmp_path):
    """pam_radius_auth 2.0.0 sends no Message-Authenticator."""
    hosts = []

    def make(alice, *options, **named) -> Host:
        resource = server.resource("--no-require-message-authenticator", *options, **named)
        hosts.append(Host(tmp_path, resource, [alice.name]))
        return hosts[-1]

    yield make
    for one in hosts:
        one.stop()


def test_verify_lets_in(host, user):
    alice = user()
    logon = host(alice).logon(alice.name, alice.password)
    alice.phone.answer("verify")
    assert logon.outcome() == f"in as {alice.name}"
    print(logon.prompts())


def test_deny_keeps_out(host, user):
    alice = user()
    logon = host(alice).logon(alice.name, alice.password)
    alice.phone.answer("deny")
    assert "Permission denied" in logon.outcome()
    [verdict] = alice.server.verdicts(user_typed=alice.name)
    assert verdict["reason"] == "denied"
