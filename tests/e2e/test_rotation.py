"""Secrets and keys that are changed while the server runs."""

import subprocess
import time

import pytest

from harness import BINARY, Server, environment, finished, wait_until
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


# The key that the database's secrets are encrypted with.


@pytest.fixture
def house(tmp_path):
    """A server of the test's own, with a user, a resource and a client whose secret is being changed."""
    server = Server(tmp_path / "data").start()
    server.house_user = server.user("alice")
    server.house_resource = server.resource(name="vpn")
    new = server.ask("client", "set", "vpn", "--new-secret")["secret"]
    server.canaries.add(new)
    yield server
    if server.process is not None:
        server.stop()
    server.check_traces()


def works(server) -> None:
    """Secrets of the client, and the seed of the phone, which are encrypted; and the phone asks."""
    alice, nas = server.house_user, server.house_resource.nas()
    request = nas.packet(user=alice.name, password=alice.password)
    nas.send(request)
    alice.phone.answer("verify")
    assert nas.receive(request, 10).code == ACCESS_ACCEPT
    assert server.cli("audit", "verify").code == 0


def keys(server) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in server.data.glob("countersign.key*")}


def rotations(server) -> int:
    return len(server.audit(event="key.rotated"))


def test_s94_everything_is_encrypted_under_a_new_key_and_works(house):
    before = keys(house)["countersign.key"]
    refused = house.cli("key", "rotate")
    assert refused.code != 0 and "stop it first" in refused.err, refused
    assert keys(house) == {"countersign.key": before}
    house.stop()
    done = house.ask("key", "rotate")
    assert done["values"] >= 5 and done["rotated"], done
    after = keys(house)
    assert after.pop("countersign.key") != before
    assert list(after.values()) == [before], after
    assert all((house.data / name).stat().st_mode & 0o777 == 0o600 for name in keys(house))
    house.start()
    works(house)
    assert rotations(house) == 1
    # The old key opens nothing any more.
    house.stop()
    new = (house.data / "countersign.key").read_bytes()
    (house.data / "countersign.key").write_bytes(before)
    assert house.cli("serve").code != 0
    (house.data / "countersign.key").write_bytes(new)
    house.start()


def test_s94_a_change_that_was_interrupted_goes_on(house):
    key, waiting = house.data / "countersign.key", house.data / "countersign.key.new"
    house.stop()
    old = key.read_bytes()
    # After the new key was made, or half of it.
    for octets in (b"", b"half of a key", bytes(range(32))):
        waiting.write_bytes(octets)
        waiting.chmod(0o600)
        refused = house.cli("serve")
        assert refused.code != 0 and "countersign key rotate" in refused.err, refused
        house.ask("key", "rotate")
        assert not waiting.exists() and key.read_bytes() != old
        old = key.read_bytes()
        time.sleep(1.1)  # old keys are named by the second
    # After everything was encrypted, and before the new key was in its place.
    house.ask("key", "rotate")
    [*_, before] = sorted(house.data.glob("countersign.key.before-*"))
    key.rename(waiting)
    before.rename(key)
    assert house.cli("serve").code != 0
    house.ask("key", "rotate")
    assert not waiting.exists()
    house.start()
    works(house)
    assert rotations(house) == 4


def test_s94_killed_at_any_moment_it_is_of_the_old_key_or_of_the_new(house):
    house.stop()
    for delay in (0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.2):
        process = subprocess.Popen(
            [BINARY, "--data", house.data, "key", "rotate"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=environment(),
        )  # fmt: skip
        time.sleep(delay)
        process.kill()
        process.wait()
    time.sleep(1.1)
    house.ask("key", "rotate")
    house.start()
    works(house)
