"""The directory library against real directories: Samba as domain controller of Active Directory, and OpenLDAP."""

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import LAB, ROOT, environment, missing, need

PROGRAMS = ["samba", "samba-tool", "ldbmodify", "slapd", "socat", "openssl", "unshare", "nsenter", "cargo"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The folder of both directories, up."""
    os.environ["PATH"] += os.pathsep + "/usr/sbin"
    need(*PROGRAMS)
    if os.getuid() != 0:
        missing("a domain controller needs root")
    if subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True).returncode != 0:
        missing("a domain controller needs network namespaces, which are not to be had here")
    folder = tmp_path_factory.mktemp("directory")

    def script(name: str, what: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [LAB / name, what], env=environment() | {"LAB": str(folder)}, text=True, timeout=120,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    scripts = ["samba-dc.sh", "slapd.sh"]
    try:
        with ThreadPoolExecutor() as pool:
            for done in pool.map(lambda name: script(name, "up"), scripts):
                assert done.returncode == 0, done.stdout
        yield folder
    finally:
        for name in scripts:
            script(name, "down")


def test_the_library_against_real_directories(lab):
    # The whole workspace is named so that what `cargo xtask ci` built is used again.
    done = subprocess.run(
        ["cargo", "test", "--locked", "--workspace", "--test", "lab"], cwd=ROOT, text=True, timeout=600,
        env=environment() | {"COUNTERSIGN_LAB_DIRECTORY": str(lab)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    passed = re.search(r"test result: ok\. (\d+) passed; 0 failed; 0 ignored", done.stdout)
    assert passed and int(passed[1]) >= 30, done.stdout
