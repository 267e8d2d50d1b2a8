"""litmus, the WebDAV suite of the neon library, against a hive in a process of its own: every suite, no failure.

Its one warning, and why it stays: ``delete_fragment`` sends ``DELETE /dav/litmus/frag/#ment``. A fragment is not part
of a request's target (RFC 9112 section 3.2); the HTTP parser drops it, as most do, so the collection itself is
deleted. What is deleted goes to the trash.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from skep.testing.process import RunningHive, made_hive

WARNINGS = {"basic": 1}


@pytest.fixture(scope="module")
def hive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHive]:
    running = made_hive(tmp_path_factory.mktemp("hive"))
    running.start()
    yield running
    assert running.stop() == 0


@pytest.mark.parametrize("suite", ["basic", "copymove", "props", "locks", "http"])
def test_the_suite_passes(hive: RunningHive, program: Callable[[str, str], Path], tmp_path: Path, suite: str) -> None:
    litmus = program("litmus", "apt-get install litmus")
    done = subprocess.run(
        [litmus, "-k", f"{hive.url}/dav/", "admin", hive.password],
        cwd=tmp_path,
        env={**os.environ, "TESTS": suite},
        capture_output=True,
        text=True,
        timeout=120,
    )
    summary = re.search(rf"summary for `{suite}': of (\d+) tests run: (\d+) passed, (\d+) failed", done.stdout)
    assert summary is not None, done.stdout + done.stderr
    ran, passed, failed = map(int, summary.groups())
    assert (passed, failed) == (ran, 0), done.stdout
    assert ran > 1
    assert len(re.findall(r"WARNING:", done.stdout)) == WARNINGS.get(suite, 0), done.stdout
