"""Access-Challenge and CHAP, by FreeRADIUS's radclient, by `countersign radius-login`, and by a client of our own."""

import json
import re

import pytest

from harness import execute, finished
from radius_client import (
    ACCESS_ACCEPT, ACCESS_CHALLENGE, ACCESS_REJECT, MESSAGE_AUTHENTICATOR, PROMPT, PROXY_STATE, REPLY_MESSAGE, STATE,
)  # fmt: skip

CHALLENGED = 3


@pytest.fixture(scope="module")
def coded(server):
    return server.resource("--prompt", "code-to-phone", answer_by=5)


@pytest.fixture(scope="module")
def typed(server):
    return server.resource("--prompt", "typed", answer_by=5)


def code_of(phone) -> str:
    """What the phone shows after a Verify."""
    return re.search(r"Type this code where you sign in: ([0-9]{6})", phone.answer("verify")).group(1)


def number_in(text: str) -> str:
    return re.search(r"Enter ([0-9]{3}) ([0-9]{3}) in countersign", text).expand(r"\1\2")


def asked(resource, user) -> tuple[str, str]:
    """What radclient is asked first: the message, and State as it writes it."""
    result = finished(resource.radclient(user.name, user.password))
    assert "Received Access-Challenge" in result.out, result.out
    [state] = re.findall(r"^\s+State = (0x[0-9a-f]+)$", result.out, re.MULTILINE)
    [message] = re.findall(r'^\s+Reply-Message = "(.*)"$', result.out, re.MULTILINE)
    assert re.search(r"^\s+Prompt = Echo$", result.out, re.MULTILINE), result.out
    assert len(state) == 2 + 32
    return message, state


def answered(resource, user, state: str, text: str):
    return finished(resource.radclient(user.name, text, attributes=[f"State = {state}"]))


def test_radclient_is_let_in_by_the_code_that_the_phone_shows(coded, user):
    alice = user()
    message, state = asked(coded, alice)
    assert "six digits" in message
    code = code_of(alice.phone)
    result = answered(coded, alice, state, code)
    assert result.code == 0 and "Received Access-Accept" in result.out, result.out
    [verdict] = coded.server.verdicts(user_typed=alice.name)
    assert (verdict["factor"], verdict["number_mode"], verdict["binding"]) == ("push", "code_to_phone", "number")
    assert len(coded.server.logins(alice.name)) == 1, "one login over both requests"
    [shown] = coded.server.audit(event="challenge.code_shown", login=verdict["login"])
    assert shown["actor"] == "device"
    # s46: after success the State is worth nothing.
    result = answered(coded, alice, state, code)
    assert result.code == 1 and "Received Access-Reject" in result.out, result.out
    assert coded.server.verdicts(user_typed=alice.name)[-1]["detail"] == "unknown_state"


def test_radclient_is_let_in_by_the_number_that_was_typed_into_the_phone(typed, user):
    alice = user()
    message, state = asked(typed, alice)
    alice.phone.answer("verify", "--number", number_in(message))
    result = answered(typed, alice, state, "anything")
    assert result.code == 0 and "Received Access-Accept" in result.out, result.out
    [verdict] = typed.server.verdicts(user_typed=alice.name)
    assert (verdict["number_mode"], verdict["binding"]) == ("typed", "number")


def test_c111_a_short_timer_is_asked_again_until_the_number_is_typed(typed, user):
    alice = user()
    message, state = asked(typed, alice)
    result = answered(typed, alice, state, "x")
    assert "Received Access-Challenge" in result.out and "Not confirmed yet" in result.out, result.out
    assert number_in(result.out) == number_in(message)
    # radclient prints what it sent, too.
    before, again = re.findall(r"^\s+State = (0x[0-9a-f]+)$", result.out, re.MULTILINE)
    assert (before, again != before) == (state, True)
    state = again
    alice.phone.answer("verify", "--number", number_in(message))
    assert answered(typed, alice, state, "x").code == 0


def test_s06_a_wrong_number_ends_the_login(typed, user):
    alice = user()
    message, state = asked(typed, alice)
    wrong = "%06d" % ((int(number_in(message)) + 1) % 1_000_000)
    process = alice.phone.watch("verify", "--number", wrong)
    assert process.wait(30) != 0
    assert answered(typed, alice, state, "x").code == 1
    assert [verdict["reason"] for verdict in typed.server.verdicts(user_typed=alice.name)] == ["code_wrong", "expired"]


def test_s05_neither_number_nor_code_is_in_log_or_audit(coded, typed, user):
    alice = user()
    message, _ = asked(typed, alice)
    number = number_in(message)
    _, state = asked(coded, alice)
    process = alice.phone.watch("verify")
    out, _ = process.communicate(timeout=30)
    code = re.search(r"sign in: ([0-9]{6})", out)
    secrets = [number] + ([code.group(1)] if code else [])
    log = coded.server.log.read_text(errors="replace")
    audit = json.dumps(coded.server.audit())
    for secret in secrets:
        # Not a fraction of a second, and no part of a longer number or identifier.
        seen = re.compile(r"(?<![0-9a-f.-])(%s|%s %s)(?![0-9a-f])" % (secret, secret[:3], secret[3:]))
        assert not seen.search(log), seen.search(log)
        assert not seen.search(audit), seen.search(audit)


