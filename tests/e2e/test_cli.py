"""What the command line says when something is wrong, and the exit codes that scripts rely on."""

import json
import socket
import sqlite3
import stat
import subprocess

import pytest

from harness import BINARY, Resource, Server, environment, execute, wait_until
from radius_client import ACCESS_ACCEPT, ACCESS_REJECT

SILENT, ACCEPT, REJECT, USAGE = 2, 0, 1, 64


def start_failing(server: Server) -> str:
    """What `serve` says when it cannot start."""
    result = execute("serve", "--data", server.data, timeout=20)
    assert result.code not in (0, 101), result
    assert "ready" not in result.out
    text = result.out + result.err
    assert "panicked" not in text and "Stack backtrace" not in text
    return text


# serve


def test_a_first_start_writes_a_commented_file(tmp_path):
    data = tmp_path / "data"
    # With its defaults it may find the ports taken; the file is there all the same.
    process = subprocess.Popen(
        [BINARY, "serve", "--data", data], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
    )
    try:
        wait_until((data / "countersign.toml").exists, what="countersign.toml")
    finally:
        process.terminate()
        process.wait(20)
    text = (data / "countersign.toml").read_text()
    for word in ("[radius]", "[app]", "[admin]", "[database]", "[keys]", "listen", "url", "#"):
        assert word in text


def test_a_bad_file_is_named_with_its_line(new_server):
    server = new_server()
    (server.data / "countersign.toml").write_text('[radius]\nlisten = "127.0.0.1:1812"\nlisten_too = 1\n')
    text = start_failing(server)
    assert "countersign.toml" in text and "listen_too" in text and "3" in text


def test_a_taken_port_is_named(new_server):
    server = new_server()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(server.radius)
        text = start_failing(server)
    assert str(server.radius[1]) in text and "in use" in text


def test_a_key_file_that_others_can_read_is_refused(new_server):
    server = new_server().start()
    server.stop()
    [keys] = [path for path in server.data.iterdir() if path.is_file() and "key" in path.name.lower()]
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    keys.chmod(0o644)
    text = start_failing(server)
    assert keys.name in text and "600" in text


def test_a_newer_database_is_refused(new_server):
    server = new_server().start()
    server.stop()
    [database] = [path for path in server.data.iterdir() if path.read_bytes()[:15] == b"SQLite format 3"]
    with sqlite3.connect(database) as connection:
        connection.execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)"
            " VALUES (99999999999999, 'from the future', TRUE, x'00', 0)"
        )
    connection.close()
    assert "newer" in start_failing(server)


def test_a_second_server_on_the_same_folder_is_refused(server):
    text = start_failing(server)
    assert "in use" in text or "running" in text


def test_the_data_folder_is_nobody_elses(server):
    for path in server.data.rglob("*"):
        if path.name != "countersign.toml":
            assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0, path


# Commands against the server


def test_without_a_server_a_command_says_so(new_server):
    result = new_server().cli("user", "list")
    assert result.code == 1
    assert "running" in result.err and "serve" in result.err


def test_users_from_beginning_to_end(server):
    server.ask("user", "add", "carol", "--password-stdin", stdin="canary-carol\n")
    server.canaries.add("canary-carol")
    assert "carol" in json.dumps(server.ask("user", "list"))
    shown = server.ask("user", "show", "carol")
    assert "carol" in json.dumps(shown) and "canary" not in json.dumps(shown)
    again = server.cli("user", "add", "carol", "--password-stdin", stdin="other-password\n")
    assert again.code == 1 and "carol" in again.err and "exists" in again.err
    for verb in ("disable", "enable", "remove"):
        server.ask("user", verb, "carol")
    gone = server.cli("user", "show", "carol")
    assert gone.code == 1 and "carol" in gone.err


@pytest.mark.parametrize("password", ["", "\n"])
def test_an_empty_password_is_refused(server, password):
    result = server.cli("user", "add", "empty", "--password-stdin", stdin=password)
    assert result.code == 1 and "empty" in result.err


def test_one_trailing_newline_is_not_part_of_a_password(server, user):
    alice = user(password="canary with a newline\n")
    nas = server.resource(primary="local").nas()
    request = nas.packet(user=alice.name, password="canary with a newline\n")
    nas.send(request)
    alice.phone.answer("verify")
    assert nas.receive(request, 10).code == 2


@pytest.mark.parametrize(
    ("secret", "word"), [("short", "16"), ("", "empty"), ("Vb3ky0wq7Lr2Ne9x", None)], ids=["short", "empty", "fine"]
)
def test_a_shared_secret_is_long_enough(server, secret, word):
    result = server.cli(
        "resource", "add", f"vpn-{len(secret)}", "--kind", "radius", "--client", f"127.0.2.{len(secret) + 1}/32",
        "--secret-stdin", "--primary", "local", stdin=secret + "\n",
    )  # fmt: skip
    assert (result.code == 0) == (word is None), result
    assert word is None or word in result.err


