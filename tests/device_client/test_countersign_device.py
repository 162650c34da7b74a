"""The client against the page's vectors, and against a small server in this process."""

import hashlib
import http.server
import json
import os
import pathlib
import tempfile
import threading
import time
import unittest

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

import countersign_device as cd
import soft_authenticator as sa

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "reference" / "device-protocol.md"


def blocks(kind):
    text = PAGE.read_text(encoding="utf-8")
    return [part.split("\n```", 1)[0] for part in text.split(f"\n```{kind}\n")[1:]]


VECTORS = dict(line.split(" = ", 1) for line in blocks("text vectors")[0].splitlines())
DEVICE_D = int("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721", 16)
SERVER_D = int("8e9b109e719098bf980487df1f5d77e9cb29606ebed2263b5f57c213df84f4b2", 16)


def private(number):
    return ec.derive_private_key(number, ec.SECP256R1())


def pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def page_device():
    return cd.Device(
        {
            "origin": VECTORS["origin"],
            "private_key": pem(private(DEVICE_D)),
            "deployment_id": VECTORS["deployment_id"],
            "account": {"id": VECTORS["account_id"]},
            "device_id": VECTORS["device_id"],
            "signing_key": cd.jwk_of(private(SERVER_D).public_key()),
        }
    )


class Vectors(unittest.TestCase):
    def setUp(self):
        self.device = page_device()
        self.challenge = json.loads(blocks("json challenge")[0])

    def test_keys(self):
        self.assertEqual(self.device.jwk, json.loads(VECTORS["device_jwk"]))
        for name in ("device", "server", "next_server"):
            jwk = json.loads(VECTORS[f"{name}_jwk"])
            self.assertEqual(cd.thumbprint(jwk), VECTORS[f"{name}_thumbprint"])
            self.assertEqual(cd.jwk_of(cd.key_of(jwk)), jwk)

    def test_code_and_link(self):
        self.assertEqual(cd.normal_code(VECTORS["code_shown"].lower()), VECTORS["code_sent"])
        origin, _, key = cd.parse_qr(VECTORS["qr_text"])
        self.assertEqual((origin, key), (VECTORS["origin"], VECTORS["server_thumbprint"]))

    def test_challenge(self):
        self.assertEqual(cd.unb64(VECTORS["context"]).decode(), VECTORS["context_text"])
        context = self.device.open_challenge(self.challenge)
        self.assertEqual(context, json.loads(blocks("json context")[0]))
        fields = [b"countersign-challenge-v1", *self.device.subject_fields(self.challenge), b"typed", b"none"]
        self.assertEqual(cd.length_prefixed(fields).hex(), VECTORS["challenge_octets"])

    def test_a_changed_challenge_is_refused(self):
        other = cd.b64(cd.unb64(self.challenge["context"]).replace(b"ada", b"eve"))
        for member, value in [
            ("id", "other"),
            ("nonce", cd.b64(bytes(32))),
            ("context", other),
            ("number_mode", "none"),
            ("user_verification", "required"),
            ("number_mode", "choose"),
            ("signature", cd.b64(bytes(64))),
            ("signature", "AA"),
        ]:
            with self.subTest(member=member), self.assertRaises(cd.Refused):
                self.device.open_challenge({**self.challenge, member: value})
        self.device.state["device_id"] = "other"
        with self.assertRaises(cd.Refused):
            self.device.open_challenge(self.challenge)

    def test_decision_and_denial(self):
        body = json.loads(blocks("json decision")[0])
        for name, fields in [
            ("decision", ("verify", "042137", "none", body["device_time"])),
            ("denial", ("deny_report", None, "none", "2026-01-31T09:05:09Z")),
        ]:
            octets = cd.length_prefixed(self.device.decision_fields(self.challenge, *fields))
            self.assertEqual(octets.hex(), VECTORS[f"{name}_octets"])
            self.assertTrue(cd.verifies(self.device.jwk, octets, VECTORS[f"{name}_signature"]))
        made = self.device.decision_body(self.challenge, "verify", "042137", device_time=body["device_time"])
        self.assertEqual({**made, "signature": ""}, {**body, "signature": ""})

    def test_user_verification(self):
        time_ = json.loads(blocks("json decision")[0])["device_time"]
        fields = self.device.decision_fields(self.challenge, "verify", "042137", "webauthn", time_)
        octets = cd.length_prefixed(fields)
        self.assertEqual(octets.hex(), VECTORS["webauthn_decision_octets"])
        self.assertEqual(cd.b64(hashlib.sha256(octets).digest()), VECTORS["webauthn_challenge"])
        # What the software makes has the form of the examples.
        soft = sa.SoftAuthenticator(VECTORS["origin"])
        soft.credential_id = b"credential 00001"
        page = json.loads(blocks("json credential")[0])
        made = soft.create(json.loads(blocks("json registration")[0]))
        self.assertEqual(made.keys(), page.keys())
        one, other = (cd.unb64(each["attestation_object"]) for each in (made, page))
        # All but the key itself.
        self.assertEqual((len(one), one[:-67], one[-35:-32]), (len(other), other[:-67], other[-35:-32]))
        data = [json.loads(cd.unb64(each["client_data_json"])) for each in (made, page)]
        self.assertEqual(*data)
        page = json.loads(blocks("json assertion")[0])
        made = self.device.decision_body(self.challenge, "verify", "042137", device_time=time_, authenticator=soft)
        self.assertEqual((made["user_verification"], made["assertion"].keys()), ("webauthn", page.keys()))
        self.assertEqual(made["assertion"]["authenticator_data"], page["authenticator_data"])
        data = [json.loads(cd.unb64(each["client_data_json"])) for each in (made["assertion"], page)]
        self.assertEqual(*data)

    def test_window(self):
        body = json.loads(blocks("json window")[0])
        fields = self.device.window_fields(body["window_id"], body["application"], "none", body["device_time"])
        octets = cd.length_prefixed(fields)
        self.assertEqual(octets.hex(), VECTORS["window_octets"])
        self.assertTrue(cd.verifies(self.device.jwk, octets, VECTORS["window_signature"]))

    def test_endorsement(self):
        info = json.loads(blocks("json server")[0])
        old = info["signing_key"]
        info["signing_key"] = json.loads(VECTORS["next_server_jwk"])
        pinned = VECTORS["server_thumbprint"]
        with self.assertRaises(cd.Refused):
            cd.check_server(info, VECTORS["origin"], pinned)
        step = {
            "thumbprint": VECTORS["next_server_thumbprint"],
            "by": old,
            "signature": VECTORS["endorsement_signature"],
        }
        cd.check_server({**info, "endorsements": [step]}, VECTORS["origin"], pinned)
        with self.assertRaises(cd.Refused):
            cd.check_server({**info, "endorsements": [step]}, VECTORS["origin"], VECTORS["device_thumbprint"])

    def test_proof(self):
        for name, method, path, body, jti in [
            ("proof", "PATCH", "device", VECTORS["proof_body"].encode(), "anRpIG51bWJlciAwMDAwMQ"),
            ("proof_empty", "GET", "challenges", b"", "anRpIG51bWJlciAwMDAwMg"),
        ]:
            header, claims = self.device.proof_parts(method, cd.BASE + path, body, "a-nonce-as-the-server-gave-it")
            expected = [json.loads(cd.unb64(part)) for part in VECTORS[f"{name}_input"].split(".")]
            self.assertEqual([header, {**claims, "iat": 1769850307, "jti": jti}], expected)
            octets = VECTORS[f"{name}_input"].encode()
            self.assertTrue(cd.verifies(header["jwk"], octets, VECTORS[f"{name}_signature"]))


