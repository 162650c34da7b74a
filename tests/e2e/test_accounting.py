"""Accounting: radclient as the client, FreeRADIUS as the server that keeps it."""

import hashlib
import json
import socket
import struct
import subprocess
import time

import pytest

from freeradius import FreeRADIUS
from harness import Result, finished, need, wait_until
from middle import Middle, attributes
from radius_client import ACCESS_ACCEPT, NAS_PORT, PROXY_STATE, USER_NAME

SECRET = "canary-secret-between-countersign-and-the-books"
# Start of a session, with attributes of vendors known and unknown, several of a kind and out of order.
START = (
    "Acct-Status-Type = Start", 'Acct-Session-Id = "42-a"', "NAS-Port = 7", "Class = 0x6f6e65", "Attr-26.65535.7 = 0x6162",
    "Cisco-AVPair = \"connect-progress=Call Up\"", "Attr-250 = 0x0075", "Class = 0x74776f", "Proxy-State = 0x7031",
)  # fmt: skip


def radclient(resource, *lines, secret=None, tries=1, wait=3) -> subprocess.Popen:
    """Sends a record in the background, `tries` times, each after so many seconds."""
    need("radclient")
    process = subprocess.Popen(
        ["stdbuf", "-oL", "radclient", "-x", "-t", str(wait), "-r", str(tries), "%s:%d" % resource.server.accounting, "acct",
         secret or resource.secret],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    process.stdin.write("\n".join([*lines, f"Packet-Src-IP-Address = {resource.source}"]) + "\n")
    process.stdin.close()
    process.stdin = None
    return process


def account(resource, *lines, **more) -> Result:
    return finished(radclient(resource, *lines, **more))


def answered(result: Result) -> bool:
    assert ("Received Accounting-Response" in result.out) == (result.code == 0), result.out
    return result.code == 0


def status(server) -> dict:
    """What the admin API says, which has more of it than the command line shows."""
    with socket.socket(socket.AF_UNIX) as api:
        api.connect(str(server.data / "admin.sock"))
        api.sendall(b"GET /admin/v1/status HTTP/1.0\r\nHost: localhost\r\n\r\n")
        text = b"".join(iter(lambda: api.recv(65536), b""))
    return json.loads(text.partition(b"\r\n\r\n")[2])


def counts(server) -> dict:
    return status(server)["accounting_counters"]


@pytest.fixture
def books(tmp_path):
    """Makes servers that keep accounting; they end with the test."""
    made = []

    def make(**more) -> FreeRADIUS:
        folder = tmp_path / f"books{len(made)}"
        made.append(FreeRADIUS(folder, {"127.0.0.0/8": SECRET}, kind="acct", **more).start())
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def kept(server, request):
    """Makes resources whose accounting goes on to these addresses."""
    server.canaries.add(SECRET)
    number = iter(range(100))

    def make(*addresses):
        name = f"books-{abs(hash(request.node.name)) % 10**8}-{next(number)}"
        more = [word for address in addresses for word in ("--accounting", "%s:%d" % address)]
        server.ask("upstream", "add", name, "--server", "127.0.0.1:9", *more, "--secret-stdin", stdin=SECRET + "\n")
        resource = server.resource("--upstream", name, "--expects", "nothing", primary="radius")
        resource.upstream = name
        return resource

    return make


def test_radclient_gets_its_answer_and_nothing_is_kept(server, user):
    alice = user()
    resource = server.resource()
    before = len(server.audit())
    assert answered(account(resource, f'User-Name = "{alice.name}"', *START))
    assert not answered(account(resource, f'User-Name = "{alice.name}"', *START, secret="not-the-secret-of-this-one"))
    assert len(server.audit()) == before
    assert counts(server)["bad_authenticator"] >= 1
    out = server.cli("doctor").out
    assert "accounting" in out and "%s:%d" % server.accounting in out, out


def test_the_record_arrives_octet_for_octet_and_is_kept(server, user, books, kept):
    alice = user()
    keeper = books(status_server=True)
    middle = Middle(keeper.address)
    resource = kept(middle.address)
    client = Middle(server.accounting, resource.source)
    process = subprocess.Popen(
        ["radclient", "-x", "-t", "10", "-r", "1", "%s:%d" % client.address, "acct", resource.secret],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    out, _ = process.communicate("\n".join([f'User-Name = "{alice.name}"', *START]) + "\n", timeout=30)
    assert process.returncode == 0, out
    [asked], [told] = client.requests, [packet for packet in middle.requests if packet[0] == 4]
    came, went = attributes(asked), attributes(told)
    assert went[: len(came)] == came and [kind for kind, _ in went[len(came) :]] == [PROXY_STATE]
    assert (26, b"\0\0\xff\xff\7\4ab") in went and (USER_NAME, alice.name.encode()) in went
    [reply] = client.replies
    assert (reply[0], attributes(reply)) == (5, [(PROXY_STATE, b"p1")])
    [record] = keeper.records()
    for line in ("Acct-Status-Type = Start", 'Acct-Session-Id = "42-a"', "Attr-26.65535.7 = 0x6162", "Class = 0x74776f"):
        assert line in record, record
    assert f'User-Name = "{alice.name}"' in record
    # The same octets again are answered again, and sent on no more.
    client.send_request(asked)
    wait_until(lambda: len(client.replies) == 2, what="the answer again")
    assert client.replies[1] == client.replies[0]
    assert len([packet for packet in middle.requests if packet[0] == 4]) == 1
    client.stop()
    middle.stop()


def test_while_nobody_keeps_it_there_is_no_answer_and_then_there_is(server, user, books, kept):
    alice = user()
    keeper = books()
    resource = kept(keeper.address)
    keeper.stop()
    start = (f'User-Name = "{alice.name}"', *START)
    assert not answered(account(resource, *start, tries=2, wait=2))
    assert keeper.records() == []
    # A client that goes on asking has its answer soon after the server is back.
    process = radclient(resource, *start, tries=20, wait=2)
    time.sleep(3)
    assert process.poll() is None
    keeper.start()
    assert answered(finished(process))
    assert len(keeper.records()) >= 1
    view = server.ask("upstream", "show", resource.upstream)
    assert view["accounting"][0]["counters"]["recorded"] >= 1, view


def test_the_second_server_keeps_what_the_first_does_not(server, user, books, kept):
    alice = user()
    second = books(status_server=True)
    resource = kept(("127.0.0.1", 10), second.address)
    assert answered(account(resource, f'User-Name = "{alice.name}"', *START, tries=3, wait=4))
    assert len(second.records()) == 1
    tested = server.cli("upstream", "test", resource.upstream, "--json")
    assert '"step": "accounting"' in tested.out or '"step":"accounting"' in tested.out, tested.out
    assert "keeps accounting" in tested.out, tested.out


def test_s54_a_stop_of_somebodys_session_ends_no_login(server, user):
    alice = user()
    resource = server.resource()
    nas = resource.nas()
    request = nas.packet([(NAS_PORT, b"\0\0\0\7")], user=alice.name, password=alice.password)
    nas.send(request)
    wait_until(lambda: server.logins(alice.name), what="a login")
    for status in ("Start", "Stop", "Interim-Update", "Accounting-Off"):
        lines = (f"Acct-Status-Type = {status}", 'Acct-Session-Id = "42-a"', "NAS-Port = 7")
        assert answered(account(resource, f'User-Name = "{alice.name}"', *lines))
    assert server.verdicts(user_typed=alice.name) == []
    alice.phone.answer("verify")
    reply = nas.receive(request, 10)
    assert reply.code == ACCESS_ACCEPT


def test_s54_a_disconnect_is_dropped_on_both_ports(server):
    resource = server.resource()
    nas = resource.nas()
    body = b"\x2c\x06" + b"42-a"
    for code in (40, 43):
        head = struct.pack("!BBH", code, 1, 20 + len(body))
        checksum = hashlib.md5(head + bytes(16) + body + resource.secret.encode()).digest()
        for port in (server.radius, server.accounting):
            nas.socket.sendto(head + checksum + body, port)
    nas.socket.settimeout(1)
    with pytest.raises(TimeoutError):
        nas.socket.recvfrom(4096)
    assert counts(server)["unexpected_code"] >= 2
    assert status(server)["radius_counters"]["unexpected_code"] >= 2
