"""The server while somebody leans on it: a client that floods, a disk that is slow or full."""

import itertools
import multiprocessing
import re
import shutil
import statistics
import subprocess
import time
from pathlib import Path

import pytest

from harness import need, wait_until
from load import coders, memory, status
from radius_client import ACCESS_ACCEPT, ACCESS_REJECT, CALLING_STATION_ID, NAS

# What the tables may hold of one client by default (`Limits`), and what an entry takes at most in memory.
KEPT, AUTHENTICATORS, PENDING = 16_384, 65_536, 500


def timed(resource, user, password, every: float = 1, limit: float = 20):
    """A login by a client that asks again each second; the reply and the seconds until it came."""
    nas = resource.nas()
    request = nas.packet([(CALLING_STATION_ID, "calm")], user=user, password=password)
    begun = time.monotonic()
    while time.monotonic() < begun + limit:
        nas.send(request)
        if reply := nas.receive(request, every):
            nas.socket.close()
            return reply, time.monotonic() - begun
    raise AssertionError(f"no reply within {limit} s")


def flood(server, secret, source, end):
    """Valid requests of people whom nobody knows, forged ones, replays, and packets from where no client is."""
    # One socket has 256 identifiers, and a request in the place of another ends that: more need more sockets.
    loud = [NAS(server, secret, source) for _ in range(16)]
    nas, elsewhere = loud[0], NAS(server, secret, source)
    stranger, forger = NAS(server, secret, "127.9.9.9"), NAS(server, b"another secret than ours", source)
    old = nas.packet(user="nobody-first", password="123456")
    nas.send(old)
    for number in itertools.count():
        if time.monotonic() > end:
            return
        try:
            nas = loud[number % len(loud)]
            nas.send(nas.packet(user=f"nobody{number}", password="123456"))
            if number % 4 == 0:
                forger.send(forger.packet(user="somebody", password="123456"))
                stranger.send(old)
                elsewhere.send(old)
                nas.send(bytes([1, 2, 0, 3]))
            nas.socket.setblocking(False)
            while True:
                nas.socket.recv(4096)
        except OSError:
            pass  # nothing is there, or the system takes no more


def test_s105_a_client_that_floods_takes_nothing_from_the_others(new_server):
    server = new_server().start()
    loud, quiet = server.resource(primary="none"), server.resource(primary="none")
    users = coders(server, 20)
    calm = [timed(quiet, user.name, user.code(user.steps()[0])) for user in users[:10]]
    before = memory(server)

    end = time.monotonic() + 8
    arguments = (server.radius, loud.secret.encode(), loud.source, end)
    flooder = multiprocessing.get_context("fork").Process(target=flood, args=arguments)
    flooder.start()
    wait_until(lambda: status(server)["radius_counters"]["full"] > 0, what="the flood is felt")
    busy = [timed(quiet, user.name, user.code(user.steps()[0])) for user in users[10:]]
    flooder.join()
    counters = status(server)["radius_counters"]
    after = memory(server)

    assert {reply.code for reply, _ in calm + busy} == {ACCESS_ACCEPT}
    usual, under = (statistics.median(took for _, took in some) for some in (calm, busy))
    # Each entry of the table: its octets, its key three times, its place in two queues and two maps; and the debug build.
    bound = (KEPT * 1024 + AUTHENTICATORS * 256 + PENDING * 8192) / 2**20
    print(f"median {usual * 1000:.0f} ms calm, {under * 1000:.0f} ms under {counters['packets']} packets; "
          f"{counters['full']} refused for room, {counters['bad_authenticator']} forged, {counters['replays']} replays, "
          f"{counters['unknown_source']} strangers; memory {before:.0f} to {after:.0f} MiB, bound +{bound:.0f}")  # fmt: skip
    assert under < 1, "another client waits"
    assert after - before < bound
    for counter in ("full", "bad_authenticator", "unknown_source", "malformed", "replays"):
        assert counters[counter] > 0, counter

    # Each thing is said once, not once for each packet; doctor says it with the client's name.
    log = server.log.read_text(errors="replace")
    for words in ("too many logins are waiting", "belongs to no client", "fails its Message-Authenticator", "is no RADIUS packet"):
        assert 1 <= len(re.findall(words, log)) <= 2, words
    doctor = server.cli("doctor").out
    for words in (f"{loud.name}: .* requests were dropped because too many", "packets came from addresses that belong to no client"):
        assert re.search(words, doctor), doctor
    assert f"{quiet.name}:" not in doctor, doctor

    # Nothing stays behind: what was waiting ends, and the client that flooded is served again.
    wait_until(lambda: status(server)["logins_open"] == 0, what="all logins end", every=0.2)
    assert timed(loud, users[0].name, users[0].code(users[0].steps()[1]))[0].code == ACCESS_ACCEPT
    assert server.cli("audit", "verify").code == 0


