"""What a first visit costs, by the build's own account of it."""

from __future__ import annotations

import gzip
import json
from importlib.resources import files

import pytest

from skep.frontends.web.app import BUILT

SCRIPT_BYTES_MAX = 150_000


def test_the_first_load_is_small() -> None:
    built = files("skep.frontends.web") / BUILT
    told = built / "size.json"
    if not told.is_file():
        pytest.skip("the built page is not installed: make page")
    size = json.loads(told.read_text())
    assert len(gzip.compress((built / size["entry"]).read_bytes())) <= size["first_load_script_gzip_bytes"] + 1_000
    assert size["first_load_script_gzip_bytes"] < SCRIPT_BYTES_MAX
