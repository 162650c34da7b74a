"""Logins that countersign sends on to other RADIUS servers, with FreeRADIUS in the role of NPS below it and above it."""

import time

import pytest

import middle
from freeradius import Account, FreeRADIUS, Home
from gateway import CLASS, RDG_DEVICE_REDIRECTION, SESSION_TIMEOUT, Gateway, microsoft, number
from harness import finished, wait_until
from middle import Middle
from radius_client import ACCESS_ACCEPT, ACCESS_REJECT, PROXY_STATE

SECRET = "canary-secret-between-countersign-and-nps"
PASSWORD = "canary-Passw0rd-at-nps"
# Several of a kind, of vendors known and unknown, in an order that is not the numbers'.
REPLY = (
    "Class := 0x6f6e65", "Attr-26.311.63 = 0x00000004", "Session-Timeout := 7200", "Attr-250 = 0x0075", "Class += 0x74776f", "Attr-26.65535.7 = 0x6162",
)  # fmt: skip


class Below:
    """NPS's part: whoever `accounts` names may come in with the password, or without any where none is sent."""

    def __init__(self, folder, names, **more):
        accounts = [Account(name, PASSWORD, REPLY) for name in names]
        self.radius = FreeRADIUS(folder, {"127.0.0.0/8": SECRET}, accounts=accounts, **more).start()

    @property
    def address(self) -> str:
        return "%s:%d" % self.radius.address


@pytest.fixture
def below(tmp_path):
    """Makes servers below; they end with the test."""
    made = []

    def make(*names, **more) -> Below:
        made.append(Below(tmp_path / f"nps{len(made)}", names, **more))
        return made[-1]

    yield make
    for one in made:
        one.radius.stop()


@pytest.fixture
def upstream(server, request):
    """Makes upstreams of these addresses."""
    server.canaries |= {SECRET, PASSWORD}
    number = iter(range(100))

    def make(*addresses) -> str:
        name = f"nps-{abs(hash(request.node.name)) % 10**8}-{next(number)}"
        servers = [word for address in addresses for word in ("--server", address)]
        server.ask("upstream", "add", name, *servers, "--secret-stdin", stdin=SECRET + "\n")
        return name

    return make


def behind(server, upstream, expects="password", **more):
    return server.resource("--upstream", upstream, "--expects", expects, primary="radius", **more)


def granted(reply) -> list[tuple[int, bytes]]:
    """The attributes of a reply but Message-Authenticator and Proxy-State."""
    return [(kind, value) for kind, value in reply.attributes if kind not in (80, PROXY_STATE)]


def last(server, user) -> dict:
    return server.verdicts(user_typed=user)[-1]


def accepted(nas, request, phone):
    nas.send(request)
    phone.answer("verify")
    reply = nas.receive(request, 10)
    assert reply.code == ACCESS_ACCEPT
    return reply


def test_pap_goes_on_and_the_attributes_come_back_untouched(server, user, below, upstream):
    alice = user()
    nps = below(alice.name)
    resource = behind(server, upstream(nps.address))
    nas = resource.nas()
    request = nas.packet([(PROXY_STATE, b"one"), (PROXY_STATE, b"two")], user=alice.name, password=PASSWORD)
    reply = accepted(nas, request, alice.phone)
    assert granted(reply) == [
        (CLASS, b"one"), microsoft(RDG_DEVICE_REDIRECTION, number(4)), (SESSION_TIMEOUT, number(7200)),
        (250, b"\0u"), (CLASS, b"two"), (26, b"\0\0\xff\xff\7\4ab"),
    ]  # fmt: skip
    assert reply.values(PROXY_STATE) == [b"one", b"two"]
    assert nps.radius.received() == 1


def test_a_wrong_password_asks_no_phone_and_is_said_to_be_the_servers_word(server, user, below, upstream):
    alice = user()
    resource = behind(server, upstream(below(alice.name).address))
    watcher = alice.phone.watch("verify")
    assert resource.nas().login(alice.name, "wrong").code == ACCESS_REJECT
    assert watcher.poll() is None, "the phone was asked"
    verdict = last(server, alice.name)
    assert (verdict["reason"], verdict["detail"]) == ("password_wrong", "primary_rejected")


def test_chap_goes_on(server, user, below, upstream):
    alice = user()
    nps = below(alice.name)
    resource = behind(server, upstream(nps.address))
    login = resource.radclient(alice.name, attributes=[f'CHAP-Password = "{PASSWORD}"'])
    alice.phone.answer("verify")
    result = finished(login)
    assert result.code == 0 and "Received Access-Accept" in result.out, result.out
    result = finished(resource.radclient(alice.name, attributes=['CHAP-Password = "wrong"']))
    assert result.code == 1 and "Received Access-Reject" in result.out, result.out
    assert last(server, alice.name)["detail"] == "primary_rejected"


def test_a_gateway_sends_no_password_and_another_server_decides(server, user, below, upstream):
    alice, mallory = user(), user()
    nps = below(alice.name)
    resource = behind(server, upstream(nps.address), "nothing")
    gateway = Gateway(server.radius, resource.secret.encode(), resource.source)
    reply = accepted(gateway, gateway.request(alice.name), alice.phone)
    assert granted(reply)[0] == (CLASS, b"one")
    assert gateway.exchange(gateway.request(mallory.name)).code == ACCESS_REJECT
    verdict = last(server, mallory.name)
    assert (verdict["reason"], verdict["detail"]) == ("not_allowed", "primary_rejected")


