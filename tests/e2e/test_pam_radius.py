"""pam_radius_auth as a client, driven by pamtester."""

import os
import subprocess

import pytest

from harness import finished, need

SERVICE = "countersign-test"


@pytest.fixture(scope="module")
def resource(server):
    """pam_radius_auth 2.0.0 sends no Message-Authenticator."""
    return server.resource("--no-require-message-authenticator")


@pytest.fixture
def pam(resource, tmp_path):
    """Starts a logon through a PAM service of our own, in a mount namespace where /etc/pam.d is a folder of ours."""
    need("pamtester", "unshare")
    services = tmp_path / "pam.d"
    services.mkdir()
    config = tmp_path / "pam_radius.conf"
    config.touch(mode=0o600)
    config.write_text(f"{resource.server.radius[0]}:{resource.server.radius[1]} {resource.secret} 30 {resource.source}\n")
    (services / SERVICE).write_text(f"auth requisite pam_radius_auth.so conf={config}\n")
    namespace = ["unshare", "--mount"] if os.getuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    script = f'mount --bind "{services}" /etc/pam.d && exec pamtester {SERVICE} "$1" authenticate'

    def logon(user: str, password: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [*namespace, "sh", "-c", script, "sh", user],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        process.stdin.write(password + "\n")
        process.stdin.close()
        process.stdin = None
        return process

    return logon


@pytest.mark.parametrize("length", [16, 17, 128])
def test_verify_lets_in(pam, user, length):
    alice = user(password=("canary" + "abcdefghij" * 13)[-length:])
    logon = pam(alice.name, alice.password)
    alice.phone.answer("verify")
    result = finished(logon)
    assert result.code == 0 and "successfully authenticated" in result.out, result.out


def test_deny_keeps_out(pam, user):
    alice = user()
    logon = pam(alice.name, alice.password)
    alice.phone.answer("deny")
    result = finished(logon)
    assert result.code != 0 and "successfully" not in result.out, result.out
    [verdict] = alice.server.verdicts(user_typed=alice.name)
    assert verdict["reason"] == "denied"


def test_a_wrong_password_keeps_out_and_asks_no_phone(pam, user):
    alice = user()
    watcher = alice.phone.watch("verify")
    assert finished(pam(alice.name, "wrong")).code != 0
    assert watcher.poll() is None, "the phone was asked"
