"""Backup and restore with the real program: while it serves, with kill -9, on a full disk, on a new machine."""

import contextlib
import hashlib
import json
import os
import random
import resource as limits
import shutil
import sqlite3
import stat
import subprocess
import time
from pathlib import Path

import pytest

from harness import BINARY, Result, Server, environment, execute, missing, need, wait_until
from radius_client import ACCESS_ACCEPT, ACCESS_REJECT

SEED = int(os.environ.get("COUNTERSIGN_SEED", random.randrange(2**32)))


def login(resource, user, answer="verify"):
    """One login that the phone answers; the code of the reply."""
    watcher = user.phone.watch(answer)
    nas = resource.nas()
    request = nas.packet([], user=user.name, password=user.password)
    nas.send(request)
    reply = nas.receive(request, 20)
    watcher.wait(20)
    return reply.code


def with_code(resource, user, code):
    nas = resource.nas()
    request = nas.packet([], user=user.name, password=f"{user.password},{code}")
    nas.send(request)
    return nas.receive(request, 20).code


def code_of(user):
    return json.loads(user.phone.run("codes", "--json").out)[0]["code"]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def database(server) -> Path:
    return server.data / "countersign.db"


def refused(result: Result, *words: str) -> None:
    assert result.code == 1 and result.out == "", result
    assert all(word in result.err for word in words), result.err


