#!/usr/bin/env python3
"""An authenticator for countersign, after docs/reference/device-protocol.md, version 1."""

from __future__ import annotations

import argparse
import base64
import binascii
import dataclasses
import datetime
import hashlib
import http.client
import ipaddress
import json
import os
import re
import secrets
import ssl
import sys
import time
import urllib.parse
from typing import Any, Iterator, Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

BASE = "/device/v1/"
PROTOCOL = 1
CODE_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
CLOSING_STATES = {"approved", "denied", "expired", "cancelled", "collision", "superseded"}
NUMBER_MODES = {"none", "typed", "code_to_phone"}
VERIFICATION_POLICIES = {"none", "preferred", "required"}
_IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NUMBER = re.compile(r"[0-9]{1,16}")


class Refused(Exception):
    """This client will not go on: the input, or what the server sent, is not as the page says."""


class Problem(Exception):
    """The server answered with an error."""

    def __init__(self, answer: "Answer"):
        body = answer.json if isinstance(answer.json, dict) else {}
        self.status = answer.status
        self.code = body.get("code")
        self.body = body
        self.retry_after = answer.headers.get("retry-after")
        super().__init__(f"{self.status} {self.code}")


# --- binary values, keys, signatures


def b64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def unb64(text: Any, length: int | None = None) -> bytes:
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9_-]*", text):
        raise Refused("not base64url")
    try:
        octets = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise Refused("not base64url") from error
    if b64(octets) != text:
        raise Refused("base64url with stray bits")
    if length is not None and len(octets) != length:
        raise Refused(f"expected {length} octets, got {len(octets)}")
    return octets


def identifier(value: Any) -> str:
    if not isinstance(value, str) or not _IDENTIFIER.fullmatch(value):
        raise Refused("not an identifier")
    return value


def jwk_of(key: ec.EllipticCurvePublicKey) -> dict[str, str]:
    numbers = key.public_numbers()
    return {
        "kty": "EC",
        "crv": "P-256",
        "x": b64(numbers.x.to_bytes(32, "big")),
        "y": b64(numbers.y.to_bytes(32, "big")),
    }


def key_of(jwk: Any) -> ec.EllipticCurvePublicKey:
    if not isinstance(jwk, dict) or jwk.get("kty") != "EC" or jwk.get("crv") != "P-256":
        raise Refused("not a P-256 key")
    if "d" in jwk:
        raise Refused("a private key where a public one belongs")
    x, y = unb64(jwk.get("x"), 32), unb64(jwk.get("y"), 32)
    try:
        return ec.EllipticCurvePublicNumbers(
            int.from_bytes(x, "big"), int.from_bytes(y, "big"), ec.SECP256R1()
        ).public_key()
    except ValueError as error:
        raise Refused("not a point on P-256") from error


def thumbprint(jwk: dict[str, str]) -> str:
    members = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    return b64(hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest())


def sign(key: ec.EllipticCurvePrivateKey, octets: bytes) -> str:
    r, s = decode_dss_signature(key.sign(octets, ec.ECDSA(hashes.SHA256())))
    return b64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


def verifies(jwk: Any, octets: bytes, signature: Any) -> bool:
    raw = unb64(signature, 64)
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    try:
        key_of(jwk).verify(der, octets, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def length_prefixed(fields: Sequence[bytes]) -> bytes:
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


# --- texts that people hand over


def origin_of(address: str) -> str:
    """The origin of an address, in its normal form."""
    match = re.fullmatch(r"(https?)://([^/?#\\]*)/?", address, re.IGNORECASE)
    if not match:
        raise Refused("the address is not https://host or https://host:port")
    scheme, authority = match[1].lower(), match[2]
    if "@" in authority:
        raise Refused("the address carries a user name")
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::([1-9][0-9]{0,4}))?", authority)
    if not match:
        raise Refused("the address has a host or port of the wrong form")
    host, port = match[1].lower(), int(match[2]) if match[2] else None
    if port is not None and port > 65535:
        raise Refused("there is no such port")
    if host.startswith("["):
        try:
            host = f"[{ipaddress.IPv6Address(host[1:-1]).compressed}]"
        except ValueError as error:
            raise Refused("not an IPv6 address") from error
    if scheme == "http" and host not in ("localhost", "127.0.0.1", "[::1]"):
        raise Refused("plain http is for localhost only")
    if port is None or port == {"https": 443, "http": 80}[scheme]:
        return f"{scheme}://{host}"
    return f"{scheme}://{host}:{port}"


