import os
import subprocess
from pathlib import Path

import pytest

import domain
import harness


@pytest.fixture(scope="session", autouse=True)
def binary(request):
    wanted = any("server" in item.fixturenames for item in request.session.items)
    if wanted and not harness.BINARY.exists():
        pytest.exit(f"{harness.BINARY} is missing: cargo build -p countersign, or set COUNTERSIGN_BIN", returncode=1)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server for the tests of one module. Each test brings users and resources of its own."""
    server = harness.Server(tmp_path_factory.mktemp("server") / "data").start()
    yield server
    server.stop()
    server.check_traces()


@pytest.fixture
def new_server(tmp_path):
    """Servers for one test, not started: `new_server()`."""
    servers = []

    def make() -> harness.Server:
        servers.append(harness.Server(tmp_path / f"data{len(servers)}"))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()
        if server.log.exists():
            server.check_traces()


@pytest.fixture
def user(server):
    """Makes users; their phones' last watchers end with the test."""
    users = []

    def make(*arguments, **named) -> harness.User:
        users.append(server.user(*arguments, **named))
        return users[-1]

    yield make
    for one in users:
        if one.phone:
            one.phone.end()


@pytest.fixture
def phone(server, tmp_path):
    """Makes phones for users who came from elsewhere."""
    phones = []

    def make(user: str) -> harness.Phone:
        phones.append(harness.Phone(tmp_path / f"phone{len(phones)}.json"))
        phones[-1].activate(server, user)
        return phones[-1]

    yield make
    for one in phones:
        one.end()


@pytest.fixture(scope="session")
def dc(tmp_path_factory):
    """The domain controller. Whoever changes one of its users takes one that nobody else looks at."""
    harness.need("samba", "ldbmodify", "socat", "nsenter")
    if os.getuid() != 0:
        harness.missing("a domain controller needs root")
    lab = domain.Lab("samba-dc.sh", tmp_path_factory.mktemp("dc")).up()
    yield lab
    lab.run("down")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of so many octets."""
    mounted = []

    def make(size: int) -> Path:
        path = tmp_path / f"disk{len(mounted)}"
        path.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", path], capture_output=True)
        if done.returncode != 0:
            harness.missing("only root can mount a disk that is small enough to be full")
        mounted.append(path)
        return path

    yield make
    for path in mounted:
        subprocess.run(["umount", "-l", path], check=True)
