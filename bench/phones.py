"""Logins that wait for phones: how many are held, how soon a push leaves, how soon a decision lets somebody in."""

import json
import re
import subprocess

from load import BINARIES, TARGET
from servers import SECRET, Countersign


def last_line(command, **more):
    """What a program says in its last line, in JSON; the rest is for whoever watches."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **more)
    print(done.stdout, end="", flush=True)
    if done.returncode != 0:
        raise SystemExit(f"{command[0]}: {done.stderr.strip()}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def pending(users):
    return last_line([BINARIES["pending"], "--countersign", BINARIES["countersign"], "--users", users])


def decisions(scratch, logins):
    """On a server of its own; each user is added and activates a phone first."""
    server = Countersign("countersign for decisions", scratch / "decisions", BINARIES)
    server.start()
    try:
        server.run("resource", "add", "bench", "--client", "127.0.0.0/8", "--secret-stdin", "--primary", "none",
                   stdin=SECRET)
        return last_line([
            BINARIES["decisions"], "--countersign", BINARIES["countersign"], "--data", server.directory,
            "--radius", f"127.0.0.1:{server.port}", "--secret", SECRET, "--users", logins,
        ])
    finally:
        server.stop()


def pushes(a_second, seconds):
    """From a login at the desk until the request is at a push service, which runs in the same program."""
    done = subprocess.run([TARGET / "release/examples/push_rate", str(a_second), str(seconds)],
                          capture_output=True, text=True, check=True)
    print(done.stdout, end="", flush=True)
    p50, p99, most = map(float, re.search(r"^login at the desk.*?([\d.]+) ms +([\d.]+) ms +([\d.]+) ms$", done.stdout,
                                          re.MULTILINE).groups())
    return {"a_second": a_second, "p50_ms": p50, "p99_ms": p99, "max_ms": most}


def markdown(held, decided, pushed):
    return f"""| what | figure |
| --- | --- |
| logins that wait for a phone at the same time | {held["users"]:,}, of these accepted in the end {held["accepted"]:,} |
| memory for them | {held["waiting_mib"] - held["before_mib"]:.0f} MiB, {held["kib_each"]:.2f} KiB each |
| decisions taken, phones and server on the same cores | {held["verified_a_second"]:,.0f} a second |
| decision on the phone to Access-Accept, {decided["logins"]} logins | p50 {decided["p50_ms"]:.2f} ms, p99 {decided["p99_ms"]:.2f} ms |
| login to push request, {pushed["a_second"]:,} a second | p50 {pushed["p50_ms"]:.2f} ms, p99 {pushed["p99_ms"]:.2f} ms |"""
