"""What the table says of a figure."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def figures():
    spec = importlib.util.spec_from_file_location("bench_figures", ROOT / "bench" / "figures.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.mark.parametrize(
    ("value", "target", "verdict"),
    [
        (2.0, {"at_least": 2.0}, "PASS"),
        (1.0, {"at_least": 2.0}, "short 2.00x"),
        (100.0, {"at_most": 120}, "PASS"),
        (180.0, {"at_most": 120}, "short 1.50x"),
        (0.0, {"at_most": 0}, "PASS"),
        (0.5, {"at_most": 0}, "short"),
        (5.0, {}, ""),
    ],
)
def test_a_verdict_says_by_how_much_it_is_short(figures, value, target, verdict):
    figure = figures.Figure("name", value, "x", **target)
    assert figure.cells(judged=True)[3] == verdict
    assert figure.cells(judged=False)[3] == ""


def test_the_table_is_aligned_and_tells_what_is_missing(figures):
    lines = figures.table([figures.Figure("rate", 1234.5, "MB/s"), figures.Missing("over restic", "not installed")])
    assert len({len(line) for line in lines}) == 1
    assert "1,234 MB/s" in lines[2] or "1,235 MB/s" in lines[2]
    assert "not measured" in lines[3]


def test_every_round_begins_with_another_run(figures):
    order = []
    figures.alternated(3, [lambda n: order.append(("a", n)), lambda n: order.append(("b", n))])
    assert order == [("a", 0), ("b", 0), ("b", 1), ("a", 1), ("a", 2), ("b", 2)]