def test_c018_c024_a_challenge_on_the_wire(coded, user):
    alice = user()
    nas = coded.nas()
    reply = nas.login(alice.name, alice.password, [(PROXY_STATE, b"1"), (PROXY_STATE, b"2")])
    assert reply.code == ACCESS_CHALLENGE
    assert [kind for kind, _ in reply.attributes] == [
        MESSAGE_AUTHENTICATOR, REPLY_MESSAGE, STATE, PROMPT, PROXY_STATE, PROXY_STATE,
    ]  # fmt: skip
    [state] = reply.values(STATE)
    assert (len(state), reply.values(PROMPT), reply.values(PROXY_STATE)) == (16, [bytes([0, 0, 0, 1])], [b"1", b"2"])
    code = code_of(alice.phone).encode()
    # s46, with another name and a flipped bit: nothing happens to the login.
    assert nas.login("mallory", code, [(STATE, state)]).code == ACCESS_REJECT
    assert nas.login(alice.name, code, [(STATE, bytes([state[0] ^ 1]) + state[1:])]).code == ACCESS_REJECT
    # c022: attributes that are missing now loosen nothing, and the login is the same.
    packet = nas.packet([(STATE, state)], user=alice.name, password=code)
    accept = nas.exchange(packet)
    assert accept.code == ACCESS_ACCEPT
    assert nas.exchange(packet).octets == accept.octets, "a retransmission gets the same octets"


def test_s46_c023_a_state_is_nothing_at_another_client_or_after_a_restart(new_server):
    server = new_server().start()
    one, two = server.resource("--prompt", "code-to-phone"), server.resource("--prompt", "code-to-phone")
    alice = server.user()
    [state] = one.nas().login(alice.name, alice.password).values(STATE)
    code = code_of(alice.phone).encode()
    assert two.nas().login(alice.name, code, [(STATE, state)]).code == ACCESS_REJECT
    assert server.verdicts()[-1]["detail"] == "foreign_state"
    server.stop()
    server.start()
    assert one.nas().login(alice.name, code, [(STATE, state)]).code == ACCESS_REJECT
    assert server.verdicts()[-1]["detail"] == "unknown_state"


def test_codes_of_the_account_list_at_the_same_prompt(server, user):
    resource = server.resource("--prompt", "code-to-phone,totp")
    alice = user()
    nas = resource.nas()
    [state] = nas.login(alice.name, alice.password).values(STATE)
    assert nas.login(alice.name, alice.phone.code(), [(STATE, state)]).code == ACCESS_ACCEPT
    [verdict] = server.verdicts(user_typed=alice.name)
    assert (verdict["factor"], verdict["binding"]) == ("totp", "code")


def test_c025_without_the_policy_there_is_no_challenge(server, user):
    resource = server.resource(answer_by=5)
    alice = user()
    assert resource.nas().login(alice.name, alice.password).code == ACCESS_REJECT
    assert server.verdicts(user_typed=alice.name)[0]["reason"] == "expired"


def test_radius_login_answers_with_the_state_that_it_was_told(server, user):
    secret = "canary-secret-for-prompted-login"
    server.canaries.add(secret)
    server.ask("resource", "add", "prompted", "--client", "127.0.0.1/32", "--secret-stdin", "--prompt", "code-to-phone",
               stdin=secret + "\n")  # fmt: skip
    alice = user()

    def login(password, *options):
        command = ["radius-login", alice.name, "--server", "%s:%d" % server.radius, "--secret-stdin", "--password-stdin"]
        result = execute(*command, "--json", *options, stdin=f"{secret}\n{password}\n")
        return result.code, json.loads(result.out)

    try:
        code, report = login(alice.password)
        assert (code, report["result"], len(report["state"])) == (CHALLENGED, "challenge", 32)
        assert "six digits" in report["messages"][0]
        code, report = login(code_of(alice.phone), "--state", report["state"])
        assert (code, report["result"], report["state"]) == (0, "accepted", None)
    finally:
        server.ask("resource", "remove", "prompted")


def test_radclient_by_chap(server, user):
    resource = server.resource(answer_by=10)
    alice = user()

    def chap(password):
        return resource.radclient(alice.name, attributes=[f'CHAP-Password = "{password}"'])

    result = finished(chap(alice.password))
    assert result.code == 1, result.out
    assert server.verdicts(user_typed=alice.name)[-1]["detail"] == "chap_not_enabled"
    server.ask("user", "set", alice.name, "--chap", "--password-stdin", stdin=alice.password + "\n")
    assert finished(chap("wrong")).code == 1
    assert server.verdicts(user_typed=alice.name)[-1]["reason"] == "password_wrong"
    login = chap(alice.password)
    alice.phone.answer("verify")
    result = finished(login)
    assert result.code == 0 and "Received Access-Accept" in result.out, result.out
    server.ask("user", "set", alice.name, "--no-chap")
    assert finished(chap(alice.password)).code == 1
