"""OpenVPN: a server that asks countersign, and clients, each in a network namespace of its own."""

import ctypes
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

from harness import missing, need, wait_until
from middle import Middle
from vpn_prompt import Window

SERVER, CLIENT = "192.0.2.1", "192.0.2.2"  # between the two namespaces, and nowhere else
INSIDE = "10.99.0.1"  # what is reached through the tunnel and not without
PORT = 1194
# Python has os.setns from 3.12.
_libc = ctypes.CDLL(None, use_errno=True)


def can_tunnel() -> None:
    """Say why where no tunnel can be made on this machine."""
    need("openvpn", "ip", "unshare", "nsenter")
    if os.getuid() != 0:
        missing("OpenVPN needs root, for a tunnel")
    if not Path("/dev/net/tun").exists():
        missing("/dev/net/tun does not exist here: no tunnel can be made")
    done = subprocess.run(
        ["unshare", "--net", "ip", "tuntap", "add", "dev", "tun0", "mode", "tun"], capture_output=True, text=True
    )
    if done.returncode:
        missing(f"no tunnel can be made here: {done.stderr}")


class Namespace:
    """A network namespace, held by a process that sleeps."""

    def __init__(self):
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], start_new_session=True)
        wait_until(lambda: os.readlink(self.path) != os.readlink("/proc/self/ns/net"), what="a network namespace")
        self.run("ip", "link", "set", "lo", "up")

    @property
    def path(self) -> str:
        return f"/proc/{self.holder.pid}/ns/net"

    def enter(self, *command) -> list[str]:
        return ["nsenter", f"--net={self.path}", *map(str, command)]

    def run(self, *command) -> str:
        return subprocess.run(self.enter(*command), check=True, capture_output=True, text=True).stdout

    def udp_socket(self, address: tuple[str, int]) -> socket.socket:
        """A socket in there. The one who asks stays outside."""
        with open("/proc/self/ns/net") as outside, open(self.path) as inside:
            assert _libc.setns(inside.fileno(), 0) == 0, os.strerror(ctypes.get_errno())
            try:
                made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            finally:
                assert _libc.setns(outside.fileno(), 0) == 0, os.strerror(ctypes.get_errno())
        made.bind(address)
        return made

    def stop(self) -> None:
        self.holder.kill()
        self.holder.wait()


