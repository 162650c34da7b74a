"""Users of a directory are read ahead: against Samba as domain controller of Active Directory, and OpenLDAP."""

import base64
import json
import os
import subprocess
import threading

import pytest

import harness
from domain import BASE, PASSWORD, Lab, add_directory
from harness import ROOT, finished, need, wait_until

OU = f"OU=Sync,{BASE}"


def person(name: str, at: str = OU) -> str:
    encoded = base64.b64encode(f'"{PASSWORD}"'.encode("utf-16-le")).decode()
    return (
        f"dn: CN={name},{at}\nchangetype: add\nobjectClass: user\nsAMAccountName: {name}\ndisplayName: {name} in full\n"
        f"userAccountControl: 512\nunicodePwd:: {encoded}\n\n"
    )


def ou(name: str) -> str:
    return f"dn: {name}\nchangetype: add\nobjectClass: organizationalUnit\n\n"


def changed(dn: str, *attributes: str) -> str:
    lines = "-\n".join(f"replace: {line.split(':')[0]}\n{line}\n" for line in attributes)
    return f"dn: {dn}\nchangetype: modify\n{lines}\n"


def deleted(*dns: str) -> str:
    return "".join(f"dn: {dn}\nchangetype: delete\n\n" for dn in dns)


def sync(server, name, *options, code: int = 0) -> dict:
    """A run; what it says."""
    result = server.cli("directory", "sync", name, *options, "--json")
    assert result.code == code, f"exit {result.code}\n{result.out}{result.err}"
    return json.loads(result.out)


def kinds(report: dict) -> dict[str, str]:
    """Names by what became of them."""
    return {change["name"]: change["change"] for change in report["changes"]}


def users(server, directory: str) -> dict[str, dict]:
    return {user["name"]: user for user in server.ask("user", "list") if user["directory"] == directory}


@pytest.fixture(scope="module")
def staff(server, dc):
    """A directory of some users of the domain, whom no other test looks at."""
    dc.run("ldif", ou(OU) + ou(f"OU=Service,{OU}") + ou(f"OU=Inner,{OU}"))
    dc.run("ldif", "".join(person(f"sync{n}") for n in range(8)) + person("syncsvc", f"OU=Service,{OU}"))
    return add_directory(
        server, dc, "staff", "--kind", "ad", "--netbios-domain", "EXAMPLE", "--lockout-threshold", "3",
        "--sync-rule", f"skip:container:OU=Service,{OU}", "--sync-rule", f"add:container:{OU}",
        ca="samba/tls/ca.pem", bind_name="svc-mfa@example.test", base=OU,
    )  # fmt: skip


@pytest.fixture(scope="module")
def host(server, staff):
    return server.resource("--directory", "staff", primary="directory", name="staff-host", answer_by=10)


def test_what_would_come_is_shown_and_then_it_comes(server, staff):
    shown = sync(server, "staff", "--dry-run")
    assert (shown["dry_run"], shown["whole"], shown["counts"]["added"]) == (True, True, 8)
    assert set(kinds(shown).values()) == {"add"} and "syncsvc" not in kinds(shown)
    assert users(server, "staff") == {} and server.ask("directory", "show", "staff")["last_sync"] is None
    done = sync(server, "staff")
    assert (done["outcome"], kinds(done)) == ("done", kinds(shown))
    assert sorted(users(server, "staff")) == [f"sync{n}" for n in range(8)]
    assert {record["actor"] for record in server.audit(event="user.added")} == {"sync"}
    [record] = server.audit(event="directory.synced")
    assert record["actor"].startswith("uid:") and '"added":8' in record["detail"]
    # From now on only what changes is read.
    again = sync(server, "staff")
    assert (again["whole"], again["counts"]["read"], again["changes"]) == (False, 0, [])
    out = server.cli("directory", "show", "staff").out
    assert f"add:container:{OU}" in out and "last run" in out, out
    assert "its users were synchronised" in server.cli("doctor").out


