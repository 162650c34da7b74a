"""EAP between wpa_supplicant's eapol_test, which is peer and access point in one, and FreeRADIUS."""

import datetime
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from freeradius import Account, FreeRADIUS
from harness import Resource, need

# What a stock FreeRADIUS has in its `default` server: what the inner tunnel keeps goes into the reply, and its name takes the
# place of the one that the client gave, which the EAP module puts there.
NAMES_THE_INNER_IDENTITY = """
    if (&session-state:User-Name && &reply:User-Name && &request:User-Name && (&reply:User-Name == &request:User-Name)) {
      update reply {
        User-Name !* ANY
      }
    }
    update {
      &reply: += &session-state:
    }
"""
# Of EAP-TLS there is no inner identity: whom the certificate names.
NAMES_THE_CERTIFICATE = """
    if (&TLS-Client-Cert-Common-Name) {
      update reply {
        User-Name := &TLS-Client-Cert-Common-Name
      }
    }
"""


class Authority:
    """Certificates of a company: RSA, with an authority in between, so that a chain does not fit one packet."""

    def __init__(self, folder: Path):
        folder.mkdir()
        self.folder = folder
        self.root_key, self.root = self._made("Example Root", None, None)
        self.key, self.certificate = self._made("Example Issuer " + "x" * 40, self.root_key, self.root)
        self.ca = self._file("ca.pem", self.root)
        # For whoever is sent no chain.
        self.all = self._file("all.pem", self.root, self.certificate)

    def issue(self, name: str, usage) -> tuple[Path, Path]:
        """Certificate with its chain, and key."""
        key, certificate = self._made(name, self.key, self.certificate, usage)
        path = self.folder / f"{name}.key"
        path.touch(mode=0o600)
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return self._file(f"{name}.pem", certificate, self.certificate), path

    def _file(self, name: str, *certificates) -> Path:
        path = self.folder / name
        path.write_bytes(b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates))
        return path

    @staticmethod
    def _made(name: str, issuer_key, issuer, usage=None):
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=usage is None, path_length=None), critical=True)
        )
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        return key, builder.sign(issuer_key or key, hashes.SHA256())


class EAPServer(FreeRADIUS):
    """FreeRADIUS that speaks PEAP, TTLS and TLS, and knows these accounts inside of the tunnel."""

    def __init__(self, folder: Path, secret: str, authority: Authority, accounts: list[Account], *, careless=False):
        """A careless one names in its Accept whom the client names."""
        certificate, key = authority.issue(f"radius-of-{folder.name}", ExtendedKeyUsageOID.SERVER_AUTH)
        tunnel = "tls = common\n    copy_request_to_tunnel = no\n    use_tunneled_reply = no\n    virtual_server = inner"
        keep = "" if careless else "update outer.session-state {\n      User-Name := &User-Name\n    }"
        super().__init__(
            folder,
            {"127.0.0.0/8": secret},
            accounts=accounts,
            authorise="    eap {\n      ok = return\n    }",
            authenticate="    eap",
            post_auth="" if careless else NAMES_THE_INNER_IDENTITY + NAMES_THE_CERTIFICATE,
            modules=f"""
  eap {{
    default_eap_type = peap
    timer_expire = 60
    tls-config common {{
      private_key_file = {key}
      certificate_file = {certificate}
      ca_file = {authority.all}
      cipher_list = "DEFAULT"
      tls_min_version = "1.2"
      tls_max_version = "1.2"
      ecdh_curve = ""
    }}
    tls {{
      tls = common
    }}
    ttls {{
    {tunnel}
    default_eap_type = md5
    }}
    peap {{
    {tunnel}
    default_eap_type = mschapv2
    }}
    md5 {{
    }}
    mschapv2 {{
    }}
  }}
""",
            servers=f"""
server inner {{
  authorize {{
    mschap
    eap {{
      ok = return
    }}
    files
    pap
  }}
  authenticate {{
    Auth-Type PAP {{
      pap
    }}
    Auth-Type MS-CHAP {{
      mschap
    }}
    eap
  }}
  post-auth {{
    {keep}
  }}
}}
""",
        )


@dataclass
class Attempt:
    """One eapol_test that runs."""

    process: subprocess.Popen
    out: str | None = field(default=None)

    def finished(self, timeout: float = 60) -> str:
        if self.out is None:
            self.out, _ = self.process.communicate(timeout=timeout)
        return self.out

    def succeeded(self) -> bool:
        """Let in, and the keys of both ends are the same: eapol_test says so of them too."""
        out = self.finished()
        assert out.splitlines()[-1] in ("SUCCESS", "FAILURE"), out[-2000:]
        success = self.process.returncode == 0 and out.splitlines()[-1] == "SUCCESS"
        if success:
            assert "MPPE keys OK: 1  mismatch: 0" in out, out[-2000:]
        return success

    def told(self) -> bool:
        """Not let in, and the peer has been told so in EAP."""
        assert not self.succeeded()
        return "EAP: Received EAP-Failure" in self.finished()


def peer(folder: Path, resource: Resource, method: str, identity: str, options=(), **settings) -> Attempt:
    """Logs on by EAP at a resource. What is text in `settings` is quoted; `phase2` is the method inside of a tunnel,
    `options` are eapol_test's own."""
    need("eapol_test")
    lines = ["key_mgmt=WPA-EAP", f"eap={method}"]
    lines += [f'{key}="{value}"' for key, value in {"identity": identity, **settings}.items()]
    folder.mkdir(exist_ok=True)
    config = folder / f"peer-{len(list(folder.iterdir()))}.conf"
    config.touch(mode=0o600)
    config.write_text("network={\n" + "\n".join(f"  {line}" for line in lines) + "\n}\n")
    address, port = resource.server.radius
    process = subprocess.Popen(
        ["eapol_test", "-c", str(config), "-a", address, "-p", str(port), "-s", resource.secret, "-A", resource.source, "-M", "02:00:00:00:00:01", "-t", "40", *options],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip
    return Attempt(process)
