"""kill -9 while a client asks as fast as it can: what it was told is on record, and no code is taken twice."""

import os
import random
import threading
import time
from collections import Counter

from load import Burst, Login, coders
from radius_client import ACCESS_ACCEPT

KILLS = int(os.environ.get("COUNTERSIGN_SOAK_KILLS", "6"))
USERS = 48  # of each round; each has two codes
SEED = int(os.environ.get("COUNTERSIGN_SEED", random.randrange(2**32)))


def logins(users, label):
    return [
        Login(user.name, user.code(step), f"{label}-{user.name}-{step}")
        for turn in range(2)
        for user in users
        for step in [user.steps()[turn]]
    ]


def accepted(done):
    return [login for login in done if login.reply is not None and login.reply.code == ACCESS_ACCEPT]


def test_s97_no_accept_under_full_load_lacks_its_record_and_no_code_is_taken_twice(new_server):
    print(f"COUNTERSIGN_SEED={SEED}")  # shown when the test fails
    rng = random.Random(SEED)
    server = new_server().start()
    resource = server.resource(primary="none")
    users = coders(server, USERS * (KILLS + 1))

    # How long a round takes when nobody kills the server.
    begun = time.monotonic()
    calm = Burst(resource.nas()).run(logins(users[:USERS], "calm"))
    usual = time.monotonic() - begun
    assert len(accepted(calm)) == 2 * USERS, "the logins do not even work without a kill"
    told = Counter(login.station for login in accepted(calm))
    used = [(login.user, login.password) for login in accepted(calm)]
    hit = 0

    for kill in range(KILLS):
        burst, killed = Burst(resource.nas(), patience=60), threading.Event()
        wait = rng.uniform(0.02, 0.9 * usual)

        def strike():
            time.sleep(wait)  # any moment will do
            server.kill()
            killed.set()

        striker = threading.Thread(target=strike)
        striker.start()
        first = kill * USERS + USERS
        done = burst.run(logins(users[first : first + USERS], f"kill{kill}"), killed.is_set)
        striker.join()
        burst.receive(0.05)  # what was on its way
        unanswered = list(burst.open.values())
        hit += bool(unanswered)
        server.start()
        # A client that has heard nothing sends the same octets again.
        for login in unanswered:
            burst.nas.send(login.request)
        end = time.monotonic() + 20
        while burst.open and time.monotonic() < end:
            burst.receive(0.1)
        assert not burst.open, f"{len(burst.open)} requests were not even answered after the restart"
        # Whatever was accepted, its code is worth nothing any more. A code that was taken and whose answer was lost is
        # worth nothing either: it shows in the record, below.
        was = accepted(done)
        told.update(login.station for login in was)
        used += [(login.user, login.password) for login in was]
        again = Burst(resource.nas()).run(Login(login.user, login.password, "") for login in was)
        assert len(again) == len(was) and not accepted(again), "a code was taken twice"
        burst.nas.socket.close()

    records = [record for record in server.audit() if record["result"] == "accept"]
    recorded = Counter(record["source"] for record in records)
    missing = set(told) - set(recorded)
    rate = 2 * USERS / usual
    print(f"{len(told)} accepts seen, {KILLS} kills ({hit} with logins open), {rate:.0f} logins/s, missing {len(missing)}")
    assert not missing, f"accepted without a record: {missing}"
    assert max(told.values()) == 1 and max(recorded.values()) == 1, "one login, two accepts"
    assert max(Counter(used).values()) == 1, "one code, two accepts"
    verify = server.cli("audit", "verify")
    assert verify.code == 0, verify.out + verify.err
    # The kills hit something, and left something alive.
    assert hit > 0 and len(told) > 2 * USERS
