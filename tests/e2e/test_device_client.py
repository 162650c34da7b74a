"""An authenticator written from docs/reference/device-protocol.md alone, against the real server."""

import dataclasses

import pytest
from countersign_device import BASE, Device, Problem, b64
from soft_authenticator import USER_PRESENT, USER_VERIFIED, SoftAuthenticator

from harness import wait_until
from radius_client import ACCESS_ACCEPT, ACCESS_REJECT


@pytest.fixture(scope="module")
def resource(server):
    return server.resource()


@dataclasses.dataclass
class Person:
    user: object
    device: Device

    def log_in(self, resource):
        """Sends a login; the NAS, the request, and the challenge that it brings."""
        nas = resource.nas()
        request = nas.packet(user=self.user.name, password=self.user.password)
        nas.send(request)
        [challenge] = wait_until(self.device.challenges, what="a challenge")
        return nas, request, challenge


@pytest.fixture
def person(server, user):
    def make(by: str = "code") -> Person:
        alice = user(device=False)
        activation = server.ask("activation", "issue", alice.name)
        if by == "qr":
            return Person(alice, Device.activate(None, activation["qr"]))
        return Person(alice, Device.activate(activation["url"], activation["code"]))

    return make


def refused(action, *arguments) -> tuple[int, str]:
    """The status and code with which the server refuses."""
    with pytest.raises(Problem) as caught:
        action(*arguments)
    return caught.value.status, caught.value.code


@pytest.mark.parametrize("by", ["code", "qr"])
@pytest.mark.parametrize(
    ("decision", "state", "code"),
    [("verify", "approved", ACCESS_ACCEPT), ("deny", "denied", ACCESS_REJECT), ("deny_report", "denied", ACCESS_REJECT)],
)
def test_it_activates_and_answers(person, resource, by, decision, state, code):
    alice = person(by)
    nas, request, challenge = alice.log_in(resource)
    context = alice.device.open_challenge(challenge)
    assert (context["user"], context["application"]["name"]) == (alice.user.name, resource.name)
    assert alice.device.answer(challenge, decision)["state"] == state
    assert nas.receive(request, 10).code == code


def test_a_signature_over_any_other_field_is_refused_and_consumes_nothing(person, resource):
    alice = person()
    nas, request, challenge = alice.log_in(resource)
    body = alice.device.decision_body(challenge, "verify")
    right = alice.device.decision_fields(challenge, "verify", None, "none", body["device_time"])
    assert len(right) == 14
    for at in range(14):
        for other in (right[at] + b"x", right[at][:-1] + b"~"):
            fields = right[:at] + [other] + right[at + 1 :]
            wrong = body | {"signature": alice.device.sign_fields(fields)}
            assert refused(alice.device.send_decision, challenge["id"], wrong) == (422, "signature_invalid"), at
    # A field less, two fields in one: the lengths are signed as well.
    for fields in (right[:-1], [right[0] + right[1], *right[2:]], right[::-1]):
        wrong = body | {"signature": alice.device.sign_fields(fields)}
        assert refused(alice.device.send_decision, challenge["id"], wrong) == (422, "signature_invalid")
    assert nas.receive(request, 0.2) is None
    assert alice.device.send_decision(challenge["id"], body)["state"] == "approved"
    assert nas.receive(request, 10).code == ACCESS_ACCEPT


def test_what_was_signed_is_what_counts(person, resource):
    """A body that says something else than its signature."""
    alice = person()
    nas, request, challenge = alice.log_in(resource)
    body = alice.device.decision_body(challenge, "deny")
    for change in ({"decision": "verify"}, {"device_time": "2026-01-01T00:00:00Z"}):
        assert refused(alice.device.send_decision, challenge["id"], body | change) == (422, "signature_invalid")
    assert refused(alice.device.send_decision, challenge["id"], body | {"context": "x"}) == (400, "malformed")
    assert alice.device.send_decision(challenge["id"], body)["state"] == "denied"
    assert nas.receive(request, 10).code == ACCESS_REJECT


