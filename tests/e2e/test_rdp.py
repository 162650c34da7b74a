"""A Remote Desktop logon, all of it real: FreeRDP, xrdp, pam_radius_auth, countersign, countersign phone."""

import os
import subprocess

import pytest

from domain import PASSWORD, add_domain
from harness import LAB, finished, missing, need
from radius_client import ACCESS_REJECT


class Host:
    """The lab's xrdp host, whose PAM asks the server."""

    def __init__(self, lab, resource, users: list[str]):
        self.environment = os.environ | {
            "LAB": str(lab),
            "RDP_RADIUS": "%s:%d" % resource.server.radius,
            "RDP_SECRET": str(lab / "secret"),
            "RDP_SOURCE": resource.source,
            "RDP_USERS": " ".join(users),
        }
        (lab / "secret").touch(mode=0o600)
        (lab / "secret").write_text(resource.secret + "\n")

    def script(self, name, *arguments, **environment):
        return subprocess.Popen(
            [LAB / name, *arguments], env=self.environment | environment, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def up(self):
        result = finished(self.script("xrdp.sh", "up"))
        assert result.code == 0, result.out
        self.environment["RDP_PORT"] = result.out.split()[-1]

    def down(self):
        finished(self.script("xrdp.sh", "down"))

    def logon(self, user) -> subprocess.Popen:
        return self.script("rdp-login.sh", user.name, user.password)


@pytest.fixture
def hosts(tmp_path_factory):
    need("xrdp", "xrdp-sesman", "Xvfb", "import", "xterm", "unshare")
    if os.getuid() != 0:
        missing("an xrdp host needs root")
    made = []

    def make(resource, user: str) -> Host:
        made.append(Host(tmp_path_factory.mktemp("lab"), resource, [user]))
        made[-1].up()
        return made[-1]

    yield make
    for host in made:
        host.down()


@pytest.fixture
def host(server, user, hosts):
    resource = server.resource("--no-require-message-authenticator")
    alice = user(name=f"alice-{resource.name}")
    host = hosts(resource, alice.name)
    host.alice = alice
    return host


def outcome(logon: subprocess.Popen) -> tuple[str, str]:
    """What rdp-login.sh saw, and all that it printed."""
    result = finished(logon, timeout=90)
    return result.out.split()[0] if result.out else "nothing", result.out


def test_verify_shows_the_desktop(host):
    logon = host.logon(host.alice)
    host.alice.phone.answer("verify")
    seen, printed = outcome(logon)
    assert seen == "connected", printed
    [verdict] = host.alice.server.verdicts(user_typed=host.alice.name)
    assert (verdict["result"], verdict["reason"]) == ("accept", "approved")


def test_deny_shows_none(host):
    logon = host.logon(host.alice)
    host.alice.phone.answer("deny")
    seen, printed = outcome(logon)
    assert seen == "refused", printed
    [verdict] = host.alice.server.verdicts(user_typed=host.alice.name)
    assert (verdict["result"], verdict["reason"]) == ("reject", "denied")


def test_no_desktop_is_shown_while_nobody_answers(host):
    logon = host.script("rdp-login.sh", host.alice.name, host.alice.password, RDP_TIMEOUT="8")
    seen, printed = outcome(logon)
    assert seen == "failed", printed


def test_a_domain_password_and_a_verify_show_the_desktop(server, dc, hosts, phone):
    """As a company has it: the password is the domain's, and nobody was entered by hand."""
    add_domain(server, dc)
    resource = server.resource(
        "--no-require-message-authenticator", "--directory", "corp", "--allow-group", "GG-RDP", primary="directory"
    )
    assert resource.nas().login("EXAMPLE\\alice", PASSWORD).code == ACCESS_REJECT, "without a phone"
    alice = phone("alice")
    host = hosts(resource, "alice")
    logon = host.script("rdp-login.sh", "EXAMPLE\\alice", PASSWORD)
    alice.answer("verify")
    seen, printed = outcome(logon)
    assert seen == "connected", printed
    [verdict] = server.verdicts(resource=resource.id, result="accept")
    assert (verdict["reason"], verdict["user_typed"]) == ("approved", "alice"), "xrdp leaves the domain away"
    wrong = host.script("rdp-login.sh", "alice", "wrong")
    seen, printed = outcome(wrong)
    assert seen == "refused", printed
    assert server.verdicts(resource=resource.id)[-1]["reason"] == "password_wrong"