class Tunnel:
    """The server's side: its namespace and the client's, the certificate, and OpenVPN."""

    def __init__(self, folder: Path, resource):
        can_tunnel()
        self.folder, self.resource = folder, resource
        self.server, self.client = Namespace(), Namespace()
        self.process: subprocess.Popen | None = None
        self.dials: list[Dial] = []
        self.server.run(
            "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", str(self.client.holder.pid)
        )
        for namespace, address in ((self.server, SERVER), (self.client, CLIENT)):
            namespace.run("ip", "address", "add", f"{address}/24", "dev", "eth0")
            namespace.run("ip", "link", "set", "eth0", "up")
        # The RADIUS server of the VPN is an address in its namespace; the packets go on to countersign from there.
        self.radius = Middle(resource.server.radius, resource.source, self.server.udp_socket(("127.0.0.1", 1812)))
        self.accounting = Middle(resource.server.accounting, resource.source, self.server.udp_socket(("127.0.0.1", 1813)))
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-subj", "/CN=vpn.example.test", "-addext", "extendedKeyUsage=serverAuth", "-addext",
             "keyUsage=digitalSignature,keyAgreement", "-keyout", folder / "key.pem", "-out", folder / "certificate.pem"],
            check=True, capture_output=True,
        )  # fmt: skip

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def start(self, *more: str, options: list[str] = ()) -> "Tunnel":
        config = self.folder / "server.conf"
        config.write_text(
            "\n".join(
                [
                    f"local {SERVER}", f"port {PORT}", "proto udp4", "dev tun", "topology subnet",
                    "server 10.99.0.0 255.255.255.0", f"ca {self.folder}/certificate.pem", f"cert {self.folder}/certificate.pem",
                    f"key {self.folder}/key.pem", "dh none", "verify-client-cert none", "username-as-common-name",
                    f"status {self.folder}/status 1", f"tmp-dir {self.folder}", "keepalive 5 30", "hand-window 60",
                    "auth-gen-token", "disable-dco", "verb 3", *more,
                ]
            )
            + "\n"
        )  # fmt: skip
        # In a mount namespace, where a folder of ours stands in for /etc/pam.d.
        services = self.folder / "pam.d"
        services.mkdir(exist_ok=True)
        script = 'mount --bind "$1" /etc/pam.d && shift && exec "$@"'
        inside = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script, "sh", services]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.server.enter(*inside, "openvpn", "--config", config, *options), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        wait_until(self._ready, what="the OpenVPN server")
        return self

    def _ready(self) -> bool:
        text = self.log.read_text(errors="replace")
        assert self.process.poll() is None, text
        return "Initialization Sequence Completed" in text

    def plugin(self, *, wait: int = 30, tries: int = 1) -> str:
        """The RADIUS plugin of Debian's openvpn-auth-radius."""
        library = "/usr/lib/openvpn/radiusplugin.so"
        if not Path(library).exists():
            missing("openvpn-auth-radius is not installed (scripts/setup-tests installs it)")
        config = self.folder / "radiusplugin.cnf"
        config.touch(mode=0o600)
        # It counts ports above 32767 wrong; this one is in a namespace.
        address = self.radius.address
        config.write_text(f"""NAS-Identifier=vpn
Service-Type=5
Framed-Protocol=1
NAS-Port-Type=5
NAS-IP-Address=192.0.2.1
OpenVPNConfig={self.folder}/server.conf
subnet=255.255.255.0
overwriteccfiles=false
useauthcontrolfile=true
server
{{
	acctport={self.accounting.address[1]}
	authport={address[1]}
	name={address[0]}
	retry={tries}
	wait={wait}
	sharedsecret={self.resource.secret}
}}
""")
        return f"plugin {library} {config}"

    def pam(self, *answers: str) -> str:
        """OpenVPN's own PAM plugin, and pam_radius_auth behind it. `answers` are what PAM asks, and what is answered."""
        services = self.folder / "pam.d"
        services.mkdir()
        config = self.folder / "pam_radius.conf"
        config.touch(mode=0o600)
        config.write_text("%s:%d %s 30\n" % (*self.radius.address, self.resource.secret))
        (services / "openvpn").write_text(
            f"auth requisite pam_radius_auth.so conf={config}\naccount required pam_permit.so\n"
        )
        # Deferred, so that one who waits holds nobody else up.
        return 'setenv deferred_auth_pam 1\nplugin %s "openvpn %s"' % (
            "/usr/lib/openvpn/openvpn-plugin-auth-pam.so", " ".join(["login", "USERNAME", "Password", "PASSWORD", *answers])
        )  # fmt: skip

    def dial(self, user: str, password: str, *more: str, window: bool = False) -> "Dial":
        self.dials.append(Dial(self, user, password, *more, window=window))
        return self.dials[-1]

    def reachable(self) -> bool:
        """Whether the client reaches what is behind the server."""
        script = f"import socket; socket.create_connection(('{INSIDE}', 7), 2)"
        done = subprocess.run(self.client.enter("python3", "-c", script), capture_output=True, text=True)
        return "Connection refused" in done.stderr  # nobody listens there, but somebody says so

    def stop(self) -> None:
        for one in self.dials:
            one.stop()
        if self.process is not None:
            end(self.process)
        self.accounting.stop()
        self.radius.stop()
        self.server.stop()
        self.client.stop()


class Dial:
    """One client. With a `window` it asks for name and password there, and for more; without, a file has them."""

    def __init__(self, tunnel: Tunnel, user: str, password: str, *more: str, window: bool):
        self.folder = tunnel.folder / f"client{len(tunnel.dials)}"
        self.folder.mkdir()
        self.log = self.folder / "log"
        self.window = Window(self.folder, user, password) if window else None
        if window:
            # Where it is refused with a prompt it asks again, with the answer.
            login = [*self.window.options, "--management-query-passwords", "--auth-user-pass", "--auth-retry", "interact"]
        else:
            file = self.folder / "login"
            file.touch(mode=0o600)
            file.write_text(f"{user}\n{password}\n")
            login = ["--auth-user-pass", file]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                tunnel.client.enter(
                    "openvpn", "--client", "--dev", "tun", "--proto", "udp4", "--remote", SERVER, PORT, "--nobind",
                    "--ca", tunnel.folder / "certificate.pem", "--remote-cert-tls", "server", "--hand-window", "60",
                    "--connect-retry", "1", "1", "--disable-dco", "--verb", "3", *login, *more,
                ),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def outcome(self, timeout: float = 60) -> str:
        """`connected`, or `refused`."""

        def seen():
            text = self.text()
            if "Initialization Sequence Completed" in text:
                return "connected"
            if re.search(r"AUTH_FAILED(?!,CRV1)", text):
                return "refused"
            assert self.process.poll() is None, text
            return None

        return wait_until(seen, timeout, what=f"an outcome in {self.log}")

    def stop(self) -> None:
        end(self.process)
        if self.window:
            self.window.stop()


def end(process: subprocess.Popen) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

