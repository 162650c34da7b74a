"""A small CA, and certificates of it for both sides of RADIUS over TLS."""

import datetime
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BEGIN = datetime.datetime(2020, 1, 1)
USES = {"client": [ExtendedKeyUsageOID.CLIENT_AUTH], "server": [ExtendedKeyUsageOID.SERVER_AUTH]}
USES["both"] = USES["client"] + USES["server"]


@dataclass
class Pair:
    cert: Path
    key: Path
    fingerprint: str


class CA:
    def __init__(self, folder: Path, name: str = "ca"):
        folder.mkdir(exist_ok=True)
        self.folder, self.name = folder, name
        self.key = ec.generate_private_key(ec.SECP256R1())
        usage = dict.fromkeys(
            ["digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "encipher_only", "decipher_only"], False,
        )  # fmt: skip
        self.certificate = (
            self._builder(name, self.key, 2070)
            .issuer_name(self._name(name))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    @staticmethod
    def _name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def _builder(self, name: str, key, until: int) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(self._name(name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(BEGIN)
            .not_valid_after(datetime.datetime(until, 1, 1))
        )

    def issue(self, *names: str, use: str = "both", until: int = 2070, file: str | None = None) -> Pair:
        """A certificate with these DNS names; `until` is the year whose first day it ends on."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        certificate = (
            self._builder(names[0], key, until)
            .issuer_name(self.certificate.subject)
            .add_extension(alternatives, critical=False)
            .add_extension(x509.ExtendedKeyUsage(USES[use]), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        base = self.folder / (file or f"{self.name}-{names[0]}-{use}-{until}")
        pair = Pair(base.with_name(base.name + ".crt"), base.with_name(base.name + ".key"), "")
        pair.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pair.key.touch(mode=0o600)
        plain = serialization.NoEncryption()
        pair.key.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        )  # fmt: skip
        pair.fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
        return pair