def normal_code(typed: str) -> str:
    code = re.sub(r"[-\s]", "", typed, flags=re.ASCII)
    if not code.isascii():
        raise Refused("an activation code is made of ASCII letters and digits")
    code = code.upper().replace("O", "0").replace("I", "1").replace("L", "1")
    if len(code) != 12 or any(c not in CODE_ALPHABET for c in code):
        raise Refused("an activation code has 12 characters of " + CODE_ALPHABET)
    return code


def parse_qr(text: str) -> tuple[str, str, str]:
    """Origin, token and thumbprint of a QR code's text."""
    address, hash_sign, fragment = text.partition("#")
    if not hash_sign or not address.endswith("/activate") or address.endswith("//activate"):
        raise Refused("not an activation link")
    origin = origin_of(address[: -len("/activate")])
    parameters: dict[str, str] = {}
    for part in fragment.split("&"):
        name, equals, value = part.partition("=")
        if not equals or name in parameters:
            raise Refused("the activation link has a parameter twice, or without a value")
        parameters[name] = value
    if parameters.get("v") != "1":
        raise Refused("the activation link is for another version of the protocol")
    if set(parameters) != {"v", "t", "k"}:
        raise Refused("the activation link lacks a parameter or has one too many")
    unb64(parameters["t"], 16)
    unb64(parameters["k"], 32)
    return origin, parameters["t"], parameters["k"]


def parse_time(text: Any) -> float:
    if not isinstance(text, str) or not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", text, re.ASCII):
        raise Refused("not a time")
    whole, _, decimals = text[:-1].partition(".")
    try:
        moment = datetime.datetime.fromisoformat(whole).replace(tzinfo=datetime.timezone.utc)
    except ValueError as error:
        raise Refused("not a time") from error
    return moment.timestamp() + float(f"0.{decimals or 0}")


# --- HTTP


@dataclasses.dataclass
class Answer:
    status: int
    headers: dict[str, str]
    octets: bytes

    @property
    def json(self) -> Any:
        try:
            return json.loads(self.octets) if self.octets else None
        except ValueError:
            return None


class Transport:
    """Sends single requests to one origin; follows no redirects and keeps no cookies."""

    def __init__(self, origin: str, ca_file: str | None = None, timeout: float = 30):
        self.origin = origin
        self.ca_file = ca_file
        self.timeout = timeout

    def open(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> http.client.HTTPResponse:
        parts = urllib.parse.urlsplit(self.origin)
        if parts.scheme == "https":
            context = ssl.create_default_context(cafile=self.ca_file)
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.hostname or "", parts.port, timeout=self.timeout, context=context
            )
        else:
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=self.timeout)
        connection.request(method, path, body=body, headers={"Connection": "close", **headers})
        return connection.getresponse()

    def exchange(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        response = self.open(method, path, body, headers)
        with response:
            return read_answer(response)


def read_answer(response: http.client.HTTPResponse) -> Answer:
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, response.read())


# --- the server as this client knows it


def server_info(answer: Answer) -> dict[str, Any]:
    if answer.status != 200:
        raise Problem(answer)
    return answer.json


def check_server(info: Any, origin: str, pinned: str | None) -> None:
    """Refuses a server that is another than expected; `pinned` is the trusted thumbprint, if there is one."""
    if not isinstance(info, dict) or info.get("protocol") != PROTOCOL:
        raise Refused("the server speaks another version of the protocol")
    if info.get("origin") != origin:
        raise Refused("the server says it is at another address")
    identifier(info.get("deployment_id"))
    key_of(info.get("signing_key"))
    current = thumbprint(info["signing_key"])
    if pinned is None:
        return
    try:
        for step in info.get("endorsements", []):
            if pinned == current:
                break
            octets = length_prefixed([b"countersign-signing-key-v1", unb64(step["thumbprint"], 32)])
            if thumbprint(step["by"]) == pinned and verifies(step["by"], octets, step["signature"]):
                pinned = step["thumbprint"]
    except (KeyError, TypeError) as error:
        raise Refused("the server's endorsements are not as the page says") from error
    if pinned != current:
        raise Refused("the server's signing key is not the one that this device knows")