def pad(server, megabytes: int) -> None:
    """Makes the database of a stopped server large: records that follow the others in the chain."""
    db = sqlite3.connect(database(server))
    seq, prev = db.execute("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    when = db.execute("SELECT max(time) FROM audit").fetchone()[0]
    columns = [row[1] for row in db.execute("PRAGMA table_info(audit)")]
    for _ in range(megabytes * 10):
        seq += 1
        row = dict.fromkeys(columns) | {
            "seq": seq, "time": when, "event": "alert", "actor": "test", "detail": "x" * 100_000, "prev": prev,
        }  # fmt: skip
        sha = hashlib.sha256(b"countersign-audit-v1")
        for name in columns[:-1]:
            value = row[name]
            if isinstance(value, int):
                value = value.to_bytes(8, "big")
            value = value.encode() if isinstance(value, str) else value
            sha.update(b"\0" if value is None else b"\1" + len(value).to_bytes(4, "big") + value)
        prev = row["hash"] = sha.digest()
        db.execute(f"INSERT INTO audit VALUES ({','.join('?' * len(columns))})", [row[name] for name in columns])
    db.commit()
    db.close()


def whole(server) -> None:
    verify = server.cli("audit", "verify")
    assert verify.code == 0, verify.out + verify.err


def left_over(server) -> set[str]:
    """Files that belong to nothing."""
    names = {path.name for path in server.data.iterdir()}
    return {name for name in names if ".restoring" in name or ".check" in name or name.endswith(".part")}


def test_s95_a_restored_server_lets_in_who_should_come_in_and_nobody_else(new_server, tmp_path):
    server = new_server().start()
    keeps, loses, leaves = server.user(), server.user(), server.user()
    resource = server.resource()
    assert login(resource, keeps) == ACCESS_ACCEPT
    backup = tmp_path / "backup"
    made = server.cli("backup", backup)
    assert made.code == 0, made.err
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert str(server.data / "countersign.key") in made.out and "worth nothing" in made.out

    # After the backup: a code is used, a phone is lost, somebody leaves, somebody comes.
    code = code_of(keeps)
    assert with_code(resource, keeps, code) == ACCESS_ACCEPT
    (device,) = server.ask("device", "list", loses.name)
    server.ask("device", "remove", device["id"])
    server.ask("user", "disable", leaves.name)
    late = server.user()
    old_activation = server.ask("activation", "issue", keeps.name)
    refused(server.cli("restore", backup), "must be stopped", "nothing was changed")
    server.stop()
    before = digest(database(server))

    restored = server.ask("restore", backup)
    assert restored["restored"]["before"] == "known" and restored["restored"]["counters_known"]
    assert [(again["what"], again["user"]) for again in restored["restored"]["again"]] == [
        ("device_removed", loses.name), ("user_disabled", leaves.name),
    ]  # fmt: skip
    assert {missing["event"] for missing in restored["restored"]["missing"]} == {"user.added", "activation.redeemed"}
    assert digest(Path(restored["kept_as"])) == before, "what was there is kept as it was"
    assert not left_over(server)

    server.start()
    assert login(resource, keeps) == ACCESS_ACCEPT, "a phone of before still knows its server"
    assert with_code(resource, keeps, code) == ACCESS_REJECT, "a code counted twice"
    assert [record["result"] for record in server.verdicts(reason="code_used")] == ["reject"]
    for user in (loses, leaves, late):
        nas = resource.nas()
        request = nas.packet([], user=user.name, password=user.password)
        nas.send(request)
        assert nas.receive(request, 20).code == ACCESS_REJECT, user.name
    assert [device["user"] for device in server.ask("device", "list")] == [keeps.name, leaves.name]
    assert keeps.phone.run("activate", old_activation["url"], old_activation["code"]).code != 0
    # The owners are told, and no wolf is cried.
    (event,) = server.audit(event="server.restored")
    assert len(server.audit(event="alert", reason="restored")) == 1
    findings = server.ask("doctor")
    assert [finding["level"] for finding in findings if finding["about"] == "restore"] == ["note"]
    verify = server.ask("audit", "verify")
    assert verify["ok"] and verify["restores"][0]["seq"] == event["seq"] and verify["restores"][0]["set_aside"] > 0
    assert "audit.checkpoint does not fit" not in server.log.read_text()


def test_a_backup_is_made_while_people_log_on(new_server, tmp_path):
    server = new_server().start()
    users, resource = [server.user() for _ in range(6)], server.resource()
    server.stop()
    pad(server, 150)
    server.start()
    process = subprocess.Popen(
        [BINARY, "--data", server.data, "--json", "backup", tmp_path / "backup"], stdout=subprocess.PIPE, text=True,
        env=environment(),
    )  # fmt: skip
    during = 0
    for user in users:
        if process.poll() is not None:
            break
        assert login(resource, user) == ACCESS_ACCEPT
        during += process.poll() is None
    out, _ = process.communicate(timeout=120)
    made = json.loads(out)
    print(f"{during} logins during a backup of {made['octets']} octets")
    assert process.returncode == 0 and during > 0 and made["recorded"] and made["key_fault"] is None
    assert made["octets"] > 150_000_000
    (record,) = server.audit(event="backup.made")
    assert json.loads(record["detail"])["file"] == str(tmp_path / "backup")
    checked = server.ask("restore", "--check", tmp_path / "backup")
    assert checked["contents"]["records"] == made["records"] and checked["restored"] is None
    assert not left_over(server)
    assert any(finding["about"] == "backup" and finding["level"] == "ok" for finding in server.ask("doctor"))


def test_s93_no_backup_holds_the_key_and_none_is_read_without_it(new_server, tmp_path):
    server = new_server().start()
    server.user()
    server.resource()
    backup = tmp_path / "backup"
    assert server.cli("backup", backup).code == 0
    key = server.data / "countersign.key"
    content = backup.read_bytes()
    assert key.read_bytes() not in content
    for canary in server.canaries:
        assert canary.encode() not in content
    refused(server.cli("backup", backup), str(backup), "nothing is overwritten")
    assert backup.read_bytes() == content
    server.stop()
    before = digest(database(server))
    kept = key.rename(tmp_path / "key")
    refused(server.cli("restore", backup), str(key), "missing", "Nothing was changed")
    key.write_bytes(os.urandom(32))
    key.chmod(0o600)
    refused(server.cli("restore", backup), "wrong key file", "nothing was changed")
    key.chmod(0o644)
    refused(server.cli("restore", backup), "chmod 600")
    key.unlink()
    kept.rename(key)
    assert digest(database(server)) == before and not left_over(server)
    # A backup is not served by itself, whoever puts it where the database was.
    database(server).unlink()
    shutil.copy(backup, database(server))
    refused(server.cli("serve"), "countersign restore")


def test_what_is_not_whole_is_refused_and_nothing_is_changed(new_server, tmp_path):
    server = new_server().start()
    server.user()
    server.resource()
    good = tmp_path / "good"
    assert server.cli("backup", good).code == 0
    server.stop()
    before = digest(database(server))

    def bad(name, change):
        path = tmp_path / name
        shutil.copy(good, path)
        change(path)
        return path

    def sql(text):
        def change(path):
            db = sqlite3.connect(path)
            db.execute(text)
            db.commit()
            db.close()

        return change

    def cut(path):
        os.truncate(path, path.stat().st_size // 2)

    newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (4711, 'x', 1, x'00', 0)"
    for path, words in [
        (tmp_path / "none", ["none", "No such file"]),
        (bad("text", lambda path: path.write_text("no database\n" * 1000)), ["no database of countersign"]),
        (bad("empty", lambda path: path.write_text("")), ["empty"]),
        (bad("half", cut), ["half"]),
        (bad("newer", sql(newer)), ["newer countersign"]),
        (bad("record", sql("UPDATE audit SET actor = 'nobody' WHERE seq = 2")), ["record 2", "--despite-broken-audit"]),
        (bad("gap", sql("DELETE FROM audit WHERE seq = 2")), ["record 3"]),
        (bad("seed", sql("UPDATE devices SET totp_sealed = zeroblob(49)")), ["devices.totp_sealed"]),
        (bad("secret", sql("UPDATE radius_clients SET secret_sealed = x'01'")), ["radius_clients"]),
        (bad("key", sql("UPDATE server_secrets SET value_sealed = x'01'")), ["server_secrets"]),
        (bad("state", sql("UPDATE devices SET state = 'sleeping'")), ["devices"]),
        (database(server), ["the database itself"]),
    ]:
        for options in ([], ["--check"]):
            result = server.cli("restore", path, *options)
            refused(result, *words)
            assert digest(database(server)) == before and not left_over(server), path
    assert server.cli("restore", bad("again", sql("UPDATE audit SET actor = 'x' WHERE seq = 2")), "--despite-broken-audit").code == 0


def test_a_new_machine_takes_over_with_backup_and_key(new_server, tmp_path):
    old = new_server().start()
    user, resource = old.user(), old.resource()
    backup, export = tmp_path / "backup", tmp_path / "export.jsonl"
    assert old.cli("backup", backup).code == 0
    second = user.phone
    lost = old.user()
    assert login(resource, user) == ACCESS_ACCEPT
    (device,) = old.ask("device", "list", user.name)
    old.ask("device", "remove", device["id"])
    export.write_text(old.cli("audit", "export").out)
    key = (old.data / "countersign.key").read_bytes()
    settings = (old.data / "countersign.toml").read_text()
    old.stop()
    shutil.rmtree(old.data)  # the disaster

    new = old
    refused(new.cli("restore", backup), "countersign.key", "missing")
    (new.data / "countersign.key").write_bytes(key)
    (new.data / "countersign.key").chmod(0o600)
    result = new.cli("restore", backup, "--audit", export)
    assert result.code == 0, result.err
    assert "device removed" in result.out and "NOT KNOWN" in result.out and lost.name in result.out
    assert (new.data / "countersign.toml").read_text() == settings
    assert stat.S_IMODE(database(new).stat().st_mode) == 0o600
    new.start()
    whole(new)
    # A lost phone that was removed stays out; the user comes in again with another.
    nas = resource.nas()
    request = nas.packet([], user=user.name, password=user.password)
    nas.send(request)
    assert nas.receive(request, 20).code == ACCESS_REJECT
    user.phone = type(second)(tmp_path / "phone.json")
    user.phone.activate(new, user.name)
    assert login(resource, user) == ACCESS_ACCEPT
    user.phone.end()


def test_a_database_of_another_server_is_kept_and_told(new_server, tmp_path):
    server, other = new_server().start(), new_server().start()
    server.user()
    backup = tmp_path / "backup"
    assert server.cli("backup", backup).code == 0
    other.user()
    server.stop()
    other.stop()
    # Somebody started a new server in the folder before the old one was restored into it.
    shutil.copy(server.data / "countersign.key", other.data / "countersign.key")
    before = digest(database(other))
    restored = other.ask("restore", backup)
    assert restored["restored"]["before"] == "unknown" and "wrong key file" in restored["restored"]["before_fault"]
    assert digest(Path(restored["kept_as"])) == before
    assert Path(restored["checkpoints_kept_as"]).exists()
    other.start()
    whole(other)
    assert all(finding["level"] != "wrong" for finding in other.ask("doctor"))


def test_kill_during_a_backup_leaves_no_half_one(new_server, tmp_path):
    print(f"COUNTERSIGN_SEED={SEED}")
    rng = random.Random(SEED)
    server = new_server().start()
    server.stop()
    pad(server, 40)
    server.start()
    target, kills = tmp_path / "backup", 0
    begun = time.monotonic()
    assert server.cli("backup", target).code == 0
    usual = time.monotonic() - begun
    for _ in range(8):
        target.unlink(missing_ok=True)
        process = subprocess.Popen(
            [BINARY, "--data", server.data, "backup", target], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
        )
        time.sleep(rng.uniform(0, usual))  # any moment will do
        process.kill()
        kills += process.wait() < 0
        if target.exists():
            assert server.cli("restore", "--check", target).code == 0, "a name was given to half a copy"
    assert kills > 0
    # What they left is in nobody's way.
    target.unlink(missing_ok=True)
    assert server.cli("backup", target).code == 0
    assert {path.name for path in tmp_path.glob("backup*")} == {"backup"}
    whole(server)


def traced_kill(server, call: str, number: int, *arguments) -> int:
    """Runs a command that is killed when it makes its nth call of this kind; its exit code."""
    need("strace")
    done = subprocess.run(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}",
         BINARY, "--data", server.data, *arguments],
        capture_output=True, text=True, env=environment(), timeout=120,
    )  # fmt: skip
    return done.returncode


