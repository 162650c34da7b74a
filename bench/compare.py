#!/usr/bin/env python3
"""Loads countersign and the servers that people know, one after the other in each of three rounds, and writes
RESULTS.md and results.svg. What is compared are ratios within one run and CPU for each request; see README.md."""

import argparse
import concurrent.futures
import hmac
import json
import os
import platform
import shutil
import statistics
import struct
import time
from pathlib import Path

import phones
import scale
from load import BINARIES, KEY_HEX, STEP, TARGET, measure, next_step, radload
from picture import picture
from scale import furnished
from servers import KEY, FreeRadius, PrivacyIdea

HERE = Path(__file__).resolve().parent
ROUNDS = 3
SIZES = (100, 10_000, 1_000_000)
PARTS = ("side", "scale", "pending", "decisions", "pushes")
# What each part found last, so that parts may be run on their own and no part is lost to another's failure.
FOUND = TARGET / "bench" / "found"
BEGAN = time.monotonic()


def code(step):
    digest = hmac.digest(KEY, struct.pack(">Q", step), "sha1")
    at = digest[19] & 15
    return "%06d" % ((struct.unpack(">I", digest[at : at + 4])[0] & 0x7FFFFFFF) % 1_000_000)


class Table:
    """The runs of each row, in the order in which rows came first."""

    def __init__(self, rows=()):
        self.rows = dict(rows)

    def add(self, row, figures):
        self.rows.setdefault(row, []).append(figures)
        print(
            f"{row:58} {figures['req_s']:9.0f}/s  p50 {figures['p50_ms']:8.2f}  p99 {figures['p99_ms']:8.2f} ms  "
            f"{figures['cpu_us']:8.0f} us  wrong {figures['wrong']}",
            flush=True,
        )

    def median(self, row, key):
        return statistics.median(run[key] for run in self.rows[row])

    def markdown(self):
        lines = [
            "| what | logins/s, median (least to most) | p50 ms | p99 ms | CPU us a login | not as expected |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for row, runs in self.rows.items():
            rates = [run["req_s"] for run in runs]
            lines.append(
                f"| {row} | {statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f}) "
                f"| {self.median(row, 'p50_ms'):.2f} | {self.median(row, 'p99_ms'):.2f} "
                f"| {self.median(row, 'cpu_us'):,.0f} | {sum(run['wrong'] for run in runs)} |"
            )
        return "\n".join(lines)


# The rows, so that ratios find them.
OURS_WARM = "countersign, TOTP, burnt and recorded, users in memory"
OURS_COLD = "countersign, TOTP, burnt and recorded, users from disk"
OURS_RATE = "countersign, TOTP, 1,000/s"
THEIRS_TOTP = "FreeRADIUS, rlm_totp: no replay check, no record"
THEIRS_RATE = "FreeRADIUS, rlm_totp, 1,000/s"
THEIRS_ROW = "FreeRADIUS, SQLite, a row for each login"
OURS_PROXY = "countersign, proxy to FreeRADIUS, and TOTP"
THEIRS_PROXY = "FreeRADIUS, proxy to FreeRADIUS"
PRIVACYIDEA = "privacyIDEA, TOTP by HTTP, 2 workers"


def load_privacyidea(server, users):
    """Codes of the steps around now, each once, four at a time."""
    now = int(time.time()) // STEP
    jobs = [(number, code(now + offset)) for offset in (-1, 0, 1) for number in range(users)]
    before, start, latencies = server.cpu_seconds(), time.monotonic(), []

    def one(job):
        began = time.monotonic()
        right = server.check(*job)
        latencies.append((time.monotonic() - began) * 1000)
        return right

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        right = list(pool.map(one, jobs))
    spent = time.monotonic() - start
    latencies.sort()
    return {
        "req_s": len(jobs) / spent,
        "p50_ms": latencies[len(latencies) // 2],
        "p99_ms": latencies[int(len(latencies) * 0.99)],
        "cpu_us": (server.cpu_seconds() - before) * 1e6 / len(jobs),
        "wrong": right.count(False),
    }


def side_by_side(scratch, users, rounds, quick):
    """All servers up, loaded by turns; the table, what each cost to start and to keep, and the curves of the picture."""
    table, facts = Table(), {}
    started = []

    def up(server):
        started.append(server)
        server.launch()
        if not isinstance(server, PrivacyIdea):
            radload(server, "--wait-ready", 20, "--count", 0)
        facts[server.name] = (time.monotonic() - server.spawned, server.memory_mib())
        server.wait_ready()
        return server

    try:
        totp = up(FreeRadius("FreeRADIUS totp", scratch / "fr-totp", 10_000, "totp"))
        row = up(FreeRadius("FreeRADIUS SQLite", scratch / "fr-row", 10_000, "database"))
        home = up(FreeRadius("FreeRADIUS home", scratch / "fr-home", 10_000, "passwords"))
        proxy = up(FreeRadius("FreeRADIUS proxy", scratch / "fr-proxy", 0, "proxy", home))
        ours = up(furnished("countersign", scratch / "countersign", BINARIES, users))
        our_proxy = up(furnished("countersign proxy", scratch / "countersign-proxy", BINARIES, 10_000, home))
        peer = None
        if not quick:
            peer = up(PrivacyIdea("privacyIDEA", scratch / "privacyidea", TARGET / "bench/privacyidea", 100))
        codes = ["--users", users, "--otp", "totp", "--otp-key-per-user", "--otp-key", KEY_HEX, "--require-ma"]
        everybody = [*codes, "--count", users, "--warmup", 0, "--duration", 120]
        theirs = ["--users", 10_000, "--otp", "totp", "--otp-key", KEY_HEX]
        passwords = ["--users", 10_000, "--password", "pw{n}-secret"]
        saturated = ["--concurrency", 64, "--duration", 4, "--warmup", 1]
        paced = ["--concurrency", 512, "--rate", 1000, "--duration", 4, "--warmup", 1]
        curve = {"countersign": [], "FreeRADIUS rlm_totp": []}
        for _ in range(rounds):
            next_step()
            # A start forgets who was in memory.
            ours.stop()
            up(ours)
            table.add(OURS_COLD, measure(ours, *everybody, "--concurrency", 64))
            table.add(THEIRS_TOTP, measure(totp, *theirs, *saturated))
            table.add(THEIRS_ROW, measure(row, *passwords, "--expect", "any", *saturated))
            table.add(THEIRS_PROXY, measure(proxy, *passwords, *saturated))
            table.add(OURS_PROXY, measure(our_proxy, "--users", 10_000, "--password", "pw{n}-secret,", "--otp", "totp",
                                          "--otp-key-per-user", "--otp-key", KEY_HEX, "--require-ma", "--count", 10_000,
                                          "--warmup", 0, "--duration", 60, "--concurrency", 64))
            next_step()
            table.add(OURS_WARM, measure(ours, *everybody, "--concurrency", 64))
            table.add(THEIRS_RATE, measure(totp, *theirs, *paced))
            if peer:
                table.add(PRIVACYIDEA, load_privacyidea(peer, 100))
            next_step()
            table.add(OURS_RATE, measure(ours, *codes, *paced))
        for outstanding in () if quick else (1, 4, 16, 64, 256):
            next_step()
            figures = measure(ours, *codes, "--count", min(users, 200 * outstanding + 2_000), "--warmup", 0,
                              "--duration", 60, "--concurrency", outstanding)
            curve["countersign"].append((figures["req_s"], figures["p99_ms"]))
            figures = measure(totp, *theirs, "--duration", 2, "--warmup", 1, "--concurrency", outstanding)
            curve["FreeRADIUS rlm_totp"].append((figures["req_s"], figures["p99_ms"]))
        peaks = {server.name: server.memory_mib("VmHWM") for server in started if server.process}
    finally:
        for server in started:
            server.stop()
    load = os.getloadavg()[0]
    return {"rows": table.rows, "facts": facts, "peaks": peaks, "curve": curve, "users": users, "load": load}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, without privacyIDEA, nothing written")
    parser.add_argument("--only", choices=PARTS, help="one part; RESULTS.md is written when all have been measured")
    parser.add_argument("--users", type=int, default=60_000, help="users of countersign; each logs on once a run")
    parser.add_argument("--keep", action="store_true", help="leave the servers' directories behind")
    arguments = parser.parse_args()
    quick = arguments.quick
    rounds = 1 if quick else ROUNDS
    users = min(arguments.users, 5_000) if quick else arguments.users
    scratch = TARGET / "bench" / "servers"
    shutil.rmtree(scratch, ignore_errors=True)
    found = {}
    parts = {
        "side": lambda: side_by_side(scratch, users, rounds, quick),
        "scale": lambda: scale.scale(scratch, BINARIES, (100, 5_000) if quick else SIZES, rounds),
        "pending": lambda: phones.pending(2_000 if quick else 100_000),
        "decisions": lambda: phones.decisions(scratch, 20 if quick else 200),
        "pushes": lambda: phones.pushes(1_000, 2 if quick else 5),
    }
    try:
        for name, part in parts.items():
            if arguments.only in (None, name):
                print(f"== {name}, after {time.monotonic() - BEGAN:.0f} s", flush=True)
                found[name] = part()
                if not quick:
                    FOUND.mkdir(parents=True, exist_ok=True)
                    (FOUND / f"{name}.json").write_text(json.dumps(found[name]))
    finally:
        if not arguments.keep:
            shutil.rmtree(scratch, ignore_errors=True)
    print(f"== took {time.monotonic() - BEGAN:.0f} s")
    if "side" in found:
        print(Table(found["side"]["rows"]).markdown())
    if "scale" in found:
        print(scale.markdown(found["scale"]))
    if quick:
        return
    missing = [name for name in PARTS if not (FOUND / f"{name}.json").exists()]
    if missing:
        print(f"RESULTS.md is written when these have been measured too: {', '.join(missing)}")
        return
    found = {name: json.loads((FOUND / f"{name}.json").read_text()) for name in PARTS}
    (HERE / "results.svg").write_text(picture(found["side"]["curve"]))
    (HERE / "RESULTS.md").write_text(report(found))
    print(f"wrote {HERE / 'RESULTS.md'}")


def ratio(ours, theirs):
    return f"{ours / theirs:,.1f}" if theirs else "-"


def report(found):
    side = found["side"]
    table, facts, peaks, users = Table(side["rows"]), side["facts"], side["peaks"], side["users"]
    rate = lambda row: table.median(row, "req_s")
    cpu = lambda row: table.median(row, "cpu_us")
    ratios = [
        ("TOTP against rlm_totp", OURS_WARM, THEIRS_TOTP),
        ("TOTP against rlm_totp, users from disk", OURS_COLD, THEIRS_TOTP),
        ("TOTP against a row written for each login", OURS_WARM, THEIRS_ROW),
        ("TOTP against privacyIDEA", OURS_WARM, PRIVACYIDEA),
        ("proxy with TOTP against proxy alone", OURS_PROXY, THEIRS_PROXY),
    ]
    lines = [f"| {what} | {ratio(rate(a), rate(b))} | {ratio(cpu(b), cpu(a))} |" for what, a, b in ratios]
    memory = [
        f"| {name} | {seconds:.2f} | {idle:.0f} | {peaks.get(name, 0):.0f} |" for name, (seconds, idle) in facts.items()
    ]
    model = next(
        (line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")),
        "unknown",
    )
    return f"""# Results

Written by `bench/run`; to be compared with another run only by the ratios. Generator and servers share the machine:
{os.cpu_count()} cores ({model}), Linux {platform.release()}, load at the end {side["load"]:.1f}. Medians of {ROUNDS} rounds in which all
servers took turns. countersign had {users:,} users with a key each, took each code once, and had each login on disk
before it answered; 64 requests were outstanding where no rate is named.

{table.markdown()}

Times as many logins for each second, and for each second of CPU:

| ratio | logins/s | logins by CPU |
| --- | --- | --- |
{chr(10).join(lines)}

![p99 latency against throughput](results.svg)

| server | start, s | memory at start, MiB | at most, MiB |
| --- | --- | --- | --- |
{chr(10).join(memory)}

## By number of users

Each login is of somebody else, from all over the database: {scale.SAMPLE:,} of them, or everybody where there are fewer.

{scale.markdown(found["scale"])}

## Phones

{phones.markdown(found["pending"], found["decisions"], found["pushes"])}
"""


if __name__ == "__main__":
    main()
