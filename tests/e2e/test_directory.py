"""Resources whose users come from a directory: against Samba as domain controller of Active Directory, and OpenLDAP."""

import base64

import pytest

import harness
from domain import BASE, PASSWORD, Lab, add_directory, add_domain
from harness import finished, need
from radius_client import ACCESS_ACCEPT, ACCESS_REJECT


@pytest.fixture(scope="module")
def corp(server, dc):
    return add_domain(server, dc)


@pytest.fixture(scope="module")
def host(server, corp):
    return server.resource("--directory", "corp", primary="directory", name="host")


@pytest.fixture(scope="module")
def login(server, host):
    """A login that is rejected at once; its record."""

    def login(user: str, password: str | None = PASSWORD, resource=None) -> dict:
        before = {record["seq"] for record in server.verdicts()}
        reply = (resource or host).nas().login(user, password)
        assert reply.code == ACCESS_REJECT
        assert not [kind for kind, _ in reply.attributes if kind == 18], "a reject says nothing"
        [record] = [record for record in server.verdicts() if record["seq"] not in before]
        return record

    return login


def accepted(resource, phone, user: str, password: str | None = PASSWORD) -> None:
    """A login by radclient, to which the phone says Verify."""
    process = resource.radclient(user.replace("\\", "\\\\"), password)
    phone.answer("verify")
    result = finished(process)
    assert result.code == 0 and "Received Access-Accept" in result.out, result.out


def test_the_walk_says_what_is_right_and_what_is_wrong(server, dc, corp):
    walked = server.ask("directory", "test", "corp", "--user", "EXAMPLE\\alice")
    assert walked["ok"] and [step["step"] for step in walked["steps"]] == [
        "connect", "tls", "bind", "search", "user", "groups",
    ]  # fmt: skip
    assert "GG-All" in walked["steps"][-1]["text"]
    result = server.cli("directory", "test", "corp", "--user", "nobody")
    assert result.code == 1 and "WRONG  user: nobody in the directory has this name" in result.out, result.out
    assert "1 servers answer" in server.cli("doctor").out
    # To another server the password goes only from whoever types it again.
    result = server.cli("directory", "set", "corp", "--server", "ldaps://192.0.2.1")
    assert result.code == 1 and "needs the password again" in result.err, result.err
    add_directory(server, dc, "wrong", "--kind", "ad", ca="samba/tls/other-ca.pem", bind_name="svc-mfa@example.test")
    result = server.cli("directory", "test", "wrong")
    assert "not signed by a CA that is trusted here" in result.out and "ca_file" in result.out, result.out
    server.ask("directory", "remove", "wrong")


def test_s63_every_spelling_is_one_user_who_comes_in_on_demand(server, host, login, phone):
    spellings = ["alice", "ALICE", "EXAMPLE\\Alice", "example.test\\alice", "alice@example.test", "Alice@EXAMPLE.TEST."]
    records = [login(spelling) for spelling in spellings]
    assert {record["reason"] for record in records} == {"no_device"}
    [user] = {record["user_id"] for record in records}
    [added] = server.audit(event="user.added", user_id=user)
    assert added["actor"] == "directory"
    alice = phone(user)
    for spelling in ["alice", "EXAMPLE\\ALICE", "alice@example.test"]:
        accepted(host, alice, spelling)
    assert len(server.verdicts(user_id=user, result="accept")) == 3
    shown = server.ask("user", "show", "alice")
    assert (shown["id"], shown["directory"], shown["devices"]) == (user, "corp", 1)


@pytest.mark.parametrize(
    ("user", "word"),
    [("disabled", "disabled"), ("expired", "expired"), ("mustchange", "must_change"), ("hours", "hours")],
)
def test_s62_c034_the_directorys_reasons_are_told_apart_inside_and_not_outside(login, user, word):
    record = login(user)
    assert (record["reason"], record["detail"]) == ("account_refused", word)


def test_s109_wrong_passwords_stay_below_the_directorys_lockout(server, login):
    login("carol")
    assert [login("carol", "wrong")["reason"] for _ in range(4)] == ["password_wrong"] * 2 + ["limited"] * 2
    assert login("EXAMPLE\\carol")["reason"] == "limited", "in every spelling"
    walked = server.ask("directory", "test", "corp", "--user", "carol")
    assert walked["ok"], "the directory has not locked the account"
    server.ask("user", "unlock", "carol", "--reason", "a test")
    assert login("carol")["reason"] == "no_device"


def test_s57_s58_names_that_are_nobodys_or_several_peoples(login):
    for name in ["nobody", "*", "a*", "alice)(|(cn=*", "EXAMPLE\\", "FOREIGN\\alice", "\\00"]:
        assert login(name)["reason"] == "user_unknown", name
    assert login("FOREIGN\\alice")["detail"] == "foreign_domain"


def test_a_local_user_of_the_same_name_is_somebody_else(server, host, login, user):
    local = server.resource()
    bob = user("bob", "canary-local-password")
    assert login("bob", bob.password)["reason"] == "password_wrong", "the directory's password counts there"
    record = login("bob", PASSWORD)
    assert record["reason"] == "no_device", "and the phone of the local user is not asked"
    assert login("bob", PASSWORD, local)["reason"] == "password_wrong"
    accepted(local, bob.phone, "bob", bob.password)
    result = server.cli("user", "show", "bob")
    assert result.code == 1 and "2 users are called bob" in result.err and record["user_id"] in result.err