def test_another_key_is_refused(person, resource):
    alice, mallory = person(), person()
    nas, request, challenge = alice.log_in(resource)
    forged = Device(alice.device.state | {"private_key": Device.new_key()}, alice.device.transport)
    body = forged.decision_body(challenge, "verify")
    # The signature of a stranger's key, sent with the right proof; a stranger's proof; another user's device.
    assert refused(alice.device.send_decision, challenge["id"], body) == (422, "signature_invalid")
    assert refused(forged.challenges) == (401, "device_unknown")
    assert refused(forged.send_decision, challenge["id"], body) == (401, "device_unknown")
    assert mallory.device.challenges() == []
    assert refused(mallory.device.send_decision, challenge["id"], mallory.device.decision_body(challenge, "verify"))[0] == 404
    assert nas.receive(request, 0.2) is None
    assert alice.device.answer(challenge, "verify")["state"] == "approved"
    assert nas.receive(request, 10).code == ACCESS_ACCEPT


def test_a_decision_counts_once(person, resource):
    alice = person()
    nas, request, challenge = alice.log_in(resource)
    body = alice.device.decision_body(challenge, "verify")
    assert alice.device.send_decision(challenge["id"], body)["state"] == "approved"
    assert nas.receive(request, 10).code == ACCESS_ACCEPT
    # The same again gets the same answer, and changes nothing; another one comes too late.
    assert alice.device.send_decision(challenge["id"], body)["state"] == "approved"
    later = alice.device.decision_body(challenge, "deny")
    assert refused(alice.device.send_decision, challenge["id"], later) == (409, "challenge_closed")
    assert nas.receive(request, 0.2) is None
    # Nor for the next login.
    nas, request, second = alice.log_in(resource)
    assert refused(alice.device.send_decision, second["id"], body) == (422, "signature_invalid")
    alice.device.answer(second, "deny")
    assert nas.receive(request, 10).code == ACCESS_REJECT


def test_an_activation_is_used_once(server, user):
    alice = user(device=False)
    activation = server.ask("activation", "issue", alice.name)
    Device.activate(activation["url"], activation["code"])
    assert refused(Device.activate, activation["url"], activation["code"]) == (404, "activation_unknown")


# User verification


@pytest.fixture(scope="module")
def guarded(server):
    return server.resource("--user-verification", "required")


@pytest.fixture
def verified(person):
    """Somebody whose device has an authenticator."""
    alice = person()
    authenticator = SoftAuthenticator(alice.device.state["origin"])
    alice.device.register(authenticator)
    assert alice.device.credential() == b64(authenticator.credential_id)
    return alice, authenticator


def test_s12_a_verified_user_is_let_in_where_it_is_required(verified, guarded):
    alice, authenticator = verified
    for _ in range(2):
        nas, request, challenge = alice.log_in(guarded)
        assert challenge["user_verification"] == "required"
        assert refused(alice.device.answer, challenge, "verify") == (403, "user_verification_required")
        body = alice.device.decision_body(challenge, "verify", authenticator=authenticator)
        assert nas.receive(request, 0.2) is None
        assert alice.device.send_decision(challenge["id"], body)["state"] == "approved"
        assert nas.receive(request, 10).code == ACCESS_ACCEPT