class Texts(unittest.TestCase):
    def test_origins(self):
        for address, origin in [
            ("HTTPS://MFA.Example.com:443/", "https://mfa.example.com"),
            ("https://mfa.example.com:8443", "https://mfa.example.com:8443"),
            ("http://localhost:80", "http://localhost"),
            ("https://[2001:DB8:0::1]:8443", "https://[2001:db8::1]:8443"),
        ]:
            self.assertEqual(cd.origin_of(address), origin)
        for address in ["", "mfa.example.com", "http://mfa.example.com", "https://u@h", "https://h/x", "https://h?x", "https://h:0"]:
            with self.subTest(address=address), self.assertRaises(cd.Refused):
                cd.origin_of(address)

    def test_codes(self):
        self.assertEqual(cd.normal_code(" oabi-ldef ghok\n"), "0AB11DEFGH0K")
        for typed in ["", "0AB1-1DEF-GH0", "UAB1-1DEF-GH0K", "0AB1_1DEF_GH0K", "٠AB1-1DEF-GH0K"]:
            with self.subTest(typed=typed), self.assertRaises(cd.Refused):
                cd.normal_code(typed)

    def test_links(self):
        good = VECTORS["qr_text"]
        for text in [
            good.replace("v=1", "v=2"),
            good.replace("v=1&", ""),
            good + "&x=1",
            good + "&v=1",
            good.replace("/activate", "/activate/"),
            good.replace("https", "http"),
            good.replace("#", "?"),
            good + "A",
        ]:
            with self.subTest(text=text), self.assertRaises(cd.Refused):
                cd.parse_qr(text)

    def test_base64url(self):
        for text in ["AA==", "A", "AB", "A A", "+/8", None, 7]:
            with self.subTest(text=text), self.assertRaises(cd.Refused):
                cd.unb64(text)

    def test_events(self):
        lines = [b": hello\n", b"\n", b"event: challenge\r\n", b"data:{\n", b"data: }\n", b"id: 1\n", b"\n", b"event: x\n", b"\n"]
        self.assertEqual(list(cd.read_events(lines)), [("challenge", "{\n}")])


