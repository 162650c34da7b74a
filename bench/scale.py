"""What one login costs at a hundred, ten thousand and a million users: people from all over the database, once each."""

import shutil
import statistics
import time

from load import KEY_HEX, left_of_step, measure, next_step, radload
from servers import SECRET, Countersign

# Logins of one run, where there are so many users: the same for all sizes that have them.
SAMPLE = 20_000


def furnished(name, directory, binaries, users, upstream=None):
    """A stopped server with so many users, and a resource for the generator whose passwords `upstream` may check."""
    server = Countersign(
        name, directory, binaries, "[limits]\nlogins = 100000\nlogins_per_client = 100000\n",
    )
    server.start()
    primary = ["--primary", "none"]
    if upstream:
        server.run("upstream", "add", "home", "--server", f"127.0.0.1:{upstream.port}", "--secret-stdin", stdin=SECRET)
        primary = ["--primary", "radius", "--upstream", "home"]
    server.run("resource", "add", "bench", "--client", "127.0.0.0/8", "--secret-stdin", *primary, stdin=SECRET)
    server.stop()
    server.furnish(users)
    return server


def started(server):
    """Starts a server; seconds until its first answer, and MiB that it holds then."""
    server.launch()
    radload(server, "--wait-ready", 60, "--count", 0)
    seconds = time.monotonic() - server.spawned
    server.wait_ready()
    return seconds, server.memory_mib()


def scale(scratch, binaries, sizes, rounds):
    """By number of users: the medians of all rounds."""
    servers = {users: furnished(f"countersign with {users:,}", scratch / f"scale-{users}", binaries, users)
               for users in sizes}
    runs = {users: [] for users in sizes}
    try:
        for turn in range(rounds):
            for users, server in servers.items():
                run = {}
                run["start_s"], run["idle_mib"] = started(server)
                sample = min(users, SAMPLE)
                everybody = [
                    "--users", users, "--scatter", "--skip", turn * sample, "--count", sample, "--otp", "totp",
                    "--otp-key-per-user", "--otp-key", KEY_HEX, "--require-ma", "--concurrency", 64, "--warmup", 0,
                    "--duration", 120,
                ]
                # Those who come twice in a run need another code; those of the round before were of earlier steps.
                next_step() if left_of_step() < 12 else None
                run["cold"] = measure(server, *everybody, "--otp-offset", -1)
                run["warm"] = measure(server, *everybody, "--otp-offset", 0)
                run["used_mib"] = server.memory_mib()
                server.stop()
                runs[users].append(run)
                print(
                    f"{users:>9,} users: start {run['start_s']:.2f} s, {run['idle_mib']:.0f} MiB; "
                    + "; ".join(
                        f"{word} {run[word]['cpu_us']:.0f} us, p99 {run[word]['p99_ms']:.2f} ms, "
                        f"{run[word]['req_s']:.0f}/s, wrong {run[word]['wrong']}" for word in ("cold", "warm")
                    ),
                    flush=True,
                )
            # Codes up to the present step are used up.
            if turn + 1 < rounds:
                next_step()
                next_step()
    finally:
        for server in servers.values():
            server.stop()
            shutil.rmtree(server.directory, ignore_errors=True)
    return {users: medians(of_size) for users, of_size in runs.items()}


def medians(runs):
    first = runs[0]
    return {
        key: medians([run[key] for run in runs]) if isinstance(value, dict)
        else sum(run[key] for run in runs) if key == "wrong"
        else statistics.median(run[key] for run in runs)
        for key, value in first.items()
    }


def markdown(by_users):
    lines = [
        "| users | start to first answer, s | MiB idle | from disk: CPU us a login | p99 ms | logins/s "
        "| in memory: CPU us a login | p99 ms | logins/s | not as expected |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for users, run in by_users.items():
        cold, warm = run["cold"], run["warm"]
        lines.append(
            f"| {int(users):,} | {run['start_s']:.2f} | {run['idle_mib']:.0f} | {cold['cpu_us']:.0f} | {cold['p99_ms']:.2f} "
            f"| {cold['req_s']:,.0f} | {warm['cpu_us']:.0f} | {warm['p99_ms']:.2f} | {warm['req_s']:,.0f} "
            f"| {cold['wrong'] + warm['wrong']:.0f} |"
        )
    return "\n".join(lines)
