"""Secrets and keys that are changed while the server runs."""

import time

import pytest

from harness import finished, wait_until
from radius_client import ACCESS_ACCEPT, ACCESS_REJECT
from test_accounting import START, account, answered


@pytest.fixture
def rotating(server):
    """A resource whose client has a new secret, and the name of it."""
    resource = server.resource()

    def change(*options) -> str:
        changed = server.ask("client", "set", resource.name, *(options or ("--new-secret",)))
        server.canaries.add(changed["secret"])
        return changed["secret"]

    resource.change = change
    return resource


def show(server, resource) -> dict:
    return server.ask("client", "show", resource.name)


def test_s94_both_secrets_let_in_until_an_administrator_ends_it(server, user, rotating):
    alice = user()
    new = rotating.change("--new-secret", "--overlap", "1h")
    assert len(new) == 32
    for secret in (None, new):
        nas = rotating.nas(secret)
        request = nas.packet(user=alice.name, password=alice.password)
        nas.send(request)
        alice.phone.answer("verify")
        assert nas.receive(request, 10).code == ACCESS_ACCEPT
        assert answered(account(rotating, f'User-Name = "{alice.name}"', *START, secret=secret))
    previous = show(server, rotating)["previous_secret"]
    assert previous["packets"] >= 2 and previous["packets_by_new"] >= 2 and previous["last"] and previous["last_by_new"]
    assert "secret before" in server.cli("client", "show", rotating.name).out
    doctor = server.cli("doctor").out
    assert "shared secret of before" in doctor and rotating.name in doctor, doctor

    server.ask("client", "set", rotating.name, "--end-overlap")
    assert show(server, rotating)["previous_secret"] is None
    nas = rotating.nas()
    request = nas.packet(user=alice.name, password=alice.password)
    nas.send(request)
    assert nas.receive(request, 1) is None
    assert not answered(account(rotating, f'User-Name = "{alice.name}"', *START))
    assert rotating.nas(new).login(alice.name, "wrong").code == ACCESS_REJECT
    changes = [one["detail"] for one in server.audit(event="client.changed")]
    assert any("previous_secret_until" in one for one in changes), changes


def test_s94_no_overlap_is_longer_than_seven_days_and_none_is_the_default_of_generate(server, rotating):
    for wrong in ("8d", "0m", "soon", "169h"):
        assert server.cli("client", "set", rotating.name, "--new-secret", "--overlap", wrong).code != 0
    assert server.cli("client", "set", rotating.name, "--overlap", "1h").code != 0
    assert show(server, rotating)["previous_secret"] is None
    rotating.change("--new-secret")
    until = show(server, rotating)["previous_secret"]["until"]
    assert until[:10] == time.strftime("%Y-%m-%d", time.gmtime(time.time() + 7 * 86400)), until
    # A secret that leaked is changed without an overlap.
    rotating.change("--generate-secret")
    assert show(server, rotating)["previous_secret"] is None


def test_s94_secrets_change_under_load_and_no_login_is_lost(server, user, rotating):
    alice = user()
    secrets, clients = [None], []
    for _ in range(4):
        clients += [rotating.radclient(alice.name, "wrong", secret=secrets[-1]) for _ in range(5)]
        secrets.append(rotating.change())
        for secret in secrets[-2:]:
            clients += [rotating.radclient(alice.name, "wrong", secret=secret) for _ in range(5)]
        wait_until(lambda: all(client.poll() is not None for client in clients), what="answers")
    for client in clients:
        result = finished(client)
        assert "Received Access-Reject" in result.out, result.out


def test_s94_a_restart_keeps_both(server, rotating):
    new = rotating.change()
    server.stop()
    server.start()
    assert show(server, rotating)["previous_secret"] is not None
    for secret in (None, new):
        assert rotating.nas(secret).login("nobody", "x").code == ACCESS_REJECT
