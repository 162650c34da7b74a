"""The real program, driven as an operator drives it."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from radius_client import NAS

ROOT = Path(__file__).resolve().parents[2]
LAB = ROOT / "tests" / "lab"
BINARY = Path(os.environ.get("COUNTERSIGN_BIN", ROOT / "target" / "debug" / "countersign"))


def wait_until(condition, timeout: float = 20, what: str = "condition", every: float = 0.02):
    """What `condition` returns once it is true."""
    end = time.monotonic() + timeout
    while True:
        if found := condition():
            return found
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {timeout} s")
        time.sleep(every)


def free_port(kind=socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def need(*programs: str) -> None:
    """Skip where a program is missing on a developer's machine; fail where all must run."""
    for program in programs:
        if shutil.which(program) is None:
            missing(f"{program} is not installed (scripts/setup-tests installs it)")


def missing(why: str) -> None:
    (pytest.fail if os.environ.get("CI") else pytest.skip)(why)


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COUNTERSIGN_", "RUST_"))}
    return kept | {"RUST_BACKTRACE": "0"}


class Failed(AssertionError):
    """A command that was to succeed and did not."""


@dataclass
class Result:
    code: int
    out: str
    err: str


def execute(*arguments, stdin: str = "", timeout: float = 60) -> Result:
    done = subprocess.run(
        [BINARY, *map(str, arguments)], input=stdin, text=True, capture_output=True, timeout=timeout, env=environment()
    )
    return Result(done.returncode, done.stdout, done.stderr)


class Server:
    """`countersign serve` on a folder of its own, with free ports."""

    def __init__(self, data: Path):
        self.data = data
        self.radius = ("127.0.0.1", free_port(socket.SOCK_DGRAM))
        self.accounting = ("127.0.0.1", free_port(socket.SOCK_DGRAM))
        self.url = f"http://localhost:{free_port()}"
        self.log = data.parent / f"{data.name}.log"
        self.canaries: set[str] = set()
        self.process: subprocess.Popen | None = None
        self._sources = iter(f"127.0.1.{n}" for n in range(1, 255))
        self._users = iter(range(1, 10_000))
        data.mkdir(mode=0o700)
        self.write_config()

    def write_config(self) -> None:
        (self.data / "countersign.toml").write_text(
            f'[radius]\nlisten = "{self.radius[0]}:{self.radius[1]}"\n'
            f'accounting = ["{self.accounting[0]}:{self.accounting[1]}"]\n\n'
            f'[app]\nlisten = "127.0.0.1:{self.url.rsplit(":", 1)[1]}"\nurl = "{self.url}"\n'
        )

    # Its life.

    def start(self) -> "Server":
        assert self.process is None
        begin = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [BINARY, "serve", "--data", self.data],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment() | {"COUNTERSIGN_LOG": "debug"},
                start_new_session=True,
            )

        def ready():
            text = self.log.read_bytes()[begin:].decode(errors="replace")
            assert self.process.poll() is None, f"serve ended with {self.process.returncode}:\n{text}"
            return re.search(r"^ready\b", text, re.MULTILINE)

        wait_until(ready, what="ready")
        return self

    def stop(self) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError("serve did not end within 20 s of SIGTERM") from None
        assert code == 0, f"serve ended with {code}"

    def kill(self) -> None:
        """kill -9, as a power cut would."""
        process, self.process = self.process, None
        process.kill()
        process.wait()

    def check_traces(self) -> None:
        """No panic in the log, and no secret in it or in any file of the data folder."""
        text = self.log.read_text(errors="replace")
        assert "panicked at" not in text, text[max(0, text.index("panicked at") - 500) :][:2000]
        files = [self.log] + [path for path in self.data.rglob("*") if path.is_file()]
        for path in files:
            content = path.read_bytes()
            found = [canary for canary in self.canaries if canary.encode() in content]
            assert not found, f"secrets in clear in {path}: {found}"

    # The command line.

    def cli(self, *arguments, stdin: str = "") -> Result:
        return execute("--data", self.data, *arguments, stdin=stdin)

    def ask(self, *arguments, stdin: str = ""):
        """A command that must succeed; what its --json says."""
        result = self.cli(*arguments, "--json", stdin=stdin)
        if result.code != 0:
            raise Failed(f"countersign {' '.join(map(str, arguments))}: exit {result.code}\n{result.out}{result.err}")
        return json.loads(result.out) if result.out.strip() else None

    def audit(self, **fields) -> list[dict]:
        """The audit records with these fields, oldest first."""
        result = self.cli("audit", "export")
        assert result.code == 0, result
        records = [json.loads(line) for line in result.out.splitlines()]
        return [record for record in records if all(record[name] == value for name, value in fields.items())]

    def verdicts(self, **fields) -> list[dict]:
        """The audit records that end a login."""
        return self.audit(event="login.ended", **fields)

    def logins(self, user: str) -> set[str]:
        """The logins that somebody began under this name."""
        return {record["login"] for record in self.audit(user_typed=user) if record["login"]}

    # Whom it knows.

    def user(self, name: str | None = None, password: str | None = None, device: bool = True) -> "User":
        number = next(self._users)
        name = name or f"user{number}"
        password = password if password is not None else f"canary-password-{number}"
        if len(password) >= 12:  # a shorter one may stand anywhere by chance
            self.canaries.add(password)
        self.ask("user", "add", name, "--password-stdin", stdin=password + "\n")
        user = User(self, name, password)
        if device:
            user.phone = Phone(self.data.parent / f"{self.data.name}-phone{number}.json")
            user.phone.activate(self, name)
        return user

    def resource(
        self, *options, primary: str | None = "local", name: str | None = None, answer_by: int | None = 30
    ) -> "Resource":
        """One with a client of its own. What is None is left to the program."""
        source = next(self._sources)
        name = name or f"resource-{source.rsplit('.', 1)[1]}"
        secret = f"canary-secret-of-{name}-0123456789"
        self.canaries.add(secret)
        chosen = [("--primary", primary), ("--answer-by", answer_by)]
        said = [part for option, value in chosen if value is not None for part in (option, value)]
        made = self.ask(
            "resource", "add", name, "--kind", "radius", "--client", f"{source}/32", "--secret-stdin", *said, *options,
            stdin=secret + "\n",
        )  # fmt: skip
        return Resource(self, made["id"], name, source, secret)


