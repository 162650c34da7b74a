"""A WebAuthn authenticator with one ES256 credential, and the browser around it: as much as the page asks for."""

from __future__ import annotations

import hashlib
import json
import secrets
import urllib.parse
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

import countersign_device as cd

USER_PRESENT, USER_VERIFIED, HAS_KEY = 0x01, 0x04, 0x40


class SoftAuthenticator:
    """`flags` and `counter` can be set, for tests that send wrong things."""

    def __init__(self, origin: str):
        self.origin = origin
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.credential_id = secrets.token_bytes(20)
        self.flags = USER_PRESENT | USER_VERIFIED
        self.counter = 0

    def _data(self, flags: int) -> bytes:
        """Authenticator data, Web Authentication Level 2 section 6.1."""
        host = urllib.parse.urlsplit(self.origin).hostname or ""
        return hashlib.sha256(host.encode()).digest() + bytes([flags]) + self.counter.to_bytes(4, "big")

    def _client_data(self, kind: str, challenge: str) -> bytes:
        return json.dumps({"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False}).encode()

    def create(self, registration: dict[str, Any]) -> dict[str, str]:
        """The body that completes a registration: an attestation object of the format `none` (section 8.7)."""
        if -7 not in registration["algorithms"]:
            raise cd.Refused("the server takes no ES256")
        numbers = self.key.public_key().public_numbers()
        x, y = numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big")
        cose_key = b"\xa5\x01\x02\x03\x26\x20\x01\x21\x58\x20" + x + b"\x22\x58\x20" + y
        data = self._data(self.flags | HAS_KEY) + bytes(16) + len(self.credential_id).to_bytes(2, "big")
        data += self.credential_id + cose_key
        attestation = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58" + bytes([len(data)]) + data
        return {
            "credential_id": cd.b64(self.credential_id),
            "attestation_object": cd.b64(attestation),
            "client_data_json": cd.b64(self._client_data("webauthn.create", registration["challenge"])),
        }

    def get(self, signed: bytes) -> dict[str, str]:
        """The assertion for what the device signs."""
        self.counter += 1
        data = self._data(self.flags)
        client_data = self._client_data("webauthn.get", cd.b64(hashlib.sha256(signed).digest()))
        signature = self.key.sign(data + hashlib.sha256(client_data).digest(), ec.ECDSA(hashes.SHA256()))
        return {
            "credential_id": cd.b64(self.credential_id),
            "authenticator_data": cd.b64(data),
            "client_data_json": cd.b64(client_data),
            "signature": cd.b64(signature),
        }