def test_the_second_server_answers_for_the_first_until_that_is_back(server, user, below, upstream):
    alice = user()
    first, second = below(alice.name, status_server=True), below(alice.name, status_server=True)
    name = upstream(first.address, second.address)
    resource = behind(server, name)
    nas = resource.nas()
    first.radius.stop()
    accepted(nas, nas.packet(user=alice.name, password=PASSWORD), alice.phone)
    assert (first.radius.received(), second.radius.received()) == (0, 1)
    assert server.ask("upstream", "show", name)["servers"][0]["down_seconds"] is not None
    assert first.address in server.cli("doctor").out
    first.radius.start()

    def back():
        return server.ask("upstream", "show", name)["servers"][0]["down_seconds"] is None

    wait_until(back, timeout=40, what="the first server is found again", every=0.5)
    accepted(nas, nas.packet(user=alice.name, password=PASSWORD), alice.phone)
    assert (first.radius.received(), second.radius.received()) == (1, 1)


def test_a_server_that_knows_no_status_server_as_nps_is_found_again_by_a_login(server, user, below, upstream):
    alice = user()
    first, second = below(alice.name), below(alice.name)
    resource = behind(server, upstream(first.address, second.address))
    nas = resource.nas()
    first.radius.stop()
    accepted(nas, nas.packet(user=alice.name, password=PASSWORD), alice.phone)
    first.radius.start()
    time.sleep(1.5)  # it is left alone for a second
    accepted(nas, nas.packet(user=alice.name, password=PASSWORD), alice.phone)
    assert (first.radius.received(), second.radius.received()) == (1, 1)


def test_s108_nobody_there_is_a_reject_in_time(server, user, upstream):
    alice = user()
    resource = behind(server, upstream("127.0.0.1:9"), answer_by=6)
    nas = resource.nas()
    begin = time.monotonic()
    assert nas.login(alice.name, PASSWORD).code == ACCESS_REJECT
    assert time.monotonic() - begin < 6
    verdict = last(server, alice.name)
    assert (verdict["reason"], verdict["detail"]) == ("unavailable", "upstream_silent")


def test_c004_s42_an_unsigned_accept_lets_nobody_in_and_doctor_says_what_to_do(server, user, below, upstream):
    alice = user()
    nps = below(alice.name, message_authenticator=False)
    name = upstream(nps.address)
    resource = behind(server, name, answer_by=6)
    assert resource.nas().login(alice.name, PASSWORD).code == ACCESS_REJECT
    assert last(server, alice.name)["detail"] == "upstream_silent"
    assert "CVE-2024-3596" in server.cli("doctor").out
    result = server.cli("upstream", "test", name, "--user", alice.name, "--password-stdin", stdin=PASSWORD + "\n")
    assert result.code == 1 and "Message-Authenticator" in result.out and "July 2024" in result.out, result.out


def test_s42_a_reject_that_is_altered_on_its_way_lets_nobody_in(server, user, below, upstream):
    alice = user()
    nps = below(alice.name)
    between = Middle(nps.radius.address)
    resource = behind(server, upstream("%s:%d" % between.address), answer_by=6)

    def altered(reply):
        request = between.requests[-1]
        listed = [(kind, value) for kind, value in middle.attributes(reply) if kind != 80]
        return [middle.made(reply, middle.attributes(reply), 2), middle.collided(reply, request, SECRET.encode(), 2, listed)]

    between.on_reply = altered
    watcher = alice.phone.watch("verify")
    assert resource.nas().login(alice.name, "wrong").code == ACCESS_REJECT
    assert watcher.poll() is None, "the phone was asked"
    between.stop()


def test_the_test_says_what_is_right_and_what_is_wrong(server, user, below, upstream):
    alice = user()
    nps = below(alice.name)
    name = upstream(nps.address)
    right = server.cli("upstream", "test", name, "--user", alice.name, "--password-stdin", stdin=PASSWORD + "\n")
    assert right.code == 0 and f"Access-Accept to {alice.name}" in right.out and "Session-Timeout" in right.out, right.out
    wrong = server.cli("upstream", "test", name, "--user", alice.name, "--password-stdin", stdin="wrong\n")
    assert wrong.code == 1 and "Access-Reject" in wrong.out, wrong.out
    nobody = server.cli("upstream", "test", upstream("127.0.0.1:9"))
    assert nobody.code == 1 and "nobody listens" in nobody.out, nobody.out


def test_a_loop_is_refused_at_once_and_told_in_plain_words(server, user, tmp_path, upstream):
    """NPS below is NPS above, and sends back what it gets: its connection request policy was not copied."""
    alice = user()
    # It sends everything to us, from an address of its own that is a client of ours.
    loop = server.resource(primary="none")
    home = Home(server.radius, loop.secret, loop.source, 30)
    everything = "update control {\n      Proxy-To-Realm := home\n    }"
    nps = FreeRADIUS(tmp_path / "loop", {"127.0.0.0/8": SECRET}, home=home, authorise=everything).start()
    try:
        name = upstream("%s:%d" % nps.address)
        resource = behind(server, name)
        begin = time.monotonic()
        assert resource.nas().login(alice.name, PASSWORD).code == ACCESS_REJECT
        assert time.monotonic() - begin < 5
        assert {record["reason"] for record in server.verdicts(user_typed=alice.name)} == {"loop"}
        assert nps.received() == 1, "it goes round once"
        assert "connection request policy" in server.log.read_text()
        assert "connection request policy" in server.cli("doctor").out
    finally:
        nps.stop()
