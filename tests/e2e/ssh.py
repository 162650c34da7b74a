"""An SSH server with an account of its own, whose PAM asks countersign, and the real client."""

import os
import subprocess
from pathlib import Path

from harness import free_port, missing, need, wait_until

# The client asks this for each prompt. It writes the prompt down, and waits for the next line of the answers.
ASKPASS = """#!/bin/sh
printf '%s\\n' "$1" >>"$SSH_PROMPTS"
number=$(wc -l <"$SSH_PROMPTS")
until [ "$(wc -l <"$SSH_ANSWERS")" -ge "$number" ]; do sleep 0.05; done
sed -n "${number}p" "$SSH_ANSWERS"
"""


class Host:
    """Nothing in /etc is changed: sshd runs in a mount namespace where files of ours stand in for it."""

    def __init__(self, folder: Path, resource, accounts: list[str], wait: int = 30):
        need("sshd", "ssh", "ssh-keygen", "unshare")
        if os.getuid() != 0:
            missing("an SSH server with accounts of its own needs root")
        self.folder, self.port = folder, free_port()
        folder.chmod(0o755)
        etc = folder / "etc"
        etc.mkdir()
        lines: dict[str, list[str]] = {"passwd": [], "group": [], "shadow": []}
        for at, name in enumerate(accounts):
            number = 23000 + at
            lines["passwd"].append(f"{name}:x:{number}:{number}::/:/bin/sh\n")
            lines["group"].append(f"{name}:x:{number}:\n")
            lines["shadow"].append(f"{name}:*:20000:0:99999:7:::\n")
        for name, own in lines.items():
            (etc / name).touch(mode=0o600 if name == "shadow" else 0o644)
            (etc / name).write_text("".join(own) + Path("/etc", name).read_text())
        radius = etc / "pam_radius.conf"
        radius.touch(mode=0o600)
        radius.write_text("%s:%d %s %d %s\n" % (*resource.server.radius, resource.secret, wait, resource.source))
        (etc / "pam").write_text(
            f"auth requisite pam_radius_auth.so conf={radius} prompt=Password\n"
            "account required pam_permit.so\nsession required pam_permit.so\n"
        )
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", etc / "key"], check=True)
        (etc / "sshd_config").write_text(f"""ListenAddress 127.0.0.1
Port {self.port}
HostKey {etc}/key
PidFile none
UsePAM yes
PasswordAuthentication no
PubkeyAuthentication no
KbdInteractiveAuthentication yes
AuthenticationMethods keyboard-interactive
LoginGraceTime 120
UseDNS no
PrintMotd no
""")
        (folder / "askpass").write_text(ASKPASS)
        (folder / "askpass").chmod(0o755)
        # The place for unprivileged sshd; empty.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        script = """
            for file in passwd group shadow; do mount --bind "$1/$file" "/etc/$file"; done
            mount --bind "$1/pam" /etc/pam.d/sshd
            exec /usr/sbin/sshd -D -e -f "$1/sshd_config"
        """
        self.log = folder / "sshd.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script, "sh", etc],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

        def ready():
            assert self.process.poll() is None, self.log.read_text()
            return "Server listening" in self.log.read_text()

        wait_until(ready, what="sshd")
        self._sessions = 0

    def logon(self, user: str, *answers: str) -> "Logon":
        self._sessions += 1
        return Logon(self, self._sessions, user, answers)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


class Logon:
    """One client, which answers the prompts in turn."""

    def __init__(self, host: Host, number: int, user: str, answers: tuple[str, ...]):
        self.answers = host.folder / f"answers{number}"
        self._prompts = host.folder / f"prompts{number}"
        self.answers.touch(mode=0o600)
        self.answer(*answers)
        self._prompts.touch()
        self.process = subprocess.Popen(
            ["ssh", "-F", "none", "-n", "-p", str(host.port), "-o", "StrictHostKeyChecking=no",
             "-o", "UserKnownHostsFile=/dev/null", "-o", "PreferredAuthentications=keyboard-interactive",
             "-o", "NumberOfPasswordPrompts=1", f"{user}@127.0.0.1", "echo in as $(id -un)"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ | {
                "SSH_ASKPASS": str(host.folder / "askpass"), "SSH_ASKPASS_REQUIRE": "force",
                "SSH_PROMPTS": str(self._prompts), "SSH_ANSWERS": str(self.answers),
            },
        )  # fmt: skip

    def answer(self, *answers: str) -> None:
        with self.answers.open("a") as file:
            file.write("".join(answer + "\n" for answer in answers))

    def prompts(self) -> list[str]:
        return self._prompts.read_text().splitlines()

    def outcome(self, timeout: float = 60) -> str:
        """`in as NAME`, or what the client says."""
        out, _ = self.process.communicate(timeout=timeout)
        return next((line for line in out.splitlines() if line.startswith("in as ")), out)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
