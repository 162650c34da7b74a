"""FreeRADIUS on loopback, in the roles that Microsoft's NPS has around the server: below it, above it, and both in one."""

import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness import free_port, need, wait_until

MODULES = "/usr/lib/freeradius"
DICTIONARY = "/usr/share/freeradius/dictionary"

# Without a password, or another proof of one, a request asks whether a user may come in: NPS answers from its network
# policies, "allow clients to connect without negotiating an authentication method". This one lets in whom `users` names.
AUTHORISE = """
    if (!&User-Password && !&CHAP-Password && !&MS-CHAP-Response && !&MS-CHAP2-Response) {
      update control {
        Auth-Type := Accept
      }
      files {
        noop = reject
      }
    }
    else {
      chap
      mschap
      files
      pap
    }
"""


def quoted(text: str) -> str:
    return '"%s"' % text.replace("\\", "\\\\").replace('"', '\\"')


@dataclass
class Account:
    """A user whom the server below knows, and what its Accept brings him."""

    name: str
    password: str
    reply: tuple[str, ...] = ()

    def line(self) -> str:
        replies = ",\n".join(f"\t{attribute}" for attribute in self.reply)
        # By condition, since a backslash in the first column means itself.
        return f"DEFAULT User-Name == {quoted(self.name)}, Cleartext-Password := {quoted(self.password)}\n{replies}\n"


@dataclass
class Home:
    """A server that requests are passed on to."""

    server: tuple[str, int]
    secret: str
    source: str
    window: int

    def text(self) -> str:
        # NPS calls a server dead after its window and asks it again later; here it is asked on and on.
        return f"""
home_server home {{
  type = auth
  ipaddr = {self.server[0]}
  port = {self.server[1]}
  secret = {quoted(self.secret)}
  src_ipaddr = {self.source}
  response_window = {self.window}
  zombie_period = 120
  revive_interval = 60
  status_check = none
  max_outstanding = 65536
}}
home_server_pool home {{
  type = fail-over
  home_server = home
}}
realm home {{
  auth_pool = home
  nostrip
}}
"""


class FreeRADIUS:
    """One server. `clients` are addresses with their secrets; `authorise` is a policy in FreeRADIUS's language."""

    def __init__(
        self,
        folder: Path,
        clients: dict[str, str],
        *,
        accounts: list[Account] = (),
        home: Home | None = None,
        authorise: str = AUTHORISE,
        message_authenticator: bool = True,
        status_server: bool = False,
        address: str = "127.0.0.1",
        port: int | None = None,
        kind: str = "auth",
        modules: str = "",
        authenticate: str = "",
        post_auth: str = "",
        servers: str = "",
        inside: Callable[..., list[str]] = lambda *command: list(command),
        over_tls: str = "",
    ):
        """`kind` is what the port is for, `auth` or `acct`; `modules` and `servers` are more of them, `authenticate` and
        `post_auth` stand at the beginning of the sections of the server of this port; `inside` makes the command that runs it somewhere else;
        `over_tls` makes the port one of TCP, and is its section `tls`."""
        need("freeradius")
        self.inside = inside
        folder.mkdir()
        protocol = socket.SOCK_STREAM if over_tls else socket.SOCK_DGRAM
        self.folder, self.address = folder, (address, port or free_port(protocol))
        self.log = folder / "log"
        (folder / "users").write_text("".join(account.line() for account in accounts))
        (folder / "dictionary").write_text(f"$INCLUDE {DICTIONARY}\n")
        listed = "".join(
            f"client c{at} {{\n  ipaddr = {address}\n  proto = {'tls' if over_tls else '*'}\n  secret = {quoted(secret)}\n"
            "  require_message_authenticator = no\n}\n"
            for at, (address, secret) in enumerate(clients.items())
        )
        if over_tls:
            listed = f"clients over_tls {{\n{listed}}}\n"
            over_tls += "    clients = over_tls\n"
        # 3.2.1 is older than the answer to CVE-2024-3596; this makes its replies those of a patched NPS, where the
        # attribute comes first. What a home server answered begins anew, so there it is said again, and comes later.
        sign = "update reply {\n      Message-Authenticator := 0x00\n    }" if message_authenticator else ""
        config = folder / "radiusd.conf"
        config.touch(mode=0o600)
        config.write_text(f"""
prefix = /usr
localstatedir = {folder}
logdir = {folder}
run_dir = {folder}
libdir = {MODULES}
max_request_time = 120
cleanup_delay = 5
max_requests = 16384
security {{
  allow_vulnerable_openssl = yes
  reject_delay = 0
  status_server = {"yes" if status_server else "no"}
}}
thread pool {{
  start_servers = 4
  max_servers = 16
  min_spare_servers = 2
  max_spare_servers = 8
}}
{listed}
proxy_requests = {"yes" if home else "no"}
proxy server {{
  default_fallback = no
}}
{home.text() if home else ""}
modules {{
  always ok {{
    rcode = ok
  }}
  files {{
    filename = {folder}/users
  }}
  pap {{
  }}
  chap {{
  }}
  mschap {{
    use_mppe = yes
    with_ntdomain_hack = yes
  }}
  detail {{
    filename = {folder}/detail
    permissions = 0600
    header = "record"
  }}
{modules}
}}
{servers}
server default {{
  listen {{
    type = {kind}
    ipaddr = {address}
    port = {self.address[1]}
    {over_tls}
  }}
  authorize {{
    {sign}
{authorise}
    Autz-Type Status-Server {{
      {sign}
      ok
    }}
  }}
  authenticate {{
{authenticate}
    Auth-Type PAP {{
      pap
    }}
    Auth-Type CHAP {{
      chap
    }}
    Auth-Type MS-CHAP {{
      mschap
    }}
  }}
  preacct {{
    ok
  }}
  accounting {{
    {"detail" if kind == "acct" else "ok"}
  }}
  post-auth {{
{post_auth}
    {sign}
    Post-Auth-Type REJECT {{
      {sign}
    }}
  }}
}}
""")
        self.process: subprocess.Popen | None = None

    def start(self) -> "FreeRADIUS":
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.inside("freeradius", "-f", "-xx", "-l", "stdout", "-d", str(self.folder), "-n", "radiusd"),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

        def ready():
            assert self.process.poll() is None, f"freeradius ended:\n{self.text()[-3000:]}"
            return "Ready to process requests" in self.text()

        wait_until(ready, what="freeradius is ready")
        return self

    def stop(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def records(self) -> list[list[str]]:
        """What it has kept: the attributes of each Accounting-Request, in their order, as FreeRADIUS writes them."""
        detail = self.folder / "detail"
        blocks = detail.read_text().strip().split("\n\n") if detail.exists() else []
        ours = ("Acct-Unique-Session-Id", "Event-Timestamp", "Tmp-String-9", "Timestamp")
        lines = [[line.strip() for line in block.splitlines() if line.startswith("\t")] for block in blocks]
        return [[line for line in block if not line.startswith(ours)] for block in lines]

    def received(self) -> int:
        """How many Access-Requests have come."""
        return self.text().count(") Received Access-Request")
