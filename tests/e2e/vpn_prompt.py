"""OpenVPN's management interface, on both sides: what the window on a user's screen says to its OpenVPN, and a program beside
the server that asks RADIUS and hands its prompts on to the client (management-notes.txt, "Challenge/Response Protocol")."""

import base64
import queue
import re
import socket
import threading
from pathlib import Path

from radius_client import ACCESS_ACCEPT, ACCESS_CHALLENGE, PROMPT, REPLY_MESSAGE, STATE


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def quoted(text: str) -> str:
    return '"%s"' % text.replace("\\", "\\\\").replace('"', '\\"')


class Management(threading.Thread):
    """Listens where OpenVPN calls, and is told one line after the other."""

    def __init__(self, folder: Path):
        super().__init__(daemon=True)
        self.path = folder / "management"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen()
        self.channel: socket.socket | None = None
        self.failure: BaseException | None = None
        self.start()

    @property
    def options(self) -> list[str]:
        return ["--management", str(self.path), "unix", "--management-client"]

    def run(self) -> None:
        try:
            self.channel, _ = self.listener.accept()
            with self.channel.makefile(encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    self.line(line.rstrip("\r\n"))
        except OSError:
            pass  # it was closed
        except BaseException as failure:  # told by stop(): a thread's own would be lost
            self.failure = failure

    def line(self, line: str) -> None:
        raise NotImplementedError

    def say(self, line: str) -> None:
        self.channel.sendall(line.encode() + b"\n")

    def stop(self) -> None:
        for one in (self.channel, self.listener):
            if one is not None:
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # the other side was first
                one.close()
        self.join(5)
        if self.failure:
            raise self.failure


class Window(Management):
    """Types name, password, and whatever is asked for besides. `prompts` has what was shown."""

    def __init__(self, folder: Path, user: str, password: str):
        self.user, self.password = user, password
        self.prompts: list[str] = []
        self.answers: queue.Queue[str] = queue.Queue()
        self.challenge: tuple[str, str] | None = None
        super().__init__(folder)

    def line(self, line: str) -> None:
        if found := re.match(r">PASSWORD:Verification Failed: 'Auth' \['CRV1:([^:]*):([^:]*):([^:]*):(.*)'\]", line):
            _, state, _, text = found.groups()
            self.challenge = state, text
        elif found := re.match(r">PASSWORD:Need 'Auth' username/password(?: SC:\d,(.*))?", line):
            password = self.password
            if self.challenge:
                state, text = self.challenge
                self.challenge = None
                password = f"CRV1::{state}::{self.ask(text)}"
            elif text := found.group(1):
                password = f"SCRV1:{base64_of(password)}:{base64_of(self.ask(text))}"
            self.say(f'username "Auth" {quoted(self.user)}')
            self.say(f'password "Auth" {quoted(password)}')

    def ask(self, text: str) -> str:
        self.prompts.append(text)
        return self.answers.get(timeout=60)


class Asker(Management):
    """Beside the server: an Access-Request for each client, and an Access-Challenge becomes a dynamic challenge."""

    def __init__(self, folder: Path, nas):
        self.nas = nas
        self.lock = threading.Lock()
        self.client: tuple[str, str] | None = None
        self.environment: dict[str, str] = {}
        super().__init__(folder)

    @property
    def options(self) -> list[str]:
        return [*super().options, "--management-client-auth"]

    def line(self, line: str) -> None:
        if found := re.match(r">CLIENT:(?:CONNECT|REAUTH),(\d+),(\d+)", line):
            self.client, self.environment = found.groups(), {}
        elif line == ">CLIENT:ENV,END":
            if self.client:
                threading.Thread(target=self.decide, args=(self.client, self.environment), daemon=True).start()
            self.client = None
        elif found := re.match(r">CLIENT:ENV,([^=]*)=(.*)", line):
            self.environment[found.group(1)] = found.group(2)

    def decide(self, client: tuple[str, str], environment: dict[str, str]) -> None:
        user, password = environment["username"], environment["password"]
        more = []
        if found := re.fullmatch(r"CRV1::([0-9a-f]*)::(.*)", password):
            more, password = [(STATE, bytes.fromhex(found.group(1)))], found.group(2)
        with self.lock:
            reply = self.nas.login(user, password, more)
        name = " ".join(client)
        if reply.code == ACCESS_ACCEPT:
            self.say(f"client-auth-nt {name}")
        elif reply.code == ACCESS_CHALLENGE:
            [state], [text] = reply.values(STATE), reply.values(REPLY_MESSAGE)
            flags = "R,E" if reply.values(PROMPT) == [b"\0\0\0\1"] else "R"
            told = f"CRV1:{flags}:{state.hex()}:{base64_of(user)}:{text.decode()}"
            self.say(f"client-deny {name} challenge {quoted(told)}")
        else:
            self.say(f"client-deny {name} refused")