class Tampered:
    """A server whose calls to the system are made slow, or fail."""

    def __init__(self, server, *injections):
        need("strace")
        wanted = [word for injection in injections for word in ("-e", f"inject={injection}")]
        calls = ",".join(injection.split(":")[0] for injection in injections)
        self.process = subprocess.Popen(
            ["strace", "-f", "-qq", "-e", f"trace={calls}", *wanted, "-o", "/dev/null", "-p", str(server.process.pid)],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

        def attached():
            assert self.process.poll() is None, self.process.stderr.read()
            tracers = [
                re.search(r"TracerPid:\s+(\d+)", (task / "status").read_text())[1]
                for task in server_tasks(server)
            ]
            return all(tracer == str(self.process.pid) for tracer in tracers)

        wait_until(attached, what="strace is attached")

    def end(self):
        self.process.terminate()
        self.process.wait(20)


def server_tasks(server):
    return list(Path(f"/proc/{server.process.pid}/task").iterdir())


SYNC = "fdatasync,fsync"


def test_s97_on_a_slow_disk_a_login_waits_for_its_record(new_server):
    server = new_server().start()
    resource, users = server.resource(primary="none"), coders(server, 3)
    assert timed(resource, users[0].name, users[0].code(users[0].steps()[0]))[0].code == ACCESS_ACCEPT
    slow = Tampered(server, f"{SYNC}:delay_exit=1500000")
    try:
        reply, took = timed(resource, users[1].name, users[1].code(users[1].steps()[0]))
    finally:
        slow.end()
    print(f"{took:.2f} s where each sync takes 1.5 s")
    assert reply.code == ACCESS_ACCEPT and took >= 1.5, "it was let in before its record was on disk"
    assert len(server.verdicts(result="accept")) == 2


@pytest.mark.parametrize("word", ["EIO", "ENOSPC"])
def test_s97_s108_where_nothing_reaches_the_disk_nobody_is_let_in(new_server, word):
    server = new_server().start()
    resource, users = server.resource(primary="none", answer_by=5), coders(server, 2)
    broken = Tampered(server, f"{SYNC}:error={word}", f"pwrite64:error={word}")
    try:
        reply, took = timed(resource, users[0].name, users[0].code(users[0].steps()[0]))
    finally:
        broken.end()
    assert reply.code == ACCESS_REJECT and took < 7
    log = server.log.read_text(errors="replace")
    assert re.search(r"WARN|ERROR", log) and "database" in log, log[-2000:]
    # The disk is well again, and so is the server, by itself.
    wait_until(
        lambda: timed(resource, users[1].name, users[1].code(users[1].steps()[1]))[0].code == ACCESS_ACCEPT, what="an accept", every=1
    )
    assert len(server.verdicts(result="accept")) == 1
    verify = server.cli("audit", "verify")
    assert verify.code == 0, verify.out + verify.err


def test_s97_s108_a_disk_that_fills_in_the_middle_of_a_login_denies_it(new_server, small_disk):
    home = new_server()
    disk = small_disk(40_000_000)
    shutil.copytree(home.data, disk / "data")
    server = home
    server.data = disk / "data"
    server.data.chmod(0o700)
    server.start()
    resource, users = server.resource(answer_by=20), coders(server, 2)
    codes = server.resource(primary="none")
    alice = server.user()
    nas = resource.nas()
    request = nas.packet(user=alice.name, password=alice.password)
    nas.send(request)
    wait_until(lambda: status(server)["logins_waiting"] == 1, what="the login waits for the phone")
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError):
        while file.write(b"x" * 4096):
            pass
    alice.phone.watch("verify")
    reply = nas.receive(request, 25)
    assert reply is not None and reply.code == ACCESS_REJECT, "let in although it could not be recorded"
    assert timed(codes, users[0].name, users[0].code(users[0].steps()[0]))[0].code == ACCESS_REJECT
    doctor = server.cli("doctor")
    assert doctor.code == 1 and "full" in doctor.out, doctor.out
    filler.unlink()
    assert timed(codes, users[1].name, users[1].code(users[1].steps()[1]))[0].code == ACCESS_ACCEPT
    alice.phone.end()
    alice.phone.watch("verify")
    assert timed(resource, alice.name, alice.password, every=20, limit=30)[0].code == ACCESS_ACCEPT
    alice.phone.end()
    accepts = server.verdicts(result="accept")
    assert len(accepts) == 2
    verify = server.cli("audit", "verify")
    assert verify.code == 0, verify.out + verify.err
    doctor = server.cli("doctor").out
    assert not re.search("WRONG *database", doctor), doctor
    server.stop()
    server.check_traces()