def test_a_generated_secret_is_shown_once(server):
    made = server.cli("resource", "add", "generated", "--client", "127.0.3.1/32", "--kind", "radius",
                      "--generate-secret", "--primary", "local", "--json")  # fmt: skip
    assert made.code == 0, made
    secret = json.loads(made.out)["secret"]
    server.canaries.add(secret)
    assert len(secret) >= 32
    assert secret not in server.cli("resource", "show", "generated", "--json").out
    assert secret not in server.cli("resource", "list", "--json").out
    server.ask("resource", "remove", "generated")


def test_an_activation_has_all_that_a_phone_needs(server, user):
    alice = user(device=False)
    activation = server.ask("activation", "issue", alice.name)
    assert activation["url"] == server.url
    assert activation["qr"].startswith(f"{server.url}/activate#v=1&t=")
    groups = activation["code"].split("-")
    assert [len(group) for group in groups] == [4, 4, 4]
    server.canaries.add(activation["code"])
    server.canaries.add(activation["qr"].split("t=")[1].split("&")[0])
    assert activation["expires_at"].endswith("Z")
    picture = server.data.parent / "qr.png"
    server.ask("activation", "issue", alice.name, "--png", picture)
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_an_activation_lasts_24_hours_at_most(server, user):
    alice = user(device=False)
    result = server.cli("activation", "issue", alice.name, "--expires", "25h")
    assert result.code != 0 and "24" in result.err


def test_a_device_is_listed_and_removed(server, user):
    alice = user()
    [device] = server.ask("device", "list", alice.name)
    server.ask("device", "remove", device["id"])
    watch = alice.phone.run("watch", "--answer", "verify", "--once")
    assert watch.code != 0 and "removed" in (watch.out + watch.err)


@pytest.mark.parametrize(
    "arguments", [["no-such-command"], ["user"], ["user", "add"], ["resource", "add", "x", "--primary", "maybe"]]
)
def test_wrong_usage_is_told_apart(server, arguments):
    result = server.cli(*arguments)
    assert result.code == USAGE
    assert "--help" in result.err


def test_audit_export_is_json_lines_with_all_members(server, user):
    user()
    result = server.cli("audit", "export")
    assert result.code == 0
    members = (
        "seq time event login user_id user_typed actor resource client door source source_trust factor device"
        " number_mode result reason binding prev hash"
    ).split()
    records = [json.loads(line) for line in result.out.splitlines()]
    assert records
    for record in records:
        assert [member for member in record if member in members] == members
    assert [record["seq"] for record in records] == list(range(records[0]["seq"], records[0]["seq"] + len(records)))
    assert all(later["prev"] == earlier["hash"] for earlier, later in zip(records, records[1:]))


def test_audit_verify_passes_and_doctor_is_content(server):
    assert server.cli("audit", "verify").code == 0
    result = server.cli("doctor")
    assert result.code == 0, result.out + result.err


# radius-login


def radius_login(server, resource, user, *options, password=None, secret=None):
    stdin = (secret or resource.secret) + "\n" + (password + "\n" if password is not None else "")
    more = ["--password-stdin"] if password is not None else []
    return execute(
        "radius-login", user, "--server", "%s:%d" % server.radius, "--secret-stdin", *more, *options, stdin=stdin
    )


@pytest.fixture(scope="module")
def local(server):
    """A resource whose client is this machine's own address."""
    secret = "canary-secret-for-radius-login"
    server.canaries.add(secret)
    made = server.ask("resource", "add", "local", "--kind", "radius", "--client", "127.0.0.1/32", "--secret-stdin",
               "--primary", "local", stdin=secret + "\n")  # fmt: skip
    return Resource(server, made["id"], "local", "127.0.0.1", secret)


def test_radius_login_exit_codes(server, local, user):
    alice = user()
    alice.phone.watch("verify")
    assert radius_login(server, local, alice.name, password=alice.password).code == ACCEPT
    assert radius_login(server, local, alice.name, password="wrong").code == REJECT
    assert radius_login(server, local, alice.name, "--timeout", "2", password="x", secret="wrong-secret-here").code == SILENT
    assert execute("radius-login").code == USAGE
    # No terminal to ask on is no reject.
    assert execute("radius-login", alice.name).code == USAGE


def test_usage_errors_are_json_where_json_is_asked_for():
    result = execute("user", "add", "--json")
    assert (result.code, result.out) == (USAGE, "")
    problem = json.loads(result.err)
    assert problem["code"] == "usage" and "<NAME>" in problem["detail"]


# The database under a running server


def test_s97_nobody_is_let_in_when_the_database_is_gone(new_server):
    server = new_server().start()
    resource, alice = server.resource(primary="local"), server.user()
    database, aside = server.data / "countersign.db", server.data / "aside"
    database.rename(aside)
    alice.phone.watch("verify")
    assert resource.nas().login(alice.name, alice.password).code == ACCESS_REJECT
    doctor = server.cli("doctor")
    assert doctor.code == 1 and "database" in doctor.out
    aside.rename(database)
    assert resource.nas().login(alice.name, alice.password).code == ACCESS_ACCEPT
    assert server.cli("doctor").code == 0
    assert len(server.verdicts(result="accept")) == 1
    alice.phone.end()
