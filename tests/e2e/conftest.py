import pytest

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