def test_s15_who_is_disabled_there_is_disabled_here_and_comes_back(server, dc, staff, host, phone):
    device = phone("sync0")
    process = host.radclient("sync0", PASSWORD)
    wait_until(lambda: server.audit(event="login.challenged", user_typed="sync0"), what="the phone is asked")
    dc.run("ldif", changed(f"CN=sync0,{OU}", "userAccountControl: 514") + changed(f"CN=sync1,{OU}", "accountExpires: 132223104000000000"))
    done = sync(server, "staff")
    assert (done["whole"], done["counts"]["read"], kinds(done)) == (False, 2, {"sync0": "disable", "sync1": "disable"})
    here = users(server, "staff")
    assert [(here[name]["enabled"], here[name]["held"]) for name in ("sync0", "sync1")] == [
        (False, "disabled"), (False, "expired"),
    ]  # fmt: skip
    # The login that waited is not let in any more, whatever the phone says.
    device.watch("verify")
    result = finished(process)
    assert "Received Access-Reject" in result.out, result.out
    device.end()
    # One of them an administrator disables as well.
    server.ask("user", "disable", "sync1")
    assert users(server, "staff")["sync1"]["held"] is None
    dc.run("ldif", changed(f"CN=sync0,{OU}", "userAccountControl: 512") + changed(f"CN=sync1,{OU}", "accountExpires: 0"))
    done = sync(server, "staff")
    assert kinds(done) == {"sync0": "enable"}
    assert not users(server, "staff")["sync1"]["enabled"], "what an administrator said stands"
    server.ask("user", "enable", "sync1")
    process = host.radclient("sync0", PASSWORD)
    device.answer("verify")
    assert "Received Access-Accept" in finished(process).out, "with the phone that was there before"


def test_c089_who_is_renamed_and_moved_keeps_the_phone_and_a_new_person_gets_none(server, dc, staff, host, phone):
    device, before = phone("sync2"), users(server, "staff")["sync2"]["id"]
    dc.run(
        "ldif",
        f"dn: CN=sync2,{OU}\nchangetype: moddn\nnewrdn: CN=wedded\ndeleteoldrdn: 1\nnewsuperior: OU=Inner,{OU}\n\n"
        + changed(f"CN=wedded,OU=Inner,{OU}", "sAMAccountName: wedded", "displayName: Wedded"),
    )
    dc.run("ldif", person("sync2"))
    done = sync(server, "staff")
    assert kinds(done) == {"wedded": "rename", "sync2": "add"}
    here = users(server, "staff")
    assert (here["wedded"]["id"], here["wedded"]["devices"], here["wedded"]["display_name"]) == (before, 1, "Wedded")
    assert (here["sync2"]["id"] != before, here["sync2"]["devices"]) == (True, 0)
    process = host.radclient("wedded", PASSWORD)
    device.answer("verify")
    assert "Received Access-Accept" in finished(process).out
    # Into the place of those who do not come in: who is here stays.
    dc.run("ldif", f"dn: CN=wedded,OU=Inner,{OU}\nchangetype: moddn\nnewrdn: CN=wedded\ndeleteoldrdn: 1\nnewsuperior: OU=Service,{OU}\n\n")
    assert sync(server, "staff", "--full")["changes"] == []


def test_who_is_deleted_is_disabled_and_one_made_anew_under_the_name_is_somebody_else(server, dc, staff, phone):
    phone("sync3")
    before = users(server, "staff")["sync3"]["id"]
    dc.run("ldif", deleted(f"CN=sync3,{OU}"))
    assert sync(server, "staff")["changes"] == [], "an ordinary account is not told of deletions"
    done = sync(server, "staff", "--full")
    assert (done["whole"], [(change["change"], change["why"]) for change in done["changes"]]) == (True, [("disable", "gone")])
    dc.run("ldif", person("sync3"))
    assert kinds(sync(server, "staff")) == {"sync3": "add"}
    both = [user for user in server.ask("user", "list") if user["name"] == "sync3"]
    assert {(user["id"] == before, user["enabled"], user["devices"]) for user in both} == {(True, False, 1), (False, True, 0)}
    result = server.cli("user", "show", "sync3")
    assert result.code == 1 and before in result.err, "an administrator names one of them by the id"
    server.ask("user", "remove", before)


