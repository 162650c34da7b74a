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
import subprocess
import time
from pathlib import Path

from picture import picture
from servers import KEY, SECRET, Countersign, FreeRadius, PrivacyIdea

HERE = Path(__file__).resolve().parent
TARGET = HERE.parent / "target"
BINARIES = {
    "countersign": str(TARGET / "release/countersign"),
    "furnish": str(TARGET / "bench/release/furnish"),
    "radload": str(TARGET / "bench/release/radload"),
}
ROUNDS = 3
STEP = 30


def code(step):
    digest = hmac.digest(KEY, struct.pack(">Q", step), "sha1")
    at = digest[19] & 15
    return "%06d" % ((struct.unpack(">I", digest[at : at + 4])[0] & 0x7FFFFFFF) % 1_000_000)


def radload(server, *arguments):
    command = [
        BINARIES["radload"], "--json", "--server", f"127.0.0.1:{server.port}", "--secret", server.secret,
        *map(str, arguments),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = done.stdout.strip().splitlines()
    if not lines:
        raise SystemExit(f"{server.name}: the generator says {done.stderr.strip()}")
    return json.loads(lines[-1])


def measure(server, *arguments):
    """One run; the generator's figures with the server's CPU for each answer."""
    before = server.cpu_seconds()
    figures = radload(server, *arguments)
    spent = server.cpu_seconds() - before
    figures["cpu_us"] = spent * 1e6 / max(figures["answered"], 1)
    figures["wrong"] = figures["unexpected"] + figures["bad"] + figures["lost"]
    return figures


def next_step():
    """Waits for the next time step: countersign takes each code once."""
    time.sleep(STEP - time.time() % STEP + 0.1)


class Table:
    """The runs of each row, in the order in which rows came first."""

    def __init__(self):
        self.rows = {}

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


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, without privacyIDEA, nothing written")
    parser.add_argument("--users", type=int, default=60_000, help="users of countersign; each logs on once a run")
    parser.add_argument("--keep", action="store_true", help="leave the servers' directories behind")
    arguments = parser.parse_args()
    rounds = 1 if arguments.quick else ROUNDS
    users = 5_000 if arguments.quick else arguments.users
    scratch = TARGET / "bench" / "servers"
    shutil.rmtree(scratch, ignore_errors=True)
    table, facts = Table(), {}
    started = []

    def up(server):
        began = time.monotonic()
        server.start()
        started.append(server)
        if isinstance(server, FreeRadius):
            # Its answer to the first packet is when it is there.
            radload(server, "--wait-ready", 20, "--count", 0)
        facts[server.name] = (time.monotonic() - began, server.memory_mib())
        return server

    try:
        totp = up(FreeRadius("FreeRADIUS totp", scratch / "fr-totp", 10_000, "totp"))
        row = up(FreeRadius("FreeRADIUS SQLite", scratch / "fr-row", 10_000, "database"))
        home = up(FreeRadius("FreeRADIUS home", scratch / "fr-home", 10_000, "passwords"))
        proxy = up(FreeRadius("FreeRADIUS proxy", scratch / "fr-proxy", 0, "proxy", home))
        ours = Countersign(
            "countersign", scratch / "countersign", BINARIES,
            "[limits]\nlogins = 100000\nlogins_per_client = 100000\n",
        )
        ours.start()
        ours.run("resource", "add", "bench", "--client", "127.0.0.0/8", "--secret-stdin", "--primary", "none",
                 stdin=SECRET)
        ours.stop()
        ours.furnish(users)
        up(ours)
        peer = None
        if not arguments.quick:
            peer = PrivacyIdea("privacyIDEA", scratch / "privacyidea", TARGET / "bench/privacyidea", 100)
            up(peer)
        everybody = ["--users", users, "--otp", "totp", "--otp-key-per-user", "--otp-key", KEY.hex(), "--require-ma",
                     "--count", users, "--warmup", 0, "--duration", 120]
        saturated = ["--concurrency", 64, "--duration", 4, "--warmup", 1]
        paced = ["--concurrency", 512, "--rate", 1000, "--duration", 4, "--warmup", 1]
        curve = {"countersign": [], "FreeRADIUS rlm_totp": []}
        for _ in range(rounds):
            next_step()
            # A start forgets who was in memory.
            ours.stop()
            up(ours)
            table.add(OURS_COLD, measure(ours, *everybody, "--concurrency", 64))
            table.add(THEIRS_TOTP, measure(totp, "--users", 10_000, "--otp", "totp", "--otp-key", KEY.hex(), *saturated))
            table.add(THEIRS_ROW, measure(row, "--users", 10_000, "--password", "pw{n}-secret", "--expect", "any",
                                          *saturated))
            table.add(THEIRS_PROXY, measure(proxy, "--users", 10_000, "--password", "pw{n}-secret", *saturated))
            next_step()
            table.add(OURS_WARM, measure(ours, *everybody, "--concurrency", 64))
            table.add(THEIRS_RATE, measure(totp, "--users", 10_000, "--otp", "totp", "--otp-key", KEY.hex(), *paced))
            if peer:
                table.add(PRIVACYIDEA, load_privacyidea(peer, 100))
            next_step()
            table.add(OURS_RATE, measure(ours, "--users", users, "--otp", "totp", "--otp-key-per-user", "--otp-key",
                                         KEY.hex(), "--require-ma", *paced))
        if not arguments.quick:
            for outstanding in (1, 4, 16, 64, 256):
                next_step()
                figures = measure(ours, *everybody[:-5], "--count", min(users, 200 * outstanding + 2_000),
                                  "--warmup", 0, "--duration", 60, "--concurrency", outstanding)
                curve["countersign"].append((figures["req_s"], figures["p99_ms"]))
                figures = measure(totp, "--users", 10_000, "--otp", "totp", "--otp-key", KEY.hex(), "--duration", 2,
                                  "--warmup", 1, "--concurrency", outstanding)
                curve["FreeRADIUS rlm_totp"].append((figures["req_s"], figures["p99_ms"]))
        peaks = {server.name: server.memory_mib("VmHWM") for server in started if server.process}
    finally:
        for server in started:
            server.stop()
        if not arguments.keep:
            shutil.rmtree(scratch, ignore_errors=True)
    if arguments.quick:
        print(table.markdown())
        return
    (HERE / "results.svg").write_text(picture(curve))
    (HERE / "RESULTS.md").write_text(report(table, facts, peaks, users))
    print(f"wrote {HERE / 'RESULTS.md'}")


def ratio(ours, theirs):
    return f"{ours / theirs:,.1f}" if theirs else "-"


def report(table, facts, peaks, users):
    rate = lambda row: table.median(row, "req_s")
    cpu = lambda row: table.median(row, "cpu_us")
    ratios = [
        ("TOTP against rlm_totp", OURS_WARM, THEIRS_TOTP),
        ("TOTP against rlm_totp, users from disk", OURS_COLD, THEIRS_TOTP),
        ("TOTP against a row written for each login", OURS_WARM, THEIRS_ROW),
        ("TOTP against privacyIDEA", OURS_WARM, PRIVACYIDEA),
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
    load = os.getloadavg()
    return f"""# Results

Written by `bench/run`; to be compared with another run only by the ratios. Generator and servers share the machine:
{os.cpu_count()} cores ({model}), Linux {platform.release()}, load at the end {load[0]:.1f}. Medians of {ROUNDS} rounds in which all
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
"""


if __name__ == "__main__":
    main()
