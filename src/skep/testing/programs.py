"""Programs of others that tests and benchmarks talk to: where they are on this machine.

``make parts`` installs those that come as wheels into ``.parts`` of the checkout; the rest are on the PATH,
from the distribution.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

PARTS = Path(__file__).parents[3] / ".parts" / "bin"
"""Where ``make parts`` puts programs; SKEP_PARTS names another folder."""


def find_program(name: str) -> Path | None:
    """The program of that name, of ``make parts`` before the PATH's; None where there is none."""
    parts = Path(os.environ.get("SKEP_PARTS") or PARTS)
    found = shutil.which(name, path=f"{parts}{os.pathsep}{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    return Path(found) if found else None