@pytest.mark.parametrize("call", ["linkat", "rename", "fsync", "unlink", "pwrite64", "openat"])
def test_kill_at_every_step_of_a_restore_leaves_one_database_or_the_other(new_server, tmp_path, call):
    server = new_server().start()
    user, resource = server.user(), server.resource()
    backup = tmp_path / "backup"
    assert server.cli("backup", backup).code == 0
    server.user("late")
    server.kill()  # the newest is in the journal only
    image = tmp_path / "image"
    shutil.copytree(server.data, image, ignore=shutil.ignore_patterns("*.sock"))
    killed, step, outcomes = 0, 1, set()
    while True:
        shutil.rmtree(server.data)
        shutil.copytree(image, server.data)
        code = traced_kill(server, call, step, "restore", backup)
        if code == 0:
            break
        killed += 1
        server.start()
        names = {user["name"] for user in server.ask("user", "list")}
        outcomes.add("late" in names)
        assert user.name in names
        whole(server)
        server.stop()
        # And it can be done again.
        restored = server.ask("restore", backup)
        assert restored["restored"]["kept"] > 0 and not left_over(server)
        # Some calls are made by the hundred: they are gone through in growing steps.
        step += 1 if step < 8 or call not in ("pwrite64", "openat") else step
    assert killed > 0, f"{call} is never called"
    assert outcomes <= {True, False} and True in outcomes or call == "unlink"
    print(f"{call}: {killed} kills")


