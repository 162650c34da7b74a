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
    resource = server.resource()
    with ThreadPoolExecutor(4) as pool:
        # Two logins for each user, half of all the logins apart: no limit of pushes is met.
        users = list(pool.map(lambda _: server.user(), range((LOGINS + 1) // 2)))

    # How long a round takes when nobody kills the server.
    begun = time.monotonic()
    first = round_of_logins(resource, users[:AT_ONCE], "calibration", lambda: None)
    assert len(first) == AT_ONCE, "the logins do not even work without a kill"
    usual = time.monotonic() - begun

    accepted, kills = set(), 0
    numbers = list(range(LOGINS))
    # The users of the calibration come last.
    order = (users[AT_ONCE:] + users[:AT_ONCE]) * 2
    for start in range(0, LOGINS, AT_ONCE):
        batch = numbers[start : start + AT_ONCE]
        kill = rng.random() < 0.8

        def strike():
            if kill:
                time.sleep(rng.uniform(0, 1.1 * usual))
                server.kill()
                server.start()

        stations = round_of_logins(resource, [order[number] for number in batch], f"login-{start}", strike, kill)
        accepted |= stations
        kills += kill

    accepts = [record for record in server.audit() if record["result"] == "accept"]
    recorded = Counter(record["source"] for record in accepts)
    assert accepted <= set(recorded), f"accepted without a record: {accepted - set(recorded)}"
    assert not [login for login, times in Counter(record["login"] for record in accepts).items() if times > 1]
    verify = server.cli("audit", "verify")
    assert verify.code == 0, verify.out + verify.err
    # The kills hit something, and left something alive.
    print(f"{len(accepted)} of {LOGINS} accepted, {kills} kills")
    assert LOGINS // 10 < len(accepted) < LOGINS


def round_of_logins(resource, users, name, strike, killed=False):
    """Logins of several users at once, `strike` in the middle; the Calling-Station-Ids of those that were accepted.

    One Accept for each request at most: a NAS that hears nothing sends the same octets once more after the restart, as
    real ones do, and its user does not tap a second time.
    """
    sent = []
    for index, user in enumerate(users):
        nas, station = resource.nas(), f"{name}-{index}"
        sent.append((nas, station, login(nas, user, station)))
    strike()
    accepted = set()
    for nas, station, request in sent:
        reply = nas.receive(request, 0.05 if killed else 20)
        if reply is not None and reply.code == ACCESS_ACCEPT:
            accepted.add(station)
        nas.socket.close()
    for user in users:
        user.phone.end()
    return accepted
