"""``python -m bench --quick`` runs, with whatever peers this machine has, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
MEASUREMENTS = (
    "upload",
    "download",
    "pipeline",
    "coding",
    "small-files",
    "memory",
    "live-streams",
    "growth",
    "keeping",
)


def bench(place: Path, *names: str) -> str:
    words = [word for name in names for word in ("--only", name)]
    ran = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--directory", str(place), *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(os.path.abspath(part) for part in sys.path if part)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert list(place.iterdir()) == []
    return ran.stdout


def test_a_measurement_starts_a_hive_and_prints_a_table(tmp_path):
    printed = bench(tmp_path, "dedup")
    (row,) = [line for line in printed.splitlines() if "same content again" in line]
    assert row.split("|")[2].strip() == "0.0000 MB"


@pytest.mark.long
@pytest.mark.parametrize("name", MEASUREMENTS)
def test_every_measurement_runs(tmp_path, name):
    assert "how it came about" in bench(tmp_path, name)
