"""An SSH logon, all of it real: ssh, sshd, pam_radius_auth, countersign, countersign phone."""

import re

import pytest

from harness import wait_until
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


def test_a_code_of_the_account_list_is_typed_at_the_prompt(host, user):
    alice = user()
    logon = host(alice, "--prompt", "totp").logon(alice.name, alice.password, alice.phone.code())
    assert logon.outcome() == f"in as {alice.name}"
    assert logon.prompts()[1].startswith(f"({alice.name}@127.0.0.1) Open countersign on your phone")
    [verdict] = alice.server.verdicts(user_typed=alice.name)
    assert (verdict["result"], verdict["factor"]) == ("accept", "totp")


def test_a_code_that_was_used_lets_nobody_in_again(host, user):
    alice = user()
    sshd, code = host(alice, "--prompt", "totp"), alice.phone.code()
    assert sshd.logon(alice.name, alice.password, code).outcome() == f"in as {alice.name}"
    logon = sshd.logon(alice.name, alice.password, code, code, code)
    assert "Permission denied" in logon.outcome()
    assert logon.prompts()[2].endswith("That code is not right. Type the six digits that your phone shows now:")


def test_a_wrong_password_shows_no_prompt(host, user):
    alice = user()
    logon = host(alice, "--prompt", "totp").logon(alice.name, "wrong", alice.phone.code())
    assert "Permission denied" in logon.outcome()
    assert len(logon.prompts()) == 1


def test_digits_that_the_phone_shows_for_this_logon_are_typed_at_the_prompt(host, user):
    alice = user()
    logon = host(alice, "--prompt", "code-to-phone").logon(alice.name, alice.password)
    logon.answer(alice.phone.shown())
    assert logon.outcome() == f"in as {alice.name}"
    [verdict] = alice.server.verdicts(user_typed=alice.name)
    assert verdict["binding"] == "number"


def test_s06_digits_that_were_not_shown_let_nobody_in(host, user):
    alice = user()
    logon = host(alice, "--prompt", "code-to-phone").logon(alice.name, alice.password)
    shown = alice.phone.shown()
    wrong = f"{(int(shown) + 1) % 1_000_000:06}"
    logon.answer(wrong, wrong, shown)
    assert "Permission denied" in logon.outcome()


def test_s05_a_number_that_the_prompt_shows_is_typed_into_the_phone(host, user):
    alice = user()
    logon = host(alice, "--prompt", "typed").logon(alice.name, alice.password)
    prompt = wait_until(lambda: logon.prompts()[1:], what="the prompt")[0]
    [number] = re.findall(r"Enter (\d{3} \d{3}) in countersign", prompt)
    alice.phone.answer("verify", "--number", number.replace(" ", ""))
    logon.answer("")
    assert logon.outcome() == f"in as {alice.name}"
    [verdict] = alice.server.verdicts(user_typed=alice.name)
    assert verdict["binding"] == "number"