class Device:
    """One account on one server. `state` is what has to be kept; everything else is found out again."""

    def __init__(self, state: dict[str, Any], transport: Transport | None = None):
        self.state = state
        self.key: ec.EllipticCurvePrivateKey = serialization.load_pem_private_key(
            state["private_key"].encode(), password=None
        )  # type: ignore[assignment]
        self.transport = transport or Transport(state["origin"])
        self.nonce: str | None = None
        self.offset: float | None = None

    # State

    @staticmethod
    def new_key() -> str:
        return (
            ec.generate_private_key(ec.SECP256R1())
            .private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            .decode()
        )

    @classmethod
    def load(cls, path: str, ca_file: str | None = None) -> "Device":
        with open(path, encoding="utf-8") as file:
            state = json.load(file)
        return cls(state, Transport(state["origin"], ca_file))

    def save(self, path: str) -> None:
        temporary = f"{path}.new"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(self.state, file, indent=2)
            file.write("\n")
        os.replace(temporary, path)

    @property
    def jwk(self) -> dict[str, str]:
        return jwk_of(self.key.public_key())

    # Clock and proofs

    def now(self) -> float:
        """The server's clock as far as it is known."""
        return time.time() + (self.offset or 0)

    def device_time(self) -> str:
        moment = datetime.datetime.now(datetime.timezone.utc)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"

    def proof_parts(self, method: str, path: str, body: bytes, nonce: str | None) -> tuple[dict, dict]:
        """Header and claims of a proof, to be changed at will before `make_proof`."""
        header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk}
        claims = {
            "htm": method,
            "htu": self.state["origin"] + path,
            "iat": int(self.now()),
            "jti": b64(secrets.token_bytes(16)),
            "bh": b64(hashlib.sha256(body).digest()),
        }
        if nonce is not None:
            claims["nonce"] = nonce
        return header, claims

    def make_proof(self, header: dict, claims: dict, key: ec.EllipticCurvePrivateKey | None = None) -> str:
        def part(value: dict) -> str:
            return b64(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())

        signed = f"{part(header)}.{part(claims)}"
        return f"{signed}.{sign(key or self.key, signed.encode())}"

    # Requests

    def _remember(self, headers: dict[str, str]) -> None:
        self.nonce = headers.get("dpop-nonce", self.nonce)

    def exchange(self, method: str, path: str, body: bytes | None, proof: str | None) -> Answer:
        """One request as it is, without a second try and without judging the answer."""
        headers = {} if body is None else {"Content-Type": "application/json"}
        if proof is not None:
            headers["DPoP"] = proof
        answer = self.transport.exchange(method, path, body, headers)
        self._remember(answer.headers)
        return answer

    def _retry(self, answer: Answer, seen: set[str]) -> bool:
        """Whether a new proof may help; each reason is worth one more try."""
        body = answer.json if isinstance(answer.json, dict) else {}
        code = body.get("code")
        if answer.status != 401 or code not in ("use_dpop_nonce", "proof_expired") or code in seen:
            return False
        seen.add(code)
        if code == "proof_expired":
            self.offset = parse_time(body.get("time")) - time.time()
        return True

    def request(self, method: str, endpoint: str, body: Any = None, *, has_body: bool = False) -> Any:
        """A request with a proof, tried again with a new one where the page says so. Gives the JSON of the answer."""
        octets = json.dumps(body, ensure_ascii=False).encode() if has_body or body is not None else None
        if self.offset is None:
            self.refresh_server()
        seen: set[str] = set()
        while True:
            path = BASE + endpoint
            proof = self.make_proof(*self.proof_parts(method, path, octets or b"", self.nonce))
            answer = self.exchange(method, path, octets, proof)
            if answer.status < 300:
                return answer.json
            if not self._retry(answer, seen):
                raise Problem(answer)

    def refresh_server(self) -> dict[str, Any]:
        """`GET server`: clock, nonce, and the signing key if it was handed over rightly."""
        info = server_info(self.exchange("GET", BASE + "server", None, None))
        pinned = self.state.get("signing_key")
        check_server(info, self.state["origin"], thumbprint(pinned) if pinned else None)
        if self.state.get("deployment_id", info["deployment_id"]) != info["deployment_id"]:
            raise Refused("the server is another installation")
        self.offset = parse_time(info["time"]) - time.time()
        if pinned:
            self.state["signing_key"] = info["signing_key"]
        return info

    # Activation

    @classmethod
    def activate(
        cls,
        address: str | None,
        secret: str,
        *,
        name: str = "Test device",
        platform: str = "python",
        ca_file: str | None = None,
        private_key: str | None = None,
    ) -> "Device":
        """Adds this device by a typed code (with an address) or by the text of a QR code."""
        if "#" in secret:
            origin, token, expected = parse_qr(secret)
            if address is not None and origin_of(address) != origin:
                raise Refused("the QR code is for another address")
            member, value = "token", token
        else:
            if address is None:
                raise Refused("a typed code needs an address")
            origin, expected = origin_of(address), None
            member, value = "code", normal_code(secret)
        device = cls(
            {"origin": origin, "private_key": private_key or cls.new_key()}, Transport(origin, ca_file)
        )
        info = device.refresh_server()
        if expected is not None and thumbprint(info["signing_key"]) != expected:
            raise Refused("the server's signing key is not that of the QR code")
        body = {member: value, "device": {"name": name, "platform": platform}, "push": None}
        answer = device.request("POST", "activations", body)
        check_server(answer["server"], origin, None)
        for member in ("deployment_id", "signing_key"):
            if answer["server"][member] != info[member]:
                raise Refused(f"the server changed its {member} during the activation")
        if answer["state"] != "active":
            raise Refused("the device is not active")
        device.state.update(
            deployment_id=info["deployment_id"],
            signing_key=info["signing_key"],
            account=answer["account"],
            device_id=identifier(answer["device_id"]),
            totp=answer["totp"],
        )
        identifier(answer["account"]["id"])
        return device

    # Challenges

    def party_fields(self) -> list[bytes]:
        state = self.state
        texts = (state["origin"], state["deployment_id"], state["account"]["id"], state["device_id"])
        return [text.encode() for text in texts]

    def subject_fields(self, challenge: dict[str, Any]) -> list[bytes]:
        """Fields 2 to 9."""
        octets = unb64(challenge["context"])
        application = json.loads(octets)["application"]["id"]
        return self.party_fields() + [
            challenge["id"].encode(),
            unb64(challenge["nonce"], 32),
            application.encode(),
            hashlib.sha256(octets).digest(),
        ]

    def open_challenge(self, challenge: dict[str, Any]) -> dict[str, Any]:
        """Verifies that the pinned server made the challenge for this device, and gives its context."""
        try:
            identifier(challenge["id"])
            context = json.loads(unb64(challenge["context"]))
            identifier(context["application"]["id"])
            parse_time(context["expires_at"])
            mode, policy = challenge["number_mode"], challenge["user_verification"]
            fields = [b"countersign-challenge-v1", *self.subject_fields(challenge), mode.encode(), policy.encode()]
            signature, key = challenge["signature"], challenge["key"]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Refused("the challenge is not as the page says") from error
        if mode not in NUMBER_MODES or policy not in VERIFICATION_POLICIES:
            raise Refused("the challenge uses words that this client does not know")
        if key != thumbprint(self.state["signing_key"]):
            self.refresh_server()
        if key != thumbprint(self.state["signing_key"]):
            raise Refused("the challenge was signed by a key that this device does not know")
        if not verifies(self.state["signing_key"], length_prefixed(fields), signature):
            raise Refused("the challenge's signature does not verify")
        return context

    def challenges(self) -> list[dict[str, Any]]:
        return self.request("GET", "challenges")["challenges"]

    def challenge_state(self, challenge_id: str) -> str:
        return self.request("GET", f"challenges/{identifier(challenge_id)}")["state"]

    def decision_fields(
        self,
        challenge: dict[str, Any],
        decision: str,
        number: str | None,
        user_verification: str,
        device_time: str,
    ) -> list[bytes]:
        """The 14 fields, as a list: element 0 is field 1."""
        return [
            b"countersign-decision-v1",
            *self.subject_fields(challenge),
            decision.encode(),
            (number or "").encode(),
            challenge["number_mode"].encode(),
            user_verification.encode(),
            device_time.encode(),
        ]

    def sign_fields(self, fields: Sequence[bytes]) -> str:
        return sign(self.key, length_prefixed(fields))

    def decision_body(
        self,
        challenge: dict[str, Any],
        decision: str,
        number: str | None = None,
        user_verification: str = "none",
        device_time: str | None = None,
        authenticator: Any = None,
    ) -> dict[str, Any]:
        """The body of a decision, signed; nothing of it is checked. `authenticator` has the user verified."""
        device_time = device_time or self.device_time()
        if authenticator is not None:
            user_verification = "webauthn"
        fields = self.decision_fields(challenge, decision, number, user_verification, device_time)
        return {
            "decision": decision,
            "number": number,
            "user_verification": user_verification,
            "device_time": device_time,
            "assertion": authenticator and authenticator.get(length_prefixed(fields)),
            "signature": self.sign_fields(fields),
        }

    def send_decision(self, challenge_id: str, body: dict[str, Any]) -> dict[str, Any]:
        return self.request("POST", f"challenges/{challenge_id}/decision", body)

    def answer(self, challenge: dict[str, Any], decision: str, number: str | None = None) -> dict[str, Any]:
        """Opens the challenge as an app would, and answers it."""
        context = self.open_challenge(challenge)
        if decision == "verify":
            if self.now() >= parse_time(context["expires_at"]):
                raise Refused("the challenge has expired")
            typed = challenge["number_mode"] == "typed"
            if typed and (number is None or not _NUMBER.fullmatch(number)):
                raise Refused("this challenge asks for a number of ASCII digits")
            if not typed and number is not None:
                raise Refused("this challenge takes no number")
        else:
            number = None
        return self.send_decision(challenge["id"], self.decision_body(challenge, decision, number))

    def events(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """One stream, until the server ends it: names and data of the events that this client knows."""
        if self.offset is None:
            self.refresh_server()
        seen: set[str] = set()
        path = BASE + "events"
        while True:
            proof = self.make_proof(*self.proof_parts("GET", path, b"", self.nonce))
            response = self.transport.open("GET", path, None, {"DPoP": proof, "Accept": "text/event-stream"})
            self._remember({name.lower(): value for name, value in response.getheaders()})
            if response.status == 200:
                break
            with response:
                answer = read_answer(response)
            if not self._retry(answer, seen):
                raise Problem(answer)
        with response:
            for name, data in read_events(response):
                if name in ("challenge", "challenge-closed"):
                    yield name, json.loads(data)

    # User verification

    def credential(self) -> str | None:
        """The identifier of the credential that the server keeps for this device."""
        return self.request("GET", "challenges")["credential_id"]

    def register(self, authenticator: Any) -> None:
        registration = self.request("POST", "webauthn/registrations")
        self.request("PUT", "webauthn/credential", authenticator.create(registration))

    def remove_credential(self) -> None:
        self.request("DELETE", "webauthn/credential")

    # The rest

    def history(self) -> list[dict[str, Any]]:
        return self.request("GET", "history")["logins"]

    def applications(self) -> list[dict[str, Any]]:
        return self.request("GET", "applications")["applications"]

    def rename(self, name: str) -> None:
        self.request("PATCH", "device", {"name": name})

    def remove(self) -> None:
        self.request("DELETE", "device")

    def set_push(self, subscription: dict[str, str] | None) -> None:
        self.request("PUT", "push", subscription, has_body=True)

    def window_fields(self, window_id: str, application: str, verification: str, device_time: str) -> list[bytes]:
        """The 9 fields of a sign-in window."""
        texts = (window_id, application, verification, device_time)
        return [b"countersign-window-v1", *self.party_fields(), *(text.encode() for text in texts)]

    def open_window(self, application: str) -> dict[str, Any]:
        window_id, device_time = b64(secrets.token_bytes(16)), self.device_time()
        return self.request(
            "POST",
            "windows",
            {
                "window_id": window_id,
                "application": application,
                "user_verification": "none",
                "device_time": device_time,
                "assertion": None,
                "signature": self.sign_fields(self.window_fields(window_id, application, "none", device_time)),
            },
        )


def read_events(lines: Any) -> Iterator[tuple[str, str]]:
    """Server-sent events out of lines of octets."""
    name, data = "", []
    for raw in lines:
        line = raw.decode("utf-8").rstrip("\r\n")
        if not line:
            if data:
                yield name, "\n".join(data)
            name, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)


