"""A FreeRADIUS at which PEAP and TTLS end, as at a VPN or an access point: what was said inside goes on as MS-CHAP-V2 of its own."""

import subprocess
from pathlib import Path

from freeradius import FreeRADIUS, Home, quoted
from harness import Result, need

TUNNELS = """
  eap {{
    default_eap_type = peap
    timer_expire = 60
    tls-config common {{
      private_key_file = {key}
      certificate_file = {certificate}
      ca_file = {certificate}
      cipher_list = "DEFAULT"
      tls_min_version = "1.2"
      tls_max_version = "1.2"
      ecdh_curve = ""
    }}
    ttls {{
      tls = common
      copy_request_to_tunnel = yes
      virtual_server = inside
    }}
    peap {{
      tls = common
      default_eap_type = mschapv2
      copy_request_to_tunnel = yes
      proxy_tunneled_request_as_eap = no
      virtual_server = inside
    }}
    mschapv2 {{
    }}
  }}
"""
INSIDE = """
server inside {
  authorize {
    update control {
      Proxy-To-Realm := "home"
    }
  }
  authenticate {
    eap
  }
  post-proxy {
    eap
  }
}
"""
OUTSIDE = """
  pre-proxy {
    update proxy-request {
      Message-Authenticator := 0x00
    }
  }
  post-proxy {
    eap
  }
"""


class Tunnel(FreeRADIUS):
    """Asks `home` about everybody."""

    def __init__(self, folder: Path, secret: str, home: Home):
        need("openssl", "eapol_test")
        super().__init__(folder, {"127.0.0.0/8": secret}, home=home, authorise="eap {\n ok = return\n }", message_authenticator=False)
        self.secret, self.certificate, key = secret, folder / "certificate.pem", folder / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-subj", "/CN=radius.example", "-keyout", key, "-out", self.certificate],
            check=True, capture_output=True,
        )  # fmt: skip
        config = self.folder / "radiusd.conf"
        text = config.read_text()
        text = text.replace("modules {", "modules {" + TUNNELS.format(key=key, certificate=self.certificate), 1)
        text = text.replace("  authenticate {", "  authenticate {\n    eap", 1)
        text = text.replace("  preacct {", OUTSIDE + "  preacct {", 1)
        config.write_text(text + INSIDE)

    def peer(self, method: str, user: str, password: str) -> subprocess.Popen:
        """wpa_supplicant's machine that logs on, in the background. Inside of the tunnel it speaks MS-CHAP-V2."""
        config = self.folder / "peer.conf"
        config.touch(mode=0o600)
        config.write_text(f"""
network={{
  key_mgmt=IEEE8021X
  eap={method}
  anonymous_identity="anonymous"
  identity={quoted(user)}
  password={quoted(password)}
  phase2="auth=MSCHAPV2"
  ca_cert="{self.certificate}"
}}
""")
        return subprocess.Popen(
            ["eapol_test", "-c", config, "-a", self.address[0], "-p", str(self.address[1]), "-s", self.secret, "-t", "40"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip


def got_in(result: Result) -> bool:
    """Whether the machine holds the server for what it says, and is in."""
    last = result.out.rstrip().rsplit("\n", 1)[-1]
    assert last in ("SUCCESS", "FAILURE"), result.out[-2000:]
    assert (result.code == 0) == (last == "SUCCESS")
    return last == "SUCCESS"