def test_c115_c079_groups_nested_and_primary_let_in_and_others_do_not(server, corp, login):
    nested = server.resource("--directory", "corp", "--allow-group", "GG-All", primary="directory")
    primary = server.resource("--directory", "corp", "--allow-group", "GG-Primary", primary="directory")
    assert login("primary", PASSWORD, primary)["reason"] == "no_device"
    record = login("jane", PASSWORD, nested)
    assert (record["reason"], record["user_id"]) == ("not_allowed", None), "who is outside does not come in"
    server.ask("resource", "set", nested.name, "--allow-group", "GG-Other", "--allow-group", "GG-All")
    assert login("EXAMPLE\\alice", "wrong", nested)["reason"] == "password_wrong"
    # A group that is not there is no group that nobody is in.
    changed = server.ask("resource", "set", nested.name, "--allow-group", "GG-Gone")
    assert "GG-Gone" in str(changed["warnings"])
    record = login("alice", PASSWORD, nested)
    assert (record["reason"], record["detail"]) == ("unavailable", "group_unknown")
    # Another one that has the user is enough; of those that are required every one counts.
    server.ask("resource", "set", nested.name, "--allow-group", "GG-Gone", "--allow-group", "GG-All")
    assert login("alice", "", nested)["reason"] == "password_wrong", "let in as far as the password"
    server.ask("resource", "set", nested.name, "--require-group", "GG-RDP", "--require-group", "GG-MFA")
    assert login("alice", "", nested)["reason"] == "password_wrong", "let in as far as the password"
    server.ask("resource", "set", nested.name, "--require-group", "GG-RDP", "--require-group", "GG-Other")
    record = login("alice", PASSWORD, nested)
    assert (record["reason"], record["detail"]) == ("not_allowed", "required_group")
    changed = server.ask("resource", "set", nested.name, "--require-group", "GG-Lost")
    assert "GG-Lost, which is required" in str(changed["warnings"])
    record = login("alice", PASSWORD, nested)
    assert (record["reason"], record["detail"]) == ("unavailable", "group_unknown")
    assert "GG-Lost, which is required" in server.cli("doctor").out
    server.ask("resource", "set", nested.name, "--allow-all-groups", "--no-require-groups")


def test_c089_who_is_renamed_and_moved_keeps_the_phone_and_a_new_person_gets_none(server, dc, host, login, phone):
    mover = login("mover")["user_id"]
    device = phone(mover)
    dc.run(
        "ldif",
        f"dn: CN=Mover,OU=Staff,{BASE}\nchangetype: moddn\nnewrdn: CN=Married\ndeleteoldrdn: 1\nnewsuperior: OU=Moved,{BASE}\n\n"
        f"dn: CN=Married,OU=Moved,{BASE}\nchangetype: modify\nreplace: sAMAccountName\nsAMAccountName: married\n-\n"
        "replace: userPrincipalName\nuserPrincipalName: married@example.test\n\n",
    )
    assert login("mover")["reason"] == "user_unknown"
    accepted(host, device, "EXAMPLE\\married")
    assert server.ask("user", "show", "married")["id"] == mover
    encoded = f'"{PASSWORD}"'.encode("utf-16-le")
    dc.run(
        "ldif",
        f"dn: CN=Mover,OU=Staff,{BASE}\nchangetype: add\nobjectClass: user\nsAMAccountName: mover\n"
        f"userAccountControl: 512\nunicodePwd:: {base64.b64encode(encoded).decode()}\n\n",
    )
    record = login("mover")
    assert record["reason"] == "no_device" and record["user_id"] not in (mover, None)


def test_a_gateway_that_has_checked_the_password_asks_by_the_directorys_names(server, corp, login, phone):
    gateway = server.resource("--directory", "corp", primary="none")
    odd = login("EXAMPLE\\odd", None, gateway)
    assert odd["reason"] == "no_device"
    device = phone(odd["user_id"])
    accepted(gateway, device, "EXAMPLE\\odd", None)
    record = login("EXAMPLE\\disabled", None, gateway)
    assert (record["reason"], record["detail"]) == ("account_refused", "disabled")


def test_c082_a_domain_controller_that_stops_is_no_wrong_password_and_comes_back(server, dc, host, login):
    user = login("user43")["user_id"]
    dc.run("stop")
    try:
        for _ in range(4):
            record = login("user43")
            assert (record["reason"], record["detail"]) == ("unavailable", "directory_unreachable")
        assert "WRONG  directory corp" in server.cli("doctor").out
    finally:
        dc.run("start")
    harness.wait_until(lambda: login("user43")["reason"] == "no_device", timeout=40, what="the directory is back", every=1)
    assert server.verdicts(user_id=user, reason="password_wrong") == []


def test_openldap_too(server, login, phone, tmp_path_factory):
    need("slapadd")
    lab = Lab("slapd.sh", tmp_path_factory.mktemp("slapd")).up()
    try:
        add_directory(
            server, lab, "ldap", "--kind", "ldap", "--lockout-threshold", "0",
            ca="slapd/tls/ca.pem", bind_name="cn=svc,dc=example,dc=test", base="dc=example,dc=test",
        )  # fmt: skip
        resource = server.resource("--directory", "ldap", "--allow-group", "all", primary="directory")
        record = login("alice", PASSWORD, resource)
        assert record["reason"] == "no_device"
        assert login("bob", PASSWORD, resource)["reason"] == "not_allowed"
        assert login("twin", PASSWORD, resource)["detail"] == "ambiguous"
        for empty in ["", "\0", "\0" + PASSWORD]:
            assert login("alice", empty, resource)["reason"] == "password_wrong", "it would be taken for nobody"
        accepted(resource, phone(record["user_id"]), "alice@example.test")
    finally:
        lab.run("down")