# --- command line


def show(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False), flush=True)


def shown_challenge(device: Device, challenge: dict[str, Any]) -> dict[str, Any]:
    try:
        context = device.open_challenge(challenge)
    except Refused as refusal:
        return {"id": challenge.get("id"), "refused": str(refusal)}
    return {
        "id": challenge["id"],
        "number_mode": challenge["number_mode"],
        "user_verification": challenge["user_verification"],
        "context": context,
    }


def watch(device: Device) -> None:
    wait = 1.0
    while True:
        try:
            for name, data in device.events():
                wait = 1.0
                if name == "challenge":
                    data = shown_challenge(device, data)
                show({"event": name, **data})
        except (OSError, http.client.HTTPException) as error:
            print(f"stream ended: {error}", file=sys.stderr)
        time.sleep(wait)
        wait = min(wait * 2, 60)


def run(arguments: argparse.Namespace) -> None:
    if arguments.command == "activate":
        address, secret = (None, arguments.target) if arguments.secret is None else (arguments.target, arguments.secret)
        if os.path.exists(arguments.state):
            raise Refused(f"{arguments.state} exists; one file holds one account")
        device = Device.activate(
            address, secret, name=arguments.name, platform=arguments.platform, ca_file=arguments.ca
        )
        device.save(arguments.state)
        show({"device_id": device.state["device_id"], "account": device.state["account"]})
        return
    device = Device.load(arguments.state, arguments.ca)
    if arguments.command == "pending":
        for challenge in device.challenges():
            show(shown_challenge(device, challenge))
    elif arguments.command == "answer":
        for challenge in device.challenges():
            if challenge["id"] == arguments.challenge:
                show(device.answer(challenge, arguments.decision, arguments.number))
                break
        else:
            raise Refused("no such challenge is waiting")
    elif arguments.command == "state":
        show({"state": device.challenge_state(arguments.challenge)})
    elif arguments.command == "watch":
        watch(device)
    elif arguments.command == "history":
        for login in device.history():
            show(login)
    elif arguments.command == "window":
        show(device.open_window(arguments.application))
    elif arguments.command == "remove":
        device.remove()
        os.remove(arguments.state)
        return
    device.save(arguments.state)