def test_the_brake_holds_a_run_and_somebody_lets_it_go_on(server, dc, staff):
    server.ask("directory", "set", "staff", "--sync-brake", "2")
    off = [f"CN=sync{n},{OU}" for n in (4, 5, 6)]
    dc.run("ldif", "".join(changed(dn, "userAccountControl: 514") for dn in off) + person("syncnew"))
    alerts = len(server.audit(event="alert", reason="sync_held"))
    for _ in range(2):
        held = sync(server, "staff", code=1)
        assert (held["outcome"], held["counts"]["disabled"]) == ("held", 3)
    assert kinds(held)["syncnew"] == "add" and "syncnew" not in users(server, "staff"), "nothing is written"
    assert len(server.audit(event="alert", reason="sync_held")) == alerts + 1
    doctor = server.cli("doctor")
    assert doctor.code == 1 and "directory sync staff --accept-removals" in doctor.out, doctor.out
    result = server.cli("directory", "sync", "staff", "--dry-run")
    assert result.code == 1 and "sync4" in result.out and "nothing was written" in result.out, result.out
    assert "held" in server.cli("directory", "list").out
    done = sync(server, "staff", "--accept-removals")
    assert (done["outcome"], done["counts"]["disabled"], done["counts"]["added"]) == ("done", 3, 1)
    dc.run("ldif", "".join(changed(dn, "userAccountControl: 512") for dn in off))
    assert sync(server, "staff")["counts"]["enabled"] == 3
    server.ask("directory", "set", "staff", "--sync-brake", "5")


def test_nothing_becomes_of_anybody_when_the_domain_controller_is_away_or_shows_nobody(server, dc, staff):
    before = users(server, "staff")
    dc.run("stop")
    try:
        failed = sync(server, "staff", "--full", code=1)
        assert failed["outcome"] == "failed" and "no directory server answers" in failed["text"], failed
        assert "failed: no directory server answers" in server.cli("doctor").out
    finally:
        dc.run("start")
    wait_until(lambda: server.cli("directory", "sync", "staff").code == 0, timeout=40, what="the directory is back", every=1)
    for base, text in [(f"OU=Nowhere,{OU}", "result 32"), (f"OU=Empty,{OU}", "shows no user at all")]:
        if "Empty" in base:
            dc.run("ldif", ou(base))
        server.ask("directory", "set", "staff", "--no-sync-rules", "--base", base)
        failed = sync(server, "staff", "--accept-removals", code=1)
        assert failed["outcome"] == "failed" and text in failed["text"], failed
    server.ask("directory", "set", "staff", "--base", OU, "--sync-rule", f"add:container:{OU}")
    assert sync(server, "staff")["whole"], "other settings, another reading"
    assert {name: user["enabled"] for name, user in users(server, "staff").items()} == {
        name: user["enabled"] for name, user in before.items()
    } | {"syncsvc": True}


def test_rules_are_looked_at_before_they_are_taken(server, staff):
    for rule, text in [
        ("add:user:x", "is no rule"),
        ("add:container:Staff", "is no DN"),
        ("add:container:OU=Other,DC=elsewhere", "no user of this directory can be there"),
    ]:
        result = server.cli("directory", "set", "staff", "--sync-rule", rule)
        assert result.code == 1 and text in result.err, result.err
    for option, value in [("--sync-interval", "30s"), ("--sync-brake", "0"), ("--sync-remove-after", "0")]:
        result = server.cli("directory", "set", "staff", option, value)
        assert result.code == 1 and "from 1" in result.err, result.err


