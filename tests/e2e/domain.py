"""The lab's directories, and how the server comes to know them."""

import os
import subprocess
from pathlib import Path

from harness import LAB

PASSWORD = "Passw0rd-1"
BASE = "DC=example,DC=test"


class Lab:
    """One of the lab's directories."""

    def __init__(self, script: str, state: Path):
        self.script, self.state = script, state

    def run(self, command: str, stdin: str = "") -> str:
        done = subprocess.run(
            [LAB / self.script, command], input=stdin, text=True, capture_output=True, timeout=180,
            env=os.environ | {"LAB": str(self.state)},
        )  # fmt: skip
        assert done.returncode == 0, f"{self.script} {command}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def up(self) -> "Lab":
        self.settings = dict(word.split("=", 1) for word in self.run("up").split() if "=" in word)
        return self

    @property
    def url(self) -> str:
        return f"ldaps://127.0.0.1:{self.settings['LDAPS_PORT']}"


def add_directory(server, lab, name, *options, ca: str, bind_name: str, base: str = BASE):
    server.canaries.add(PASSWORD)
    return server.ask(
        "directory", "add", name, "--server", lab.url, "--base", base, "--bind-name", bind_name,
        "--bind-password-stdin", "--ca-file", lab.state / ca, *options, stdin=PASSWORD + "\n",
    )  # fmt: skip


def add_domain(server, dc):
    """The domain EXAMPLE, as `corp`. Its own lockout is at three."""
    return add_directory(
        server, dc, "corp", "--kind", "ad", "--netbios-domain", "EXAMPLE", "--lockout-threshold", "3",
        ca="samba/tls/ca.pem", bind_name="svc-mfa@example.test",
    )  # fmt: skip