def main(argv: Sequence[str] | None = None) -> int:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--state", default="countersign-device.json", help="file that holds key and account")
    common.add_argument("--ca", help="PEM file of certificate authorities to trust")
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    activate = commands.add_parser("activate", parents=[common], help="add this device to an account")
    activate.add_argument("target", metavar="URL|QR", help="the server's address, or the text of a QR code alone")
    activate.add_argument("secret", metavar="CODE|QR", nargs="?", help="the typed code, or the text of a QR code")
    activate.add_argument("--name", default="Test device")
    activate.add_argument("--platform", default="python")
    commands.add_parser("pending", parents=[common], help="list the challenges that wait")
    answer = commands.add_parser("answer", parents=[common], help="answer a challenge")
    answer.add_argument("challenge")
    answer.add_argument("decision", choices=["verify", "deny", "deny_report"])
    answer.add_argument("--number", help="the number that the login shows")
    state = commands.add_parser("state", parents=[common], help="say how a challenge stands")
    state.add_argument("challenge")
    commands.add_parser("watch", parents=[common], help="print what happens, until interrupted")
    commands.add_parser("history", parents=[common], help="list the last logins")
    window = commands.add_parser("window", parents=[common], help="open a sign-in window")
    window.add_argument("application")
    commands.add_parser("remove", parents=[common], help="remove this device")
    try:
        run(parser.parse_args(argv))
    except Problem as problem:
        show({"status": problem.status, **problem.body})
        return 1
    except (Refused, OSError, http.client.HTTPException) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