def test_s97_a_full_disk_during_a_backup_leaves_nothing_and_harms_nobody(new_server, small_disk):
    server = new_server().start()
    user, resource = server.user(), server.resource()
    server.stop()
    pad(server, 20)
    server.start()
    disk = small_disk(10_000_000)
    refused(server.cli("backup", disk / "backup"), "has room for", "Nothing was written")
    assert list(disk.iterdir()) == []
    # A disk that fills while it is written to.
    disk = small_disk(24_000_000)
    filler = disk / "filler"

    def fill():
        for part in disk.glob("*.part"):
            if part.stat().st_size > 2_000_000:
                with contextlib.suppress(OSError):  # until nothing fits any more
                    filler.write_bytes(b"x" * 24_000_000)
                return True
        return False

    process = subprocess.Popen(
        [BINARY, "--data", server.data, "backup", disk / "backup"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment(),
    )  # fmt: skip
    wait_until(lambda: fill() or process.poll() is not None, every=0.001)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1 and "full" in err, out + err
    assert [path.name for path in disk.iterdir()] == ["filler"]
    assert login(resource, user) == ACCESS_ACCEPT
    whole(server)


def limited(octets: int):
    """For a process whose files may not be longer; the system tells it so instead of killing it."""

    def set_limit():
        limits.setrlimit(limits.RLIMIT_FSIZE, (octets, octets))

    return set_limit


def test_s97_no_room_during_a_restore_loses_nothing(new_server, tmp_path, small_disk):
    server = new_server().start()
    server.user("alice")
    backup = tmp_path / "backup"
    server.stop()
    pad(server, 10)
    server.start()
    assert server.cli("backup", backup).code == 0
    server.user("late")
    server.stop()
    before = digest(database(server))
    size = backup.stat().st_size
    # At any length that a file may have, up to one that is enough.
    failures = 0
    for limit in [size // 2, size - 4096, size, size + 8192]:
        done = subprocess.run(
            [BINARY, "--data", server.data, "restore", backup], capture_output=True, text=True, env=environment(),
            preexec_fn=limited(limit), restore_signals=False, timeout=60,
        )  # fmt: skip
        if done.returncode == 0:
            continue
        failures += 1
        assert "nothing was changed" in done.stderr, done.stderr
        assert digest(database(server)) == before and not left_over(server), limit
    assert failures >= 2
    # On a disk that has room for one database and a half.
    disk = small_disk(int(size * 1.5))
    moved = disk / "data"
    shutil.copytree(server.data, moved, ignore=shutil.ignore_patterns("*before-restore*"))
    refused(execute("--data", moved, "restore", backup), "has room for", "Nothing was written")
    assert digest(moved / "countersign.db") == digest(database(server))
    assert {path.name for path in moved.iterdir()} <= {path.name for path in server.data.iterdir()}


def test_s99_what_root_restores_belongs_to_the_servers_account(new_server, tmp_path):
    if os.geteuid() != 0:
        missing("only root can give files away")
    server = new_server().start()
    backup = tmp_path / "backup"
    assert server.cli("backup", backup).code == 0
    server.stop()
    for path in [server.data, *server.data.iterdir()]:
        os.chown(path, 65534, 65534)
    assert server.cli("restore", backup).code == 0
    owners = {path.name: path.stat().st_uid for path in server.data.iterdir()}
    assert set(owners.values()) == {65534}, owners
    for path in [server.data, *server.data.iterdir()]:
        os.chown(path, 0, 0)
