"""What an Access-Accept carries, and one client that speaks for several resources, as radclient sees them."""

from harness import finished

REQUEST = [
    'Cisco-AVPair = "shell:priv-lvl=15"', 'Class = 0x61646d696e73', 'Filter-Id = "all"', "Session-Timeout = 99999",
]  # fmt: skip


def test_an_accept_carries_what_the_resource_names_and_nothing_of_the_request(server, user):
    """S55."""
    resource = server.resource(
        "--reply", "Class = vpn-users", "--reply", "Session-Timeout = 28800",
        "--reply", "fortinet-group-name = vpn", "--reply", "Tunnel-Type:1 = VLAN",
        "--reply", "Tunnel-Private-Group-Id:1 = 20", "--reply", "26.4242.9 = 0x0102",
    )  # fmt: skip
    alice = user()
    login = resource.radclient(alice.name, alice.password, attributes=REQUEST)
    alice.phone.answer("verify")
    result = finished(login)
    assert result.code == 0, result.out
    reply = result.out.split("Received Access-Accept", 1)[1]
    # FreeRADIUS has its own dictionary, so the two must mean the same attributes.
    for line in [
        "Class = 0x76706e2d7573657273", "Session-Timeout = 28800", 'Fortinet-Group-Name = "vpn"', "Tunnel-Type:1 = VLAN",
        'Tunnel-Private-Group-Id:1 = "20"',
    ]:  # fmt: skip
        assert line in reply, reply
    for foreign in ["priv-lvl", "61646d696e73", "Filter-Id", "99999"]:
        assert foreign not in reply, reply

    denied = resource.radclient(alice.name, alice.password, attributes=REQUEST)
    alice.phone.answer("deny")
    reply = finished(denied).out.split("Received Access-Reject", 1)[1]
    assert "Class" not in reply and "Session-Timeout" not in reply, reply


def test_a_misspelt_attribute_is_refused_with_the_one_that_was_meant(server):
    resource = server.resource()
    result = server.cli("resource", "set", resource.name, "--reply", "Fliter-Id = staff")
    assert result.code == 1 and "did you mean Filter-Id?" in result.err, result.err


def test_one_client_speaks_for_several_resources_and_never_for_a_weaker_one(server, user):
    gateway = server.resource(primary="none")
    server.ask("resource", "add", "strict", "--no-client", "--primary", "local", "--reply", "Filter-Id = strict")
    server.ask("client", "set", gateway.name, "--match", "NAS-Identifier = vpn1 -> strict")
    alice = user()
    # The gateway has checked the password itself; where the rule leads it is checked here.
    for attributes, password, answer in [
        ([], None, "verify"),
        (['NAS-Identifier = "VPN1"'], None, None),
        (['NAS-Identifier = "VPN1"'], alice.password, "verify"),
    ]:
        login = gateway.radclient(alice.name, password, attributes=attributes)
        if answer:
            alice.phone.answer(answer)
        result = finished(login)
        assert ("Received Access-Accept" in result.out) == (answer is not None), result.out
        assert ("Filter-Id" in result.out.split("Received", 1)[1]) == (password is not None), result.out
    resources = [verdict["resource"] for verdict in server.verdicts(user_typed=alice.name)]
    strict = server.ask("resource", "show", "strict")["id"]
    assert resources == [gateway.id, strict, strict]

    vpn = server.resource(primary="local")
    refused = server.cli("client", "set", vpn.name, "--match", f"NAS-Identifier = rdgw1 -> {gateway.name}")
    assert refused.code == 1 and "let in more easily" in refused.err, refused.err
    assert "first factor" in refused.err
    refused = server.cli("resource", "remove", "strict")
    assert refused.code == 1 and f"client set {gateway.name}" in refused.err, refused.err
    server.ask("client", "set", gateway.name, "--no-match")
    server.ask("resource", "remove", "strict")
