"""kill -9 at random points of many logins: what a NAS was told is on record, and nothing is used twice."""

import os
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from radius_client import ACCESS_ACCEPT, CALLING_STATION_ID

LOGINS = int(os.environ.get("COUNTERSIGN_SOAK_LOGINS", "200"))
AT_ONCE = 5
SEED = int(os.environ.get("COUNTERSIGN_SEED", random.randrange(2**32)))


def login(nas, user, station):
    """Sends one login and has the phone verify it; its request."""
    request = nas.packet([(CALLING_STATION_ID, station)], user=user.name, password=user.password)
    user.phone.watch("verify")
    nas.send(request)
    return request


def test_no_accepted_login_lacks_its_record_and_nothing_is_used_twice(new_server):
    print(f"COUNTERSIGN_SEED={SEED}")  # shown when the test fails
    rng = random.Random(SEED)
    server = new_server().start()
    resource = server.resource(answer_by=10)
    with ThreadPoolExecutor(4) as pool:
        # One login for each user: no limit of pushes and no collision is met.
        users = list(pool.map(lambda _: server.user(), range(AT_ONCE + LOGINS)))

    # How long a round takes when nobody kills the server.
    begun = time.monotonic()
    first = round_of_logins(resource, users[:AT_ONCE], "calibration")
    assert len(first) == AT_ONCE, "the logins do not even work without a kill"
    usual = time.monotonic() - begun

    accepted, kills = set(first), 0
    for start in range(AT_ONCE, AT_ONCE + LOGINS, AT_ONCE):
        kill_after = rng.uniform(0, 1.1 * usual) if rng.random() < 0.8 else None
        accepted |= round_of_logins(resource, users[start : start + AT_ONCE], f"login-{start}", kill_after)
        kills += kill_after is not None

    accepts = [record for record in server.audit() if record["result"] == "accept"]
    recorded = Counter(record["source"] for record in accepts)
    assert accepted <= set(recorded), f"accepted without a record: {accepted - set(recorded)}"
    for member in ("login", "source"):
        twice = [key for key, times in Counter(record[member] for record in accepts).items() if times > 1]
        assert not twice, f"one tap, two accepted logins: {member} {twice}"
    verify = server.cli("audit", "verify")
    assert verify.code == 0, verify.out + verify.err
    # The kills hit something, and left something alive.
    print(f"{len(accepted)} of {LOGINS + AT_ONCE} accepted, {kills} kills")
    assert LOGINS // 10 < len(accepted) < LOGINS + AT_ONCE


def round_of_logins(resource, users, name, kill_after=None):
    """Logins of several users at once, the server killed in the middle; those that were accepted, by Calling-Station-Id.

    Each user taps once. A NAS that has heard nothing sends the same octets again after the restart, as real ones do.
    """
    server, sent, accepted = resource.server, [], set()
    for index, user in enumerate(users):
        nas, station = resource.nas(), f"{name}-{index}"
        sent.append((nas, station, login(nas, user, station)))
    if kill_after is not None:
        time.sleep(kill_after)  # the one sleep that is meant: any moment will do
        server.kill()
        server.start()
    for attempt in ("first", "again"):
        for nas, station, request in sent:
            if station in accepted:
                continue
            if attempt == "again" and kill_after is not None:
                nas.send(request)
            reply = nas.receive(request, 20 if kill_after is None else 0.05)
            if reply is not None and reply.code == ACCESS_ACCEPT:
                accepted.add(station)
    for nas, _, _ in sent:
        nas.socket.close()
    for user in users:
        user.phone.end()
    return accepted