@dataclass
class Phone:
    """`countersign phone` with a state of its own."""

    state: Path
    watchers: list[subprocess.Popen] = field(default_factory=list)

    def run(self, *arguments) -> Result:
        return execute("phone", "--state", self.state, *arguments)

    def activate(self, server: Server, user: str) -> None:
        activation = server.ask("activation", "issue", user)
        server.canaries.add(activation["code"])
        result = self.run("activate", activation["url"], activation["code"])
        assert result.code == 0, f"activate: exit {result.code}\n{result.out}{result.err}"

    def code(self) -> str:
        """The code of its one account, as it is now."""
        result = self.run("codes", "--json")
        assert result.code == 0, result
        [account] = json.loads(result.out)
        return account["code"]

    def watch(self, answer: str, *more: str) -> subprocess.Popen:
        """Answers the next challenge in the background, and then ends."""
        process = subprocess.Popen(
            [BINARY, "phone", "--state", self.state, "watch", "--answer", answer, *more, "--once"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(),
        )
        self.watchers.append(process)
        return process

    def answer(self, answer: str, *more: str, timeout: float = 30) -> str:
        """Answers one challenge, waiting for it; what the phone printed."""
        process = self.watch(answer, *more)
        out, _ = process.communicate(timeout=timeout)
        assert process.returncode == 0, f"watch --answer {answer}: exit {process.returncode}\n{out}"
        return out

    def shown(self) -> str:
        """Answers a challenge that brings digits for the prompt; the digits."""
        printed = self.answer("verify")
        found = re.findall(r"\b(\d{3}) ?(\d{3})\b", printed)
        assert found, printed
        return "".join(found[-1])

    def end(self) -> None:
        for process in self.watchers:
            if process.poll() is None:
                process.kill()
            process.communicate()
        self.watchers.clear()


@dataclass
class User:
    server: Server
    name: str
    password: str
    phone: Phone | None = None


@dataclass
class Resource:
    server: Server
    id: str
    name: str
    source: str
    secret: str

    def nas(self, secret: str | None = None) -> NAS:
        return NAS(self.server.radius, (secret or self.secret).encode(), self.source)

    def radclient(self, user: str, password: str | None = None, *, secret=None, options=(), attributes=()):
        """FreeRADIUS's radclient, in the background."""
        need("radclient")
        lines = [f'User-Name = "{user}"', "Message-Authenticator = 0x00", f"Packet-Src-IP-Address = {self.source}"]
        if password is not None:
            lines.append(f'User-Password = "{password}"')
        process = subprocess.Popen(
            ["stdbuf", "-oL", "radclient", "-x", *(options or ("-t", "30", "-r", "1")), "%s:%d" % self.server.radius, "auth",
             secret or self.secret],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        process.stdin.write("\n".join([*lines, *attributes]) + "\n")
        process.stdin.close()
        process.stdin = None
        return process


def finished(process: subprocess.Popen, timeout: float = 60) -> Result:
    out, err = process.communicate(timeout=timeout)
    return Result(process.returncode, out, err or "")