def test_s12_nobody_else_is(verified, guarded, person):
    alice, authenticator = verified
    nas, request, challenge = alice.log_in(guarded)
    good = alice.device.decision_body(challenge, "verify", authenticator=authenticator)
    tries = [good | {"assertion": None}]
    expected = [(400, "malformed")]
    authenticator.flags = USER_PRESENT
    tries.append(alice.device.decision_body(challenge, "verify", authenticator=authenticator))
    authenticator.flags = USER_PRESENT | USER_VERIFIED
    tries.append(good | {"assertion": SoftAuthenticator(authenticator.origin).get(b"something else")})
    tries.append(good | {"assertion": authenticator.get(b"something else")})
    elsewhere = SoftAuthenticator("https://mfa.example.com")
    elsewhere.key, elsewhere.credential_id = authenticator.key, authenticator.credential_id
    tries.append(alice.device.decision_body(challenge, "verify", authenticator=elsewhere))
    for body, wanted in zip(tries, expected + [(422, "assertion_invalid")] * 4, strict=True):
        assert refused(alice.device.send_decision, challenge["id"], body) == wanted
    alice.device.remove_credential()
    assert alice.device.credential() is None
    assert refused(alice.device.send_decision, challenge["id"], good) == (422, "user_verification_unsupported")
    assert nas.receive(request, 0.2) is None
    assert alice.device.answer(challenge, "deny")["state"] == "denied"
    assert nas.receive(request, 10).code == ACCESS_REJECT
    # Where no device can, nobody is asked.
    nas = guarded.nas()
    request = nas.packet(user=alice.user.name, password=alice.user.password)
    nas.send(request)
    assert nas.receive(request, 10).code == ACCESS_REJECT
    assert alice.device.challenges() == []


# Proofs


def ask(device: Device, header: dict, claims: dict, key=None):
    """One request with this proof, as it is: status and code."""
    answer = device.exchange("GET", BASE + "challenges", None, device.make_proof(header, claims, key))
    return answer.status, answer.json.get("code") if answer.status >= 300 else None


@pytest.fixture
def proof(person):
    """A device, and the parts of a proof that the server would take."""
    device = person().device
    device.challenges()  # brings a nonce
    return device, *device.proof_parts("GET", BASE + "challenges", b"", device.nonce)


def test_a_proof_is_taken_once(proof):
    device, header, claims = proof
    assert ask(device, header, claims) == (200, None)
    assert ask(device, header, claims) == (401, "proof_replayed")


@pytest.mark.parametrize(
    ("member", "value"),
    [("htm", "POST"), ("htu", "http://localhost/device/v1/challenges"), ("bh", "x" * 43), ("jti", None), ("iat", "now"),
     ("iat", None), ("htm", None), ("htu", None), ("bh", None)],
)  # fmt: skip
def test_a_wrong_claim_is_refused(proof, member, value):
    device, header, claims = proof
    changed = {name: claim for name, claim in claims.items() if name != member}
    if value is not None:
        changed[member] = value
    assert ask(device, header, changed) == (401, "proof_invalid")
    # It did not use up the proof.
    assert ask(device, header, claims) == (200, None)


@pytest.mark.parametrize("offset", [-120, 120])
def test_a_proof_of_another_time_is_refused(proof, offset):
    device, header, claims = proof
    assert ask(device, header, claims | {"iat": claims["iat"] + offset}) == (401, "proof_expired")


@pytest.mark.parametrize("nonce", [None, "", "made-up"])
def test_a_proof_without_the_servers_nonce_is_refused(proof, nonce):
    device, header, claims = proof
    changed = {name: claim for name, claim in claims.items() if name != "nonce"}
    if nonce is not None:
        changed["nonce"] = nonce
    assert ask(device, header, changed) == (401, "use_dpop_nonce")


@pytest.mark.parametrize("change", [{"alg": "none"}, {"alg": "HS256"}, {"typ": "JWT"}, {"jwk": None}, {"jwk": {}}])
def test_a_wrong_header_is_refused(proof, change):
    device, header, claims = proof
    assert ask(device, header | change, claims) == (401, "proof_invalid")


def test_a_proof_signed_by_another_key_is_refused(proof):
    device, header, claims = proof
    stranger = Device(device.state | {"private_key": Device.new_key()}, device.transport)
    assert ask(device, header, claims, stranger.key) == (401, "proof_invalid")


def test_a_request_without_a_proof_is_refused(proof):
    device, _, _ = proof
    answer = device.exchange("GET", BASE + "challenges", None, None)
    assert (answer.status, answer.json["code"]) == (401, "proof_missing")
    assert answer.headers["content-type"] == "application/problem+json"
