"""The generator, and what a run of it cost the server."""

import json
import subprocess
import time
from pathlib import Path

from servers import KEY

TARGET = Path(__file__).resolve().parent.parent / "target"
BINARIES = {
    "countersign": str(TARGET / "release/countersign"),
    "furnish": str(TARGET / "bench/release/furnish"),
    "radload": str(TARGET / "bench/release/radload"),
    "pending": str(TARGET / "bench/release/pending"),
    "decisions": str(TARGET / "bench/release/decisions"),
}
KEY_HEX = KEY.hex()
STEP = 30


def radload(server, *arguments):
    command = [
        BINARIES["radload"], "--json", "--server", f"127.0.0.1:{server.port}", "--secret", server.secret,
        *map(str, arguments),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = done.stdout.strip().splitlines()
    if not lines:
        raise SystemExit(f"{server.name}: the generator says {done.stderr.strip()}")
    return json.loads(lines[-1]) if lines[-1].startswith("{") else {}


def measure(server, *arguments):
    """One run; the generator's figures with the server's CPU for each answer."""
    before = server.cpu_seconds()
    figures = radload(server, *arguments)
    spent = server.cpu_seconds() - before
    figures["cpu_us"] = spent * 1e6 / max(figures["answered"], 1)
    figures["wrong"] = figures["unexpected"] + figures["bad"] + figures["lost"]
    return figures


def left_of_step():
    return STEP - time.time() % STEP


def next_step():
    """Waits for the next time step: countersign takes each code once."""
    time.sleep(left_of_step() + 0.1)