class SmallServer(http.server.BaseHTTPRequestHandler):
    """As much of a server as the client's own behaviour needs; it verifies proofs and signatures by the page's words."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def give(self, status, body, content_type="application/json"):
        octets = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("DPoP-Nonce", self.server.nonce)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(octets)))
        self.end_headers()
        self.wfile.write(octets)

    def problem(self, status, code, **more):
        self.give(status, {"type": "about:blank", "title": code, "status": status, "code": code, **more})

    def info(self):
        return {
            "protocol": 1,
            "organization": "Example",
            "deployment_id": "deployment",
            "origin": self.server.origin,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + self.server.ahead)),
            "push_key": None,
            "signing_key": cd.jwk_of(self.server.key.public_key()),
            "later": {"x": 1},
        }

    def handle_any(self):
        server, path = self.server, self.path.removeprefix(cd.BASE)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path == "server":
            return self.give(200, self.info())
        header, claims, signature = self.headers["DPoP"].split(".")
        jwk = json.loads(cd.unb64(header))["jwk"]
        claims_in = json.loads(cd.unb64(claims))
        if not cd.verifies(jwk, f"{header}.{claims}".encode(), signature):
            return self.problem(401, "proof_invalid")
        if claims_in.get("nonce") != server.nonce:
            return self.problem(401, "use_dpop_nonce")
        if abs(claims_in["iat"] - time.time() - server.ahead) > 60:
            return self.problem(401, "proof_expired", time=self.info()["time"])
        self.server.proofs.append(claims_in)
        if path == "activations":
            server.device_jwk = jwk
            server.activation = json.loads(body)
            account = {"id": "account", "user": "ada", "display_name": "Ada", "organization": "Example"}
            answer = {"device_id": "device", "account": account, "server": self.info(), "totp": None, "state": "active"}
            return self.give(201, answer)
        if path == "challenges":
            return self.give(200, {"challenges": [server.challenge()]})
        if path == "events":
            event = f"event: challenge\ndata: {json.dumps(server.challenge())}\n\n:\n\n"
            event += 'event: challenge-closed\ndata: {"id": "challenge", "state": "expired"}\n\n'
            return self.give(200, event.encode(), "text/event-stream")
        if path == "challenges/challenge/decision":
            server.decision = json.loads(body)
            return self.give(200, {"state": "approved"})
        return self.problem(404, "not_found")

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any


class Flows(unittest.TestCase):
    def setUp(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), SmallServer)
        server = self.server
        server.daemon_threads = True
        server.origin = f"http://127.0.0.1:{server.server_port}"
        server.key = private(SERVER_D)
        server.nonce, server.ahead, server.proofs = "nonce-1", 0, []
        context = json.loads(VECTORS["context_text"])
        context["expires_at"] = "2999-01-01T00:00:00Z"
        octets = json.dumps(context).encode()

        def challenge():
            subject = [server.origin.encode(), b"deployment", b"account", b"device", b"challenge", bytes(32), b"vpn"]
            fields = [b"countersign-challenge-v1", *subject, cd.hashlib.sha256(octets).digest(), b"typed", b"none"]
            return {
                "id": "challenge",
                "nonce": cd.b64(bytes(32)),
                "context": cd.b64(octets),
                "signature": cd.sign(server.key, cd.length_prefixed(fields)),
                "key": cd.thumbprint(cd.jwk_of(server.key.public_key())),
                "number_mode": "typed",
                "user_verification": "none",
            }

        server.challenge = challenge
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)

    def link(self, key=None):
        key = cd.thumbprint(cd.jwk_of((key or self.server.key).public_key()))
        return f"{self.server.origin}/activate#v=1&t={cd.b64(bytes(16))}&k={key}"

    def test_activation_answer_and_stream(self):
        device = cd.Device.activate(None, self.link(), name="Ada's phone")
        self.assertEqual(self.server.activation["token"], cd.b64(bytes(16)))
        self.assertNotIn("code", self.server.activation)
        [challenge] = device.challenges()
        with self.assertRaises(cd.Refused):
            device.answer(challenge, "verify")
        with self.assertRaises(cd.Refused):
            device.answer(challenge, "verify", "١٢")
        self.assertEqual(device.answer(challenge, "verify", "042137"), {"state": "approved"})
        sent = self.server.decision
        fields = device.decision_fields(challenge, "verify", "042137", "none", sent["device_time"])
        self.assertTrue(cd.verifies(self.server.device_jwk, cd.length_prefixed(fields), sent["signature"]))
        self.assertEqual([name for name, _ in device.events()], ["challenge", "challenge-closed"])
        self.assertEqual(len({proof["jti"] for proof in self.server.proofs}), len(self.server.proofs))
        with self.assertRaises(cd.Problem) as caught:
            device.history()
        self.assertEqual((caught.exception.status, caught.exception.code), (404, "not_found"))

    def test_a_new_nonce_and_another_clock(self):
        device = cd.Device.activate(self.server.origin + "/", "04hm-asw9-nf6y")
        self.assertEqual(self.server.activation["code"], "04HMASW9NF6Y")
        self.server.nonce, self.server.ahead = "nonce-2", 3600
        self.assertEqual(len(device.challenges()), 1)
        self.assertEqual(device.nonce, "nonce-2")
        self.assertAlmostEqual(device.offset, 3600, delta=5)

    def test_a_key_other_than_the_pinned_one_is_refused(self):
        with self.assertRaises(cd.Refused):
            cd.Device.activate(None, self.link(private(DEVICE_D)))
        self.assertFalse(hasattr(self.server, "activation"), "the token did not leave the device")
        device = cd.Device.activate(None, self.link())
        self.server.key = private(DEVICE_D)
        [challenge] = device.challenges()
        with self.assertRaises(cd.Refused):
            device.answer(challenge, "deny")
        self.assertFalse(hasattr(self.server, "decision"))

    def test_another_origin_is_refused(self):
        address, self.server.origin = self.server.origin, "http://localhost:1"
        with self.assertRaises(cd.Refused):
            cd.Device.activate(address, "04HMASW9NF6Y")

    def test_command_line(self):
        with tempfile.TemporaryDirectory() as folder:
            state = os.path.join(folder, "phone.json")
            self.assertEqual(cd.main(["activate", self.server.origin, "04HM-ASW9-NF6Y", "--state", state]), 0)
            self.assertEqual(os.stat(state).st_mode & 0o777, 0o600)
            self.assertEqual(cd.main(["activate", self.link(), "--state", state]), 2)
            self.assertEqual(cd.main(["pending", "--state", state]), 0)
            self.assertEqual(cd.main(["answer", "challenge", "deny_report", "--state", state]), 0)
            self.assertIsNone(self.server.decision["number"])
            self.assertEqual(cd.main(["answer", "other", "deny", "--state", state]), 2)
            self.assertEqual(cd.main(["history", "--state", state]), 1)


if __name__ == "__main__":
    unittest.main()