def test_runs_come_by_themselves_and_groups_say_who_comes(server, dc):
    add_directory(
        server, dc, "domain", "--kind", "ad", "--sync-rule", "add:group:GG-All", "--sync-rule", "add:group:GG-Primary",
        "--sync-interval", "1m", ca="samba/tls/ca.pem", bind_name="svc-mfa@example.test",
    )  # fmt: skip
    wait_until(lambda: server.ask("directory", "show", "domain")["last_sync"], what="the first run")
    assert sorted(users(server, "domain")) == ["alice", "primary"]
    assert server.audit(event="directory.synced")[-1]["actor"] == "sync"
    server.ask("directory", "set", "domain", "--sync-rule", "add:group:GG-Gone", "--sync-interval", "off")
    failed = sync(server, "domain", code=1)
    assert 'there is no group "GG-Gone"' in failed["text"]
    assert "GG-Gone of a rule" in server.cli("doctor").out
    server.ask("directory", "remove", "domain", "--with-users")


@pytest.fixture(scope="module")
def slapd(tmp_path_factory):
    need("slapadd", "ldbmodify")
    lab = Lab("slapd.sh", tmp_path_factory.mktemp("slapd")).up()
    yield lab
    lab.run("down")


def test_openldap_too_and_a_run_that_is_killed_is_made_good(new_server, slapd):
    base, others = "dc=example,dc=test", "ou=others,dc=example,dc=test"
    server = new_server().start()
    add_directory(
        server, slapd, "ldap", "--kind", "ldap", "--sync-rule", f"skip:container:{others}",
        ca="slapd/tls/ca.pem", bind_name="cn=svc,dc=example,dc=test", base=base,
    )  # fmt: skip
    server.ask("directory", "set", "ldap", "--sync-rule", "add:group:all")
    assert kinds(sync(server, "ldap")) == {"alice": "add"}
    server.ask("directory", "set", "ldap", "--sync-rule", f"add:container:{base}")
    running = subprocess.Popen(
        [harness.BINARY, "--data", server.data, "directory", "sync", "ldap"], env=harness.environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    # As soon as some are in, the server is killed.
    threading.Event().wait(0.25)
    server.kill()
    running.communicate(timeout=20)
    server.start()
    sync(server, "ldap")
    here = users(server, "ldap")
    many = [name for name in here if name.startswith("many")]
    assert len(many) == 600 and len({user["entry"] for user in here.values()}) == len(here)
    assert server.ask("audit", "verify")["ok"]
    assert sync(server, "ldap", "--full")["changes"] == []

    slapd.run(
        "ldif",
        changed(f"uid=bob,ou=people,{base}", "displayName: Robert")
        + f"dn: uid=mover,ou=people,{base}\nchangetype: modrdn\nnewrdn: uid=moved\ndeleteoldrdn: 1\nnewsuperior: {others}\n\n"
        + deleted(f"uid=many600,{others}"),
    )
    moved = here["mover"]["id"]
    done = sync(server, "ldap")
    assert (done["whole"], kinds(done)) == (False, {"bob": "rename", "moved": "rename"})
    done = sync(server, "ldap", "--full")
    assert kinds(done) == {"many600": "disable"}
    here = users(server, "ldap")
    assert (here["moved"]["id"], here["bob"]["display_name"], here["many600"]["held"]) == (moved, "Robert", "gone")
    slapd.run("stop")
    assert sync(server, "ldap", code=1)["outcome"] == "failed"
    slapd.run("start")
    wait_until(lambda: server.cli("directory", "sync", "ldap").code == 0, timeout=20, what="the directory is back", every=1)


def test_the_library_reads_both_as_its_own_tests_say(tmp_path_factory):
    """`crates/directory/tests/lab`, with directories that nobody else changes."""
    need("cargo", "slapadd", "samba", "ldbmodify", "socat", "nsenter")
    folder = tmp_path_factory.mktemp("library")
    labs = [Lab("slapd.sh", folder), Lab("samba-dc.sh", folder)]
    try:
        for lab in labs:
            lab.up()
        done = subprocess.run(
            ["cargo", "test", "--quiet", "-p", "countersign-directory", "--test", "lab"], cwd=ROOT, text=True,
            capture_output=True, timeout=600, env=os.environ | {"COUNTERSIGN_LAB_DIRECTORY": str(folder)},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        for lab in labs:
            lab.run("down")
